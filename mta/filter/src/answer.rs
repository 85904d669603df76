//! What a filter says in the end: a verdict, and the changes that go with it.

/// The answer of one filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the message goes on.
    pub verdict: Verdict,
    /// What is to be changed, in this order. Empty unless it goes on.
    pub changes: Vec<Change>,
    /// Why it is to be held in the queue.
    pub quarantine: Option<String>,
}

/// Whether a message goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Accept,
    /// It is refused, for good or for now.
    Refuse(Refusal),
    /// The client is to believe that it was taken, and it goes nowhere.
    Discard,
}

/// A negative reply of a filter, safe to be said to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400 to 599.
    pub code: u16,
    /// One line of printable ASCII, with the enhanced status code in front where there is one.
    pub text: String,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A field at the end of the header.
    Add {
        /// Name of the field.
        name: String,
        /// What stands behind the colon, its space included.
        value: Vec<u8>,
    },
    /// A field at a place of the header, counted as milter does (see [`crate::header`]).
    Insert {
        /// 0 and 1 are the top.
        index: u32,
        /// Name of the field.
        name: String,
        /// What stands behind the colon, its space included.
        value: Vec<u8>,
    },
    /// Another value for the field that is the index-th of its name, counted from 1; added where there is none.
    Replace {
        /// 0 and 1 are the first.
        index: u32,
        /// Name of the field.
        name: String,
        /// What stands behind the colon, its space included.
        value: Vec<u8>,
    },
    /// That field goes. Counted from 1; below 0 from the end; 0 means all of the name.
    Remove {
        /// Which of them.
        index: i64,
        /// Name of the field.
        name: String,
    },
    /// Another reverse-path; empty is the null one.
    From(String),
    /// One more recipient.
    AddRecipient(String),
    /// A recipient goes.
    RemoveRecipient(String),
}

impl Change {
    /// Octets that it holds.
    pub fn size(&self) -> usize {
        let (name, value) = match self {
            Self::Add { name, value }
            | Self::Insert { name, value, .. }
            | Self::Replace { name, value, .. } => (name, value.len()),
            Self::Remove { name, .. }
            | Self::From(name)
            | Self::AddRecipient(name)
            | Self::RemoveRecipient(name) => (name, 0),
        };
        name.len() + value + 32
    }
}

/// Something that no filter may say. The sentence names what, without a word of the filter's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

impl Answer {
    /// An answer without changes.
    pub fn only(verdict: Verdict) -> Self {
        Self {
            verdict,
            changes: Vec::new(),
            quarantine: None,
        }
    }

    /// Refused for good.
    pub fn reject() -> Self {
        Self::only(Verdict::Refuse(Refusal {
            code: 550,
            text: "5.7.1 Refused by a filter".to_owned(),
        }))
    }

    /// Refused for now.
    pub fn temp_fail() -> Self {
        Self::only(Verdict::Refuse(Refusal {
            code: 451,
            text: "4.7.1 Refused by a filter for now, try again later".to_owned(),
        }))
    }
}

impl Refusal {
    /// A reply as filters write it: code, perhaps an enhanced status code, text; or several lines of it. Errors: it is no
    /// negative reply.
    pub fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let mut code = None;
        let mut enhanced = String::new();
        let mut said: Vec<String> = Vec::new();
        for line in text.split(|octet| *octet == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() && code.is_some() {
                continue;
            }
            let (of_line, rest) = split_code(line)?;
            if *code.get_or_insert(of_line) != of_line {
                return Err(Malformed("a reply has several codes"));
            }
            let rest = printable(rest);
            let (status, words) = split_enhanced(&rest, of_line);
            if enhanced.is_empty() {
                status.clone_into(&mut enhanced);
            }
            said.push(words.trim().to_owned());
        }
        let code = code.ok_or(Malformed("a reply is empty"))?;
        said.retain(|words| !words.is_empty());
        let mut words = said.join(" ").replace("%%", "%");
        if words.is_empty() {
            "Refused by a filter".clone_into(&mut words);
        }
        if enhanced.is_empty() {
            (if code < 500 { "4.7.1" } else { "5.7.1" }).clone_into(&mut enhanced);
        }
        let mut text = format!("{enhanced} {words}");
        text.truncate(LONGEST);
        Ok(Self { code, text })
    }

    /// A refusal of that code, with such words of a filter.
    pub fn saying(code: u16, enhanced: &str, words: &str) -> Self {
        let mut text = format!("{enhanced} {}", printable(words.as_bytes()));
        text.truncate(LONGEST);
        Self { code, text }
    }

    /// Whether the client may come again.
    pub fn is_temporary(&self) -> bool {
        self.code < 500
    }
}

