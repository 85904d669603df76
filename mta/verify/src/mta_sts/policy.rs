//! The policy itself, as a text file (RFC 8461 section 3.2).

use std::fmt;

use super::pattern::Pattern;

/// What a domain asks of those who send mail to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What is done with a server that does not prove itself.
    pub mode: Mode,
    /// Seconds for which the policy holds after it was fetched; a year at most.
    pub max_age: u32,
    /// The mail servers of the domain; empty with [`Mode::None`] alone.
    pub mx: Vec<Pattern>,
}

/// What is done with a server that does not prove itself (RFC 8461 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It gets no mail.
    Enforce,
    /// It gets its mail, and the domain may hear of it.
    Testing,
    /// The domain has no policy, and says so.
    None,
}

/// Why a text is no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Too long.
    #[error("the policy is longer than 64 KiB")]
    Length,
    /// Not text.
    #[error("the policy is no UTF-8")]
    Text,
    /// A line is no field.
    #[error("a line of the policy has no colon")]
    Line,
    /// Of another version, or of none.
    #[error("the policy does not say version: STSv1")]
    Version,
    /// Of no mode that is known.
    #[error("mode is none of enforce, testing and none")]
    Mode,
    /// Not a number of seconds.
    #[error("max_age is no number of seconds of 1 to 10 digits")]
    MaxAge,
    /// One of the servers.
    #[error("mx is neither a host name nor *. and a domain")]
    Mx,
    /// Servers without end.
    #[error("the policy names more than 1000 mx")]
    ManyMx,
    /// No servers.
    #[error("the policy names no mx")]
    NoMx,
}

impl Policy {
    /// Reads the text. Of fields that may stand once the first counts, and unknown ones are passed over (RFC 8461 section
    /// 3.2).
    pub fn parse(text: &[u8]) -> Result<Self, PolicyError> {
        if text.len() > LARGEST_POLICY {
            return Err(PolicyError::Length);
        }
        let text = std::str::from_utf8(text).map_err(|_| PolicyError::Text)?;
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, vec![]);
        for line in text.split('\n') {
            let line = line.strip_suffix('\r').unwrap_or(line).trim_matches(BLANK);
            // An empty line is not in the grammar, and is written by many at the end.
            if line.is_empty() {
                continue;
            }
            let (name, value) = line.split_once(':').ok_or(PolicyError::Line)?;
            let value = value.trim_matches(BLANK);
            match name {
                "version" => _ = version.get_or_insert(value),
                "mode" => _ = mode.get_or_insert(value),
                "max_age" => _ = max_age.get_or_insert(value),
                "mx" if mx.len() >= MOST_MX => return Err(PolicyError::ManyMx),
                "mx" => mx.push(Pattern::parse(value).ok_or(PolicyError::Mx)?),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err(PolicyError::Version);
        }
        let policy = Self {
            mode: match mode {
                Some("enforce") => Mode::Enforce,
                Some("testing") => Mode::Testing,
                Some("none") => Mode::None,
                _ => return Err(PolicyError::Mode),
            },
            max_age: seconds(max_age.unwrap_or_default()).ok_or(PolicyError::MaxAge)?,
            mx,
        };
        if policy.mx.is_empty() && policy.mode != Mode::None {
            return Err(PolicyError::NoMx);
        }
        Ok(policy)
    }

    /// Memory that it takes, in octets: up to about a hundred thousand, as its domain likes.
    pub fn octets(&self) -> usize {
        size_of::<Self>() + self.mx.iter().map(Pattern::octets).sum::<usize>()
    }

    /// Whether the policy names this host as a mail server of the domain.
    pub fn names(&self, host: &str) -> bool {
        self.mx.iter().any(|pattern| pattern.names(host))
    }
}

/// 1 to 10 digits; what is longer than a year is a year (RFC 8461 section 3.2).
fn seconds(text: &str) -> Option<u32> {
    let sound = (1..=10).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    let seconds: u64 = text.parse().ok().filter(|_| sound)?;
    u32::try_from(seconds.min(LONGEST_AGE)).ok()
}

