//! Text of strangers, made fit for a line of a notice or of a log: one line, no control characters, bounded.
//!
//! Pure. What a next hop says, and even an address, may hold anything; what leaves here cannot end a line, start a
//! header field or a MIME part, or steer a terminal.

/// Which characters may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// Printable US-ASCII; the rest becomes `?`.
    Ascii,
    /// Printable Unicode, for international notices (RFC 6533) and logs; control and bidirectional marks become `?`.
    Unicode,
}

/// One line out of `text`: at most `longest` octets, cut at a character; runs of white space become one space.
pub fn one_line(text: &str, charset: Charset, longest: usize) -> String {
    let mut line = String::with_capacity(text.len().min(longest));
    let mut space = false;
    for character in text.chars() {
        if character.is_whitespace() {
            space = true;
            continue;
        }
        let shown = if may_stay(character, charset) {
            character
        } else {
            '?'
        };
        let gap = space && !line.is_empty();
        if line.len() + usize::from(gap) + shown.len_utf8() > longest {
            break;
        }
        if gap {
            line.push(' ');
        }
        space = false;
        line.push(shown);
    }
    line
}

fn may_stay(character: char, charset: Charset) -> bool {
    match charset {
        Charset::Ascii => character.is_ascii_graphic(),
        Charset::Unicode => !character.is_control() && !is_mark(character),
    }
}

/// Zero-width and direction marks: they make a text look like another.
fn is_mark(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Undoes xtext (RFC 3461 section 4); none where it is no xtext.
pub fn from_xtext(text: &str) -> Option<String> {
    postroad_smtp::decode_xtext(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_the_line_or_steers_a_terminal() {
        let hostile = "550 no\r\n\r\n--boundary\r\nX: y\u{1b}[2J\u{202e}\0 \u{e9}";
        assert_eq!(
            one_line(hostile, Charset::Ascii, 100),
            "550 no --boundary X: y?[2J?? ?"
        );
        assert_eq!(
            one_line(hostile, Charset::Unicode, 100),
            "550 no --boundary X: y?[2J?? \u{e9}"
        );
    }

    #[test]
    fn it_is_cut_at_a_character() {
        assert_eq!(one_line("a\u{e9}\u{e9}", Charset::Unicode, 4), "a\u{e9}");
        assert_eq!(one_line(&"x".repeat(5_000), Charset::Ascii, 900).len(), 900);
        assert_eq!(one_line("ab cd", Charset::Ascii, 3), "ab");
    }

    #[test]
    fn xtext_is_undone_and_wrong_xtext_dropped() {
        for (xtext, text) in [
            ("a+2Bb", Some("a+b")),
            ("+E2+82+AC", Some("\u{20ac}")),
            ("a+2", None),
            ("+zz", None),
            ("+FF", None),
            ("+0D+0A", None),
        ] {
            assert_eq!(from_xtext(xtext).as_deref(), text);
        }
    }
}
