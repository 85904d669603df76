//! The header section as fields that keep their octets: what is signed is what was sent.
//!
//! Assumes: lines end in CRLF; a bare CR or LF is data like any other octet, so that nothing is taken for a field that the
//! transport does not see as a line.

use memchr::memchr_iter;

/// Fields of a message, top to bottom.
#[derive(Clone, Debug)]
pub struct Header<'a> {
    fields: Vec<Field<'a>>,
    /// Positions in `fields`, by name without regard to case, then from bottom to top.
    by_name: Vec<usize>,
    begins_folded: bool,
}

/// One field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Without the last CRLF.
    raw: &'a [u8],
    colon: usize,
}

impl<'a> Header<'a> {
    /// Reads fields up to the first empty line or the end. Lines that belong to no field (RFC 5322 section 2.2) are left out.
    pub fn parse(section: &'a [u8]) -> Self {
        let begins_folded = matches!(section.first(), Some(b' ' | b'\t'));
        let mut fields = Vec::new();
        let mut start = 0;
        for (from, to) in lines(section) {
            if matches!(section.get(from), Some(b' ' | b'\t')) {
                continue;
            }
            fields.extend(section.get(start..from).and_then(Field::parse));
            start = from;
            if from == to {
                return Self::of(fields, begins_folded);
            }
        }
        fields.extend(section.get(start..).and_then(Field::parse));
        Self::of(fields, begins_folded)
    }

    fn of(fields: Vec<Field<'a>>, begins_folded: bool) -> Self {
        let mut by_name: Vec<usize> = (0..fields.len()).collect();
        by_name.sort_by(|a, b| {
            let order = match (fields.get(*a), fields.get(*b)) {
                (Some(one), Some(other)) => compare(one.name(), other.name()),
                _ => std::cmp::Ordering::Equal,
            };
            order.then(b.cmp(a))
        });
        Self {
            fields,
            by_name,
            begins_folded,
        }
    }

    /// Cuts a message into its header section and its body. The empty line belongs to neither.
    pub fn split(message: &[u8]) -> (&[u8], &[u8]) {
        if let Some(body) = message.strip_prefix(b"\r\n") {
            return (&[], body);
        }
        match memchr::memmem::find(message, b"\r\n\r\n") {
            Some(at) => {
                let (header, rest) = message.split_at(at + 2);
                (header, rest.get(2..).unwrap_or_default())
            }
            None => (message, &[]),
        }
    }

    /// Its first line goes on with a field that is not there (RFC 5322 section 2.2.3): below a field that is put before the
    /// message, it would become a part of that one.
    pub const fn begins_folded(&self) -> bool {
        self.begins_folded
    }

    /// All fields, top to bottom.
    pub fn fields(&self) -> &[Field<'a>] {
        &self.fields
    }

    /// Fields of a name, without regard to case, top to bottom.
    pub fn named<'s>(&'s self, name: &str) -> impl DoubleEndedIterator<Item = &'s Field<'a>> {
        self.positions(name.as_bytes())
            .iter()
            .rev()
            .filter_map(|at| self.fields.get(*at))
    }

    /// Positions of the fields of a name, bottom to top.
    pub(crate) fn positions(&self, name: &[u8]) -> &[usize] {
        let name_at = |at: &usize| self.fields.get(*at).map_or(&[][..], Field::name);
        let from = self
            .by_name
            .partition_point(|at| compare(name_at(at), name).is_lt());
        let to = self
            .by_name
            .partition_point(|at| compare(name_at(at), name).is_le());
        self.by_name.get(from..to).unwrap_or_default()
    }
}

impl<'a> Field<'a> {
    /// One field with its lines; the last CRLF may be there or not. None: it has no proper name.
    pub(crate) fn parse(raw: &'a [u8]) -> Option<Self> {
        let raw = raw.strip_suffix(b"\r\n").unwrap_or(raw);
        let colon = memchr::memchr(b':', raw)?;
        let field = Self { raw, colon };
        // RFC 5322 section 3.6.8; white space before the colon is obsolete (section 4.5) but seen.
        let sound = !field.name().is_empty() && field.name().iter().all(u8::is_ascii_graphic);
        sound.then_some(field)
    }

