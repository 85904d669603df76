//! The real daemon as a process, spoken to octet by octet: sessions in wrong order, bad syntax, look-alikes of the end
//! of data, floods. One family of scenarios per file.
//!
//! ```text
//!   wire (client, blocking) ─► daemon (a process of its own) ─► sink (strict next hop, SMTP or LMTP)
//! ```
//!
//! Nothing here uses the product's own protocol code, so that a mistake on one side is not repeated on the other.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where a step fails; its parts serve several targets"
)]

mod alone;
mod chunks;
mod endings;
mod ends;
mod floods;
mod injection;
mod login;
mod order;
mod relay;
mod sink;
mod stage;
mod stops;
mod syntax;
mod tls;
mod wire;
