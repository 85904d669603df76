//! The field as text. What strangers chose can neither end the field nor a line, a comment or a quoted text.

use super::{Field, NAME, Property, Statement, is_token};

impl Field {
    /// The whole field, folded, with its last line end.
    pub fn text(&self) -> String {
        let mut lines = Lines::begin(NAME);
        lines.put(&value(&self.authserv_id));
        if self.statements.is_empty() {
            lines.text.push_str("; none");
        }
        for statement in &self.statements {
            lines.text.push(';');
            lines.fold();
            statement.write(&mut lines);
        }
        lines.text.push_str("\r\n");
        lines.text
    }
}

impl Statement {
    fn write(&self, lines: &mut Lines) {
        lines.put(&format!("{}={}", self.method, self.result));
        if let Some(words) = &self.comment {
            lines.word(&comment(words));
        }
        if let Some(words) = &self.reason {
            lines.word(&format!("reason={}", quoted(words)));
        }
        for Property {
            kind,
            name,
            value: of,
        } in &self.properties
        {
            lines.word(&format!("{kind}.{name}={}", value(of)));
        }
    }
}

/// Text in lines of at most [`LINE`] octets where the words allow it.
struct Lines {
    text: String,
    /// Octets of the present line.
    used: usize,
}

impl Lines {
    fn begin(name: &str) -> Self {
        let text = format!("{name}: ");
        Self {
            used: text.len(),
            text,
        }
    }

    fn put(&mut self, word: &str) {
        self.text.push_str(word);
        self.used += word.len();
    }

    fn fold(&mut self) {
        self.text.push_str("\r\n\t");
        self.used = 1;
    }

    /// A word after white space.
    fn word(&mut self, word: &str) {
        if self.used + 1 + word.len() > LINE {
            self.fold();
        } else {
            self.put(" ");
        }
        self.put(word);
    }
}

/// `pvalue`: bare where it is a token, a plain address, or `@` and a domain, quoted where not.
fn value(text: &str) -> String {
    if is_bare(text) {
        return text.to_owned();
    }
    quoted(text)
}

fn is_bare(text: &str) -> bool {
    let is_token = |text: &str| !text.is_empty() && text.len() <= LONGEST && text.bytes().all(is_token);
    let is_dotted = |text: &str| is_token(text) && text.split('.').all(|label| !label.is_empty());
    match text.split_once('@') {
        None => is_token(text),
        Some((local, domain)) => {
            let name = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
            (local.is_empty() || is_dotted(local)) && is_dotted(domain) && domain.bytes().all(name)
        }
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in printable(text) {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

fn comment(text: &str) -> String {
    let mut comment = String::from("(");
    for c in printable(text) {
        if matches!(c, '(' | ')' | '\\') {
            comment.push('\\');
        }
        comment.push(c);
    }
    comment.push(')');
    comment
}

/// Printable ASCII; anything else is shown as `?`, and what is too long is cut.
fn printable(text: &str) -> impl Iterator<Item = char> {
    text.chars()
        .map(|c| if matches!(c, ' '..='~') { c } else { '?' })
        .take(LONGEST)
}

/// RFC 5322 section 2.1.1.
const LINE: usize = 78;
/// Of one value or comment: an address has 254 octets, and twice as many fit into a line of 998.
const LONGEST: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    fn field(value: &str) -> String {
        let property = Property {
            kind: "smtp",
            name: "mailfrom",
            value: value.to_owned(),
        };
        Field {
            authserv_id: "mail.example.com".to_owned(),
            statements: vec![Statement {
                method: "spf",
                result: "fail",
                comment: Some(value.to_owned()),
                reason: Some(value.to_owned()),
                properties: vec![property],
            }],
        }
        .text()
    }

    #[test]
    fn nothing_said_is_none() {
        let empty = Field {
            authserv_id: "mail.example.com".to_owned(),
            statements: Vec::new(),
        };
        assert_eq!(empty.text(), "Authentication-Results: mail.example.com; none\r\n");
    }

    #[test]
    fn a_plain_address_stands_bare_and_lines_are_folded() {
        assert_eq!(
            field("alice+list@sub.example.com"),
            "Authentication-Results: mail.example.com;\r\n\
             \tspf=fail (alice+list@sub.example.com) reason=\"alice+list@sub.example.com\"\r\n\
             \tsmtp.mailfrom=alice+list@sub.example.com\r\n"
        );
    }

    #[test]
    fn what_a_stranger_chose_stays_in_its_quotes() {
        let hostile = "a\r\nX: y\"; dkim=pass (\\) @\u{202e}\u{0}ü";
        assert_eq!(
            field(hostile),
            "Authentication-Results: mail.example.com;\r\n\
             \tspf=fail (a??X: y\"; dkim=pass \\(\\\\\\) @???)\r\n\
             \treason=\"a??X: y\\\"; dkim=pass (\\\\) @???\"\r\n\
             \tsmtp.mailfrom=\"a??X: y\\\"; dkim=pass (\\\\) @???\"\r\n"
        );
    }

    #[test]
    fn odd_values_are_quoted() {
        for (text, want) in [
            ("", "\"\""),
            ("@", "\"@\""),
            ("a@", "\"a@\""),
            ("a@b@c", "\"a@b@c\""),
            ("a.@b.example", "\"a.@b.example\""),
            ("a;b@c.example", "\"a;b@c.example\""),
            ("a@[192.0.2.1]", "\"a@[192.0.2.1]\""),
            ("@[192.0.2.1]", "\"@[192.0.2.1]\""),
            ("@b..example", "\"@b..example\""),
            ("@b.example", "@b.example"),
            ("h.example", "h.example"),
        ] {
            assert_eq!(value(text), want, "{text}");
        }
    }

    #[test]
    fn no_line_is_longer_than_mail_may_have() {
        for line in field(&"\"".repeat(5_000)).split("\r\n") {
            assert!(line.len() <= 998, "{}", line.len());
        }
    }
}
