//! A checkpoint never changes what opening finds: random loads, cut anywhere, opened with it and without.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::FILE;
use crate::handover::{ToSource, ToTarget, TransferId};
use crate::index::{Index, Tail};
use crate::io::Io as _;
use crate::io::memory::Memory;
use crate::recovery::{Recovered, Trust, recover};
use crate::spool::{Item, Spool};
use crate::types::{
    EntryId, Envelope, FromCheckpoint, Options, Recipient, RecipientState, RecipientUpdate, SpoolUuid, Status,
};

const DIR: &str = "/spool";
const PEER: SpoolUuid = SpoolUuid([7; 16]);

fn options(checkpoint_segments: u64) -> Options {
    Options {
        segment_size: Some(32 * 1024),
        inline_limit: 4 * 1024,
        lazy_ms: 1,
        checkpoint_segments,
        ..Options::default()
    }
}

fn open(volume: &Memory, checkpoint_segments: u64) -> Spool {
    Spool::open_on(
        Arc::new(volume.clone()),
        Path::new(DIR),
        &options(checkpoint_segments),
    )
    .unwrap()
    .0
}

/// What an index says, without what may differ: homes that are no more, and how often the same tomb is there.
#[derive(Debug, PartialEq)]
struct Seen {
    entries: BTreeMap<EntryId, String>,
    transfers: Vec<String>,
    segments: Vec<(u32, u32, u64, u64)>,
    tombs: BTreeSet<String>,
    free: BTreeSet<u32>,
    tail: Option<Tail>,
    active: Option<u32>,
    rest: String,
}

fn seen(index: &Index) -> Seen {
    let entries = index.entries.iter().map(|(id, entry)| {
        let sorted = |epochs: Vec<u32>| -> BTreeSet<u32> {
            epochs.into_iter().filter(|epoch| index.exists(*epoch)).collect()
        };
        let (noted, stale) = (sorted(entry.noted().collect()), sorted(entry.stale().collect()));
        let (summary, states) = (entry.summary(id), entry.states.to_vec());
        let whole = (
            entry.home,
            entry.blob,
            entry.handed,
            entry.owner(),
            noted,
            stale,
            summary,
            states,
        );
        (id, format!("{whole:?}"))
    });
    let transfers = index.transfers.iter().map(|(transfer, known)| {
        let homes: Vec<_> = known.homes.iter().filter(|epoch| index.exists(**epoch)).collect();
        format!("{transfer:?} {:?} {homes:?}", known.state)
    });
    let segments = index
        .segments
        .iter()
        .map(|(epoch, s)| (*epoch, s.number, s.live, s.pins));
    let tombs = index.segments.keys().flat_map(|epoch| index.needed_tombs(*epoch));
    Seen {
        entries: entries.collect(),
        transfers: transfers.collect(),
        segments: segments.collect(),
        tombs: tombs.map(|tomb| format!("{tomb:?}")).collect(),
        free: index.free.iter().map(|free| free.number).collect(),
        tail: index.tail,
        active: index.active,
        rest: format!("{:?} {} {:?}", index.seal, index.blob_bytes, index.census()),
    }
}

const TRUST: Trust<'_> = Trust::Checkpoint { broken: &[] };

fn with_and_without(volume: &Memory, other: &Memory) -> (Recovered, Recovered) {
    let with = recover(volume, Path::new(DIR), TRUST).unwrap();
    let without = recover(other, Path::new(DIR), Trust::Log).unwrap();
    assert_eq!(with.report.vanished, [], "nobody took anything");
    (with, without)
}

/// A load on a recording volume.
struct Load {
    volume: Memory,
    spool: Option<Spool>,
    entries: Vec<EntryId>,
    offers: Vec<TransferId>,
    holds: Vec<(TransferId, EntryId)>,
    count: u64,
}

impl Load {
    fn new(volume: &Memory, segments: u64) -> Self {
        Self {
            spool: Some(open(volume, segments)),
            volume: volume.clone(),
            entries: Vec::new(),
            offers: Vec::new(),
            holds: Vec::new(),
            count: 0,
        }
    }

    fn spool(&self) -> Spool {
        self.spool.clone().unwrap()
    }

    fn item(&mut self, recipients: usize) -> Item {
        self.count += 1;
        let recipient = Recipient {
            forward_path: format!("r{}@example.net", self.count),
            ..Recipient::default()
        };
        Item {
            envelope: Envelope {
                recipients: vec![recipient; recipients],
                arrived: self.count * 700,
                expires: self.count * 900,
                ..Envelope::default()
            },
            recipients: vec![RecipientState::default(); recipients],
            prefix: b"P: x\r\n".to_vec(),
        }
    }

