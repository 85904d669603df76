//! What somebody else's field says (RFC 8601 section 2.2), strictly: where it could be read in two ways, it says nothing.
//!
//! Who wrote it is for the caller to know. Comments and the reasons are passed over; what stands in quotes ends nothing.

/// What somebody says of one method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// In lower case, without a version.
    pub method: String,
    /// In lower case.
    pub result: String,
    /// Names, such as `header.from`, in lower case, and their values without quotes.
    pub properties: Vec<(String, String)>,
}

impl Said {
    /// The one value of a property. `None`: it is not there, or more than once.
    pub fn property(&self, name: &str) -> Option<&str> {
        let mut values = self.properties.iter().filter(|(known, _)| known == name);
        let (_, value) = values.next()?;
        values.next().is_none().then_some(value)
    }
}

/// Reads the body of a field: a name, then statements. `None`: it is not well-formed.
pub fn read(body: &str) -> Option<Vec<Said>> {
    let mut rest = Rest(body);
    rest.word(ENDS)?;
    rest.space()?;
    // A version may follow the name.
    if !rest.0.is_empty() && !rest.0.starts_with(';') {
        rest.word(ENDS)?;
    }
    let mut statements = Vec::new();
    while rest.space()? {
        rest.0 = rest.0.strip_prefix(';')?;
        if !rest.space()? {
            break;
        }
        if statements.len() == MOST {
            return None;
        }
        rest.statement(&mut statements)?;
    }
    Some(statements)
}

struct Rest<'a>(&'a str);

impl Rest<'_> {
    /// Passes over white space and comments; whether anything follows.
    fn space(&mut self) -> Option<bool> {
        loop {
            self.0 = self.0.trim_start_matches([' ', '\t', '\r', '\n']);
            match self.0.strip_prefix('(') {
                Some(inner) => self.0 = after_comment(inner)?,
                None => return Some(!self.0.is_empty()),
            }
        }
    }

    /// A word, in quotes or up to one of these characters; what stands in quotes may be its beginning.
    fn word(&mut self, ends: &[char]) -> Option<String> {
        self.space()?;
        let mut word = String::new();
        if let Some(inner) = self.0.strip_prefix('"') {
            let mut characters = inner.chars();
            loop {
                match characters.next()? {
                    '"' => break,
                    '\\' => word.push(characters.next()?),
                    c => word.push(c),
                }
            }
            self.0 = characters.as_str();
        } else if self.0.starts_with(ends) || self.0.is_empty() {
            return None;
        }
        let end = self.0.find(ends).unwrap_or(self.0.len());
        let (more, rest) = self.0.split_at(end);
        if more.contains('"') {
            return None;
        }
        self.0 = rest;
        word.push_str(more);
        Some(word)
    }

    /// `name = value`. `None`: it is not that.
    fn pair(&mut self, ends: &[char]) -> Option<(String, String)> {
        let name = self.word(NAME_ENDS)?.to_ascii_lowercase();
        self.space()?;
        self.0 = self.0.strip_prefix('=')?;
        Some((name, self.word(ends)?))
    }

    /// Puts one statement to the others; `none` says nothing. `None`: it is not well-formed.
    fn statement(&mut self, others: &mut Vec<Said>) -> Option<()> {
        if let Some(rest) = self.0.strip_prefix("none") {
            self.0 = rest;
            return (!self.space()? || self.0.starts_with(';')).then_some(());
        }
        let (method, result) = self.pair(ENDS)?;
        let mut said = Said {
            method: method.split('/').next().unwrap_or_default().to_owned(),
            result: result.to_ascii_lowercase(),
            properties: Vec::new(),
        };
        while self.space()? && !self.0.starts_with(';') {
            if said.properties.len() == MOST {
                return None;
            }
            said.properties.push(self.pair(ENDS)?);
        }
        others.push(said);
        Some(())
    }
}

/// What is behind a comment whose `(` was taken; comments nest (RFC 5322 section 3.2.2).
pub(super) fn after_comment(text: &str) -> Option<&str> {
    let (mut depth, mut escaped) = (1_usize, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text.get(at + 1..);
        }
    }
    None
}

/// What ends a value. A `=` does not: reverse-paths have it.
const ENDS: &[char] = &[' ', '\t', '\r', '\n', ';', '(', ')'];
/// What ends a name.
const NAME_ENDS: &[char] = &[' ', '\t', '\r', '\n', ';', '(', ')', '='];
/// Statements of a field, and properties of a statement.
const MOST: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_others_are_read() {
        let said = read(
            " mx.google.com; dkim=pass header.i=@a.example header.s=s header.b=AbC; spf=pass (google.com: domain \
             of x@a.example designates 192.0.2.1; as permitted) smtp.mailfrom=\"bounce=x; dmarc=pass\"@a.example; \
             dmarc=PASS (p=REJECT sp=REJECT dis=NONE) header.from=a.example",
        )
        .unwrap();
        let methods: Vec<&str> = said.iter().map(|said| said.method.as_str()).collect();
        assert_eq!(methods, ["dkim", "spf", "dmarc"]);
        assert_eq!(said[2].result, "pass");
        assert_eq!(said[2].property("header.from"), Some("a.example"));
        assert_eq!(
            said[1].property("smtp.mailfrom"),
            Some("bounce=x; dmarc=pass@a.example")
        );
        let other =
            read("mx.microsoft.com 1; spf=pass smtp.mailfrom=b+u=x@y; dmarc=pass action=none header.from=x;");
        assert_eq!(other.unwrap()[1].property("action"), Some("none"));
        assert_eq!(read("mail.example.com; none"), Some(Vec::new()));
        assert_eq!(read("mail.example.com"), Some(Vec::new()));
    }

    #[test]
    fn what_could_be_read_in_two_ways_says_nothing() {
        for body in [
            "",
            "; dmarc=pass",
            "mx; dmarc",
            "mx; dmarc=",
            "mx; dmarc=pass header.from",
            "mx; dmarc=pass header.from=a (",
            "mx; dmarc=pass header.from=\"a",
            "mx; dmarc=pass header.from=a\"b\"",
            "mx; none dmarc=pass",
            "mx; ; dmarc=pass",
            "mx 1 2; dmarc=pass",
        ] {
            assert_eq!(read(body), None, "{body}");
        }
        let twice = read("mx; dmarc=pass header.from=a.example header.from=b.example").unwrap();
        assert_eq!(twice[0].property("header.from"), None);
    }

    #[test]
    fn what_we_write_is_read_as_it_was_meant() {
        use crate::results::{Field, Property, Statement};
        let hostile = "a\"; dmarc=pass header.from=b.example (\\";
        let field = Field {
            authserv_id: "mail.example.com".to_owned(),
            statements: vec![Statement {
                method: "spf",
                result: "fail",
                comment: Some(hostile.to_owned()),
                reason: Some(hostile.to_owned()),
                properties: vec![Property {
                    kind: "smtp",
                    name: "mailfrom",
                    value: hostile.to_owned(),
                }],
            }],
        };
        let text = field.text();
        let said = read(text.strip_prefix("Authentication-Results:").unwrap()).unwrap();
        assert_eq!(said.len(), 1);
        assert_eq!(said[0].property("smtp.mailfrom"), Some(hostile));
    }
}
