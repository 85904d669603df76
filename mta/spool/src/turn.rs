//! Which format is written, and the turn from one to the other while mail comes in.
//!
//! ```text
//!   Spool::set_write_format ─► committer: goes on in a new segment of that format
//!                           └► keeper: free segments get a new header; segments of the other format are emptied
//! ```
//!
//! A newer segment with a message that the older format cannot say stays until that message has ended. Once it is gone,
//! nothing newer is on disk ([`Spool::format_on_disk`]), and an older version opens the spool. The other way: once nothing
//! older is on disk, the version behind the next one opens it, however long mail waits.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::Arc;

use crate::completion::Completion;
use crate::errors::CommitError;
use crate::format::{FIRST, OLDEST, is_known};
use crate::index::{Epoch, Index};
use crate::keeper::{self, Keeper};
use crate::shared::Job;
use crate::spool::Spool;

impl Spool {
    /// The format of segments that are begun.
    pub fn write_format(&self) -> u32 {
        self.shared().write_format()
    }

    /// Writes this format from now on, in a new segment. Ready when that is durable. What is stored stays readable here;
    /// a message that the new format cannot say is refused with [`CommitError::Format`].
    pub fn set_write_format(&self, format: u32) -> Completion<()> {
        if !is_known(format) {
            return Completion::known(Err(CommitError::Format));
        }
        self.shared().set_write_format(format);
        let (reply, completion) = Completion::channel();
        self.shared().submit(Job::Turn(reply));
        completion
    }

    /// After a start with another format than the last segment has: as if it had been turned now.
    pub(crate) fn turn_if_other(&self) {
        let other = {
            let index = self.shared().index();
            let active = index.active.and_then(|epoch| index.segments.get(&epoch));
            active.is_some_and(|segment| segment.format != self.write_format())
        };
        if other {
            // Nobody waits for it. On a full volume it comes with the next segment.
            let (reply, _) = Completion::channel();
            self.shared().submit(Job::Turn(reply));
        }
    }

    /// Whether envelopes with [`Envelope::require_tls`] and [`Envelope::deliver_by`] are taken: offer REQUIRETLS and
    /// DELIVERBY only then.
    ///
    /// [`Envelope::require_tls`]: crate::Envelope::require_tls
    /// [`Envelope::deliver_by`]: crate::Envelope::deliver_by
    pub fn keeps_extensions(&self) -> bool {
        self.write_format() > FIRST
    }

    /// The newest format of any segment on disk.
    pub fn format_on_disk(&self) -> u32 {
        self.shared().index().newest_format()
    }
}

impl Index {
    /// How many segments there are of each format, free ones included; 0 where the header could not be read.
    pub fn formats(&self) -> BTreeMap<u32, usize> {
        let used = self.segments.values().map(|segment| segment.format);
        let mut formats = BTreeMap::new();
        let free = self.free.iter().map(|free| free.format);
        let taken = self.taken.iter().map(|taken| taken.format);
        for format in used.chain(free).chain(taken) {
            *formats.entry(format).or_default() += 1;
        }
        formats
    }

    /// The newest format of any segment, free ones included.
    pub fn newest_format(&self) -> u32 {
        let newest = self.formats().last_key_value().map(|(format, _)| *format);
        newest.filter(|format| is_known(*format)).unwrap_or(OLDEST)
    }

    /// Segments whose messages cannot all be said in this format. They are not emptied while it is written.
    pub fn unsayable(&self, format: u32) -> HashSet<Epoch> {
        if format > OLDEST {
            return HashSet::new();
        }
        let newer = self.segments.iter().filter(|(_, segment)| segment.newer > 0);
        newer.map(|(epoch, _)| *epoch).collect()
    }

    /// A closed segment of another format than this that can be emptied.
    fn other_than(&self, format: u32, but: &HashSet<Epoch>) -> Option<Epoch> {
        let unsayable = self.unsayable(format);
        let closed = self
            .segments
            .iter()
            .filter(|(epoch, _)| Some(**epoch) != self.active);
        closed
            .filter(|(_, segment)| segment.format != format)
            .map(|(epoch, _)| *epoch)
            .find(|epoch| !unsayable.contains(epoch) && !but.contains(epoch))
    }
}

impl Keeper {
    /// Brings what is on disk to the format that is written, as far as it can be said in it.
    pub(crate) fn turn(&mut self) {
        if let Err(error) = self.turn_free() {
            return self.shared.fail("the header of a segment", &error);
        }
        let format = self.shared.write_format();
        if self.turned_to != format {
            self.turned_to = format;
            self.stuck.clear();
        }
        while !self.is_called_away() {
            let other = self.shared.index().other_than(format, &self.stuck);
            let Some(epoch) = other else { return };
            if self.empty(epoch).is_err() {
                // No space, or the format has changed again: the next round finds out.
                return;
            }
            if self.shared.index().segments.contains_key(&epoch) {
                self.stuck.insert(epoch);
            }
        }
    }

