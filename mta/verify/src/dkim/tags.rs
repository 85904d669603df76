//! Lists of `tag=value` (RFC 6376 section 3.2), as DKIM signatures, ARC fields and key records have them: strictly read.
//!
//! ```text
//! tag-list = tag-spec *( ";" tag-spec ) [ ";" ]        one mistake makes the whole list unusable
//! tag-spec = [FWS] tag-name [FWS] "=" [FWS] tag-value [FWS]
//! ```
//!
//! Values may hold UTF-8 besides printable ASCII (RFC 8616 section 3). Unknown tags are the reader's to ignore.

use std::ops::Range;

/// What is wrong with a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// An octet that no tag may hold, counted from 1.
    #[error("octet {0} has no place in a list of tags")]
    Octet(usize),
    /// A part between semicolons that is not `name=value`.
    #[error("`{0}` is not a name, an equals sign and a value")]
    NoTag(String),
    /// A tag that is given twice.
    #[error("tag `{0}` is given twice")]
    Twice(String),
    /// Nothing at all.
    #[error("there are no tags")]
    Empty,
    /// More tags than are read.
    #[error("there are more than {MOST_TAGS} tags")]
    TooMany,
}

/// One tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag<'a> {
    /// Name, in the case that it was written in: names are case-sensitive.
    pub(crate) name: &'a str,
    /// Value without white space around it.
    pub(crate) value: &'a str,
    /// Where the value stands in the text, white space included.
    pub(crate) span: Range<usize>,
}

/// A well-formed list, in order, no name twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tags<'a>(Vec<Tag<'a>>);

impl<'a> Tags<'a> {
    /// Reads a list. Error: the first mistake.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, TagError> {
        let text = checked(text)?;
        let mut tags: Vec<Tag<'a>> = Vec::new();
        let mut start = 0;
        for part in text.split(';') {
            let end = start + part.len();
            if trim(part).is_empty() {
                // Only the one after the last semicolon may be empty.
                if end == text.len() && !tags.is_empty() {
                    break;
                }
                return Err(if end == text.len() && start == 0 {
                    TagError::Empty
                } else {
                    TagError::NoTag(String::new())
                });
            }
            let tag = read_tag(part, start)?;
            if tags.iter().any(|other| other.name == tag.name) {
                return Err(TagError::Twice(shortened(tag.name)));
            }
            if tags.len() == MOST_TAGS {
                return Err(TagError::TooMany);
            }
            tags.push(tag);
            start = end + 1;
        }
        Ok(Self(tags))
    }

    /// The tag of this name.
    pub(crate) fn find(&self, name: &str) -> Option<&Tag<'a>> {
        self.0.iter().find(|tag| tag.name == name)
    }

    /// The value of the tag of this name.
    pub(crate) fn value(&self, name: &str) -> Option<&'a str> {
        self.find(name).map(|tag| tag.value)
    }

    /// The name of the first tag.
    pub(crate) fn first(&self) -> Option<&'a str> {
        self.0.first().map(|tag| tag.name)
    }
}

/// Elements of a value that colons separate, white space around each taken off.
pub(crate) fn elements(value: &str) -> impl Iterator<Item = &str> {
    value.split(':').map(trim)
}

/// A value without its white space, wherever it stands.
pub(crate) fn without_space(value: &str) -> String {
    value.chars().filter(|letter| !is_space(*letter)).collect()
}

/// Text of a stranger for a sentence: short, no control characters.
pub(crate) fn shortened(text: &str) -> String {
    text.chars()
        .filter(|letter| !letter.is_control())
        .take(40)
        .collect()
}

fn read_tag(part: &str, start: usize) -> Result<Tag<'_>, TagError> {
    let wrong = || TagError::NoTag(shortened(trim(part)));
    let (name, value) = part.split_once('=').ok_or_else(wrong)?;
    let span = start + name.len() + 1..start + part.len();
    let name = trim(name);
    // tag-name = ALPHA *ALNUMPUNC
    let sound = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
    if !sound {
        return Err(wrong());
    }
    Ok(Tag {
        name,
        value: trim(value),
        span,
    })
}

