//! tmp
pub mod dns;