    fn put(&mut self, len: usize, recipients: usize) {
        let item = self.item(recipients);
        let mut incoming = self.spool().begin();
        // A sealed spool that has said "empty" takes nothing.
        if incoming.write(&vec![b'b'; len]).is_ok() {
            let stored = incoming.commit(item.envelope, item.prefix).wait();
            self.entries.push(stored.unwrap());
        }
    }

    fn step(&mut self, kind: u8, pick: usize) {
        let spool = self.spool();
        let entry = self.entries.get(pick % self.entries.len().max(1)).copied();
        match (kind, entry) {
            (0..8, _) => self.put(200 + pick % 3000, 1),
            (8, _) => self.put(6000, 2),
            (9 | 10, Some(id)) => {
                let state = RecipientState {
                    status: if pick.is_multiple_of(2) {
                        Status::Pending
                    } else {
                        Status::Delivered
                    },
                    attempts: u32::try_from(pick).unwrap(),
                    next_attempt: 5,
                    reply: format!("4{} later", pick % 3),
                    ..RecipientState::default()
                };
                let _ = spool.record(id, &[RecipientUpdate { index: 0, state }]);
            }
            (11 | 12, Some(id)) => self.finish(id),
            // The oldest ones, so that whole segments die.
            (13..16, _) => {
                for id in self.entries.iter().take(6).copied().collect::<Vec<_>>() {
                    self.finish(id);
                }
                spool.flush().wait().unwrap();
            }
            (16, _) => spool.flush().wait().unwrap(),
            (17 | 18, _) => drop(spool.checkpoint().unwrap()),
            (19, _) if pick.is_multiple_of(2) => drop(spool.seal().wait().unwrap()),
            (19, _) => drop(spool.unseal().wait().unwrap()),
            (20, Some(id)) => {
                if let Ok(ToTarget::Offer(transfer)) = spool.offer(id, PEER).wait() {
                    self.offers.push(transfer);
                }
            }
            (21, _) => self.hear(pick),
            (22, _) => self.hold(),
            (23, _) => self.go_on(pick),
            (24, _) => {
                drop(spool);
                self.spool = None;
                self.spool = Some(open(&self.volume, [0, 1, 4][pick % 3]));
            }
            _ => {}
        }
    }

    fn finish(&mut self, id: EntryId) {
        if self.spool().finish(id).is_ok() {
            self.entries.retain(|other| *other != id);
        }
    }

    /// The peer answers the offer that stands longest.
    fn hear(&mut self, pick: usize) {
        let Some(transfer) = self.offers.first().copied() else {
            return;
        };
        let hold = EntryId::from_u64(1);
        let said = match pick % 4 {
            0 => ToSource::Unknown(transfer),
            1 | 2 => ToSource::Held { transfer, hold },
            _ => ToSource::Released(transfer),
        };
        let spool = self.spool();
        let answered = spool.answered(PEER, said).wait().unwrap();
        if answered.freed.is_some() || answered.taken_back.is_some() {
            self.offers.remove(0);
        }
    }

    fn hold(&mut self) {
        let item = self.item(1);
        let transfer = TransferId {
            source: PEER,
            seal: 1,
            entry: EntryId::from_u64(self.count),
            generation: 0,
        };
        let mut incoming = self.spool().begin();
        let hold = incoming.id();
        if incoming.write(b"held").is_ok() && incoming.hold(transfer, item).wait().is_ok() {
            self.holds.push((transfer, hold));
        }
    }

    /// The peer goes on with a transfer: release, then freed; or abort.
    fn go_on(&mut self, pick: usize) {
        let Some((transfer, hold)) = self.holds.get(pick % self.holds.len().max(1)).copied() else {
            return;
        };
        let said = match pick % 5 {
            0 => ToTarget::Abort(transfer),
            1 => ToTarget::Freed(transfer),
            _ => ToTarget::Release { transfer, hold },
        };
        let spool = self.spool();
        let done = spool.requested(said).wait().unwrap();
        if let Some(entry) = done.released {
            self.entries.push(entry);
        }
    }
}