/// RFC 5321 section 4.2: three digits, then a space or a hyphen, or the end. 421 would end the session, and is not for
/// filters to say.
fn split_code(line: &[u8]) -> Result<(u16, &[u8]), Malformed> {
    let (digits, rest) = line.split_at_checked(3).ok_or(Malformed("a reply has no code"))?;
    let code = std::str::from_utf8(digits)
        .ok()
        .filter(|_| digits.iter().all(u8::is_ascii_digit))
        .and_then(|digits| digits.parse().ok())
        .ok_or(Malformed("a reply has no code"))?;
    let rest = match rest {
        [b' ' | b'-', rest @ ..] => rest,
        [] => rest,
        _ => return Err(Malformed("a reply has no code")),
    };
    match code {
        421 => Ok((451, rest)),
        400..600 => Ok((code, rest)),
        _ => Err(Malformed("the code of a reply is not negative")),
    }
}

/// RFC 3463 section 2, of the same class as the code.
fn split_enhanced(text: &str, code: u16) -> (&str, &str) {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut parts = first.split('.');
    let class = if code < 500 { "4" } else { "5" };
    let number = |part: Option<&str>| {
        part.is_some_and(|part| {
            (1..=3).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_digit())
        })
    };
    let is_status =
        parts.next() == Some(class) && number(parts.next()) && number(parts.next()) && parts.next().is_none();
    if is_status { (first, rest) } else { ("", text) }
}

/// Printable ASCII; anything else becomes `?`.
pub(crate) fn printable(octets: &[u8]) -> String {
    octets
        .iter()
        .map(|octet| match octet {
            b' '..=b'~' => char::from(*octet),
            b'\t' => ' ',
            _ => '?',
        })
        .collect()
}

/// Of a reply's text. RFC 5321 section 4.5.3.1.5 allows 512 with code and CRLF.
const LONGEST: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(u16, String), Malformed> {
        Refusal::parse(text.as_bytes()).map(|refusal| (refusal.code, refusal.text))
    }

    #[test]
    fn replies_are_read_with_and_without_an_enhanced_code_and_over_lines() {
        for (text, code, words) in [
            ("550 5.7.1 go away", 550, "5.7.1 go away"),
            ("451 4.7.26 later", 451, "4.7.26 later"),
            ("550 no code", 550, "5.7.1 no code"),
            ("550", 550, "5.7.1 Refused by a filter"),
            ("550 4.7.1 of another class", 550, "5.7.1 4.7.1 of another class"),
            ("554-5.7.1 a\r\n554 5.7.1 b", 554, "5.7.1 a b"),
            ("554 5.7.1 100%% sure\r\n", 554, "5.7.1 100% sure"),
            ("421 4.3.2 leave", 451, "4.3.2 leave"),
        ] {
            assert_eq!(parsed(text), Ok((code, words.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_is_no_negative_reply_is_refused() {
        for text in [
            "",
            "55",
            "250 2.0.0 fine",
            "354 go",
            "600 x",
            "5x0 y",
            "5500 y",
            "550 a\n451 b",
            "\n550 a",
            "+50 x",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_text_of_a_filter_begins_another_line() {
        let (_, text) = parsed("550 5.7.1 a\rb\u{e9}\u{0}c").unwrap();
        assert!(text.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{text}");
        let (_, text) = parsed(&format!("550 {}", "x".repeat(5_000))).unwrap();
        assert_eq!(text.len(), LONGEST);
    }
}
