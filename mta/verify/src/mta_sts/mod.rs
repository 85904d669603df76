//! MTA-STS (RFC 8461): a domain says over HTTPS which mail servers are its own, and that they prove it inside TLS.
//!
//! ```text
//!   TXT _mta-sts.DOMAIN ─► Record ─┐
//!   what is kept ──────────────────┴─► step ─┬─ what is kept decides
//!                                            └─ fetch https://mta-sts.DOMAIN/.well-known/mta-sts.txt ─► Policy ─► keep
//!   Policy, name of a mail server ─► may it be used?
//! ```
//!
//! Pure: the caller asks, fetches, keeps and passes the clock in.

mod cache;
mod pattern;
mod policy;
mod record;

pub use cache::{Kept, Step, step};
pub use pattern::Pattern;
pub use policy::{LARGEST_POLICY, Mode, Policy, PolicyError};
pub use record::{Record, question};

/// The host that a domain's policy is fetched from (RFC 8461 section 3.3).
pub fn policy_host(domain: &str) -> String {
    format!("mta-sts.{domain}")
}

/// Where on that host (RFC 8461 section 3.3).
pub const POLICY_PATH: &str = "/.well-known/mta-sts.txt";
