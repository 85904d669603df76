//! A power cut behind every single change the spool makes to its volume, under a scripted load.
//!
//! The load runs once on a recording volume; then, for every prefix of the record and several draws of what an
//! un-synced change left behind (kept, dropped, torn), the spool is opened and must hold what was acknowledged. The load
//! writes checkpoints of the index all the way; each volume is opened without its checkpoint too, and both must find the same.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postroad_spool::handover::{ToSource, ToTarget, TransferId};
use postroad_spool::io::Io as _;
use postroad_spool::io::memory::{Memory, Op};
use postroad_spool::{
    EntryId, Envelope, FromCheckpoint, Item, NEWEST_FORMAT, OLDEST_FORMAT, Options, Ownership, Recipient,
    RecipientState, RecipientUpdate, Spool, Status,
};

const SEEDS: u64 = 4;

/// A checkpoint is written at one in so many places where the load knows something; this and what goes on behind make
/// that every place, over the loads.
const CHECKPOINT_EVERY: usize = 3;

fn options() -> Options {
    Options {
        segment_size: Some(32 * 1024),
        inline_limit: 4 * 1024,
        lazy_ms: 5,
        checkpoint_segments: 3,
        ..Options::default()
    }
}

fn open(volume: &Memory) -> (Spool, postroad_spool::Recovery) {
    open_writing(volume, NEWEST_FORMAT)
}

fn open_writing(volume: &Memory, format: u32) -> (Spool, postroad_spool::Recovery) {
    let options = Options {
        write_format: format,
        ..options()
    };
    Spool::open_on(Arc::new(volume.clone()), Path::new("/spool"), &options).expect("a spool always opens")
}

/// Messages from here on have what only the newest format says.
const EXTENDED: u64 = 1_000_000;

/// What the load knows, at the point of the record where it knows it.
#[derive(Clone, Debug)]
enum Known {
    Acked(EntryId),
    /// From here on the entry may be gone.
    Ending(EntryId),
    /// It is gone durably.
    Ended(EntryId),
    /// The first recipient is durably delivered.
    Delivered(EntryId),
    Sealed(u64),
    /// From here on its ownership may be the next one.
    Moving(EntryId),
    Is(EntryId, Ownership),
    /// The transfer is durably forgotten.
    Forgotten(TransferId),
}

struct Load {
    volume: Memory,
    spool: Spool,
    known: Vec<Known>,
    /// What every id was written with, acknowledged or not.
    written: BTreeMap<EntryId, (u64, usize)>,
}

fn envelope(n: u64) -> Envelope {
    Envelope {
        reverse_path: format!("s{n}@example.org"),
        recipients: vec![
            Recipient {
                forward_path: format!("r{n}@example.net"),
                ..Recipient::default()
            };
            2
        ],
        arrived: n,
        require_tls: n >= EXTENDED,
        ..Envelope::default()
    }
}

fn body(n: u64, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from((i as u64 * 31 + n * 17) % 253 + 1).unwrap())
        .collect()
}

fn item(n: u64) -> Item {
    let envelope = envelope(n);
    let recipients = vec![RecipientState::default(); 2];
    Item {
        envelope,
        recipients,
        prefix: format!("P: {n}\r\n").into_bytes(),
    }
}

impl Load {
    fn new() -> Self {
        let volume = Memory::new(8 << 20);
        let (spool, _) = open(&volume);
        Self {
            volume,
            spool,
            known: Vec::new(),
            written: BTreeMap::new(),
        }
    }

    fn know(&mut self, known: Known) {
        if self.known.len().is_multiple_of(CHECKPOINT_EVERY) {
            self.spool.checkpoint().unwrap();
        }
        self.volume.mark(self.known.len() as u64);
        self.known.push(known);
    }

    fn put(&mut self, n: u64, len: usize) -> EntryId {
        let mut incoming = self.spool.begin();
        self.written.insert(incoming.id(), (n, len));
        for chunk in body(n, len).chunks(3000) {
            incoming.write(chunk).unwrap();
        }
        let id = incoming.commit(envelope(n), item(n).prefix).wait().unwrap();
        self.know(Known::Acked(id));
        id
    }

