//! Whose a field that came with a message claims to be (RFC 8601 section 5).
//!
//! Read as widely as any reader might: case, comments, folds, quotes and their escapes, a final dot, U-labels, a version
//! behind the name. A field whose name cannot be told is of no use to anybody, and may fool somebody.

use super::is_token;
use super::read::after_comment;

/// Whose it claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Ours: forged, or of an earlier time here, and to be taken out in either case.
    Ours,
    /// Of somebody else.
    Theirs,
    /// Its name cannot be read: to be taken out.
    Unreadable,
}

/// Judges the body of a field, folded or not; its beginning is enough. `own`: our name.
pub fn claim(body: &[u8], own: &str) -> Claim {
    let Ok(text) = std::str::from_utf8(body).or_else(|error| {
        // A cut or an odd octet behind the name does not matter.
        std::str::from_utf8(&body[..error.valid_up_to()])
    }) else {
        return Claim::Unreadable;
    };
    match authserv_id(text).as_deref().and_then(comparable) {
        None => Claim::Unreadable,
        id if id == comparable(own) => Claim::Ours,
        Some(_) => Claim::Theirs,
    }
}

/// The name at the beginning: a token or a quoted text, after comments and white space.
fn authserv_id(text: &str) -> Option<String> {
    let rest = after_comments(text)?;
    let (id, rest) = if let Some(inner) = rest.strip_prefix('"') {
        quoted(inner)?
    } else {
        let end = rest.find(|c: char| c.is_ascii() && !is_name(c));
        let (id, rest) = rest.split_at(end.unwrap_or(rest.len()));
        (id.to_owned(), rest)
    };
    // `;` comes next, after comments, and a version perhaps.
    let rest = after_comments(rest)?;
    let rest = after_comments(rest.trim_start_matches(|c: char| c.is_ascii_digit()))?;
    let is_whole = rest.starts_with(';') || rest.is_empty();
    (is_whole && !id.is_empty()).then_some(id)
}

fn is_name(c: char) -> bool {
    u8::try_from(c).is_ok_and(is_token)
}

/// What stands behind white space, line ends and comments. `None`: a comment has no end.
fn after_comments(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        match rest.strip_prefix('(') {
            None => return Some(rest),
            Some(inner) => rest = after_comment(inner)?,
        }
    }
}

/// The text up to the closing quote, without escapes and line ends, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut id = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => {
                id.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((id.trim().to_owned(), text.get(at + 1..)?)),
            '\r' | '\n' => {}
            _ => id.push(c),
        }
    }
    None
}

/// `None`: it looks like a name, and is none that the DNS could hold.
fn comparable(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_ascii() {
        return Some(name.to_ascii_lowercase());
    }
    let name = idna::domain_to_ascii(name).ok()?;
    let sound = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
    name.bytes().all(sound).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_our_name_is_ours() {
        for body in [
            " mail.example.com; spf=pass",
            "mail.example.com;spf=pass",
            " MAIL.Example.COM; none",
            "\r\n\tmail.example.com\r\n ; spf=pass",
            " (a comment) mail.example.com (another (nested \\) one)) ; spf=pass",
            " mail.example.com 1; spf=pass",
            " mail.example.com (v) 1 (w); spf=pass",
            " \"mail.example.com\"; spf=pass",
            " \"m\\ail.ex\\ample.com\" 1; spf=pass",
            " \" mail.example.com \"; spf=pass",
            " \"mail.\r\n example.com\"; spf=pass".replace(' ', "").as_str(),
            " mail.example.com.; spf=pass",
            " mail.example.com",
            " mail.example.com; x=\u{fffd}",
        ] {
            assert_eq!(
                claim(body.as_bytes(), "mail.example.com"),
                Claim::Ours,
                "{body:?}"
            );
        }
        assert_eq!(
            claim(" bücher.example; spf=pass".as_bytes(), "xn--bcher-kva.example"),
            Claim::Ours
        );
        assert_eq!(claim(b" mail.example.com; \xff", "mail.example.com"), Claim::Ours);
    }

    #[test]
    fn names_of_others_are_theirs() {
        for body in [
            " mx.example.net; spf=pass smtp.mailfrom=mail.example.com",
            " mail.example.com.example.net; spf=pass",
            " xmail.example.com; spf=pass",
            " \"mx.example.net\" 1; reason=\"mail.example.com;\"",
            " (mail.example.com;) mx.example.net; none",
        ] {
            assert_eq!(
                claim(body.as_bytes(), "mail.example.com"),
                Claim::Theirs,
                "{body:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for body in [
            "",
            " ;",
            " (mail.example.com; spf=pass",
            " \"mail.example.com; spf=pass",
            " mail.example.com mail.example.com; spf=pass",
            " mail . example . com; spf=pass",
            " =?utf-8?q?mail.example.com?=; spf=pass",
            " mail.example.com/1; spf=pass",
            " mail.example.com spf=pass",
            " @mail.example.com; spf=pass",
            "\u{a0}mail.example.com; spf=pass",
            "\u{0}mail.example.com; spf=pass",
        ] {
            assert_eq!(
                claim(body.as_bytes(), "mail.example.com"),
                Claim::Unreadable,
                "{body:?}"
            );
        }
        assert_eq!(claim(b"\xff", "mail.example.com"), Claim::Unreadable);
    }
}
