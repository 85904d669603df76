//! Preparation of user names and passwords, so that one text has one form however it was typed: `SASLprep` (RFC 4013),
//! as stored strings.
//!
//! RFC 8265 is its successor for new protocols. The clients of SCRAM hash what RFC 5802 section 2.2 names, and that is
//! `SASLprep`; a server that prepared otherwise would refuse them. Both leave ASCII as it is.

use std::borrow::Cow;

/// The text holds what RFC 4013 forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a control character, one that is newer than Unicode 3.2 (such as an emoji), or two writing directions in one word are not allowed (RFC 4013)"
)]
pub struct Prohibited;

/// The one form of a user name or a password. It may be empty: some characters stand for nothing.
pub fn prepare(text: &str) -> Result<Cow<'_, str>, Prohibited> {
    stringprep::saslprep(text).map_err(|_| Prohibited)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4013 section 3.
    #[test]
    fn the_examples_of_rfc_4013() {
        for (text, want) in [
            ("I\u{ad}X", Ok("IX")),
            ("user", Ok("user")),
            ("USER", Ok("USER")),
            ("\u{aa}", Ok("a")),
            ("\u{2168}", Ok("IX")),
            ("\u{7}", Err(Prohibited)),
            ("\u{627}\u{31}", Err(Prohibited)),
        ] {
            assert_eq!(
                prepare(text).map(Cow::into_owned),
                want.map(str::to_owned),
                "{text:?}"
            );
        }
    }

    #[test]
    fn one_text_has_one_form() {
        for (text, want) in [
            ("cafe\u{301}", "caf\u{e9}"),
            ("wonder\u{a0}land", "wonder land"),
            ("\u{fb01}n", "fin"),
            ("\u{627}\u{628}", "\u{627}\u{628}"),
            ("\u{ad}", ""),
        ] {
            assert_eq!(prepare(text).unwrap(), want, "{text:?}");
        }
        // Unassigned in Unicode 3.2, for private use, no character, a tag.
        for text in [
            "\u{1f600}",
            "\u{e000}",
            "\u{fffe}",
            "\u{e0041}",
            "a\u{0}b",
            "\u{85}",
        ] {
            assert_eq!(prepare(text), Err(Prohibited), "{text:?}");
        }
    }
}
