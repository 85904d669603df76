#![doc = include_str!("../README.md")]

pub mod dns;
pub mod spf;