/// Only printable characters and folding white space.
fn checked(text: &[u8]) -> Result<&str, TagError> {
    let text = str::from_utf8(text).map_err(|error| TagError::Octet(error.valid_up_to() + 1))?;
    let octets = text.as_bytes();
    for (at, letter) in text.char_indices() {
        let sound = match letter {
            ' ' | '\t' => true,
            // FWS = [*WSP CRLF] 1*WSP
            '\r' => octets.get(at + 1) == Some(&b'\n') && matches!(octets.get(at + 2), Some(b' ' | b'\t')),
            '\n' => at > 0 && octets.get(at - 1) == Some(&b'\r'),
            letter => !letter.is_control(),
        };
        if !sound {
            return Err(TagError::Octet(at + 1));
        }
    }
    Ok(text)
}

fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\n')
}

/// Tags that one list may have; the standards together define fewer than twenty.
pub const MOST_TAGS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<(String, String)>, TagError> {
        Tags::parse(text.as_bytes()).map(|tags| {
            let pair = |tag: &Tag<'_>| (tag.name.to_owned(), tag.value.to_owned());
            tags.0.iter().map(pair).collect()
        })
    }

    #[test]
    fn white_space_and_a_last_semicolon_are_no_matter() {
        for text in ["a=1;b=2", " a = 1 ;\r\n\tb =\r\n 2 ; ", "a=1; b=2;"] {
            let want = vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())];
            assert_eq!(names(text), Ok(want), "{text:?}");
        }
    }

    #[test]
    fn inner_white_space_and_equals_signs_stay() {
        assert_eq!(
            names("b=ab cd=="),
            Ok(vec![("b".to_owned(), "ab cd==".to_owned())])
        );
        assert_eq!(names("h="), Ok(vec![("h".to_owned(), String::new())]));
    }

    #[test]
    fn one_mistake_spoils_the_list() {
        for (text, want) in [
            ("", TagError::Empty),
            (" \t", TagError::Empty),
            (";", TagError::NoTag(String::new())),
            ("a=1;;b=2", TagError::NoTag(String::new())),
            ("a=1;;", TagError::NoTag(String::new())),
            ("a=1; ==; b=2", TagError::NoTag("==".to_owned())),
            ("a=1; 2=1", TagError::NoTag("2=1".to_owned())),
            ("a b=1", TagError::NoTag("a b=1".to_owned())),
            ("a=1; b", TagError::NoTag("b".to_owned())),
            ("a=1; a=1", TagError::Twice("a".to_owned())),
            ("a=1\r\nb=2", TagError::Octet(4)),
            ("a=1\nb", TagError::Octet(4)),
            ("a=\u{0}", TagError::Octet(3)),
            ("a=\u{85}", TagError::Octet(3)),
        ] {
            assert_eq!(names(text), Err(want), "{text:?}");
        }
        assert_eq!(Tags::parse(b"a=\xff"), Err(TagError::Octet(3)));
    }

    #[test]
    fn names_are_case_sensitive() {
        let tags = Tags::parse(b"A=1; a=2").unwrap();
        assert_eq!((tags.value("A"), tags.value("a")), (Some("1"), Some("2")));
    }

    #[test]
    fn the_number_of_tags_is_bounded() {
        let many: Vec<String> = (0..=MOST_TAGS).map(|n| format!("t{n}=1")).collect();
        assert_eq!(names(&many.join(";")), Err(TagError::TooMany));
    }

    #[test]
    fn the_span_of_a_value_holds_its_white_space() {
        let text = "a=1; b= x y ; c=3";
        let tags = Tags::parse(text.as_bytes()).unwrap();
        assert_eq!(&text[tags.find("b").unwrap().span.clone()], " x y ");
    }
}
