//! The author's domain, out of the From field (RFC 5322 sections 3.4 and 3.6.2, RFC 9989 section 5.3.1).
//!
//! ```text
//!   bodies of all From fields ─► one field ─► one mailbox ─► its domain
//!                                 none, two, a group, two mailboxes, anything odd ─► FromError: never a pass
//! ```
//!
//! Stricter than a mail program that shows the field: where the two could read it in different ways, there is no author.

use super::Domain;

/// Why a message has no author that could be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FromError {
    /// There is no From field.
    #[error("the message has no From field")]
    Missing,
    /// There are several From fields.
    #[error("the message has more than one From field")]
    SeveralFields,
    /// It names several mailboxes.
    #[error("the From field names more than one mailbox")]
    SeveralMailboxes,
    /// It names a group (RFC 6854).
    #[error("the From field names a group")]
    Group,
    /// It holds control characters.
    #[error("the From field holds control characters")]
    Control,
    /// An encoded word (RFC 2047 section 5: never in an address) stands in the address.
    #[error("an encoded word stands in the address of the From field")]
    EncodedWord,
    /// It is no mailbox for another reason.
    #[error("the From field holds no well-formed mailbox")]
    Malformed,
    /// The address has no name of a domain.
    #[error("the address of the From field has no domain name")]
    NoDomain,
}

/// Finds the author's domain. `fields`: the body of each From field, folded or not.
pub fn author<T: AsRef<[u8]>>(fields: &[T]) -> Result<Domain, FromError> {
    match fields {
        [] => Err(FromError::Missing),
        [field] => Ok(mailbox(field.as_ref())?.0),
        _ => Err(FromError::SeveralFields),
    }
}

/// The domain of an address in the name that is shown beside the author's own, where it is another: many programs show
/// `"ann@bank.example" <x@evil.example>` as Ann of the bank. DMARC is about the author alone, and says nothing of it.
pub fn shown_instead<T: AsRef<[u8]>>(fields: &[T]) -> Option<Domain> {
    let [field] = fields else { return None };
    let (author, shown) = mailbox(field.as_ref()).ok()?;
    shown.filter(|shown| *shown != author)
}

/// The author's domain, and that of an address in the name.
fn mailbox(field: &[u8]) -> Result<(Domain, Option<Domain>), FromError> {
    if field.len() > LONGEST {
        return Err(FromError::Malformed);
    }
    let text = std::str::from_utf8(field).map_err(|_| FromError::Malformed)?;
    let text = unfolded(text)?;
    let mut scan = Scan {
        rest: &text,
        words: Vec::new(),
        shown: None,
    };
    let address = scan.mailbox()?;
    Ok((address.domain()?, scan.shown))
}

/// The domain of the first address in a text.
fn address_in(text: &str) -> Option<Domain> {
    text.match_indices('@').find_map(|(at, _)| {
        let (local, rest) = text.split_at(at);
        let is_address = local.ends_with(is_atom);
        let domain = rest.get(1..)?;
        let end = domain.find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_' | '.')));
        let (domain, _) = domain.split_at(end.unwrap_or(domain.len()));
        let domain = domain.trim_end_matches('.');
        (is_address && domain.contains('.'))
            .then(|| Domain::parse(domain))
            .flatten()
    })
}

/// A line end before white space is none (RFC 5322 section 2.2.3); any other control character has no place here.
fn unfolded(text: &str) -> Result<String, FromError> {
    let text = text.strip_suffix("\r\n").unwrap_or(text);
    let text = text.replace("\r\n ", " ").replace("\r\n\t", "\t");
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(FromError::Control);
    }
    Ok(text)
}

/// A local part and a domain, as pieces between which only comments and white space stood.
#[derive(Default)]
struct Found {
    local: String,
    domain: String,
}

impl Found {
    fn domain(&self) -> Result<Domain, FromError> {
        if self.local.contains("=?") || self.domain.contains("=?") {
            return Err(FromError::EncodedWord);
        }
        Domain::parse(&self.domain).ok_or(FromError::NoDomain)
    }
}

/// A piece of what stands before the next special character.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Atom(String),
    Quoted(String),
    Dot,
    At,
    /// A domain literal.
    Literal,
}

struct Scan<'a> {
    rest: &'a str,
    words: Vec<Word>,
    /// Domain of an address in the name before the brackets.
    shown: Option<Domain>,
}

