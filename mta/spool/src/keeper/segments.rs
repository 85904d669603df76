//! New segments, and new uses of old ones.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::committer::RESERVE;
use crate::format::BLOCK;
use crate::format::header::Header;
use crate::index::{Epoch, Free};
use crate::io::File;
use crate::keeper::pace::Filling;
use crate::shared::{Shared, segment_name};

/// A new segment is filled in steps of so many octets: a commit waits for one step at most.
const FILL_STEP: u64 = 64 * BLOCK as u64;
/// Behind a step the device is left to the commits for so many times as long as the step took, while there are segments.
const FILL_YIELD: u32 = 3;
/// At most so long.
const LONGEST_YIELD: Duration = Duration::from_millis(20);

/// Begins a new use of the segment, of this format, durably. Gives its epoch.
pub fn write_header(shared: &Shared, file: &dyn File, format: u32) -> io::Result<Epoch> {
    let header = Header {
        format,
        uuid: shared.uuid,
        epoch: shared.next_epoch.fetch_add(1, Ordering::Relaxed),
        next_batch: shared.next_batch.load(Ordering::Relaxed),
        next_entry: shared.next_entry.load(Ordering::Relaxed),
    };
    file.write_at(&header.encode(), 0)?;
    file.sync()?;
    Epoch::try_from(header.epoch).map_err(io::Error::other)
}

/// Makes a new segment: written with zeros, so that later syncs need no change of metadata. Where mail
/// needs all of the device, only its beginning is.
pub fn create(shared: &Shared) -> io::Result<Free> {
    let size = shared.segment_size;
    let space = shared.io.space(&shared.dir)?;
    if space.available < u64::from(size) + kept_free(shared) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let dir = shared.segments_dir();
    let used = shared.index().numbers();
    let number = (1..u32::MAX).find(|n| !used.contains(n)).unwrap_or(u32::MAX);
    let temporary = dir.join("new.tmp");
    let format = shared.write_format();
    let filled = fill(shared, &temporary, format).and_then(|(file, epoch)| {
        shared.io.rename(&temporary, &dir.join(segment_name(number)))?;
        shared.io.sync_dir(&dir)?;
        Ok(Free {
            number,
            format,
            size,
            file,
            epoch,
        })
    });
    if filled.is_err() {
        let _ = shared.io.remove(&temporary);
    }
    filled
}

/// Octets of the volume that a new segment leaves alone. None where somebody waits and not one is left: without the outcomes of
/// what was delivered, which are what makes room, a full spool would stay full for ever. New mail does not get that segment.
fn kept_free(shared: &Shared) -> u64 {
    if shared.pressing().is_some() && shared.index().free.is_empty() {
        0
    } else {
        shared.keep_free
    }
}

fn fill(shared: &Shared, path: &Path, format: u32) -> io::Result<(Arc<dyn File>, Epoch)> {
    let file = shared.io.create(path)?;
    let size = u64::from(shared.segment_size);
    let (start, before) = (Instant::now(), shared.octets());
    let mut filling = Filling::default();
    let mut may_reserve = true;
    while filling.octets < size {
        let step = FILL_STEP.min(size - filling.octets);
        let began = Instant::now();
        // Not left to the sync at the end: it would hold up the commits of that moment.
        file.fill_with_zeros(filling.octets, step)?;
        let took = began.elapsed();
        filling.step(step, took);
        if shared.index().free.len() > RESERVE {
            shared.pause_keeper((took * FILL_YIELD).min(LONGEST_YIELD));
        }
        let left = size - filling.octets;
        let waits = shared.pressing().is_some() && filling.keeps_waiting(left);
        let is_in_the_way = waits || filling.is_in_the_way(shared.octets() - before, start.elapsed());
        if left > 0 && may_reserve && is_in_the_way {
            if file.reserve(filling.octets, left)? {
                tracing::debug!(
                    left,
                    "mail needs the device: the rest of a segment is not written beforehand"
                );
                break;
            }
            // Then it is written in steps, as its beginning was.
            may_reserve = false;
        }
    }
    let epoch = write_header(shared, file.as_ref(), format)?;
    Ok((file, epoch))
}
