//! A header as fields.

use crate::answer::Change;

/// One field, with its folded lines and its line ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field(Vec<u8>);

/// The fields of a header, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    fields: Vec<Field>,
}

impl Field {
    fn new(name: &str, value: &[u8]) -> Self {
        Self([name.as_bytes(), b":", value, b"\r\n"].concat())
    }

    /// The name, without the white space that obsolete syntax allows behind it (RFC 5322 section 4.5).
    pub fn name(&self) -> &[u8] {
        self.0[..self.colon()].trim_ascii_end()
    }

    /// What stands behind the colon, without the last line end.
    pub fn value(&self) -> &[u8] {
        let value = self.0.get(self.colon() + 1..).unwrap_or_default();
        let value = value.strip_suffix(b"\n").unwrap_or(value);
        value.strip_suffix(b"\r").unwrap_or(value)
    }

    fn colon(&self) -> usize {
        memchr::memchr(b':', &self.0).unwrap_or(self.0.len())
    }

    fn is_named(&self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name.as_bytes())
    }
}

impl Section {
    /// The fields of a header as [`super::Splitter`] gives it.
    pub fn parse(header: &[u8]) -> Self {
        let mut fields: Vec<Field> = Vec::new();
        for line in header.split_inclusive(|octet| *octet == b'\n') {
            match fields.last_mut() {
                Some(Field(field)) if matches!(line.first(), Some(b' ' | b'\t')) => {
                    field.extend_from_slice(line);
                }
                _ => fields.push(Field(line.to_vec())),
            }
        }
        Self { fields }
    }

    /// The fields.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// As it goes on the wire.
    pub fn write(&self) -> Vec<u8> {
        self.fields.iter().flat_map(|field| &field.0).copied().collect()
    }

    /// Octets of it.
    pub fn len(&self) -> usize {
        self.fields.iter().map(|field| field.0.len()).sum()
    }

    /// There is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Makes a change; those of the envelope are not for the header. Whether anything is different now.
    pub fn apply(&mut self, change: &Change) -> bool {
        match change {
            Change::Add { name, value } => self.insert(self.fields.len(), Field::new(name, value)),
            Change::Insert { index, name, value } => {
                let place = usize::try_from(index.saturating_sub(1)).unwrap_or(usize::MAX);
                self.insert(place.min(self.fields.len()), Field::new(name, value))
            }
            Change::Replace { index, name, value } => {
                let field = Field::new(name, value);
                match self.nth(name, i64::from((*index).max(1))) {
                    Some(at) => self.fields[at] = field,
                    None => return self.insert(self.fields.len(), field),
                }
                true
            }
            Change::Remove { index: 0, name } => {
                let before = self.fields.len();
                self.fields.retain(|field| !field.is_named(name));
                before != self.fields.len()
            }
            Change::Remove { index, name } => match self.nth(name, *index) {
                Some(at) => {
                    self.fields.remove(at);
                    true
                }
                None => false,
            },
            Change::From(_) | Change::AddRecipient(_) | Change::RemoveRecipient(_) => false,
        }
    }

    fn insert(&mut self, place: usize, field: Field) -> bool {
        // A message may have ended without a line end.
        if let Some(Field(last)) = self.fields.last_mut()
            && !last.ends_with(b"\n")
        {
            last.extend_from_slice(b"\r\n");
        }
        self.fields.insert(place, field);
        true
    }

    /// The place of the index-th field of that name, from 1; below 0 from the end.
    fn nth(&self, name: &str, index: i64) -> Option<usize> {
        let mut places = self
            .fields
            .iter()
            .enumerate()
            .filter(|(_, field)| field.is_named(name));
        let back = usize::try_from(index.unsigned_abs()).ok()?.checked_sub(1)?;
        let place = if index > 0 {
            places.nth(back)
        } else {
            places.nth_back(back)
        };
        place.map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "From: a\r\nX-Spam: 1\r\n folded\r\nsubject : hello\r\nX-spam:2\r\n";

    fn after(change: &Change) -> (bool, String) {
        let mut section = Section::parse(HEADER.as_bytes());
        let changed = section.apply(change);
        (changed, String::from_utf8(section.write()).unwrap())
    }

    fn field(name: &str) -> (String, Vec<u8>) {
        (name.to_owned(), b" new".to_vec())
    }

    #[test]
    fn fields_are_read_and_written_back_as_they_were() {
        let section = Section::parse(HEADER.as_bytes());
        let names: Vec<&[u8]> = section.fields().iter().map(Field::name).collect();
        assert_eq!(names, [&b"From"[..], b"X-Spam", b"subject", b"X-spam"]);
        let values: Vec<&[u8]> = section.fields().iter().map(Field::value).collect();
        assert_eq!(values, [&b" a"[..], b" 1\r\n folded", b" hello", b"2"]);
        assert_eq!(section.write(), HEADER.as_bytes());
        assert_eq!(section.len(), HEADER.len());
    }

    #[test]
    fn a_field_is_added_at_the_end_and_inserted_at_its_place() {
        let (name, value) = field("X");
        let added = Change::Add {
            name: name.clone(),
            value: value.clone(),
        };
        assert_eq!(after(&added), (true, format!("{HEADER}X: new\r\n")));
        for (index, want) in [
            (0, format!("X: new\r\n{HEADER}")),
            (1, format!("X: new\r\n{HEADER}")),
            (2, HEADER.replacen("X-Spam", "X: new\r\nX-Spam", 1)),
            (99, format!("{HEADER}X: new\r\n")),
        ] {
            let insert = Change::Insert {
                index,
                name: name.clone(),
                value: value.clone(),
            };
            assert_eq!(after(&insert), (true, want), "{index}");
        }
    }

    #[test]
    fn a_field_is_replaced_by_its_number_and_added_where_there_is_none() {
        for (index, want) in [
            (0, HEADER.replace("X-Spam: 1\r\n folded", "x-spam: new")),
            (1, HEADER.replace("X-Spam: 1\r\n folded", "x-spam: new")),
            (2, HEADER.replace("X-spam:2", "x-spam: new")),
            (3, format!("{HEADER}x-spam: new\r\n")),
        ] {
            let (name, value) = field("x-spam");
            assert_eq!(
                after(&Change::Replace { index, name, value }),
                (true, want),
                "{index}"
            );
        }
    }

    #[test]
    fn fields_are_removed_by_number_from_either_end_or_all_at_once() {
        let first = HEADER.replace("X-Spam: 1\r\n folded\r\n", "");
        let last = HEADER.replace("X-spam:2\r\n", "");
        for (index, changed, want) in [
            (1, true, first.clone()),
            (2, true, last.clone()),
            (-1, true, last.clone()),
            (-2, true, first.clone()),
            (3, false, HEADER.to_owned()),
            (-3, false, HEADER.to_owned()),
            (i64::MIN, false, HEADER.to_owned()),
            (0, true, first.replace("X-spam:2\r\n", "")),
        ] {
            let name = "X-SPAM".to_owned();
            assert_eq!(after(&Change::Remove { index, name }), (changed, want), "{index}");
        }
    }

    #[test]
    fn a_header_without_a_last_line_end_gets_one_before_more_is_added() {
        let mut section = Section::parse(b"From: a");
        section.apply(&Change::Add {
            name: "X".into(),
            value: b" y".to_vec(),
        });
        assert_eq!(section.write(), b"From: a\r\nX: y\r\n");
        let mut none = Section::parse(b"");
        none.apply(&Change::Add {
            name: "X".into(),
            value: b" y".to_vec(),
        });
        assert_eq!(none.write(), b"X: y\r\n");
    }
}
