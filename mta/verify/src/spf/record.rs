//! The text of a record, RFC 7208 sections 4.5, 4.6 and 12: strictly read. One mistake anywhere makes the whole record
//! unusable, as section 4.6 demands.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::macros::{MacroError, MacroString, Place};

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// Another character than printable ASCII and space (section 3.1).
    #[error("octet {0} is not printable ASCII")]
    Octet(usize),
    /// A term that cannot be read.
    #[error("`{term}`: {mistake}")]
    Term {
        /// The term, shortened.
        term: String,
        /// What is wrong with it.
        mistake: Mistake,
    },
}

/// What is wrong with a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// No such mechanism.
    #[error("is not a mechanism of SPF")]
    UnknownMechanism,
    /// Something after a mechanism that takes nothing.
    #[error("takes nothing after its name")]
    Argument,
    /// A domain is missing.
    #[error("needs a domain after its name")]
    NoDomain,
    /// Not an address.
    #[error("needs an address of its family, such as ip4:192.0.2.0/24 or ip6:2001:db8::/32")]
    Address,
    /// Not a prefix length.
    #[error("the prefix length is at most 32 for IPv4 and 128 for IPv6, without leading zeros")]
    PrefixLength,
    /// Given twice.
    #[error("may be given only once")]
    Twice,
    /// Not a proper text with macros.
    #[error("{0}")]
    Macro(#[from] MacroError),
}

/// What a mechanism that matches says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qualifier {
    /// `+`, or nothing
    Pass,
    /// `-`
    Fail,
    /// `~`
    SoftFail,
    /// `?`
    Neutral,
}

/// Prefix lengths of `a` and `mx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// For an IPv4 client.
    pub v4: u8,
    /// For an IPv6 client.
    pub v6: u8,
}

/// A test of the client (RFC 7208 section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// Matches always.
    All,
    /// The other domain's record says pass.
    Include(MacroString),
    /// An address of the domain.
    A(Option<MacroString>, Prefixes),
    /// An address of one of the domain's mail exchangers.
    Mx(Option<MacroString>, Prefixes),
    /// A validated name of the client under the domain.
    Ptr(Option<MacroString>),
    /// The network holds the client.
    Network(IpAddr, u8),
    /// The domain has an A record.
    Exists(MacroString),
}

/// One mechanism of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// What a match says.
    pub qualifier: Qualifier,
    /// The test.
    pub mechanism: Mechanism,
    /// As written.
    pub text: String,
}

/// A well-formed record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The mechanisms, in order.
    pub directives: Vec<Directive>,
    /// `redirect=`: whose record decides when nothing matched.
    pub redirect: Option<MacroString>,
    /// `exp=`: where the explanation of a fail is.
    pub explanation: Option<MacroString>,
}

/// Why a set of TXT records gives no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// More than one (section 4.5).
    #[error("{0} SPF records are published; publish exactly one")]
    Several(usize),
    /// The one there is cannot be read.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
}

/// Chooses among the TXT records of a name (section 4.5): those that begin with the version. Error: more than one, or
/// a broken one.
pub fn select(texts: &[Vec<u8>]) -> Result<Option<Record>, SelectError> {
    let mut chosen = texts.iter().filter(|text| is_spf(text));
    let Some(first) = chosen.next() else {
        return Ok(None);
    };
    match chosen.count() {
        0 => Ok(Some(Record::parse(first)?)),
        more => Err(SelectError::Several(more + 1)),
    }
}

/// Whether a TXT record is an SPF record: the version, then a space or the end.
pub fn is_spf(text: &[u8]) -> bool {
    const VERSION: &[u8] = b"v=spf1";
    text.get(..VERSION.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(VERSION))
        && matches!(text.get(VERSION.len()), None | Some(b' '))
}

impl Record {
    /// Parses a record, the version included. Error: the first mistake.
    pub fn parse(text: &[u8]) -> Result<Self, SyntaxError> {
        if let Some(at) = text.iter().position(|b| !b.is_ascii_graphic() && *b != b' ') {
            return Err(SyntaxError::Octet(at + 1));
        }
        let text = str::from_utf8(text).map_err(|error| SyntaxError::Octet(error.valid_up_to() + 1))?;
        let mut record = Self {
            directives: Vec::new(),
            redirect: None,
            explanation: None,
        };
        for term in text.split(' ').skip(1).filter(|term| !term.is_empty()) {
            record.add(term).map_err(|mistake| SyntaxError::Term {
                term: term.chars().take(80).collect(),
                mistake,
            })?;
        }
        Ok(record)
    }

