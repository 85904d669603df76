#![doc = include_str!("../README.md")]

pub mod arc;
pub mod dkim;
pub mod dmarc;
pub mod dns;
pub mod results;
pub mod spf;
mod steps;
