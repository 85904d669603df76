//! Reasons of ours why there is no delivery: each with its verdict, its status and what it says of the site.
//!
//! Pure. What a next hop says is judged in `reply.rs`.

use super::exchanges::NoExchange;
use crate::outcome::{Hop, Outcome, Status, Verdict};
use crate::queue::window::Feedback;

/// An attempt that ended without a word of a next hop about the recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setback {
    /// The outcome for every recipient.
    pub outcome: Outcome,
    /// What it says of the site; none when it says nothing.
    pub feedback: Option<Feedback>,
}

impl Setback {
    /// The site cannot be reached now.
    pub fn dead(status: Status, reason: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::ours(Verdict::Deferred, status, reason),
            feedback: Some(Feedback::Dead),
        }
    }

    /// The site will never take it.
    pub fn never(status: Status, reason: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::ours(Verdict::Failed, status, reason),
            feedback: None,
        }
    }

    /// Something of ours failed; the site has no part in it.
    pub fn ours(reason: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::ours(Verdict::Deferred, Status::new(4, 3, 0), reason),
            feedback: None,
        }
    }

    /// The same about a server.
    #[must_use]
    pub fn at(mut self, hop: Hop) -> Self {
        self.outcome = self.outcome.at(hop);
        self
    }

    /// What the DNS says of a domain.
    pub fn of_exchange(domain: &str, why: &NoExchange) -> Self {
        match why {
            // RFC 3463 section 3.2, X.1.2.
            NoExchange::NoDomain => Self::never(
                Status::new(5, 1, 2),
                format!("the domain {domain} does not exist"),
            ),
            // RFC 7505 section 4.1: 556 and 5.1.10.
            NoExchange::NullMx => Self::never(
                Status::new(5, 1, 10),
                format!("the domain {domain} takes no mail (null MX)"),
            ),
            // RFC 3463 section 3.5, X.4.6.
            NoExchange::Ourselves => Self::never(
                Status::new(5, 4, 6),
                format!("the MX of {domain} is this server, which does not receive for it: a loop"),
            ),
            // RFC 3463 section 3.5, X.4.3.
            NoExchange::Unknown(reason) => Self::dead(
                Status::new(4, 4, 3),
                format!("the DNS gives no answer about {domain}: {reason}"),
            ),
        }
    }

    /// No host of a domain has an address. RFC 5321 section 5.1 calls that an error to be reported, not one to be waited
    /// out.
    pub fn nowhere(domain: &str) -> Self {
        Self::never(
            Status::new(5, 4, 4),
            format!("no mail server of {domain} has an address"),
        )
    }

    /// The hosts of a domain have addresses that mail may not go to.
    pub fn private(domain: &str) -> Self {
        Self::never(
            Status::new(5, 4, 4),
            format!(
                "the mail servers of {domain} have private addresses only; `allowedNetworks` of a policy may permit them"
            ),
        )
    }

    /// The domain is an address in brackets. RFC 3463 section 3.2, X.1.2.
    pub fn literal(domain: &str) -> Self {
        Self::never(
            Status::new(5, 1, 2),
            format!("mail to {domain} is not passed on; `allowedNetworks` of a policy may name its network"),
        )
    }
}
