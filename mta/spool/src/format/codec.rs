//! Primitive values as bytes.

use crate::handover::TransferId;
use crate::types::{EntryId, SpoolUuid};

/// No entry and no batch has such a number. Behind damage the text of a message may stand where the spool's own numbers are
/// expected; such a number would make all that is written later look old, or be taken for damage itself.
pub const BEYOND: u64 = u64::MAX / 2;

/// Appends values to bytes.
#[derive(Debug, Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A count; what does not fit in 32 bits never fits in a segment and is refused before.
    pub fn count(&mut self, value: usize) {
        self.u32(u32::try_from(value).unwrap_or(u32::MAX));
    }

    pub fn text(&mut self, value: &str) {
        self.count(value.len());
        self.0.extend_from_slice(value.as_bytes());
    }

    pub fn optional(&mut self, value: Option<&str>) {
        self.u8(u8::from(value.is_some()));
        if let Some(text) = value {
            self.text(text);
        }
    }

    pub fn transfer(&mut self, value: &TransferId) {
        self.0.extend_from_slice(&value.source.0);
        self.u64(value.seal);
        self.u64(value.entry.as_u64());
        self.u32(value.generation);
    }

    pub fn epochs(&mut self, values: &[u64]) {
        self.count(values.len());
        for value in values {
            self.u64(*value);
        }
    }
}

/// Takes values off the front of bytes; `None` is "not of this form".
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    /// A count of things that take `least` bytes each at least: never more than the bytes can hold.
    pub fn count(&mut self, least: usize) -> Option<usize> {
        let count = usize::try_from(self.u32()?).ok()?;
        (count.checked_mul(least)? <= self.0.len()).then_some(count)
    }

    pub fn text(&mut self) -> Option<String> {
        let count = self.count(1)?;
        String::from_utf8(self.take(count)?.to_vec()).ok()
    }

    #[expect(
        clippy::option_option,
        reason = "the outer one is 'not of this form', as everywhere here"
    )]
    pub fn optional(&mut self) -> Option<Option<String>> {
        match self.u8()? {
            0 => Some(None),
            1 => self.text().map(Some),
            _ => None,
        }
    }

    pub fn uuid(&mut self) -> Option<SpoolUuid> {
        Some(SpoolUuid(self.take(16)?.try_into().ok()?))
    }

    /// The number of an entry or a batch.
    pub fn number(&mut self) -> Option<u64> {
        self.u64().filter(|number| *number < BEYOND)
    }

    pub fn transfer(&mut self) -> Option<TransferId> {
        Some(TransferId {
            source: self.uuid()?,
            seal: self.u64()?,
            entry: EntryId::from_u64(self.u64()?),
            generation: self.u32()?,
        })
    }

    pub fn epochs(&mut self) -> Option<Vec<u64>> {
        let count = self.count(8)?;
        (0..count).map(|_| self.u64()).collect()
    }
}
