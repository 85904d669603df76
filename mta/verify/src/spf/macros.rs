//! Macros, RFC 7208 section 7: what may be written, and what it expands to.

use std::net::IpAddr;

/// Why text with macros is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MacroError {
    /// `%` and something that is no macro.
    #[error("`%` must be followed by `{{`, `%`, `_` or `-`")]
    Percent,
    /// `%{` and no proper end.
    #[error("a macro is written `%{{`, a letter, digits, `r`, delimiters out of `.-+,/_=`, `}}`")]
    Shape,
    /// A letter that is no macro letter, or not one here.
    #[error("`%{{{0}}}` is not a macro that may stand here")]
    Letter(char),
    /// `0` parts wanted.
    #[error("a macro cannot keep 0 parts")]
    NoParts,
    /// A control character or one outside ASCII.
    #[error("only printable ASCII may be used")]
    Character,
    /// Not a domain name at its end.
    #[error("a domain must end in a dot and a top-level label, or in a macro")]
    DomainEnd,
}

/// Where text with macros stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A domain-spec: no `%{c}`, `%{r}`, `%{t}`.
    Domain,
    /// An unknown modifier, whose value is only checked for its shape.
    Modifier,
    /// The text that `exp=` leads to; spaces are allowed.
    Explanation,
}

/// Text with macros, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacroString(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// `%%`, `%_`, `%-`
    Escape(&'static str),
    Expand(Expand),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Expand {
    letter: char,
    url_escape: bool,
    keep: usize,
    reverse: bool,
    delimiters: String,
}

/// What the letters stand for (RFC 7208 section 7.2).
pub(super) struct Values<'a> {
    pub(super) local_part: &'a str,
    pub(super) sender_domain: &'a str,
    pub(super) domain: &'a str,
    pub(super) client: IpAddr,
    pub(super) validated: &'a str,
    pub(super) helo: &'a str,
    pub(super) receiver: &'a str,
    pub(super) now: u64,
}

impl MacroString {
    /// Parses text. Error: the first mistake.
    pub fn parse(text: &str, place: Place) -> Result<Self, MacroError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if first == '%' {
                let (piece, after) = parse_macro(&rest[1..], place)?;
                pieces.push(piece);
                rest = after;
                continue;
            }
            let (literal, after) = rest.split_at(rest.find('%').unwrap_or(rest.len()));
            let allowed = |b: u8| b.is_ascii_graphic() || (b == b' ' && place == Place::Explanation);
            if !literal.bytes().all(allowed) {
                return Err(MacroError::Character);
            }
            pieces.push(Piece::Literal(literal.to_owned()));
            rest = after;
        }
        Ok(Self(pieces))
    }

    /// Parses a domain-spec (RFC 7208 section 7.1): the end must be a top-level label or a macro. Error: the first
    /// mistake.
    pub fn parse_domain(text: &str) -> Result<Self, MacroError> {
        let parsed = Self::parse(text, Place::Domain)?;
        let ends_well = match parsed.0.last() {
            None => false,
            Some(Piece::Escape(_) | Piece::Expand(_)) => true,
            Some(Piece::Literal(tail)) => {
                let tail = tail.strip_suffix('.').unwrap_or(tail);
                tail.rsplit_once('.')
                    .is_some_and(|(_, label)| is_top_label(label))
            }
        };
        ends_well.then_some(parsed).ok_or(MacroError::DomainEnd)
    }

    /// Whether the client's validated name is needed to expand it.
    pub(super) fn needs_validated_name(&self) -> bool {
        self.0
            .iter()
            .any(|piece| matches!(piece, Piece::Expand(expand) if expand.letter == 'p'))
    }

    pub(super) fn expand(&self, values: &Values<'_>) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Escape(escape) => text.push_str(escape),
                Piece::Expand(expand) => expand.append(values, &mut text),
            }
        }
        text
    }

    /// Expands a domain-spec to a name to ask for: no final dot, cut from the left to 253 octets (section 7.3).
    pub(super) fn expand_domain(&self, values: &Values<'_>) -> String {
        let text = self.expand(values);
        let mut name = text.strip_suffix('.').unwrap_or(&text);
        while name.len() > 253 {
            match name.split_once('.') {
                Some((_, right)) => name = right,
                None => break,
            }
        }
        name.to_owned()
    }
}

/// toplabel = ( *alphanum ALPHA *alphanum ) / ( 1*alphanum "-" *( alphanum / "-" ) alphanum )
fn is_top_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        && *first != b'-'
        && *last != b'-'
        && !bytes.iter().all(u8::is_ascii_digit)
}

/// Reads what follows a `%`: the piece, and the text after it.
fn parse_macro(text: &str, place: Place) -> Result<(Piece, &str), MacroError> {
    for (sign, meaning) in [('%', "%"), ('_', " "), ('-', "%20")] {
        if let Some(after) = text.strip_prefix(sign) {
            return Ok((Piece::Escape(meaning), after));
        }
    }
    let inner = text.strip_prefix('{').ok_or(MacroError::Percent)?;
    let (inner, after) = inner.split_once('}').ok_or(MacroError::Shape)?;
    let written = inner.chars().next().ok_or(MacroError::Shape)?;
    let letter = written.to_ascii_lowercase();
    let known = match place {
        Place::Domain => "slodipvh".contains(letter),
        Place::Modifier | Place::Explanation => "slodipvhcrt".contains(letter),
    };
    if !known {
        return Err(MacroError::Letter(written));
    }
    let transformers = &inner[written.len_utf8()..];
    let delimiters = transformers.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &transformers[..transformers.len() - delimiters.len()];
    let keep = if digits.is_empty() {
        usize::MAX
    } else {
        // More digits than a number has mean "all", as any number above the count of parts does.
        digits.parse().unwrap_or(usize::MAX)
    };
    if keep == 0 {
        return Err(MacroError::NoParts);
    }
    let without_r = delimiters.strip_prefix(['r', 'R']);
    let reverse = without_r.is_some();
    let delimiters = without_r.unwrap_or(delimiters);
    if !delimiters.chars().all(|c| ".-+,/_=".contains(c)) {
        return Err(MacroError::Shape);
    }
    let expand = Expand {
        letter,
        url_escape: written.is_ascii_uppercase(),
        keep,
        reverse,
        delimiters: if delimiters.is_empty() { "." } else { delimiters }.to_owned(),
    };
    Ok((Piece::Expand(expand), after))
}