fn run(steps: &[(u8, usize)], segments: u64) -> Memory {
    let volume = Memory::new(64 << 20);
    let mut load = Load::new(&volume, segments);
    for (kind, pick) in steps {
        load.step(*kind, *pick);
    }
    volume
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn opening_with_a_checkpoint_finds_what_reading_everything_finds(
        segments in prop::sample::select(vec![0_u64, 1, 4]),
        steps in proptest::collection::vec((0_u8..25, 0_usize..10_000), 20..300),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 12),
    ) {
        let volume = run(&steps, segments);
        let log = volume.log();
        let whole = (log.len(), 1);
        let cuts = cuts.iter().map(|(cut, seed)| (cut.index(log.len() + 1), *seed)).chain([whole]);
        for (ops, seed) in cuts {
            let crashed = || Memory::crash(&log, ops, seed);
            let (with, without) = with_and_without(&crashed(), &crashed());
            prop_assert_eq!(seen(&with.index), seen(&without.index), "cut behind change {} of {}, draw {}", ops, log.len(), seed);
            prop_assert!(with.next.batch >= without.next.batch && with.next.entry >= without.next.entry);
            prop_assert_eq!((with.report.lost, with.report.damaged), (0, 0));
            prop_assert_eq!((without.report.lost, without.report.damaged), (0, 0));
        }
    }
}

#[test]
fn a_checkpoint_written_while_mail_comes_and_goes_is_as_good() {
    let volume = Memory::new(64 << 20);
    let mut load = Load::new(&volume, 2);
    let (spool, over) = (load.spool(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                spool.checkpoint().unwrap();
            }
        });
        for n in 0..500_usize {
            // Mail, states, ends, hand-overs in and out; never closed.
            load.step([0, 0, 9, 0, 11, 22, 0, 23, 13, 16][n % 10], n * 7919 % 9973);
        }
        over.store(true, Ordering::Relaxed);
    });
    drop((spool, load));
    let log = volume.log();
    let mut used = 0;
    for cut in 1..=60_usize {
        let ops = log.len() * cut / 60;
        let crashed = || Memory::crash(&log, ops, cut as u64 | 1);
        let (with, without) = with_and_without(&crashed(), &crashed());
        assert_eq!(
            seen(&with.index),
            seen(&without.index),
            "cut behind change {ops} of {}",
            log.len()
        );
        used += usize::from(with.report.checkpoint == FromCheckpoint::Used);
    }
    assert!(used > 40, "{used} of 60 cuts had a checkpoint");
}

#[test]
fn what_a_checkpoint_says_is_in_the_log_before_it_counts() {
    let volume = Memory::new(64 << 20);
    let patient = Options {
        lazy_ms: 600_000,
        ..options(0)
    };
    let (spool, _) = Spool::open_on(Arc::new(volume.clone()), Path::new(DIR), &patient).unwrap();
    let envelope = Envelope {
        recipients: vec![Recipient::default()],
        ..Envelope::default()
    };
    let id = spool.begin().commit(envelope, Vec::new()).wait().unwrap();
    let state = RecipientState {
        attempts: 3,
        ..RecipientState::default()
    };
    spool.record(id, &[RecipientUpdate { index: 0, state }]).unwrap();
    assert!(spool.checkpoint().unwrap());
    let (crashed, other) = twice(&volume);
    let (with, without) = with_and_without(&crashed, &other);
    assert_eq!(with.report.checkpoint, FromCheckpoint::Used);
    let attempts = |found: &Recovered| found.index.entries.get(id).unwrap().states.to_vec()[0].attempts;
    assert_eq!((attempts(&with), attempts(&without)), (3, 3));
    assert_eq!(seen(&with.index), seen(&without.index));
}

/// A closed spool of some segments, with a checkpoint.
fn closed() -> Memory {
    let steps: Vec<(u8, usize)> = (0..60)
        .map(|n| (if n % 9 == 8 { 12 } else { 0 }, n * 37))
        .collect();
    run(&steps, 1)
}

fn path(name: &str) -> std::path::PathBuf {
    Path::new(DIR).join(name)
}

/// The same on two volumes of their own.
fn twice(log: &Memory) -> (Memory, Memory) {
    let log = log.log();
    (
        Memory::crash(&log, log.len(), 1),
        Memory::crash(&log, log.len(), 1),
    )
}

#[test]
fn of_a_closed_spool_only_the_end_is_read() {
    let (volume, other) = twice(&closed());
    let (with, without) = with_and_without(&volume, &other);
    assert_eq!(with.report.checkpoint, FromCheckpoint::Used);
    assert_eq!(with.report.read, 1, "the tail segment");
    assert!(without.report.read > 2, "{:?}", without.report);
    assert_eq!(seen(&with.index), seen(&without.index));
}

