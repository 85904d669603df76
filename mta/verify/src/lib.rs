#![doc = include_str!("../README.md")]

pub mod arc;
pub mod dane;
pub mod dkim;
pub mod dmarc;
pub mod dns;
pub mod mta_sts;
pub mod results;
pub mod spf;
mod steps;
pub mod tls_rpt;