impl Expand {
    fn append(&self, values: &Values<'_>, text: &mut String) {
        let value = self.value(values);
        let mut parts: Vec<&str> = value.split(|c| self.delimiters.contains(c)).collect();
        if self.reverse {
            parts.reverse();
        }
        let kept = &parts[parts.len().saturating_sub(self.keep)..];
        let joined = kept.join(".");
        if self.url_escape {
            url_escape(&joined, text);
        } else {
            text.push_str(&joined);
        }
    }

    fn value(&self, values: &Values<'_>) -> String {
        match self.letter {
            's' => format!("{}@{}", values.local_part, values.sender_domain),
            'l' => values.local_part.to_owned(),
            'o' => values.sender_domain.to_owned(),
            'd' => values.domain.to_owned(),
            'i' => dotted(values.client),
            'p' => values.validated.to_owned(),
            'v' => match values.client {
                IpAddr::V4(_) => "in-addr".to_owned(),
                IpAddr::V6(_) => "ip6".to_owned(),
            },
            'h' => values.helo.to_owned(),
            'c' => values.client.to_string(),
            'r' => values.receiver.to_owned(),
            't' => values.now.to_string(),
            // Not reached: the parser takes the letters above only.
            _ => String::new(),
        }
    }
}

/// An address as `%{i}` shows it: dotted quad, or nibbles with dots between.
pub(super) fn dotted(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let nibbles = address
                .octets()
                .into_iter()
                .flat_map(|octet| [octet >> 4, octet & 15]);
            let mut text = String::with_capacity(63);
            for nibble in nibbles {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push(hex(nibble));
            }
            text
        }
    }
}

fn hex(nibble: u8) -> char {
    char::from_digit(u32::from(nibble & 15), 16)
        .unwrap_or('0')
        .to_ascii_uppercase()
}

/// Everything but the unreserved set of RFC 3986 as `%XX`.
fn url_escape(value: &str, text: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.extend(['%', hex(byte >> 4), hex(byte)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of the examples in RFC 7208 section 7.4.
    fn values(client: &str) -> Values<'_> {
        Values {
            local_part: "strong-bad",
            sender_domain: "email.example.com",
            domain: "email.example.com",
            client: client.parse().unwrap(),
            validated: "mx.example.org",
            helo: "mx.example.org",
            receiver: "mail.example.net",
            now: 1_700_000_000,
        }
    }

    #[test]
    fn examples_of_the_rfc_expand_as_it_says() {
        for (text, want) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l-}", "strong.bad"),
            ("%{lr}", "strong-bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            (
                "%{d2}.trusted-domains.example.net",
                "example.com.trusted-domains.example.net",
            ),
            ("%%%_%-", "% %20"),
        ] {
            let parsed = MacroString::parse(text, Place::Domain).unwrap();
            assert_eq!(parsed.expand(&values("192.0.2.3")), want, "{text}");
        }
        let parsed = MacroString::parse("%{ir}.%{v}._spf.%{d2}", Place::Domain).unwrap();
        assert_eq!(
            parsed.expand(&values("2001:db8::cb01")).to_ascii_lowercase(),
            "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"
        );
    }

    #[test]
    fn explanations_know_three_more_letters() {
        let text = "%{c} at %{r} in %{t}";
        let parsed = MacroString::parse(text, Place::Explanation).unwrap();
        assert_eq!(
            parsed.expand(&values("2001:db8::1")),
            "2001:db8::1 at mail.example.net in 1700000000"
        );
        assert_eq!(
            MacroString::parse("%{c}.example", Place::Domain),
            Err(MacroError::Letter('c'))
        );
    }

    #[test]
    fn what_is_no_domain_spec_is_refused() {
        for (text, want) in [
            ("", MacroError::DomainEnd),
            ("museum", MacroError::DomainEnd),
            ("museum.", MacroError::DomainEnd),
            ("a.123", MacroError::DomainEnd),
            ("a.-com", MacroError::DomainEnd),
            ("a.com:25", MacroError::DomainEnd),
            ("%{d}com", MacroError::DomainEnd),
            ("%{d", MacroError::Shape),
            ("%{}", MacroError::Shape),
            ("%{d*}", MacroError::Shape),
            ("%{d0}", MacroError::NoParts),
            ("%(d)", MacroError::Percent),
            ("a%", MacroError::Percent),
            ("%{a}", MacroError::Letter('a')),
            ("a b.com", MacroError::Character),
            ("ä.com", MacroError::Character),
        ] {
            assert_eq!(MacroString::parse_domain(text), Err(want), "{text}");
        }
    }

    #[test]
    fn a_long_name_loses_labels_on_the_left() {
        let text = format!("{}example.com", "abcdefghi.".repeat(30));
        let name = MacroString::parse_domain(&text)
            .unwrap()
            .expand_domain(&values("192.0.2.3"));
        assert!(name.len() <= 253 && name.ends_with(".example.com") && name.starts_with("abcdefghi."));
        assert!(name.len() > 240);
    }
}
