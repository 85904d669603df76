//! The one way into the spool: prefix header fields, loop check, commit, and only then 250.

mod header;
pub mod prefix;

pub use header::{Fault, Findings, HeaderScan};
