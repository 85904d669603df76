//! A map from entry ids to small values, for a million of them.
//!
//! Ids are handed out in increasing order and live together, so 64 neighbours share a chunk: a bit for each that is
//! there, and their values side by side. That costs next to nothing beside the values, keeps them in order of their
//! ids, and grows without ever moving all of them at once, as a hash table does.
//!
//! ```text
//!   id ─► id / 64 ─► chunk: present 0b…1011 │ value 0 │ value 1 │ value 3 │
//! ```

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::types::EntryId;

/// See the module.
#[derive(Clone, Debug)]
pub struct Table<V> {
    chunks: BTreeMap<u64, Chunk<V>>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Chunk<V> {
    /// Which of the 64 ids are there.
    present: u64,
    /// Their values, in order of the ids.
    values: Vec<V>,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self {
            chunks: BTreeMap::new(),
            len: 0,
        }
    }
}

impl<V> Table<V> {
    /// How many there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// There are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of an id.
    pub fn get(&self, id: EntryId) -> Option<&V> {
        let (chunk, bit) = place(id);
        let chunk = self.chunks.get(&chunk)?;
        chunk.values.get(chunk.position(bit)?)
    }

    /// The value of an id, to be changed.
    pub fn get_mut(&mut self, id: EntryId) -> Option<&mut V> {
        let (chunk, bit) = place(id);
        let chunk = self.chunks.get_mut(&chunk)?;
        let at = chunk.position(bit)?;
        chunk.values.get_mut(at)
    }

    /// The id is there.
    pub fn contains(&self, id: EntryId) -> bool {
        self.get(id).is_some()
    }

    /// Puts a value in; returns the one that was there.
    pub fn insert(&mut self, id: EntryId, value: V) -> Option<V> {
        let (chunk, bit) = place(id);
        let old = self.chunks.entry(chunk).or_default().insert(bit, value);
        self.len += usize::from(old.is_none());
        old
    }

    /// Takes a value out.
    pub fn remove(&mut self, id: EntryId) -> Option<V> {
        let (number, bit) = place(id);
        let chunk = self.chunks.get_mut(&number)?;
        let value = chunk.remove(bit)?;
        if chunk.present == 0 {
            self.chunks.remove(&number);
        }
        self.len -= 1;
        Some(value)
    }

    /// All, in order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = (EntryId, &V)> {
        self.chunks.iter().flat_map(|(number, chunk)| chunk.iter(*number))
    }

    /// Those behind this id, or all, in their order. Cheap to begin anywhere.
    pub fn iter_behind(&self, after: Option<EntryId>) -> impl Iterator<Item = (EntryId, &V)> {
        let first = after.map_or(Bound::Unbounded, |id| Bound::Included(place(id).0));
        let chunks = self.chunks.range((first, Bound::Unbounded));
        let all = chunks.flat_map(|(number, chunk)| chunk.iter(*number));
        all.skip_while(move |(id, _)| after.is_some_and(|after| *id <= after))
    }

    /// All values, in order of their ids.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.chunks.values().flat_map(|chunk| chunk.values.iter())
    }
}

impl<V> Default for Chunk<V> {
    fn default() -> Self {
        Self {
            present: 0,
            values: Vec::new(),
        }
    }
}

impl<V> Chunk<V> {
    /// Where the value of this bit would be.
    const fn rank(&self, bit: u32) -> usize {
        (self.present & ((1 << bit) - 1)).count_ones() as usize
    }

    fn position(&self, bit: u32) -> Option<usize> {
        (self.present >> bit & 1 == 1).then(|| self.rank(bit))
    }

    fn insert(&mut self, bit: u32, value: V) -> Option<V> {
        if let Some(slot) = self.position(bit).and_then(|at| self.values.get_mut(at)) {
            return Some(std::mem::replace(slot, value));
        }
        let len = self.values.len();
        if len == self.values.capacity() {
            self.values.reserve_exact(room(len + 1) - len);
        }
        self.values.insert(self.rank(bit), value);
        self.present |= 1 << bit;
        None
    }

