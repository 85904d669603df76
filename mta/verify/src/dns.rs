//! DNS questions and answers as the verdicts need them: plain values, whoever asks.
//!
//! The four ways an answer can be empty are kept apart, since mistaking one for another gives wrong verdicts:
//!
//! ```text
//! records      the name has records of this type
//! no data      the name exists, but not with this type (RFC 2308 section 2.2)
//! no such name NXDOMAIN (RFC 2308 section 2.1)
//! failure      SERVFAIL, REFUSED, time-out: nothing is known
//! ```

use std::fmt;
use std::net::IpAddr;

/// Type of the records asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Text.
    Txt,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail exchangers.
    Mx,
    /// Names of an address.
    Ptr,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Txt => "TXT",
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Mx => "MX",
            Self::Ptr => "PTR",
        })
    }
}

/// One question. The name is a well-formed domain name without the final dot: labels of 1 to 63 octets, 253 octets in
/// all. Its octets are otherwise free (a macro may put a space or `%` into one).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// Name asked for.
    pub name: String,
    /// Type asked for.
    pub kind: Kind,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.kind)
    }
}

/// A mail exchanger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exchanger {
    /// Lower is tried first.
    pub preference: u16,
    /// Host name; empty or `.` in a null MX (RFC 7505).
    pub host: String,
}

/// What became of a question, aliases (CNAME) followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// TXT records, the strings of each joined without a separator (RFC 7208 section 3.3).
    Txt(Vec<Vec<u8>>),
    /// A or AAAA records.
    Addresses(Vec<IpAddr>),
    /// MX records.
    Mx(Vec<Exchanger>),
    /// PTR records.
    Names(Vec<String>),
    /// The name exists, but not with this type.
    NoData,
    /// There is no such name.
    NxDomain,
    /// No answer: SERVFAIL and other error codes, time-out, a loop of aliases.
    Failure,
}

/// Whether text can be asked for: labels of 1 to 63 octets, at most 253 in all, no final dot.
pub fn is_askable(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()))
}
