//! A real daemon on loopback, spoken to octet by octet: how mail comes in. One scenario per file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where a step fails"
)]

mod accepting;
mod attacks;
mod authenticating;
mod binding;
mod calling_out;
mod certificates;
mod client;
mod counting;
mod crowding;
#[path = "../spf_smtp_suite/dns.rs"]
mod dns;
mod early;
mod editing;
mod filtering;
mod filtering_hostile;
mod filtering_rspamd;
mod forwarding;
mod holding;
mod hostile_content;
mod injecting;
mod judging;
mod letting_in;
mod limiting;
#[path = "../log_page/mod.rs"]
mod log_page;
mod logging;
mod milter;
mod pipelining;
mod probing;
mod promising;
mod proxied;
mod relaying;
mod reloading;
mod replies;
mod reporting;
mod scram;
mod sealing;
mod self_testing;
mod signing;
mod smuggling;
mod stage;
mod standards;
mod standing_in;
mod starting;
mod stopping;
mod submitting;
mod tokens;
mod verifying;
mod vouching;
