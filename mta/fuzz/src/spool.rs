//! Segments of a spool as a disk may give them back: anything, with checksums that are right or wrong.
//!
//! * A spool opens, or says in a sentence why not; it never panics and no message stops the start.
//! * What it holds can be read, or the reading says what is damaged.
//! * It takes new mail behind the damage, and what it took is there at the next start.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use postroad_spool::io::Io;
use postroad_spool::io::memory::Memory;
use postroad_spool::{Envelope, Options, Recipient, Spool};

const BLOCK: usize = 4_096;
const SEGMENT: u32 = 32 << 10;
const EPOCH: u64 = 3;

/// The first octet chooses: raw octets behind a sound header, or records (kind, entry, flags, length, payload) that are
/// given right frames and checksums.
pub fn recovery(octets: &[u8]) {
    let Some((choice, rest)) = octets.split_first() else {
        return;
    };
    let mut segment = header();
    if choice & 1 == 0 {
        segment.extend_from_slice(rest);
    } else {
        records(rest, &mut segment);
    }
    segment.resize(SEGMENT as usize, 0);
    let volume = Memory::new(64 << 20);
    write(&volume, "/spool/segments/00000001.seg", &segment);
    if let Some(name) = choice.checked_sub(0x80) {
        write(&volume, &format!("/spool/blobs/{name:016x}.blob"), rest);
    }
    let Some(kept) = open(&volume, None) else { return };
    open(&volume, Some(kept));
}

/// Opens, reads everything, stores one more message. Gives its number.
fn open(volume: &Memory, wanted: Option<postroad_spool::EntryId>) -> Option<postroad_spool::EntryId> {
    let options = Options {
        segment_size: Some(SEGMENT),
        inline_limit: 4 << 10,
        high_water_percent: 99,
        ..Options::default()
    };
    let (spool, _) = Spool::open_on(Arc::new(volume.clone()), Path::new("/spool"), &options).ok()?;
    for entry in spool.entries() {
        if let Ok(mut message) = spool.read(entry.id) {
            let mut body = Vec::new();
            // A length that lies must not take memory.
            let _ = message.body.by_ref().take(1 << 20).read_to_end(&mut body);
        }
    }
    if let Some(wanted) = wanted {
        let mut message = spool.read(wanted).expect("what was stored is there");
        let mut body = String::new();
        message.body.read_to_string(&mut body).expect("and whole");
        assert_eq!(body, "new mail\r\n");
        return None;
    }
    if spool.seal_state().sealed {
        return None;
    }
    let mut incoming = spool.begin();
    incoming.write(b"new mail\r\n").ok()?;
    let recipient = Recipient {
        forward_path: "a@example.com".into(),
        ..Recipient::default()
    };
    let envelope = Envelope {
        recipients: vec![recipient],
        ..Envelope::default()
    };
    incoming.commit(envelope, Vec::new()).wait().ok()
}

fn write(volume: &Memory, path: &str, octets: &[u8]) {
    let path = Path::new(path);
    volume.create_dir(path.parent().unwrap_or(path)).expect("memory");
    let file = volume.create(path).expect("memory");
    file.write_at(octets, 0).expect("memory");
    file.sync().expect("memory");
    volume.sync_dir(path.parent().unwrap_or(path)).expect("memory");
}

/// The first block of a segment: magic, version, spool, epoch, next batch, next entry, checksum.
fn header() -> Vec<u8> {
    let mut block = b"PRSPOOL\n".to_vec();
    block.extend(1_u32.to_le_bytes());
    block.extend([9; 16]);
    for number in [EPOCH, 5, 7] {
        block.extend(number.to_le_bytes());
    }
    let crc = crc32c::crc32c(&block);
    block.extend(crc.to_le_bytes());
    block.resize(BLOCK, 0);
    block
}

fn records(mut rest: &[u8], segment: &mut Vec<u8>) {
    let (mut batch, mut ordinal) = (1_u64, 0_u32);
    while let [kind, entry, flags, length, after @ ..] = rest {
        let length = usize::from(*length).min(after.len());
        let (payload, after) = after.split_at(length);
        rest = after;
        // A new batch begins at a new block.
        if flags & 1 == 1 {
            segment.resize(segment.len().next_multiple_of(BLOCK), 0);
            (batch, ordinal) = (batch + 1, 0);
        }
        segment.extend(frame(*kind, u64::from(*entry), ordinal, batch, payload));
        segment.extend(payload);
        segment.resize(segment.len().next_multiple_of(8), 0);
        ordinal += 1;
        if segment.len() > SEGMENT as usize - 512 {
            return;
        }
    }
}

fn frame(kind: u8, entry: u64, ordinal: u32, batch: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = 0x5052_u16.to_le_bytes().to_vec();
    frame.extend([kind, 0]);
    frame.extend(u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend(crc32c::crc32c(payload).to_le_bytes());
    frame.extend(ordinal.to_le_bytes());
    for number in [entry, EPOCH, batch] {
        frame.extend(number.to_le_bytes());
    }
    let crc = crc32c::crc32c(&frame);
    frame.extend(crc.to_le_bytes());
    frame.resize(48, 0);
    frame
}
