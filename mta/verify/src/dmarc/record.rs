//! The text of a policy record, RFC 9989 section 4.7 and 4.8.
//!
//! Strict where the standard is: `v=DMARC1` comes first and in this case, else it is no record of DMARC. Lenient where
//! it is: what is wrong behind that counts as not given, and unknown tags (`pct` among them) say nothing.

use serde::{Deserialize, Serialize};

/// What the owner of a domain asks for (`p`, `sp`, `np`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Policy {
    /// Nothing but reports.
    None,
    /// To be treated with suspicion.
    Quarantine,
    /// To be refused.
    Reject,
}

impl Policy {
    /// As it is written in a record and in Authentication-Results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }

    /// One level below, as `t=y` asks.
    #[must_use]
    pub fn lowered(self) -> Self {
        match self {
            Self::Reject => Self::Quarantine,
            Self::Quarantine | Self::None => Self::None,
        }
    }

    fn parse(value: &str) -> Option<Self> {
        [Self::None, Self::Quarantine, Self::Reject]
            .into_iter()
            .find(|policy| policy.as_str().eq_ignore_ascii_case(value))
    }
}

/// How exactly an identifier must be the author's domain (`adkim`, `aspf`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Alignment {
    /// Of the same organisation.
    #[default]
    Relaxed,
    /// The same name.
    Strict,
}

/// Where the name stands beside its organisation (`psd`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Suffix {
    /// `u`: the tree says it.
    #[default]
    Unsaid,
    /// `y`: a public suffix; organisations begin one label below.
    Public,
    /// `n`: an organisation begins here.
    Organization,
}

/// A record that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// For the name that it stands at.
    pub policy: Policy,
    /// For names below it that exist.
    pub subdomains: Option<Policy>,
    /// For names below it that do not exist.
    pub absent: Option<Policy>,
    /// For DKIM.
    pub dkim: Alignment,
    /// For SPF.
    pub spf: Alignment,
    /// See [`Suffix`].
    pub suffix: Suffix,
    /// The owner is testing (`t=y`): one level below what is asked for is applied.
    pub testing: bool,
    /// Where aggregate reports go.
    pub reports: Vec<String>,
}

/// A text of DNS as DMARC sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// Not of DMARC.
    Foreign,
    /// Begins like a record, and says too little: no valid `p`, or an invalid `sp` or `np`, and nowhere to report to.
    Unusable(Suffix),
    /// A record.
    Record(Record),
}

impl Text {
    /// Reads one TXT record, its strings joined.
    pub fn parse(text: &[u8]) -> Self {
        let mut parts = text.split(|octet| *octet == b';');
        if !parts.next().is_some_and(is_version) {
            return Self::Foreign;
        }
        let mut tags = Tags::default();
        for part in parts {
            // What is no tag is passed over.
            if let Some((name, value)) = tag(part) {
                tags.take(name, value);
            }
        }
        tags.judge()
    }
}

/// Values as they came; what is wrong or given twice is told apart from what is absent.
#[derive(Default)]
struct Tags {
    policy: Given<Policy>,
    subdomains: Given<Policy>,
    absent: Given<Policy>,
    dkim: Given<Alignment>,
    spf: Given<Alignment>,
    suffix: Given<Suffix>,
    testing: Given<bool>,
    reports: Given<Vec<String>>,
}

#[derive(Default)]
enum Given<T> {
    #[default]
    No,
    Wrong,
    Value(T),
}

impl<T> Given<T> {
    /// The first one counts.
    fn put(&mut self, value: Option<T>) {
        if matches!(self, Self::No) {
            *self = value.map_or(Self::Wrong, Self::Value);
        }
    }

    fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::No | Self::Wrong => None,
        }
    }

    fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong)
    }
}