impl Scan<'_> {
    /// The whole field.
    fn mailbox(&mut self) -> Result<Found, FromError> {
        let mut address = None;
        while let Some(character) = self.next() {
            match character {
                '(' => self.comment()?,
                '"' => {
                    let quoted = self.quoted()?;
                    self.words.push(Word::Quoted(quoted));
                }
                '[' => self.literal()?,
                '<' if address.is_none() => {
                    self.display_name()?;
                    address = Some(self.angle()?);
                }
                ' ' | '\t' => {}
                ',' => return Err(FromError::SeveralMailboxes),
                ':' | ';' => return Err(FromError::Group),
                '.' => self.words.push(Word::Dot),
                '@' => self.words.push(Word::At),
                c if is_atom(c) => self.atom(c),
                _ => return Err(FromError::Malformed),
            }
        }
        match address {
            None => addr_spec(&std::mem::take(&mut self.words)),
            // Only white space and comments may follow the brackets.
            Some(address) if self.words.is_empty() => Ok(address),
            Some(_) => Err(FromError::Malformed),
        }
    }

    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let character = characters.next()?;
        self.rest = characters.as_str();
        Some(character)
    }

    fn atom(&mut self, first: char) {
        let mut atom = String::from(first);
        let end = self.rest.find(|c| !is_atom(c)).unwrap_or(self.rest.len());
        let (more, rest) = self.rest.split_at(end);
        atom.push_str(more);
        self.rest = rest;
        self.words.push(Word::Atom(atom));
    }

    fn quoted(&mut self) -> Result<String, FromError> {
        let mut quoted = String::new();
        loop {
            match self.next().ok_or(FromError::Malformed)? {
                '"' => return Ok(quoted),
                '\\' => quoted.push(self.next().ok_or(FromError::Malformed)?),
                c => quoted.push(c),
            }
        }
    }

    fn comment(&mut self) -> Result<(), FromError> {
        let mut depth = 1_u32;
        while depth > 0 {
            match self.next().ok_or(FromError::Malformed)? {
                '\\' => {
                    self.next().ok_or(FromError::Malformed)?;
                }
                '(' => depth = depth.saturating_add(1),
                ')' => depth -= 1,
                _ => {}
            }
        }
        Ok(())
    }

    fn literal(&mut self) -> Result<(), FromError> {
        let end = self.rest.find(']').ok_or(FromError::Malformed)?;
        self.rest = &self.rest[end + 1..];
        self.words.push(Word::Literal);
        Ok(())
    }

    /// What stood before the brackets is a phrase: an address there, unquoted, would be what some programs show.
    fn display_name(&mut self) -> Result<(), FromError> {
        let words = std::mem::take(&mut self.words);
        let odd = |word: &Word| matches!(word, Word::At | Word::Literal);
        if words.iter().any(odd) {
            return Err(FromError::Malformed);
        }
        self.shown = words.iter().find_map(|word| match word {
            Word::Quoted(text) => address_in(text),
            _ => None,
        });
        Ok(())
    }

    /// What stands in brackets. A source route (`@a,@b:`) is refused: nobody writes one, and it would hide the domain.
    fn angle(&mut self) -> Result<Found, FromError> {
        loop {
            match self.next().ok_or(FromError::Malformed)? {
                '>' => return addr_spec(&std::mem::take(&mut self.words)),
                '(' => self.comment()?,
                '"' => {
                    let quoted = self.quoted()?;
                    self.words.push(Word::Quoted(quoted));
                }
                '[' => self.literal()?,
                ' ' | '\t' => {}
                '.' => self.words.push(Word::Dot),
                '@' => self.words.push(Word::At),
                c if is_atom(c) => self.atom(c),
                _ => return Err(FromError::Malformed),
            }
        }
    }
}

/// `local-part "@" domain`, both of words with dots between them.
fn addr_spec(words: &[Word]) -> Result<Found, FromError> {
    let at = words.iter().position(|word| *word == Word::At);
    let (local, domain) = words.split_at(at.ok_or(FromError::Malformed)?);
    let domain = &domain[1..];
    if domain == [Word::Literal] {
        return Err(FromError::NoDomain);
    }
    let quotes = |word: &Word| matches!(word, Word::Quoted(_));
    if domain.iter().any(quotes) {
        return Err(FromError::Malformed);
    }
    Ok(Found {
        local: dotted(local)?,
        domain: dotted(domain)?,
    })
}

/// Words, and one dot between each two.
fn dotted(words: &[Word]) -> Result<String, FromError> {
    let mut text = String::new();
    for (index, word) in words.iter().enumerate() {
        match word {
            Word::Atom(word) | Word::Quoted(word) if index % 2 == 0 => text.push_str(word),
            Word::Dot if index % 2 == 1 => text.push('.'),
            _ => return Err(FromError::Malformed),
        }
    }
    if words.len().is_multiple_of(2) {
        return Err(FromError::Malformed);
    }
    Ok(text)
}

/// `atext` (RFC 5322 section 3.2.3, RFC 6532 section 3.2).
fn is_atom(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || (!c.is_ascii() && !c.is_whitespace())
}

/// Beyond any real one; a larger field is not looked into.
const LONGEST: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_another_domain_in_the_name_is_seen() {
        for (field, want) in [
            (r#""ann@bank.example" <x@evil.example>"#, Some("bank.example")),
            (
                r#" "Ann (ann@BANK.example.)"<x@evil.example>"#,
                Some("bank.example"),
            ),
            (
                r#""write to <ann@bank.example>" <x@evil.example>"#,
                Some("bank.example"),
            ),
            (
                r#""x@sub.evil.example" <x@evil.example>"#,
                Some("sub.evil.example"),
            ),
            (r#""x@evil.example" <x@evil.example>"#, None),
            (r#""meet @ bank.example" <x@evil.example>"#, None),
            (r#""a@b" <x@evil.example>"#, None),
            ("Ann <x@evil.example>", None),
            ("x@evil.example", None),
            (r#""ann@bank.example" <x@evil.example>, y@evil.example"#, None),
        ] {
            let shown = shown_instead(&[field]);
            assert_eq!(shown.as_ref().map(Domain::as_str), want, "{field}");
        }
        let unicode = "\"ann@b\u{fc}cher.example\" <x@evil.example>";
        assert_eq!(
            shown_instead(&[unicode]).unwrap().as_str(),
            "xn--bcher-kva.example"
        );
        let two = ["\"ann@bank.example\" <x@evil.example>"; 2];
        assert_eq!(shown_instead(&two), None);
    }
}