    fn finish(&mut self, id: EntryId) {
        self.know(Known::Ending(id));
        self.spool.finish(id).unwrap();
    }

    fn turn(&mut self, format: u32) {
        self.spool.set_write_format(format).wait().unwrap();
    }

    fn flush(&mut self, then: &[Known]) {
        self.spool.flush().wait().unwrap();
        for known in then {
            self.know(known.clone());
        }
    }

    /// Mail that comes and goes until segments were used several times.
    fn churn(&mut self, from: u64, count: u64) {
        let mut waiting = Vec::new();
        for n in from..from + count {
            waiting.push(self.put(n, 900 + usize::try_from(n % 5).unwrap() * 700));
            if waiting.len() > 3 {
                let id = waiting.remove(0);
                self.finish(id);
                if n % 3 == 0 {
                    self.flush(&[Known::Ended(id)]);
                }
            }
        }
    }
}

fn delivered() -> RecipientState {
    RecipientState {
        status: Status::Delivered,
        attempts: 1,
        ..RecipientState::default()
    }
}

/// The keeper works behind: waits until there are fewer segments than this.
fn fewer_segments(spool: &Spool, than: usize) {
    let end = Instant::now() + Duration::from_secs(30);
    while spool.usage().segments >= than {
        assert!(Instant::now() < end, "{:?}", spool.usage());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// All that a user can see of a spool, but for what is on its way out.
fn seen(spool: &Spool) -> String {
    let entries = spool.entries();
    let states: Vec<_> = entries.iter().map(|entry| spool.states(entry.id)).collect();
    let (mut standing, mut holds) = (spool.standing(), spool.holds());
    standing.sort_by_key(|offer| offer.transfer);
    holds.sort_by_key(|hold| hold.transfer);
    let usage = spool.usage();
    let bytes = (usage.live_bytes, usage.blob_bytes);
    let (seal, census) = (spool.seal_state(), spool.census());
    format!("{entries:?}\n{states:?}\n{standing:?}\n{holds:?}\n{seal:?} {census:?} {bytes:?}")
}

/// Opens the volume as it is, and once more without its checkpoint: nobody can tell. Whether it had one that was used.
fn compare(log: &[Op], ops: usize, seed: u64) -> bool {
    let (volume, without) = (Memory::crash(log, ops, seed), Memory::crash(log, ops, seed));
    let had = without.remove(Path::new("/spool/checkpoint")).is_ok();
    let (with, recovery) = open(&volume);
    let (without, everything) = open(&without);
    let at = format!("cut behind change {ops}, draw {seed}");
    assert_eq!(everything.checkpoint, FromCheckpoint::Missing, "{at}");
    let expected = if had {
        FromCheckpoint::Used
    } else {
        FromCheckpoint::Missing
    };
    assert_eq!(recovery.checkpoint, expected, "{at}: whole or not there");
    assert_eq!(seen(&with), seen(&without), "{at}");
    had
}

/// Opens the volume after a cut behind `ops` changes and compares with what was known then.
fn verify(load: &Load, log: &[Op], ops: usize, seed: u64) {
    let volume = Memory::crash(log, ops, seed);
    // In every other draw the next start writes the older format.
    let format = if seed & 2 == 0 {
        NEWEST_FORMAT
    } else {
        OLDEST_FORMAT
    };
    let (spool, recovery) = open_writing(&volume, format);
    let at = format!(
        "cut behind change {ops}, draw {seed}: {:?}",
        log.get(ops.saturating_sub(1)).map(kind)
    );
    assert_eq!((recovery.damaged, recovery.lost), (0, 0), "{at}");
    assert_eq!(recovery.vanished, [], "{at}");
    let marks = log[..ops]
        .iter()
        .filter_map(|op| if let Op::Mark(n) = op { Some(*n) } else { None });
    let known: Vec<&Known> = marks.map(|n| &load.known[usize::try_from(n).unwrap()]).collect();
    let mut there = BTreeSet::new();
    for summary in spool.entries() {
        assert!(there.insert(summary.id), "{at}: {} twice", summary.id);
        let (n, len) = load.written[&summary.id];
        let mut message = spool.read(summary.id).unwrap();
        assert_eq!(message.item.envelope, envelope(n), "{at}");
        assert_eq!(message.item.prefix, item(n).prefix, "{at}");
        let mut bytes = Vec::new();
        message.body.read_to_end(&mut bytes).unwrap();
        assert!(bytes == body(n, len), "{at}: body of {}", summary.id);
    }
    let mut must = BTreeSet::new();
    let mut owners: BTreeMap<EntryId, Option<Ownership>> = BTreeMap::new();
    for known in known {
        match known {
            Known::Acked(id) => drop(must.insert(*id)),
            Known::Ending(id) => drop(must.remove(id)),
            Known::Ended(id) => assert!(!there.contains(id), "{at}: {id} came back"),
            Known::Delivered(id) => {
                if there.contains(id) {
                    let states = spool.read(*id).unwrap().item.recipients;
                    assert_eq!(states[0].status, Status::Delivered, "{at}");
                }
            }
            Known::Sealed(number) => assert!(spool.seal_state().number >= *number, "{at}"),
            Known::Moving(id) => drop(owners.insert(*id, None)),
            Known::Is(id, owner) => drop(owners.insert(*id, Some(*owner))),
            Known::Forgotten(transfer) => {
                assert!(spool.holds().iter().all(|h| h.transfer != *transfer), "{at}");
            }
        }
    }
    assert!(
        must.is_subset(&there),
        "{at}: missing {:?}",
        must.difference(&there).collect::<Vec<_>>()
    );
    for (id, owner) in owners {
        if let (Some(owner), Some(summary)) = (owner, spool.summary(id)) {
            assert_eq!(summary.ownership, owner, "{at}: {id}");
        }
    }
    // It goes on, and what it takes now is there after a clean restart. Sealed and empty it would take nothing.
    if spool.seal_state().sealed {
        spool.unseal().wait().unwrap();
    }
    let seal = spool.seal_state();
    let fresh = spool.begin().commit(envelope(1), Vec::new()).wait().unwrap();
    assert!(must.iter().all(|id| *id < fresh), "{at}");
    drop(spool);
    let (spool, recovery) = open(&volume);
    assert_eq!(
        (recovery.damaged, recovery.torn_tail),
        (0, false),
        "{at}: second start"
    );
    assert_eq!(spool.seal_state(), seal, "{at}: second start");
    let again: BTreeSet<_> = spool.entries().iter().map(|s| s.id).collect();
    there.insert(fresh);
    assert_eq!(again, there, "{at}: second start");
}

fn kind(op: &Op) -> &'static str {
    match op {
        Op::Create(..) => "create",
        Op::Write(..) => "write",
        Op::Sync(_) => "sync",
        Op::Remove(_) => "remove",
        Op::Rename(..) => "rename",
        Op::SyncDir(_) => "sync of a directory",
        Op::Mark(_) => "known",
    }
}

/// A cut behind every change, several draws each; the last change of a prefix is the one in flight.
fn verify_all(load: &Load) {
    let log = load.volume.log();
    let mut used = 0;
    for ops in 0..=log.len() {
        if ops < log.len() && matches!(log.get(ops.saturating_sub(1)), Some(Op::Mark(_))) {
            continue;
        }
        for seed in 0..SEEDS {
            verify(load, &log, ops, (ops as u64) << 8 | seed << 1 | 1);
        }
        used += usize::from(compare(&log, ops, ops as u64 | 1));
    }
    assert!(
        used > log.len() / 2,
        "{used} of {} cuts had a checkpoint",
        log.len()
    );
}

#[test]
fn acknowledged_mail_survives_a_power_cut_at_every_change() {
    let mut load = Load::new();
    let stays = load.put(1, 2000);
    let large = load.put(2, 9000);
    load.spool
        .record(
            stays,
            &[RecipientUpdate {
                index: 0,
                state: delivered(),
            }],
        )
        .unwrap();
    load.flush(&[Known::Delivered(stays)]);
    load.churn(10, 50);
    load.finish(large);
    load.flush(&[Known::Ended(large)]);
    let seal = load.spool.seal().wait().unwrap().number;
    load.know(Known::Sealed(seal));
    load.churn(100, 10);
    load.spool.flush().wait().unwrap();
    fewer_segments(&load.spool, 30);
    verify_all(&load);
}

#[test]
fn a_hand_over_survives_a_power_cut_of_either_side_at_every_change() {
    let mut source = Load::new();
    let mut target = Load::new();
    let (inline, large, stays) = (source.put(1, 1500), source.put(2, 9000), source.put(3, 100));
    target.churn(50, 8);
    source.churn(50, 8);
    let seal = source.spool.seal().wait().unwrap().number;
    source.know(Known::Sealed(seal));
    for (entry, n, len) in [(inline, 1, 1500), (large, 2, 9000)] {
        source.know(Known::Moving(entry));
        let offer = source.spool.offer(entry, target.spool.uuid()).wait().unwrap();
        source.know(Known::Is(entry, Ownership::Offered));
        let transfer = offer.transfer();

        let mut incoming = target.spool.begin();
        let hold = incoming.id();
        target.written.insert(hold, (n, len));
        incoming.write(&body(n, len)).unwrap();
        let answer_held = incoming.hold(transfer, item(n)).wait().unwrap();
        assert_eq!(answer_held, ToSource::Held { transfer, hold });
        target.know(Known::Acked(hold));
        target.know(Known::Is(hold, Ownership::Held));

        source.know(Known::Moving(entry));
        let release = source
            .spool
            .answered(target.spool.uuid(), answer_held)
            .wait()
            .unwrap()
            .send
            .unwrap();
        source.know(Known::Is(entry, Ownership::Given));
        assert_eq!(release, ToTarget::Release { transfer, hold });

        target.know(Known::Moving(hold));
        let released = target.spool.requested(release).wait().unwrap();
        target.know(Known::Is(hold, Ownership::Owned));
        assert_eq!(released.released, Some(hold));

        source.know(Known::Ending(entry));
        let answer = released.send.unwrap();
        let freed = source.spool.answered(target.spool.uuid(), answer).wait().unwrap();
        source.know(Known::Ended(entry));
        assert_eq!(freed.freed, Some(entry));

        target.churn(200 + n * 20, 6);
        target.spool.requested(freed.send.unwrap()).wait().unwrap();
        target.know(Known::Forgotten(transfer));
        target.churn(300 + n * 20, 6);
    }
    assert!(!source.spool.is_empty() && source.spool.summary(stays).is_some());
    source.churn(400, 12);
    verify_all(&source);
    verify_all(&target);
}

#[test]
fn survivors_copied_out_of_sparse_segments_survive_a_power_cut_at_every_change() {
    let mut load = Load::new();
    let mut stay = Vec::new();
    for round in 0..12 {
        let id = load.put(round, 300);
        let update = RecipientUpdate {
            index: 0,
            state: delivered(),
        };
        load.spool.record(id, &[update]).unwrap();
        load.flush(&[Known::Delivered(id)]);
        stay.push(id);
        load.churn(100 + round * 20, 9);
        if round % 4 == 3 {
            let over = stay.remove(0);
            load.finish(over);
            load.flush(&[Known::Ended(over)]);
        }
        let rest: Vec<_> = load.spool.entries().iter().map(|s| s.id).collect();
        for id in rest.into_iter().filter(|id| !stay.contains(id)) {
            load.finish(id);
        }
    }
    load.flush(&[]);
    fewer_segments(&load.spool, 20);
    verify_all(&load);
}

#[test]
fn a_turn_between_the_formats_survives_a_power_cut_at_every_change() {
    let mut load = Load::new();
    let mut promises = vec![load.put(EXTENDED, 500)];
    load.churn(10, 6);
    for (round, format) in (0..).zip([OLDEST_FORMAT, NEWEST_FORMAT, OLDEST_FORMAT]) {
        load.turn(format);
        load.churn(100 + round * 20, 7);
        if format == NEWEST_FORMAT {
            promises.push(load.put(EXTENDED + 1, 5_000));
        }
    }
    for promise in promises {
        load.finish(promise);
        load.flush(&[Known::Ended(promise)]);
    }
    let end = Instant::now() + Duration::from_secs(30);
    while load.spool.format_on_disk() > OLDEST_FORMAT {
        assert!(Instant::now() < end, "something newer stays on disk");
        std::thread::sleep(Duration::from_millis(2));
    }
    verify_all(&load);
}
