//! The From field of a submitted message: its addresses (RFC 5322 sections 3.4 and 3.6.2), and whether the user may
//! write them.

use super::address::Address;
use super::sender::{NOT_YOURS, may_use};
use super::{Context, Refusal};

/// The mailboxes of a From field.
pub type Authors = Vec<String>;

/// `from`: the body of each From field, unfolded.
pub(super) fn judge(context: &Context<'_>, from: &[String]) -> Result<(), Refusal> {
    if context.is_unbound() {
        return Ok(());
    }
    let identity = context.identity.unwrap_or_default();
    let [from] = from else { return Err(ONE_FROM) };
    let authors = authors(from)
        .filter(|authors| !authors.is_empty())
        .ok_or(BAD_FROM)?;
    let yours =
        |author: &String| Address::parse(author).is_some_and(|address| may_use(context, identity, &address));
    if authors.iter().all(yours) {
        Ok(())
    } else {
        Err(context.unknown(NOT_YOURS))
    }
}

/// The addresses of a list of mailboxes; `None` where the text is no such list.
///
/// Takes display names, comments, quoted strings, angle brackets and groups. A source route is refused: nobody writes
/// one, and it would hide the domain.
pub fn authors(list: &str) -> Option<Authors> {
    let mut scan = Scan {
        rest: list.chars().peekable(),
        words: String::new(),
        authors: Vec::new(),
    };
    scan.list()?;
    Some(scan.authors)
}

struct Scan<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    /// What stood before the next separator, without comments and white space.
    words: String,
    authors: Authors,
}

impl Scan<'_> {
    fn list(&mut self) -> Option<()> {
        let mut angle = false;
        while let Some(character) = self.rest.next() {
            match character {
                '(' => self.comment()?,
                '"' => self.quoted()?,
                '<' if !angle => {
                    self.angle()?;
                    angle = true;
                }
                ',' | ';' => {
                    self.end(angle)?;
                    angle = false;
                }
                // The name of a group (RFC 5322 section 3.4) is no address.
                ':' if !angle => self.words.clear(),
                c if c.is_ascii_whitespace() => {}
                '<' | '>' | ')' => return None,
                c if c.is_control() => return None,
                // Nothing but white space and comments may follow the brackets.
                _ if angle => return None,
                c => self.words.push(c),
            }
        }
        self.end(angle)
    }

    /// Ends one entry of the list.
    fn end(&mut self, angle: bool) -> Option<()> {
        let words = std::mem::take(&mut self.words);
        if !angle && !words.is_empty() {
            self.authors.push(mailbox(words)?);
        }
        Some(())
    }

    fn comment(&mut self) -> Option<()> {
        let mut depth = 1;
        while depth > 0 {
            match self.rest.next()? {
                '\\' => {
                    self.rest.next()?;
                }
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
        }
        Some(())
    }

    fn quoted(&mut self) -> Option<()> {
        self.words.push('"');
        loop {
            let character = self.rest.next()?;
            self.words.push(character);
            match character {
                '\\' => self.words.push(self.rest.next()?),
                '"' => return Some(()),
                _ => {}
            }
        }
    }

    fn angle(&mut self) -> Option<()> {
        // What stood before is the display name.
        self.words.clear();
        loop {
            match self.rest.next()? {
                '>' => break,
                '(' => self.comment()?,
                '"' => self.quoted()?,
                '<' | ',' | ';' => return None,
                c if c.is_ascii_whitespace() => {}
                c if c.is_control() => return None,
                c => self.words.push(c),
            }
        }
        let words = std::mem::take(&mut self.words);
        self.authors.push(mailbox(words)?);
        Some(())
    }
}

/// One address, with exactly one unquoted `@` and no route.
fn mailbox(words: String) -> Option<String> {
    let mut quoted = false;
    let mut escaped = false;
    let mut ats = 0;
    for character in words.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '@' if !quoted => ats += 1,
            ',' if !quoted => return None,
            _ => {}
        }
    }
    (ats == 1 && Address::parse(&words).is_some()).then_some(words)
}

/// RFC 5322 section 3.6: exactly one.
const ONE_FROM: Refusal = Refusal::new(554, "5.6.0", "The message must have exactly one From field");
const BAD_FROM: Refusal = Refusal::new(554, "5.6.0", "The From field names no valid address");

#[cfg(test)]
mod tests {
    use super::*;
    use postroad_config::Role;

    use crate::policy::tests::{DOMAINS, at, settings};

    #[test]
    fn addresses_are_found_in_every_dress() {
        for (text, want) in [
            ("alice@example.com", Some(vec!["alice@example.com"])),
            (" Alice <alice@example.com> ", Some(vec!["alice@example.com"])),
            (
                "\"bob@x.example\" <alice@example.com>",
                Some(vec!["alice@example.com"]),
            ),
            (
                "bob@x.example <alice@example.com>",
                Some(vec!["alice@example.com"]),
            ),
            (
                "alice@example.com (bob@x.example)",
                Some(vec!["alice@example.com"]),
            ),
            (
                "a@x.example, B <b@y.example>",
                Some(vec!["a@x.example", "b@y.example"]),
            ),
            (
                "Us: a@x.example, b@y.example;",
                Some(vec!["a@x.example", "b@y.example"]),
            ),
            ("\"a b\"@x.example", Some(vec!["\"a b\"@x.example"])),
            ("<@route.example:a@x.example>", None),
            ("alice@example.com <", None),
            ("<alice@example.com> x", None),
            ("<a@x.example> <b@y.example>", None),
            ("(open", None),
            ("\"open", None),
            ("alice", None),
            ("", Some(vec![])),
        ] {
            let want: Option<Vec<String>> =
                want.map(|list: Vec<&str>| list.into_iter().map(str::to_owned).collect());
            assert_eq!(authors(text), want, "{text}");
        }
    }

    #[test]
    fn every_author_must_be_the_users_own() {
        let settings = settings(DOMAINS);
        let context = Context {
            identity: Some("alice"),
            ..at(&settings, Role::Submission)
        };
        let code = |from: &[&str]| {
            let from: Vec<String> = from.iter().map(|text| (*text).to_owned()).collect();
            context.author(&from).err().map_or(0, |refusal| refusal.code)
        };
        assert_eq!(code(&["Alice <alice@example.com>"]), 0);
        assert_eq!(code(&["alice@example.com, bob@example.com"]), 550);
        assert_eq!(code(&["\"alice@example.com\" <ceo@bank.example>"]), 550);
        assert_eq!(code(&["alice@example.com", "alice@example.com"]), 554);
        assert_eq!(code(&[]), 554);
        assert_eq!(code(&["undisclosed:;"]), 554);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_scan_panic(text in ".{0,200}") {
            let _ = authors(&text);
        }
    }
}
