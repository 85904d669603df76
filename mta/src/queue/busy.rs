//! Which recipients of an entry are in a job: nearly always none or one, so that is kept without an allocation.

use std::collections::HashSet;

/// A set of positions in an envelope.
#[expect(
    clippy::box_collection,
    reason = "16 octets in every entry of the queue, where a set itself takes 48"
)]
#[derive(Debug, Default)]
pub enum Busy {
    /// Empty.
    #[default]
    None,
    /// One position.
    One(u32),
    /// What was more than one at some time.
    Many(Box<HashSet<u32>>),
}

impl Busy {
    /// Adds a position; false when it was there.
    pub fn insert(&mut self, position: u32) -> bool {
        match self {
            Self::None => *self = Self::One(position),
            Self::One(known) if *known == position => return false,
            Self::One(known) => *self = Self::Many(Box::new(HashSet::from([*known, position]))),
            Self::Many(known) => return known.insert(position),
        }
        true
    }

    /// Takes a position out.
    pub fn remove(&mut self, position: u32) {
        match self {
            Self::One(known) if *known == position => *self = Self::None,
            Self::None | Self::One(_) => {}
            Self::Many(known) => {
                known.remove(&position);
                if known.is_empty() {
                    *self = Self::None;
                }
            }
        }
    }

    /// Nobody is in a job.
    pub const fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_set() {
        let mut busy = Busy::default();
        for round in 0..2 {
            for position in 0..3 {
                assert!(busy.insert(position), "{round}");
                assert!(!busy.insert(position));
            }
            for position in [1, 1, 7, 0, 2] {
                assert!(!busy.is_empty());
                busy.remove(position);
            }
            assert!(busy.is_empty() && matches!(busy, Busy::None));
        }
        assert!(busy.insert(5));
        busy.remove(4);
        assert!(matches!(busy, Busy::One(5)));
        assert!(size_of::<Busy>() <= 16);
    }
}
