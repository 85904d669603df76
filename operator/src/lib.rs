//! The controller that turns Postroad's custom resources into running mail servers.
//!
//! ```text
//!   watch ─► driver ─► <kind>: gather (IO) ─► validate, build, plan (pure) ─► apply (IO) ─► status (pure) ─► patch
//! ```
//!
//! A step that decides has no client; a step that does IO has no decisions. Every write goes through [`apply`], which asks
//! [`lease`] first.

pub mod applied;
pub mod apply;
pub mod args;
pub mod attached;
pub mod authorities;
pub mod cert_manager;
pub mod client;
pub mod context;
pub mod counted;
pub mod dns;
pub mod driver;
pub mod error;
pub mod http;
pub mod known;
pub mod last;
pub mod lease;
pub mod mail_domain;
pub mod manager;
pub mod metrics;
mod news;
pub mod relay_policy;
pub mod rendered;
mod renewed;
pub mod reviews;
mod secrets;
pub mod smtp_listener;
pub mod tenancy;
pub mod versions;
