//! Reply texts of recipients: each kept once where many have it, and all of them together in bounded memory.
//!
//! ```text
//!   "4.7.1 mx.example said: 451 4.7.1 greylisted, id=af31"     as it is, up to a budget
//!   "4.7.1 mx.example"                                        beyond it: what many have in common
//!   "4.7.1"                                                   beyond that: a few dozen texts
//! ```
//!
//! A next hop that puts an id into each reply would fill the memory with them, a million of which nobody reads. What is
//! left out here is in the log, and in the spool until the entry's records are copied.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A reply text that others may have too; a thin pointer, as there is one for each recipient.
#[derive(Clone, Debug)]
pub struct Text(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    text: Box<str>,
    /// Octets of all texts that somebody has.
    used: Arc<AtomicUsize>,
}

/// All texts.
#[derive(Debug)]
pub struct Replies {
    known: HashSet<Text>,
    used: Arc<AtomicUsize>,
    most: usize,
}

impl Default for Replies {
    fn default() -> Self {
        Self::within(MOST_OCTETS)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.used.fetch_sub(cost(&self.text), Ordering::Relaxed);
    }
}

impl Text {
    pub fn as_str(&self) -> &str {
        &self.0.text
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

/// As its text, so that a text is found without making one of these.
impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Replies {
    fn within(most: usize) -> Self {
        Self {
            known: HashSet::new(),
            used: Arc::default(),
            most,
        }
    }

    /// The text, or what there is room for of it.
    pub fn shared(&mut self, text: &str) -> Option<Text> {
        if text.is_empty() {
            return None;
        }
        if let Some(known) = self.known.get(text) {
            return Some(known.clone());
        }
        let used = self.used.load(Ordering::Relaxed);
        let kept = if used < self.most {
            text
        } else if used < self.most + self.most / 2 {
            status_and_host(text)
        } else {
            status(text)
        };
        if let Some(known) = self.known.get(kept) {
            return Some(known.clone());
        }
        Some(self.keep(kept))
    }

    fn keep(&mut self, text: &str) -> Text {
        if self.known.len() >= MOST_TEXTS {
            // Those that nobody has any more, and if that is not enough, all: sharing is a saving, not a need.
            self.known.retain(|text| Arc::strong_count(&text.0) > 1);
            if self.known.len() >= MOST_TEXTS / 2 {
                self.known.clear();
            }
        }
        self.used.fetch_add(cost(text), Ordering::Relaxed);
        let text = Text(Arc::new(Kept {
            text: text.into(),
            used: Arc::clone(&self.used),
        }));
        self.known.insert(text.clone());
        text
    }
}

/// What a text takes with all around it.
const fn cost(text: &str) -> usize {
    text.len() + OVERHEAD
}

/// `4.7.1 mx.example said: …` without what was said; another text has no host, and is cut short.
fn status_and_host(text: &str) -> &str {
    let short = text
        .split_once(" said: ")
        .map_or_else(|| status(text), |(front, _)| front);
    let end = (0..=short.len().min(LONGEST_HOST))
        .rev()
        .find(|end| short.is_char_boundary(*end));
    &short[..end.unwrap_or(0)]
}

fn status(text: &str) -> &str {
    let word = text.split(' ').next().unwrap_or_default();
    if word.len() <= LONGEST_STATUS && word.is_ascii() {
        word
    } else {
        "…"
    }
}

/// Octets of all texts that recipients have.
const MOST_OCTETS: usize = 32 << 20;
/// Of a text besides its octets.
const OVERHEAD: usize = 64;
/// Distinct texts that are shared at once.
const MOST_TEXTS: usize = 4_096;
/// A status code (RFC 3463) has three numbers of three digits at most.
const LONGEST_STATUS: usize = 11;
/// A status code and the longest host name (RFC 1035 section 2.3.4).
const LONGEST_HOST: usize = LONGEST_STATUS + 1 + 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_is_kept_once_however_many_have_it() {
        let mut replies = Replies::default();
        let one = replies.shared("no route").unwrap();
        assert!(Arc::ptr_eq(&one.0, &replies.shared("no route").unwrap().0));
        for number in 0..20_000 {
            replies.shared(&number.to_string());
        }
        assert!(replies.known.len() <= MOST_TEXTS);
    }

    #[test]
    fn texts_of_which_each_is_another_take_bounded_memory_and_still_say_who_and_what() {
        let most = 1 << 20;
        let mut replies = Replies::within(most);
        let greylisted = |number: usize| {
            let why = "x".repeat(300);
            format!("4.7.1 mx{}.example said: 451 4.7.1 {why} id={number}", number % 3)
        };
        let kept: Vec<Text> = (0..50_000)
            .map(|number| replies.shared(&greylisted(number)).unwrap())
            .collect();
        assert_eq!(kept[0].as_str(), greylisted(0), "there was room");
        assert_eq!(kept[49_999].as_str(), "4.7.1 mx1.example");
        assert!(replies.used.load(Ordering::Relaxed) < most + 1_000);
        // As many hosts as messages.
        let many: Vec<Text> = (0..50_000)
            .map(|number| {
                replies
                    .shared(&format!("4.4.1 mx.of-{number}.example said: 451 no"))
                    .unwrap()
            })
            .collect();
        assert_eq!(many[49_999].as_str(), "4.4.1");
        assert!(replies.used.load(Ordering::Relaxed) < most * 2);
        // Room comes back with those who had it.
        drop((kept, many));
        replies.known.clear();
        assert_eq!(replies.used.load(Ordering::Relaxed), 0);
        assert_eq!(replies.shared(&greylisted(7)).unwrap().as_str(), greylisted(7));
    }

    #[test]
    fn what_is_left_of_a_text_is_a_part_of_it() {
        for (text, host, code) in [
            ("4.4.1 mx.example said: 451 later", "4.4.1 mx.example", "4.4.1"),
            ("4.4.1 no connection", "4.4.1", "4.4.1"),
            ("discarded by hand", "discarded", "discarded"),
            ("äöü", "…", "…"),
            ("", "", ""),
        ] {
            assert_eq!((status_and_host(text), status(text)), (host, code), "{text}");
        }
        let long = format!("4.4.1 {} said: x", "ä".repeat(400));
        assert!(long.starts_with(status_and_host(&long)) && status_and_host(&long).len() <= LONGEST_HOST);
    }
}
