//! A real daemon on loopback, spoken to octet by octet: how mail comes in. One scenario per file.

mod accepting;
mod authenticating;
mod certificates;
mod client;
mod injecting;
mod limiting;
mod pipelining;
mod probing;
mod relaying;
mod reloading;
mod sealing;
mod smuggling;
mod stage;
mod starting;
mod stopping;
mod submitting;
