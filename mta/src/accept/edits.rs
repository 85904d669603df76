//! All that is taken out of a header while it streams past: forged fields, and those that the settings name.
//!
//! ```text
//!   octets ─► ForgedFilter ─► FieldFilter ─► octets that stay;  behind the header nothing is copied any more
//! ```

use super::edit::FieldFilter;
use super::forged::ForgedFilter;

/// The filters of one message.
#[derive(Debug)]
pub struct Edits {
    forged: ForgedFilter,
    fields: Option<FieldFilter>,
    unforged: Vec<u8>,
    kept: Vec<u8>,
}

impl Edits {
    /// For mail to the server of that name; `remove`: names of fields.
    pub fn new(own: &str, remove: &[String]) -> Self {
        Self {
            forged: ForgedFilter::new(own),
            fields: (!remove.is_empty()).then(|| FieldFilter::new(remove)),
            unforged: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// Whether the header is over: what comes now stays as it is.
    pub fn is_over(&self) -> bool {
        self.forged.is_done() && self.fields.as_ref().is_none_or(FieldFilter::is_done)
    }

    /// Forged fields that were taken out.
    pub fn forged(&self) -> u64 {
        self.forged.removed()
    }

    /// Takes the next octets and gives those that stay.
    pub fn feed(&mut self, octets: &[u8]) -> &[u8] {
        self.unforged.clear();
        self.forged.feed(octets, &mut self.unforged);
        self.filter()
    }

    /// What is still held when the message ends.
    pub fn finish(&mut self) -> &[u8] {
        self.unforged.clear();
        self.forged.finish(&mut self.unforged);
        self.filter();
        if let Some(fields) = &mut self.fields {
            fields.finish(&mut self.kept);
            return &self.kept;
        }
        &self.unforged
    }

    fn filter(&mut self) -> &[u8] {
        let Some(fields) = &mut self.fields else {
            return &self.unforged;
        };
        self.kept.clear();
        fields.feed(&self.unforged, &mut self.kept);
        &self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &[u8] =
        b"X-A: 1\r\nAuthentication-Results: mail.example.com; none\r\nX-B: 2\r\n\r\nX-A: of the body\r\n";

    fn edited(remove: &[&str], piece: usize) -> (String, u64) {
        let remove: Vec<String> = remove.iter().map(|name| (*name).to_owned()).collect();
        let mut edits = Edits::new("mail.example.com", &remove);
        let mut out = Vec::new();
        for octets in MAIL.chunks(piece) {
            let kept = if edits.is_over() {
                octets
            } else {
                edits.feed(octets)
            };
            out.extend_from_slice(kept);
        }
        out.extend_from_slice(edits.finish());
        (String::from_utf8(out).unwrap(), edits.forged())
    }

    #[test]
    fn both_kinds_of_fields_go_and_the_body_stays() {
        for piece in 1..=MAIL.len() {
            assert_eq!(
                edited(&[], piece),
                ("X-A: 1\r\nX-B: 2\r\n\r\nX-A: of the body\r\n".to_owned(), 1)
            );
            assert_eq!(
                edited(&["x-a"], piece),
                ("X-B: 2\r\n\r\nX-A: of the body\r\n".to_owned(), 1)
            );
        }
    }
}