    fn add(&mut self, term: &str) -> Result<(), Mistake> {
        match modifier(term) {
            None => self.directives.push(term.parse()?),
            Some((name, value)) if name.eq_ignore_ascii_case("redirect") => {
                set_once(&mut self.redirect, MacroString::parse_domain(value)?)?;
            }
            Some((name, value)) if name.eq_ignore_ascii_case("exp") => {
                set_once(&mut self.explanation, MacroString::parse_domain(value)?)?;
            }
            Some((_, value)) => {
                // Section 6: an unknown modifier is ignored, once its shape is right.
                MacroString::parse(value, Place::Modifier)?;
            }
        }
        Ok(())
    }
}

fn set_once(place: &mut Option<MacroString>, value: MacroString) -> Result<(), Mistake> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Mistake::Twice),
    }
}

/// name = ALPHA *( ALPHA / DIGIT / "-" / "_" / "." ), then `=`
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    let named_well = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    (starts_well && named_well).then_some((name, value))
}

impl FromStr for Directive {
    type Err = Mistake;

    fn from_str(term: &str) -> Result<Self, Mistake> {
        let (qualifier, bare) = match term.split_at_checked(1) {
            Some(("+", rest)) => (Qualifier::Pass, rest),
            Some(("-", rest)) => (Qualifier::Fail, rest),
            Some(("~", rest)) => (Qualifier::SoftFail, rest),
            Some(("?", rest)) => (Qualifier::Neutral, rest),
            _ => (Qualifier::Pass, term),
        };
        let (name, argument) = bare.split_at(bare.find([':', '/']).unwrap_or(bare.len()));
        let mechanism = match name.to_ascii_lowercase().as_str() {
            "all" if argument.is_empty() => Mechanism::All,
            "all" => return Err(Mistake::Argument),
            "include" => Mechanism::Include(needed_domain(argument)?),
            "exists" => Mechanism::Exists(needed_domain(argument)?),
            "ptr" if argument.is_empty() => Mechanism::Ptr(None),
            "ptr" => Mechanism::Ptr(Some(needed_domain(argument)?)),
            "a" => {
                let (domain, prefixes) = domain_and_prefixes(argument)?;
                Mechanism::A(domain, prefixes)
            }
            "mx" => {
                let (domain, prefixes) = domain_and_prefixes(argument)?;
                Mechanism::Mx(domain, prefixes)
            }
            "ip4" => network::<Ipv4Addr>(argument, 32)?,
            "ip6" => network::<Ipv6Addr>(argument, 128)?,
            _ => return Err(Mistake::UnknownMechanism),
        };
        Ok(Self {
            qualifier,
            mechanism,
            text: term.to_owned(),
        })
    }
}

fn needed_domain(argument: &str) -> Result<MacroString, Mistake> {
    match argument.strip_prefix(':') {
        Some(domain) if !domain.is_empty() => Ok(MacroString::parse_domain(domain)?),
        _ => Err(Mistake::NoDomain),
    }
}

/// `[":" domain-spec] ["/" v4] ["//" v6]`. A domain-spec may hold colons and slashes, so lengths are read from the end.
fn domain_and_prefixes(argument: &str) -> Result<(Option<MacroString>, Prefixes), Mistake> {
    let (rest, v6) = prefix_at_end(argument, "//", 128)?;
    let (rest, v4) = prefix_at_end(rest, "/", 32)?;
    let domain = match rest {
        "" => None,
        _ => Some(needed_domain(rest)?),
    };
    Ok((domain, Prefixes { v4, v6 }))
}