    /// The name as written.
    pub fn name(&self) -> &'a [u8] {
        self.raw.get(..self.colon).unwrap_or_default().trim_ascii_end()
    }

    /// What follows the colon, folding included, without the last CRLF.
    pub fn value(&self) -> &'a [u8] {
        self.raw.get(self.colon + 1..).unwrap_or_default()
    }

    /// The octets of the field, without the last CRLF.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The field without some octets of its value.
    pub(crate) fn without(&self, span: std::ops::Range<usize>) -> Vec<u8> {
        let value_at = self.colon + 1;
        let mut left = self.raw.get(..value_at + span.start).unwrap_or_default().to_vec();
        left.extend_from_slice(self.raw.get(value_at + span.end..).unwrap_or_default());
        left
    }
}

/// Start and end of each line, the end before its CRLF.
fn lines(section: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let ends = memchr_iter(b'\n', section)
        .filter(move |at| *at > 0 && section.get(at - 1) == Some(&b'\r'))
        .map(|at| (at - 1, at + 1));
    let mut start = 0;
    ends.chain(std::iter::once((section.len(), section.len())))
        .filter_map(move |(end, next)| {
            let from = std::mem::replace(&mut start, next);
            // What follows the last CRLF is a line only if there is something.
            (from < next).then_some((from, end))
        })
}

fn compare(one: &[u8], other: &[u8]) -> std::cmp::Ordering {
    let lower = |name: &'_ u8| name.to_ascii_lowercase();
    one.iter().map(lower).cmp(other.iter().map(lower))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(section: &str) -> Vec<String> {
        Header::parse(section.as_bytes())
            .fields()
            .iter()
            .map(|field| String::from_utf8_lossy(field.name()).into_owned())
            .collect()
    }

    #[test]
    fn fields_keep_their_octets_and_their_order() {
        let section = b"A: 1\r\n x\r\nB:2\r\n\tY\r\na : 3\r\n\r\nC: body\r\n";
        let header = Header::parse(section);
        let raw: Vec<&[u8]> = header.fields().iter().map(Field::raw).collect();
        assert_eq!(raw, [&b"A: 1\r\n x"[..], b"B:2\r\n\tY", b"a : 3"]);
        let values: Vec<&[u8]> = header.named("a").map(Field::value).collect();
        assert_eq!(values, [&b" 1\r\n x"[..], b" 3"]);
        assert_eq!(header.positions(b"A"), [2, 0]);
    }

    #[test]
    fn what_is_no_field_is_left_out() {
        assert_eq!(
            names(" lost\r\nA: 1\r\nno colon\r\n more\r\n: no name\r\nB: 2"),
            ["A", "B"]
        );
        assert_eq!(names(""), [""; 0]);
        assert_eq!(names("\r\nA: 1\r\n"), [""; 0]);
    }

    #[test]
    fn a_bare_line_feed_or_carriage_return_begins_no_field() {
        let header = Header::parse(b"A: 1\nFrom: x\r\nB: 2\rC: 3\r\n");
        assert_eq!(header.fields().len(), 2);
        assert_eq!(header.named("From").count(), 0);
    }

    #[test]
    fn a_message_is_cut_at_its_first_empty_line() {
        for (message, header, body) in [
            ("A: 1\r\n\r\nx\r\n\r\ny", "A: 1\r\n", "x\r\n\r\ny"),
            ("\r\nx", "", "x"),
            ("A: 1\r\n", "A: 1\r\n", ""),
            ("A: 1\r\n\r\n", "A: 1\r\n", ""),
        ] {
            let cut = Header::split(message.as_bytes());
            assert_eq!(cut, (header.as_bytes(), body.as_bytes()), "{message:?}");
        }
    }
}