    fn remove(&mut self, bit: u32) -> Option<V> {
        let value = self.values.remove(self.position(bit)?);
        self.present &= !(1 << bit);
        let room = room(self.values.len());
        if self.values.capacity() > room + STEP {
            self.values.shrink_to(room);
        }
        Some(value)
    }

    fn iter(&self, number: u64) -> impl Iterator<Item = (EntryId, &V)> {
        let mut left = self.present;
        let ids = std::iter::from_fn(move || {
            let bit = u64::from((left != 0).then(|| left.trailing_zeros())?);
            left &= left - 1;
            Some(EntryId::from_u64(number << CHUNK_BITS | bit))
        });
        ids.zip(&self.values)
    }
}

fn place(id: EntryId) -> (u64, u32) {
    let number = id.as_u64();
    let bit = number & ((1 << CHUNK_BITS) - 1);
    (number >> CHUNK_BITS, u32::try_from(bit).unwrap_or_default())
}

/// Places that are kept for so many values.
const fn room(len: usize) -> usize {
    if len <= STEP {
        len.next_power_of_two()
    } else {
        len.next_multiple_of(STEP)
    }
}

/// 64 ids in a chunk: as many as a number has bits.
const CHUNK_BITS: u32 = 6;

/// A chunk grows and shrinks by so many places.
const STEP: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u64) -> EntryId {
        EntryId::from_u64(number)
    }

    proptest! {
        #[test]
        fn a_table_is_an_ordered_map(steps in proptest::collection::vec((any::<bool>(), 0_u64..300, any::<u32>()), 0..400)) {
            let (mut table, mut map) = (Table::default(), BTreeMap::new());
            for (insert, number, value) in steps {
                if insert {
                    prop_assert_eq!(table.insert(id(number), value), map.insert(id(number), value));
                } else {
                    prop_assert_eq!(table.remove(id(number)), map.remove(&id(number)));
                }
                prop_assert_eq!(table.get(id(number)), map.get(&id(number)));
                prop_assert_eq!(table.len(), map.len());
            }
            prop_assert!(table.iter().eq(map.iter().map(|(id, value)| (*id, value))));
            prop_assert!(table.values().eq(map.values()));
            for after in [0, 63, 64, 100, 299] {
                let behind = map.range((Bound::Excluded(id(after)), Bound::Unbounded));
                prop_assert!(table.iter_behind(Some(id(after))).eq(behind.map(|(id, value)| (*id, value))));
            }
            prop_assert!(table.iter_behind(None).eq(table.iter()));
        }
    }

    #[test]
    fn the_largest_id_has_a_place() {
        let mut table = Table::default();
        table.insert(id(u64::MAX), 1);
        table.insert(id(0), 2);
        *table.get_mut(id(0)).unwrap() += 1;
        assert_eq!(
            table.iter().collect::<Vec<_>>(),
            [(id(0), &3), (id(u64::MAX), &1)]
        );
        assert!(table.contains(id(u64::MAX)) && !table.contains(id(1)));
        assert_eq!(table.remove(id(u64::MAX)), Some(1));
        assert_eq!((table.chunks.len(), table.is_empty()), (1, false));
    }

    #[test]
    fn places_that_nobody_needs_are_given_back() {
        let mut table: Table<u64> = (0..64).fold(Table::default(), |mut table, number| {
            table.insert(id(number), number);
            table
        });
        let places = |table: &Table<u64>| table.chunks.values().map(|c| c.values.capacity()).sum::<usize>();
        assert_eq!(places(&table), 64, "none more than there are values");
        for number in 1..64 {
            table.remove(id(number));
        }
        assert!(places(&table) <= 2 * STEP, "{}", places(&table));
        table.remove(id(0));
        assert_eq!(table.chunks.len(), 0);
    }
}
