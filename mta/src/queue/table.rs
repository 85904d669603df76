//! A table of entries by id. Ids of a spool are counted up and never used again, so those that wait together lie close:
//! 64 neighbours share one key, and a value costs its own size.
//!
//! Pure.
//!
//! ```text
//!   id / 64 ─► which of the 64 are there (a bit each), and their values side by side
//! ```

use std::collections::HashMap;

use postroad_spool::EntryId;

/// Values by id.
#[derive(Debug)]
pub struct Table<T> {
    rows: HashMap<u64, Row<T>>,
    len: usize,
}

#[derive(Debug)]
struct Row<T> {
    there: u64,
    values: Vec<T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            rows: HashMap::new(),
            len: 0,
        }
    }
}

impl<T> Table<T> {
    /// Values.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The value.
    pub fn get(&self, id: EntryId) -> Option<&T> {
        let row = self.rows.get(&number(id))?;
        row.values.get(row.position(bit(id))?)
    }

    /// The value, to be changed.
    pub fn get_mut(&mut self, id: EntryId) -> Option<&mut T> {
        let row = self.rows.get_mut(&number(id))?;
        let position = row.position(bit(id))?;
        row.values.get_mut(position)
    }

    /// Puts a value in place of another one, which is returned.
    pub fn insert(&mut self, id: EntryId, value: T) -> Option<T> {
        if let Some(known) = self.get_mut(id) {
            return Some(std::mem::replace(known, value));
        }
        let row = self.rows.entry(number(id)).or_insert_with(|| Row {
            there: 0,
            values: Vec::new(),
        });
        let before = row.before(bit(id));
        row.there |= bit(id);
        row.values.insert(before, value);
        self.len += 1;
        None
    }

    /// Takes a value out.
    pub fn remove(&mut self, id: EntryId) -> Option<T> {
        let number = number(id);
        let row = self.rows.get_mut(&number)?;
        let position = row.position(bit(id))?;
        row.there &= !bit(id);
        let value = row.values.remove(position);
        self.len -= 1;
        if row.there == 0 {
            self.rows.remove(&number);
            if self.rows.len() * 4 + FEW < self.rows.capacity() {
                self.rows.shrink_to(self.rows.len() * 2);
            }
        } else if row.values.len() * 4 <= row.values.capacity() {
            row.values.shrink_to(row.values.len() * 2);
        }
        Some(value)
    }
}

impl<T> Row<T> {
    const fn before(&self, bit: u64) -> usize {
        (self.there & (bit - 1)).count_ones() as usize
    }

    fn position(&self, bit: u64) -> Option<usize> {
        (self.there & bit != 0).then(|| self.before(bit))
    }
}

const fn number(id: EntryId) -> u64 {
    id.as_u64() / 64
}

const fn bit(id: EntryId) -> u64 {
    1 << (id.as_u64() % 64)
}

/// Room for so many rows is always kept.
const FEW: usize = 1_024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0_u64..300, any::<u8>(), any::<bool>()), 0..400)) {
            let (mut table, mut model) = (Table::default(), HashMap::new());
            for (number, value, is_in) in steps {
                let id = EntryId::from_u64(number);
                if is_in {
                    prop_assert_eq!(table.insert(id, value), model.insert(id, value));
                } else {
                    prop_assert_eq!(table.remove(id), model.remove(&id));
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert_eq!(table.get(id), model.get(&id));
            }
            for number in 0..300 {
                let id = EntryId::from_u64(number);
                prop_assert_eq!(table.get_mut(id), model.get_mut(&id));
            }
        }
    }

    #[test]
    fn what_was_taken_out_leaves_nothing_behind() {
        let mut table = Table::default();
        for round in 0..3 {
            for number in 0..100_000 {
                table.insert(EntryId::from_u64(number + round * 77), [0_u64; 3]);
            }
            for number in 0..100_000 {
                assert!(table.remove(EntryId::from_u64(number + round * 77)).is_some());
            }
            assert_eq!((table.len(), table.rows.len()), (0, 0));
            assert!(table.rows.capacity() < 8 * FEW);
        }
    }
}
