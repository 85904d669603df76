//! Hashes of the body while it arrives (RFC 6376 sections 3.4.3, 3.4.4 and 3.7): any chunks, bounded memory, one pass.
//!
//! ```text
//!   verifiers, signers ──want──► Wanted ──hasher──► BodyHasher ◄──update── chunks
//!                                                       │ finish
//!                                                       ▼
//!                                 BodyHashes ──► the same verifiers and signers
//! ```
//!
//! A canonical form is made once however many want it; each length (`l=`) has a hash of its own. Empty lines are counted and
//! not kept until something follows them.
//!
//! Assumes: lines end in CRLF; a bare CR or LF is data.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use memchr::{memchr, memchr3};

use super::Canonicalization;

/// Which hashes of a body will be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted(Vec<Form>);

/// A canonical form, and how many of its octets are hashed (all, where it is none).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    how: Canonicalization,
    length: Option<u64>,
}

impl Wanted {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// One hash more, over the first `length` octets of the canonical body or over all of it.
    pub fn add(&mut self, how: Canonicalization, length: Option<u64>) {
        let form = Form { how, length };
        if !self.0.contains(&form) {
            self.0.push(form);
        }
    }

    /// Whether the body need not be looked at.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What takes the body.
    pub fn hasher(&self) -> BodyHasher {
        let stream = |how| {
            let parts: Vec<Part> = self
                .0
                .iter()
                .filter(|form| form.how == how)
                .map(Part::new)
                .collect();
            (!parts.is_empty()).then(|| Stream::new(how, parts))
        };
        BodyHasher {
            streams: [Canonicalization::Simple, Canonicalization::Relaxed]
                .into_iter()
                .filter_map(stream)
                .collect(),
        }
    }
}

/// Takes a body in chunks.
#[derive(Debug)]
pub struct BodyHasher {
    streams: Vec<Stream>,
}

impl BodyHasher {
    /// The next octets.
    pub fn update(&mut self, chunk: &[u8]) {
        for stream in &mut self.streams {
            stream.update(chunk);
        }
    }

    /// The end of the body.
    pub fn finish(self) -> BodyHashes {
        BodyHashes(self.streams.into_iter().flat_map(Stream::finish).collect())
    }
}

/// Hashes of a whole body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BodyHashes(Vec<(Form, BodyHash)>);

/// One hash of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyHash {
    /// SHA-256 of what was hashed.
    pub sha256: [u8; 32],
    /// Octets of the whole canonical body.
    pub octets: u64,
}

impl BodyHashes {
    /// The hash of this form. None: it was not wanted before the body came.
    pub fn find(&self, how: Canonicalization, length: Option<u64>) -> Option<&BodyHash> {
        let wanted = Form { how, length };
        let found = self.0.iter().find(|(form, _)| *form == wanted);
        found.map(|(_, hash)| hash)
    }
}

/// One length of a canonical form.
struct Part {
    form: Form,
    left: u64,
    context: Context,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("form", &self.form)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Part {
    fn new(form: &Form) -> Self {
        Self {
            form: *form,
            left: form.length.unwrap_or(u64::MAX),
            context: Context::new(&SHA256),
        }
    }

    fn absorb(&mut self, octets: &[u8]) {
        let take = usize::try_from(self.left).map_or(octets.len(), |left| left.min(octets.len()));
        self.context.update(octets.get(..take).unwrap_or_default());
        self.left -= take as u64;
    }

    fn finish(self, octets: u64) -> (Form, BodyHash) {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.context.finish().as_ref());
        (self.form, BodyHash { sha256, octets })
    }
}

/// One canonical form in the making.
struct Stream {
    how: Canonicalization,
    parts: Vec<Part>,
    /// The last octet was a CR.
    carriage_return: bool,
    /// White space that counts only if text follows in its line.
    space: bool,
    /// Line ends that count only if text follows.
    lines: u64,
    /// Canonical octets that are not yet hashed: hashing many at once is cheaper.
    held: Vec<u8>,
    octets: u64,
}

