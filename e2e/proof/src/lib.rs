//! The proof of the operator, against a real API server and etcd, without nodes.
//!
//! ```text
//!   person (harness) ──────────────► API server + etcd + controllers
//!                                        ▲
//!   operator (real process) ─► fault proxy ─┘   refuses, cuts, loses replies, kills, swallows events
//!                 ▲
//!           started again
//! ```
//!
//! Each case has a namespace, a proxy and an operator of its own. The verdict of each: the desired state is reached, it stays, and
//! the operator goes quiet. `docs/operator-checks.md` says which of the 44 checks are where.

pub mod api;
pub mod case;
pub mod checks;
pub mod daemon;
pub mod earlier;
pub mod identity;
pub mod logins;
pub mod managed;
pub mod objects;
pub mod operation;
pub mod operator;
pub mod proxy;
pub mod request;
pub mod rig;
pub mod server;
pub mod watched;
pub mod webhook;
