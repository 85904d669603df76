#![doc = include_str!("../README.md")]

pub mod dmarc;
pub mod dns;
pub mod results;
pub mod spf;
mod steps;