/// As it is published.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "version: STSv1\nmode: {}\nmax_age: {}\n",
            self.mode, self.max_age
        )?;
        self.mx.iter().try_for_each(|mx| writeln!(f, "mx: {mx}"))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        })
    }
}

/// Octets. RFC 8461 section 3.3 names this bound.
pub const LARGEST_POLICY: usize = 64 << 10;
/// It is held in memory, and as many domains have one as somebody likes.
const MOST_MX: usize = 1_000;
/// Seconds.
const LONGEST_AGE: u64 = 31_557_600;
const BLANK: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n";

    fn read(text: &str) -> Result<Policy, PolicyError> {
        Policy::parse(text.as_bytes())
    }

    #[test]
    fn a_policy_is_read_and_written_as_the_same() {
        let policy = read(GOOD).unwrap();
        assert_eq!((policy.mode, policy.max_age), (Mode::Enforce, 604_800));
        assert!(policy.names("mail.example.com") && policy.names("mx.example.net"));
        assert!(!policy.names("example.net") && !policy.names("mail.example.org"));
        let larger = read(&GOOD.replace("mail.example.com", "a.longer.mail.example.com")).unwrap();
        assert_eq!(larger.octets(), policy.octets() + "a.longer.".len());
        assert_eq!(read(&policy.to_string()), Ok(policy));
    }

    #[test]
    fn line_ends_order_blanks_and_unknown_fields_do_not_matter() {
        for text in [
            GOOD.replace("\r\n", "\n"),
            GOOD.replace(": ", ":"),
            GOOD.replace("enforce", "enforce \t"),
            GOOD.trim_end().to_owned(),
            format!("max_age: 604800\n{GOOD}future: v\u{e4}lue: 1\n\n"),
            // The first of several counts.
            format!("{GOOD}mode: none\nmax_age: 1\nversion: STSv2\n"),
        ] {
            assert_eq!(read(&text), read(GOOD), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let without = |part: &str| GOOD.replace(part, "");
        for (text, error) in [
            (String::new(), PolicyError::Version),
            (without("version: STSv1\r\n"), PolicyError::Version),
            (GOOD.replace("STSv1", "STSv2"), PolicyError::Version),
            (without("mode: enforce\r\n"), PolicyError::Mode),
            (GOOD.replace("enforce", "Enforce"), PolicyError::Mode),
            (without("max_age: 604800\r\n"), PolicyError::MaxAge),
            (GOOD.replace("604800", "-1"), PolicyError::MaxAge),
            (GOOD.replace("604800", "+1"), PolicyError::MaxAge),
            (GOOD.replace("604800", "12345678901"), PolicyError::MaxAge),
            (GOOD.replace("*.example.net", "*"), PolicyError::Mx),
            (
                without("mx: mail.example.com\r\n").replace("mx: *.example.net\r\n", ""),
                PolicyError::NoMx,
            ),
            ("<html>".to_owned(), PolicyError::Line),
            (
                format!("{GOOD}{}", "mx: a.b\n".repeat(1_000)),
                PolicyError::ManyMx,
            ),
            (
                format!("{GOOD}{}", "x".repeat(LARGEST_POLICY)),
                PolicyError::Length,
            ),
        ] {
            assert_eq!(read(&text), Err(error), "{text:.80}");
        }
        assert_eq!(Policy::parse(b"\xff"), Err(PolicyError::Text));
    }

    #[test]
    fn a_domain_may_say_that_it_has_none_and_a_year_is_the_most() {
        let policy = read("version: STSv1\nmode: none\nmax_age: 9999999999\n").unwrap();
        assert_eq!(
            (policy.mode, policy.max_age, policy.mx.len()),
            (Mode::None, 31_557_600, 0)
        );
    }
}
