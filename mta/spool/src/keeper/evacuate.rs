//! Copies what lives out of a closed segment, step by step, at the pace of [`super::pace`].

use std::sync::Arc;
use std::time::Instant;

use super::pace::Step;
use super::{Keeper, SPARE};
use crate::completion::Completion;
use crate::errors::CommitError;
use crate::format::frame::Frame;
use crate::index::Epoch;
use crate::io::File;
use crate::shared::{Job, Survivor};
use crate::types::EntryId;

/// Copies handed to the committer at once: so many octets,
const COPY_BYTES: usize = 1 << 20;
/// or so many records.
const COPY_RECORDS: usize = 1024;
/// Entries looked at while the index is locked.
const LOOK: usize = 4096;

/// Copies on their way to the committer.
#[derive(Debug, Default)]
struct Load {
    survivors: Vec<Survivor>,
    octets: usize,
}

impl Load {
    fn put(&mut self, survivor: Survivor) {
        if let Survivor::Message(_, payload) = &survivor {
            self.octets += payload.len();
        }
        self.survivors.push(survivor);
    }

    fn is_full(&self) -> bool {
        self.octets >= COPY_BYTES || self.survivors.len() >= COPY_RECORDS
    }
}

impl Keeper {
    /// Copies the survivors of a segment forward.
    pub(super) fn evacuate(&self, epoch: Epoch) -> Result<(), CommitError> {
        self.evacuate_in_steps(epoch, |step| self.shared.pause_keeper(step.rest()))
    }

    /// The same; `behind` is called after each step but the last.
    fn evacuate_in_steps(&self, epoch: Epoch, mut behind: impl FnMut(Step)) -> Result<(), CommitError> {
        let Some(file) = self.file_of(epoch) else {
            return Ok(());
        };
        let (messages, others) = self.survivors(epoch);
        let messages = messages.into_iter().filter_map(|(id, offset, len)| {
            let payload = read_payload(file.as_ref(), offset, len, epoch);
            if payload.is_none() {
                self.shared.found_damaged(id, "its record cannot be copied");
            }
            Some(Survivor::Message(id, payload?))
        });
        let mut load = Load::default();
        let (mut began, mut mail) = (Instant::now(), self.shared.mail());
        for survivor in others.into_iter().chain(messages) {
            load.put(survivor);
            if load.is_full() {
                self.copy(epoch, std::mem::take(&mut load).survivors)?;
                behind(Step {
                    took: began.elapsed(),
                    mail: self.shared.mail() != mail,
                    short: self.free() < SPARE || self.shared.pressing().is_some(),
                });
                (began, mail) = (Instant::now(), self.shared.mail());
            }
        }
        self.copy(epoch, load.survivors)?;
        // They count in the segment they were copied to.
        if let Some(segment) = self.shared.index().segments.get_mut(&epoch) {
            segment.tombs.clear();
        }
        Ok(())
    }

    fn file_of(&self, epoch: Epoch) -> Option<Arc<dyn File>> {
        let index = self.shared.index();
        index
            .segments
            .get(&epoch)
            .map(|segment| Arc::clone(&segment.file))
    }

    /// Messages in a closed segment with their places, and what else has a record there that counts. Looks at some entries at
    /// a time: nothing new comes into a closed segment, and what is gone meanwhile is seen when its copy is planned.
    fn survivors(&self, epoch: Epoch) -> (Vec<(EntryId, u32, u32)>, Vec<Survivor>) {
        let (mut messages, mut others) = (Vec::new(), Vec::new());
        let mut after = None;
        loop {
            let index = self.shared.index();
            let mut looked = 0;
            for (id, entry) in index.entries.iter_behind(after).take(LOOK) {
                looked += 1;
                after = Some(id);
                if entry.home.epoch == epoch {
                    messages.push((id, entry.home.offset, entry.home.len));
                } else if entry.noted().any(|noted| noted == epoch) {
                    others.push(Survivor::State(id));
                }
            }
            if looked < LOOK {
                break;
            }
        }
        let index = self.shared.index();
        let releases = index
            .transfers
            .iter()
            .filter(|(_, t)| t.homes.last() == Some(&epoch));
        others.extend(releases.map(|(transfer, _)| Survivor::Release(*transfer)));
        others.extend(index.needed_tombs(epoch).into_iter().map(Survivor::Tomb));
        (messages, others)
    }

    fn copy(&self, epoch: Epoch, survivors: Vec<Survivor>) -> Result<(), CommitError> {
        let (reply, done) = Completion::<(), CommitError>::channel();
        self.shared.submit(Job::Evacuate(epoch, survivors, reply));
        done.wait()
    }
}

fn read_payload(file: &dyn File, offset: u32, len: u32, epoch: Epoch) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    file.read_at(&mut bytes, u64::from(offset)).ok()?;
    let (frame, payload) = Frame::read(&bytes)?;
    (frame.epoch == u64::from(epoch)).then(|| payload.to_vec())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::io::memory::{Memory, Op};
    use crate::spool::Spool;
    use crate::types::{Envelope, Options};

    fn put(spool: &Spool, len: usize) -> EntryId {
        let mut incoming = spool.begin();
        incoming.write(&vec![b'x'; len]).unwrap();
        incoming.commit(Envelope::default(), Vec::new()).wait().unwrap()
    }

    fn written(volume: &Memory) -> usize {
        let written = |op: &Op| {
            if let Op::Write(_, _, bytes) = op {
                bytes.len()
            } else {
                0
            }
        };
        volume.log().iter().map(written).sum()
    }

    #[test]
    fn between_two_rests_no_more_than_a_step_is_written_and_mail_is_seen() {
        let volume = Memory::new(1 << 30);
        let options = Options {
            segment_size: Some(8 << 20),
            checkpoint_segments: 0,
            ..Options::default()
        };
        let (spool, _) = Spool::open_on(Arc::new(volume.clone()), Path::new("/s"), &options).unwrap();
        // A segment full of messages of 100 KiB, all alive.
        while spool.shared().index().rolled < 2 {
            put(&spool, 100 << 10);
        }
        let entries = spool.usage().entries;
        let keeper = Keeper::new(Arc::clone(spool.shared()));
        // The other keeper makes no segments meanwhile: its zeros would be counted.
        let _only = spool.shared().keeping();
        let epoch = *spool.shared().index().segments.first_key_value().unwrap().0;
        let (mut steps, mut before) = (Vec::new(), written(&volume));
        keeper
            .evacuate_in_steps(epoch, |step| {
                let octets = written(&volume) - before;
                steps.push((octets, step.mail));
                if steps.len().is_multiple_of(2) {
                    put(&spool, 10);
                }
                before = written(&volume);
            })
            .unwrap();
        assert!(steps.len() >= 5, "{steps:?}");
        for (octets, _) in &steps {
            assert!(
                *octets >= COPY_BYTES && *octets < COPY_BYTES + (200 << 10),
                "{steps:?}"
            );
        }
        // What came between two steps is not what came during one.
        assert!(steps.iter().all(|(_, mail)| !mail), "{steps:?}");
        assert!(
            spool.shared().index().recyclable().is_some(),
            "all of it is elsewhere"
        );
        assert_eq!(spool.usage().entries, entries + steps.len() / 2);
    }
}