fn prefix_at_end<'a>(text: &'a str, sign: &str, most: u8) -> Result<(&'a str, u8), Mistake> {
    match text.rsplit_once(sign) {
        Some((rest, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            Ok((rest, prefix_length(digits, most)?))
        }
        _ => Ok((text, most)),
    }
}

fn prefix_length(digits: &str, most: u8) -> Result<u8, Mistake> {
    let plain = digits == "0" || !digits.starts_with(['0', '+']);
    let length = digits.parse().ok().filter(|length| plain && *length <= most);
    length.ok_or(Mistake::PrefixLength)
}

fn network<A: FromStr + Into<IpAddr>>(argument: &str, most: u8) -> Result<Mechanism, Mistake> {
    let text = argument.strip_prefix(':').ok_or(Mistake::Address)?;
    let (address, length) = match text.split_once('/') {
        Some((address, digits)) => (address, prefix_length(digits, most)?),
        None => (text, most),
    };
    let address: A = address.parse().map_err(|_| Mistake::Address)?;
    Ok(Mechanism::Network(address.into(), length))
}

impl fmt::Display for Record {
    /// The mechanisms as written. Modifiers are left out: they are parsed away.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("v=spf1")?;
        self.directives
            .iter()
            .try_for_each(|directive| write!(f, " {}", directive.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_into_its_terms() {
        let record =
            Record::parse(b"v=spf1 ip4:192.0.2.0/24 a:x.example/28//64 ~MX ?ptr -all exp=e.example").unwrap();
        let shapes: Vec<_> = record
            .directives
            .iter()
            .map(|d| (d.qualifier, &d.mechanism))
            .collect();
        assert!(matches!(shapes[0], (Qualifier::Pass, Mechanism::Network(_, 24))));
        assert!(matches!(
            shapes[1],
            (
                Qualifier::Pass,
                Mechanism::A(Some(_), Prefixes { v4: 28, v6: 64 })
            )
        ));
        assert!(matches!(
            shapes[2],
            (
                Qualifier::SoftFail,
                Mechanism::Mx(None, Prefixes { v4: 32, v6: 128 })
            )
        ));
        assert!(matches!(shapes[3], (Qualifier::Neutral, Mechanism::Ptr(None))));
        assert!(matches!(shapes[4], (Qualifier::Fail, Mechanism::All)));
        assert!(record.explanation.is_some() && record.redirect.is_none());
    }

    #[test]
    fn each_mistake_is_named_with_its_term() {
        for (term, want) in [
            ("all.", Mistake::UnknownMechanism),
            ("moo", Mistake::UnknownMechanism),
            ("-", Mistake::UnknownMechanism),
            ("all:x", Mistake::Argument),
            ("all/8", Mistake::Argument),
            ("include", Mistake::NoDomain),
            ("include:", Mistake::NoDomain),
            ("exists/8", Mistake::NoDomain),
            ("a:", Mistake::NoDomain),
            ("a/33", Mistake::PrefixLength),
            ("a/024", Mistake::PrefixLength),
            ("a//129", Mistake::PrefixLength),
            ("a/24/24", Mistake::NoDomain),
            ("ip4:192.0.2.1/", Mistake::PrefixLength),
            ("ip4:192.0.2.1/+8", Mistake::PrefixLength),
            ("ip4:192.0.2", Mistake::Address),
            ("ip4", Mistake::Address),
            ("ip6:192.0.2.1", Mistake::Address),
            ("ip6:::1/129", Mistake::PrefixLength),
            ("include:a.example/24", Mistake::Macro(MacroError::DomainEnd)),
            ("foo=%x", Mistake::Macro(MacroError::Percent)),
            ("redirect=", Mistake::Macro(MacroError::DomainEnd)),
        ] {
            let text = format!("v=spf1 mx {term} -all");
            let want = SyntaxError::Term {
                term: term.to_owned(),
                mistake: want,
            };
            assert_eq!(Record::parse(text.as_bytes()), Err(want));
        }
        assert!(matches!(
            Record::parse(b"v=spf1 a\tmx"),
            Err(SyntaxError::Octet(9))
        ));
        assert!(Record::parse(b"v=spf1 exp=a.example exp=a.example").is_err());
    }

    #[test]
    fn exactly_one_record_is_chosen_by_its_version() {
        let texts = |list: &[&str]| list.iter().map(|t| t.as_bytes().to_vec()).collect::<Vec<_>>();
        assert_eq!(select(&texts(&["v=spf10", "v=spf1mx", "other"])), Ok(None));
        assert!(select(&texts(&["other", "V=sPf1 mx -all"])).unwrap().is_some());
        assert!(
            select(&texts(&["v=spf1"]))
                .unwrap()
                .unwrap()
                .directives
                .is_empty()
        );
        assert_eq!(
            select(&texts(&["v=spf1 -all", "v=spf1 -all"])),
            Err(SelectError::Several(2))
        );
    }
}