impl Tags {
    fn take(&mut self, name: &str, value: &str) {
        match name {
            "p" => self.policy.put(Policy::parse(value)),
            "sp" => self.subdomains.put(Policy::parse(value)),
            "np" => self.absent.put(Policy::parse(value)),
            "adkim" => self.dkim.put(alignment(value)),
            "aspf" => self.spf.put(alignment(value)),
            "psd" => self.suffix.put(suffix(value)),
            "t" => self.testing.put(yes_or_no(value)),
            "rua" => self.reports.put(Some(addresses(value))),
            _ => {}
        }
    }

    /// RFC 9989 section 4.10.1: without a clear policy there is none to apply, and reports alone are worth a record.
    fn judge(self) -> Text {
        let suffix = self.suffix.value().unwrap_or_default();
        let reports = self.reports.value().unwrap_or_default();
        let unclear = self.subdomains.is_wrong() || self.absent.is_wrong();
        let (policy, subdomains, absent) = match self.policy.value() {
            Some(policy) if !unclear => (policy, self.subdomains.value(), self.absent.value()),
            _ if reports.is_empty() => return Text::Unusable(suffix),
            _ => (Policy::None, None, None),
        };
        Text::Record(Record {
            policy,
            subdomains,
            absent,
            dkim: self.dkim.value().unwrap_or_default(),
            spf: self.spf.value().unwrap_or_default(),
            suffix,
            testing: self.testing.value().unwrap_or_default(),
            reports,
        })
    }
}

/// `"v" *WSP "=" *WSP %s"DMARC1"`, at the very beginning.
fn is_version(part: &[u8]) -> bool {
    let Some((name, value)) = halves(part) else {
        return false;
    };
    part.first() == Some(&b'v') && name == b"v" && value == b"DMARC1"
}

fn tag(part: &[u8]) -> Option<(&str, &str)> {
    let (name, value) = halves(part)?;
    let is_sound = name.iter().all(u8::is_ascii_alphabetic)
        && !value.is_empty()
        && value.iter().all(|octet| (b' '..=b'~').contains(octet));
    let text = |octets| std::str::from_utf8(octets).ok();
    Some((text(name)?, text(value)?)).filter(|_| is_sound)
}

fn halves(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = part.iter().position(|octet| *octet == b'=')?;
    Some((blanks_off(&part[..at]), blanks_off(&part[at + 1..])))
}

/// WSP is space and tab, and nothing else.
fn blanks_off(mut octets: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = octets {
        octets = rest;
    }
    octets
}

fn alignment(value: &str) -> Option<Alignment> {
    match value {
        "r" | "R" => Some(Alignment::Relaxed),
        "s" | "S" => Some(Alignment::Strict),
        _ => None,
    }
}

fn suffix(value: &str) -> Option<Suffix> {
    match value {
        "u" | "U" => Some(Suffix::Unsaid),
        "y" | "Y" => Some(Suffix::Public),
        "n" | "N" => Some(Suffix::Organization),
        _ => None,
    }
}

fn yes_or_no(value: &str) -> Option<bool> {
    match value {
        "y" | "Y" => Some(true),
        "n" | "N" => Some(false),
        _ => None,
    }
}

/// Those of a list of addresses that are addresses (RFC 3986), at most [`MOST_ADDRESSES`].
fn addresses(list: &str) -> Vec<String> {
    list.split(',')
        .map(str::trim)
        .filter(|address| is_address(address))
        .take(MOST_ADDRESSES)
        .map(str::to_owned)
        .collect()
}

fn is_address(address: &str) -> bool {
    let Some((scheme, rest)) = address.split_once(':') else {
        return false;
    };
    let sound = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet))
        && rest
            .bytes()
            .all(|octet| octet.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&octet));
    let target = rest.split(['?', '!']).next().unwrap_or_default();
    let mailbox = target
        .rsplit_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    sound && !rest.is_empty() && (mailbox || !scheme.eq_ignore_ascii_case("mailto"))
}

/// Nobody reports to more.
const MOST_ADDRESSES: usize = 16;
