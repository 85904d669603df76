//! Sender Policy Framework, RFC 7208.
//!
//! ```text
//! Request ─► Check ──Ask(question)──► caller's resolver
//!              ▲                            │
//!              └────────answer──────────────┘        … until Done(Outcome)
//! ```
//!
//! * [`record`]: text of a record to terms, strictly; nothing is evaluated with a broken record.
//! * [`macros`]: `%{…}` and what may stand where.
//! * `evaluate`: `check_host()`, section 4, with the limits of section 4.6.4.
//! * [`Check`]: turns the evaluation into steps.

mod check;
mod evaluate;
pub mod macros;
pub mod record;
mod request;

pub use check::{Check, Step};
pub use evaluate::reverse_name;
pub use record::{Record, SelectError, SyntaxError, select};
pub use request::Request;

use std::fmt;

use crate::dns::Question;

/// Look-ups that the terms of one check may cause (RFC 7208 section 4.6.4).
pub const MOST_LOOKUPS: u32 = 10;
/// Terms whose look-up may come back empty (same section).
pub const MOST_VOID_LOOKUPS: u32 = 2;
/// MX names of one `mx`, and PTR names of the client, that are looked at (same section).
pub const MOST_NAMES: usize = 10;

/// Result of a check (RFC 7208 section 2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// No domain to check, or it has no record.
    None,
    /// The domain makes no statement.
    Neutral,
    /// The client is authorised.
    Pass,
    /// The client is not authorised.
    Fail,
    /// The client is probably not authorised.
    SoftFail,
    /// A look-up failed; another time it may work.
    TempError,
    /// The published records cannot be interpreted.
    PermError,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        })
    }
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// The domain owner's words on a `fail` (`exp=`), printable ASCII. Foreign text: mark it as such when showing it.
    pub explanation: Option<String>,
    /// The term that decided, as written. None when no term matched.
    pub matched: Option<String>,
    /// Why there is a `temperror` or `permerror`.
    pub problem: Option<Problem>,
}

/// Why a check could not give a verdict. Each text is one sentence for the owner of the domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A record is not well-formed.
    #[error("the SPF record of {domain} is wrong: {error}")]
    Syntax {
        /// Whose record.
        domain: String,
        /// What is wrong with it.
        error: SyntaxError,
    },
    /// More than one record (RFC 7208 section 4.5).
    #[error("{0} publishes more than one SPF record; publish exactly one")]
    SeveralRecords(String),
    /// `include` or `redirect` names a domain without a record (RFC 7208 sections 5.2 and 6.1).
    #[error(
        "`{term}` leads to {domain}, which publishes no SPF record; publish one there, or take the term out"
    )]
    NoRecord {
        /// The term.
        term: String,
        /// Where it leads.
        domain: String,
    },
    /// Too many look-ups.
    #[error("the terms cause more than {MOST_LOOKUPS} DNS look-ups; merge or remove includes")]
    TooManyLookups,
    /// Too many look-ups that came back empty.
    #[error("more than {MOST_VOID_LOOKUPS} terms name domains that do not exist; remove those terms")]
    TooManyVoidLookups,
    /// Too many mail exchangers for an `mx`.
    #[error("`mx` of {0} stands for more than {MOST_NAMES} hosts; name them by ip4 and ip6")]
    TooManyExchangers(String),
    /// A DNS question without an answer.
    #[error("no answer from DNS for {0}; the servers of that name must answer")]
    NoAnswer(Question),
}
