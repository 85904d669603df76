//! The local cluster, the demo, the stories and the whole test run.
//!
//!   bin/demo     one command from a bare machine to mail that flows
//!   bin/stories  what users go through, each story in a namespace of its own
//!   bin/verify   everything that can be checked, counted
//!
//!   shell ◄── cluster ◄── stories        report: steps with times, counts
//!         ◄── checks ──► tools           place: where things are

pub mod beside;
pub mod checks;
pub mod cluster;
pub mod crash;
pub mod demo;
pub mod dns;
pub mod fuzz;
pub mod images;
pub mod install;
pub mod interop;
pub mod kubectl;
pub mod mail;
pub mod mailroom;
mod namespace;
pub mod peers;
pub mod place;
pub mod report;
pub mod rootfs;
pub mod shell;
pub mod stories;
pub mod story;
pub mod tools;