impl fmt::Debug for Stream {
    /// Without the text that it holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("how", &self.how)
            .field("parts", &self.parts)
            .field("octets", &self.octets)
            .finish_non_exhaustive()
    }
}

impl Stream {
    fn new(how: Canonicalization, parts: Vec<Part>) -> Self {
        Self {
            how,
            parts,
            carriage_return: false,
            space: false,
            lines: 0,
            held: Vec::with_capacity(MOST_HELD),
            octets: 0,
        }
    }

    fn update(&mut self, mut rest: &[u8]) {
        while let Some(&first) = rest.first() {
            let mut taken = 1;
            if std::mem::take(&mut self.carriage_return) {
                if first == b'\n' {
                    self.end_line();
                } else {
                    self.text(b"\r");
                    taken = 0;
                }
            } else if first == b'\r' {
                self.carriage_return = true;
            } else if self.is_space(first) {
                self.space = true;
            } else {
                taken = self.run(rest);
                let text = rest.get(..taken).unwrap_or_default();
                self.text(text);
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    fn is_space(&self, octet: u8) -> bool {
        self.how == Canonicalization::Relaxed && matches!(octet, b' ' | b'\t')
    }

    /// How many octets go as they are.
    fn run(&self, rest: &[u8]) -> usize {
        let end = match self.how {
            Canonicalization::Simple => memchr(b'\r', rest),
            Canonicalization::Relaxed => memchr3(b'\r', b' ', b'\t', rest),
        };
        end.unwrap_or(rest.len())
    }

    /// White space at the end of a line is ignored (section 3.4.4).
    fn end_line(&mut self) {
        self.space = false;
        self.lines += 1;
    }

    fn text(&mut self, octets: &[u8]) {
        while self.lines > 0 {
            let some = self.lines.min(LINE_ENDS.len() as u64 / 2);
            let length = usize::try_from(some * 2).unwrap_or_default();
            self.emit(LINE_ENDS.get(..length).unwrap_or_default());
            self.lines -= some;
        }
        if std::mem::take(&mut self.space) {
            self.emit(b" ");
        }
        self.emit(octets);
    }

    fn emit(&mut self, octets: &[u8]) {
        self.octets += octets.len() as u64;
        if self.held.len() + octets.len() > MOST_HELD {
            self.flush();
        }
        if octets.len() > MOST_HELD {
            self.parts.iter_mut().for_each(|part| part.absorb(octets));
        } else {
            self.held.extend_from_slice(octets);
        }
    }

    fn flush(&mut self) {
        let Self { parts, held, .. } = self;
        for part in parts {
            part.absorb(held);
        }
        held.clear();
    }

    fn finish(mut self) -> impl Iterator<Item = (Form, BodyHash)> {
        if std::mem::take(&mut self.carriage_return) {
            self.text(b"\r");
        }
        // Empty lines at the end are ignored, and a line end is there even if the body has none. An empty body is a line
        // end in the simple form (section 3.4.3) and nothing in the relaxed one (section 3.4.4).
        if self.octets > 0 || self.how == Canonicalization::Simple {
            self.emit(b"\r\n");
        }
        self.flush();
        let octets = self.octets;
        self.parts.into_iter().map(move |part| part.finish(octets))
    }
}

/// Octets that are kept before they are hashed.
const MOST_HELD: usize = 4096;

const LINE_ENDS: &[u8] = b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n";

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::digest;

    use super::*;

    fn hash(how: Canonicalization, length: Option<u64>, chunks: &[&[u8]]) -> BodyHash {
        let mut wanted = Wanted::new();
        wanted.add(how, length);
        let mut hasher = wanted.hasher();
        for chunk in chunks {
            hasher.update(chunk);
        }
        *hasher.finish().find(how, length).unwrap()
    }

    fn sha256(text: &[u8]) -> Vec<u8> {
        digest(&SHA256, text).as_ref().to_vec()
    }

    /// What a body is in both forms.
    const FORMS: &[(&str, &str, &str)] = &[
        ("", "\r\n", ""),
        ("\r\n", "\r\n", ""),
        ("\r\n\r\n\r\n", "\r\n", ""),
        (" \t\r\n \r\n", " \t\r\n \r\n", ""),
        (" ", " \r\n", ""),
        ("a", "a\r\n", "a\r\n"),
        ("a\r\n", "a\r\n", "a\r\n"),
        ("a\r\n\r\n\r\n", "a\r\n", "a\r\n"),
        ("a\r\n\r\nb", "a\r\n\r\nb\r\n", "a\r\n\r\nb\r\n"),
        // The example of RFC 6376 section 3.4.5.
        (" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"),
        ("a  \r\n  \r\n\tb", "a  \r\n  \r\n\tb\r\n", "a\r\n\r\n b\r\n"),
        (
            "a\r\r\nb \rc\n d\r",
            "a\r\r\nb \rc\n d\r\r\n",
            "a\r\r\nb \rc\n d\r\r\n",
        ),
        ("a \r", "a \r\r\n", "a \r\r\n"),
    ];

    #[test]
    fn bodies_have_their_canonical_forms() {
        for (body, simple, relaxed) in FORMS {
            for (how, want) in [
                (Canonicalization::Simple, simple),
                (Canonicalization::Relaxed, relaxed),
            ] {
                let whole = hash(how, None, &[body.as_bytes()]);
                assert_eq!(whole.sha256.to_vec(), sha256(want.as_bytes()), "{how} {body:?}");
                assert_eq!(whole.octets, want.len() as u64, "{how} {body:?}");
                let octets: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
                assert_eq!(hash(how, None, &octets), whole, "{how} {body:?} by octets");
            }
        }
    }

    #[test]
    fn a_length_hashes_the_first_octets_and_tells_all() {
        let body: &[u8] = b"abc  d\r\n\r\ne\r\n\r\n";
        for (length, want) in [
            (0, &b""[..]),
            (2, b"ab"),
            (7, b"abc d\r\n"),
            (12, b"abc d\r\n\r\ne\r\n"),
            (900, b"abc d\r\n\r\ne\r\n"),
        ] {
            let hash = hash(Canonicalization::Relaxed, Some(length), &[body]);
            assert_eq!(hash.sha256.to_vec(), sha256(want), "{length}");
            assert_eq!(hash.octets, 12);
        }
    }

    #[test]
    fn many_empty_lines_are_counted_and_not_kept() {
        let mut text = vec![b'a'];
        (0..10_000).for_each(|_| text.extend_from_slice(b"\r\n"));
        text.extend_from_slice(b"b");
        let mut canonical = text.clone();
        canonical.extend_from_slice(b"\r\n");
        for how in [Canonicalization::Simple, Canonicalization::Relaxed] {
            assert_eq!(hash(how, None, &[&text]).sha256.to_vec(), sha256(&canonical));
        }
    }

    #[test]
    fn memory_does_not_grow_with_the_body() {
        let mut wanted = Wanted::new();
        wanted.add(Canonicalization::Relaxed, None);
        let mut hasher = wanted.hasher();
        for chunk in [
            &b"word ".repeat(200_000),
            &b"\r\n".repeat(200_000),
            &vec![b'x'; 1_000_000],
        ] {
            hasher.update(chunk);
            assert!(
                hasher
                    .streams
                    .iter()
                    .all(|stream| stream.held.capacity() == MOST_HELD)
            );
        }
    }

    #[test]
    fn one_canonical_form_serves_all_who_want_it() {
        let mut wanted = Wanted::new();
        for length in [None, Some(1), None, Some(1)] {
            wanted.add(Canonicalization::Simple, length);
        }
        let serving = wanted.hasher();
        let parts: Vec<usize> = serving.streams.iter().map(|stream| stream.parts.len()).collect();
        assert_eq!(parts, [2]);
        let hashes = serving.finish();
        assert!(hashes.find(Canonicalization::Simple, Some(1)).is_some());
        assert_eq!(hashes.find(Canonicalization::Relaxed, None), None);
    }
}