#[test]
fn a_checkpoint_that_cannot_be_used_is_told_removed_and_missed_by_nobody() {
    let octets = |volume: &Memory| {
        let file = volume.open(&path(FILE)).unwrap();
        let mut octets = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(&mut octets, 0).unwrap();
        octets
    };
    let other_spool = octets(&closed());
    let newer = {
        let volume = closed();
        let spool = open(&volume, 1);
        spool
            .begin()
            .commit(Envelope::default(), Vec::new())
            .wait()
            .unwrap();
        drop(spool);
        (volume.clone(), octets(&volume))
    };
    let log = closed();
    for (what, expected) in [
        ("damaged", FromCheckpoint::Damaged),
        ("short", FromCheckpoint::Damaged),
        ("foreign", FromCheckpoint::Foreign),
    ] {
        let (volume, other) = twice(&log);
        match what {
            "damaged" => volume.damage(&path(FILE), octets(&volume).len() / 2),
            "short" => {
                let short = octets(&volume);
                volume
                    .create(&path(FILE))
                    .unwrap()
                    .write_at(&short[..short.len() - 5], 0)
                    .unwrap();
            }
            _ => volume
                .create(&path(FILE))
                .unwrap()
                .write_at(&other_spool, 0)
                .unwrap(),
        }
        let (with, without) = with_and_without(&volume, &other);
        assert_eq!(with.report.checkpoint, expected, "{what}");
        assert_eq!(seen(&with.index), seen(&without.index), "{what}");
        assert!(volume.open(&path(FILE)).is_err(), "{what}: it is gone");
    }
    // A log from before the checkpoint: somebody put an old copy of the segments there.
    let (volume, ops) = (newer.0.log(), newer.0.log().len());
    let older = (0..ops).rev().find(|cut| {
        let crashed = Memory::crash(&volume, *cut, 1);
        recover(&crashed, Path::new(DIR), Trust::Log).is_ok_and(|found| {
            found.index.entries.len() + 1
                == recover(&newer.0, Path::new(DIR), Trust::Log)
                    .unwrap()
                    .index
                    .entries
                    .len()
        })
    });
    let older = Memory::crash(&volume, older.unwrap(), 1);
    older.create(&path(FILE)).unwrap().write_at(&newer.1, 0).unwrap();
    let found = recover(&older, Path::new(DIR), TRUST).unwrap();
    assert_eq!(found.report.checkpoint, FromCheckpoint::Stale);
    assert_eq!(
        found.report.vanished.len(),
        1,
        "what only the checkpoint has is told"
    );
}

#[test]
fn a_body_file_that_is_gone_is_told_with_a_checkpoint_too() {
    let log = run(&[(8, 1), (0, 1), (17, 0)], 1);
    let (volume, _) = twice(&log);
    let blob = volume.list(&path("blobs")).unwrap().remove(0).0;
    volume.remove(&path("blobs").join(blob)).unwrap();
    let found = recover(&volume, Path::new(DIR), TRUST).unwrap();
    assert_eq!(
        (found.report.checkpoint, found.report.lost),
        (FromCheckpoint::Used, 1)
    );
    assert_eq!(found.report.entries, 2, "it stays, for its sender to be told");
}

#[test]
fn a_segment_whose_beginning_was_damaged_since_is_not_taken_for_a_free_one() {
    let volume = Memory::new(64 << 20);
    let spool = open(&volume, 0);
    let put = || {
        let mut incoming = spool.begin();
        incoming.write(&[b'x'; 2000]).unwrap();
        incoming.commit(Envelope::default(), Vec::new()).wait().unwrap()
    };
    put();
    spool.checkpoint().unwrap();
    let before = spool.usage().entries;
    while spool.shared().index().rolled < 3 {
        put();
    }
    let (entries, number) = {
        let index = spool.shared().index();
        let (_, newest) = index.segments.last_key_value().unwrap();
        (index.entries.len(), newest.number)
    };
    for _ in 0..3 {
        put();
    }
    drop(spool);
    assert!(before < entries);
    let segment = path("segments").join(format!("{number:08}.seg"));
    let (volume, other) = twice(&volume);
    for volume in [&volume, &other] {
        volume.damage(&segment, 4096 + 10);
    }
    let (with, without) = with_and_without(&volume, &other);
    assert_eq!(with.report.checkpoint, FromCheckpoint::Used);
    assert_eq!(with.report.damaged, 1);
    assert_eq!(seen(&with.index), seen(&without.index));
    assert_eq!(with.report.damage, without.report.damage);
}
