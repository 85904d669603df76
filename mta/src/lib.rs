//! The Postroad MTA: one process, one spool, one promise: a message that got 250 is on stable storage.
//!
//! ```text
//!   net ─► session ─► policy ─► accept ─► postroad-spool ─► queue ─► deliver ─► outcome ─► dsn
//!            │ auth, verify,    │ filter,      ▲
//!            │ access           │ signing      │
//!   reload ─► settings (what every part reads) │
//!   admin (health, metrics, state, seal) ─► handover (to and from the other pods)
//!            └─► seen (of the network), relay_test (of our own ports)
//!   logins (at smart hosts, and tokens for them) ─► deliver
//!   session, deliver ─► reports (to domains about themselves) ─► accept
//! ```
//!
//! Assumes: it is the only process on its spool directory; it knows nothing of Kubernetes.
//! [`daemon`] joins the parts; every other module can be read alone.

pub mod accept;
pub mod access;
pub mod admin;
pub mod auth;
pub mod check;
pub mod commands;
pub mod daemon;
pub mod deliver;
pub mod dns;
pub mod dsn;
pub mod fenced;
pub mod filter;
pub mod handover;
pub mod lifecycle;
pub mod log;
pub mod logins;
pub mod metrics;
pub mod net;
pub mod outcome;
pub mod policy;
pub mod queue;
pub mod relay_test;
pub mod reload;
pub mod reports;
pub mod seen;
pub mod session;
pub mod settings;
pub mod signing;
pub mod tls;
pub mod tokens;
pub mod verify;
