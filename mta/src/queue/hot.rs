//! Messages that were read to be sorted and are about to be tried: kept for that moment, so that fresh mail is read once
//! and no thread is woken for it again.
//!
//! ```text
//!   due ─► sort: one read ─► put ─► job: get ─► connection      ended with some left, withdrawn: drop
//!                             └─ over the bound: the oldest go, and are read again by their job
//! ```
//!
//! May assume: the state of a recipient changes by its own job alone, after which the copy here is dropped.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use postroad_spool::{EntryId, Item, Message};

/// A message as it was read.
#[derive(Debug)]
pub struct Fresh {
    /// Its envelope, states and prefix.
    pub item: Item,
    /// Octets of prefix and body.
    pub size: u64,
    /// Prefix and body, where they are small.
    pub octets: Option<Arc<[u8]>>,
    /// The volume has lost the body, or gives back another.
    pub lost: bool,
}

impl Fresh {
    /// Reads a message; a small one whole. Blocks.
    ///
    /// A body that has not its checksum is lost.
    pub fn read(mut message: Message) -> io::Result<Self> {
        let size = message.item.prefix.len() as u64 + message.body.len();
        let mut lost = message.body.is_lost();
        let octets = if size <= SMALL && !lost {
            let mut octets = message.item.prefix.clone();
            match message.body.read_to_end(&mut octets) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => lost = true,
                read => drop(read?),
            }
            (!lost).then(|| octets.into())
        } else {
            None
        };
        Ok(Self {
            item: message.item,
            size,
            octets,
            lost,
        })
    }

    /// About what it takes in memory.
    fn cost(&self) -> usize {
        let octets = self.octets.as_ref().map_or(0, |octets| octets.len());
        octets + self.item.prefix.len() + self.item.recipients.len() * A_RECIPIENT + A_RECIPIENT
    }
}

/// The messages. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hot(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    /// Each with the number of its stay.
    messages: HashMap<EntryId, (u64, Arc<Fresh>)>,
    /// Oldest first; may name stays that are over.
    order: VecDeque<(EntryId, u64)>,
    stays: u64,
    cost: usize,
    most: usize,
}

impl Hot {
    /// Holds about so many octets.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Held {
            most,
            ..Held::default()
        })))
    }

    /// Keeps a message.
    pub fn put(&self, entry: EntryId, message: Arc<Fresh>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.forget(entry);
        held.stays += 1;
        let stay = held.stays;
        held.cost += message.cost();
        held.messages.insert(entry, (stay, message));
        held.order.push_back((entry, stay));
        held.make_room();
    }

    /// The message, where it is here.
    pub fn get(&self, entry: EntryId) -> Option<Arc<Fresh>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.messages.get(&entry).map(|(_, message)| message.clone())
    }

    /// Forgets a message.
    pub fn forget(&self, entry: EntryId) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.forget(entry);
    }
}

impl Held {
    fn forget(&mut self, entry: EntryId) {
        if let Some((_, message)) = self.messages.remove(&entry) {
            self.cost = self.cost.saturating_sub(message.cost());
        }
    }

    fn make_room(&mut self) {
        while self.cost > self.most {
            let Some((oldest, stay)) = self.order.pop_front() else {
                return;
            };
            if self.messages.get(&oldest).is_some_and(|(of, _)| *of == stay) {
                self.forget(oldest);
            }
        }
        if self.order.len() > self.messages.len() * 2 + MOST_GHOSTS {
            let messages = &self.messages;
            self.order
                .retain(|(entry, stay)| messages.get(entry).is_some_and(|(of, _)| of == stay));
        }
    }
}

/// Larger messages are read piece by piece as they go out.
const SMALL: u64 = 128 << 10;
/// What a recipient takes with its state, about.
const A_RECIPIENT: usize = 256;
/// Names of messages that are gone are swept out when there are more than this.
const MOST_GHOSTS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use postroad_spool::{Envelope, RecipientState};

    fn fresh(octets: usize) -> Arc<Fresh> {
        let item = Item {
            envelope: Envelope::default(),
            recipients: vec![RecipientState::default()],
            prefix: vec![],
        };
        Arc::new(Fresh {
            item,
            size: octets as u64,
            octets: Some(vec![0; octets].into()),
            lost: false,
        })
    }

    fn id(number: u64) -> EntryId {
        EntryId::from_u64(number)
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let hot = Hot::new(10_000);
        for number in 0..100 {
            hot.put(id(number), fresh(1_000));
            assert!(hot.get(id(number)).is_some());
        }
        let held = hot.0.lock().unwrap();
        assert!(held.cost <= held.most && held.messages.len() > 4);
        assert!(!held.messages.contains_key(&id(0)));
    }

    #[test]
    fn what_was_dropped_leaves_nothing_behind() {
        let hot = Hot::new(1 << 20);
        for number in 0..10_000 {
            hot.put(id(number), fresh(10));
            hot.put(id(number), fresh(20));
            hot.forget(id(number));
            hot.forget(id(number));
        }
        let held = hot.0.lock().unwrap();
        assert_eq!((held.cost, held.messages.len()), (0, 0));
        assert!(held.order.len() <= MOST_GHOSTS + 2);
    }

    #[test]
    fn one_that_is_larger_than_all_room_is_not_kept() {
        let hot = Hot::new(100);
        hot.put(id(1), fresh(1_000));
        assert!(hot.get(id(1)).is_none());
    }
}