    /// Free segments get the header of the present format.
    fn turn_free(&self) -> io::Result<()> {
        while !self.is_called_away() {
            let format = self.shared.write_format();
            let mut free = {
                let mut index = self.shared.index();
                let Some(at) = index.free.iter().position(|free| free.format != format) else {
                    return Ok(());
                };
                index.take_free(at, format)
            };
            let file = Arc::clone(&free.file);
            free.epoch = keeper::write_header(&self.shared, file.as_ref(), format)?;
            free.format = format;
            let mut index = self.shared.index();
            index.placed(free.number);
            index.add_free(free);
        }
        Ok(())
    }

    /// Somebody waits for what this round has tried already: it ends, and the turn goes on in the one behind it.
    fn is_called_away(&self) -> bool {
        let away = self.shared.pressing().is_some();
        if away {
            self.shared.poke();
        }
        away
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::format::NEWEST;
    use crate::io::memory::Memory;
    use crate::types::{EntryId, Envelope, Options};

    fn put(spool: &Spool, envelope: Envelope, len: usize) -> EntryId {
        let mut incoming = spool.begin();
        incoming.write(&vec![b'x'; len]).unwrap();
        incoming.commit(envelope, Vec::new()).wait().unwrap()
    }

    fn open(volume: &Memory) -> Spool {
        let options = Options {
            segment_size: Some(64 << 10),
            checkpoint_segments: 0,
            write_format: NEWEST,
            ..Options::default()
        };
        Spool::open_on(Arc::new(volume.clone()), Path::new("/s"), &options)
            .unwrap()
            .0
    }

    /// Until the keeper of the spool has tried to have enough free segments.
    fn provided(spool: &Spool) {
        let asked = spool.shared().request_space();
        while !spool.shared().answered(asked) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn who_waits_for_a_segment_does_not_wait_for_the_turn() {
        let spool = open(&Memory::new(64 << 20));
        while spool.shared().index().rolled < 4 {
            put(&spool, Envelope::default(), 10 << 10);
        }
        provided(&spool);
        // The spool's own keeper does not do it.
        let _only = spool.shared().keeping();
        spool.shared().set_write_format(OLDEST);
        let formats = || spool.shared().index().formats();
        let before = formats();
        let mut keeper = Keeper::new(Arc::clone(spool.shared()));
        let request = spool.shared().request_space();
        keeper.turn();
        assert_eq!(formats(), before);
        spool.shared().answer(request);
        keeper.turn();
        let other = spool.shared().index().other_than(OLDEST, &HashSet::new());
        assert_eq!(other, None, "{:?}", formats());
    }

    /// Without looking at each entry, as it is asked in every round of the keeper, while the index is locked.
    #[test]
    fn what_holds_a_segment_at_its_format_is_counted_as_a_recount_finds() {
        let agrees = |spool: &Spool| {
            let index = spool.shared().index();
            let newer = index.entries.values().filter(|e| u32::from(e.format) > OLDEST);
            let mut recount = BTreeMap::new();
            for entry in newer {
                *recount.entry(entry.home.epoch).or_insert(0) += 1;
            }
            let counted = index.segments.iter().filter(|(_, segment)| segment.newer > 0);
            let counted: BTreeMap<Epoch, u32> = counted.map(|(epoch, s)| (*epoch, s.newer)).collect();
            assert_eq!(counted, recount);
            assert_eq!(index.unsayable(OLDEST), recount.keys().copied().collect());
            assert!(index.unsayable(NEWEST).is_empty());
            recount.len()
        };
        let volume = Memory::new(64 << 20);
        let spool = open(&volume);
        let mut newer = Vec::new();
        while spool.shared().index().rolled < 3 {
            let promise = Envelope {
                require_tls: true,
                ..Envelope::default()
            };
            newer.push(put(&spool, promise, 1 << 10));
            put(&spool, Envelope::default(), 10 << 10);
        }
        assert!(agrees(&spool) > 1);
        spool.finish(newer.remove(0)).unwrap();
        spool.flush().wait().unwrap();
        agrees(&spool);
        let first = spool.shared().index().entries.get(newer[0]).unwrap().home.epoch;
        {
            let _only = spool.shared().keeping();
            Keeper::new(Arc::clone(spool.shared())).empty(first).unwrap();
        }
        assert!(!spool.shared().index().exists(first));
        agrees(&spool);
        assert!(spool.checkpoint().unwrap());
        drop(spool);
        let spool = open(&volume);
        assert!(agrees(&spool) > 0, "from a checkpoint");
        drop(spool);
        crate::checkpoint::remove(&volume, Path::new("/s")).unwrap();
        assert!(agrees(&open(&volume)) > 0, "from the log");
    }
}
