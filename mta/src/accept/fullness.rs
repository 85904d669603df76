//! Mail begins to be refused for want of room, and is taken again: each is said once in the log.
//!
//! What is full, and how full, is decided here from the figures of the spool; when it is looked at is up to the caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postroad_spool::{Spool, Usage};

/// Whether mail was refused when that was last looked at. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Fullness(Arc<AtomicBool>);

/// What there is too much of, in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Full {
    what: &'static str,
    used: u64,
    total: u64,
    mend: &'static str,
}

impl Fullness {
    /// Tells where it is another than before. Reads the figures of the spool then, and else nothing.
    pub(super) fn looked_at(&self, is_full: bool, spool: &Spool) {
        if self.0.load(Ordering::Relaxed) == is_full || self.0.swap(is_full, Ordering::Relaxed) == is_full {
            return;
        }
        let usage = spool.usage();
        let percent = spool.high_water_percent();
        if is_full {
            let Full {
                what,
                used,
                total,
                mend,
            } = full(&usage);
            tracing::warn!(
                event = "no-room",
                full = what,
                used,
                total,
                high_water_percent = percent,
                mend,
                "new mail is refused (452 4.3.1) until there is room; what was accepted is delivered all the same"
            );
        } else {
            tracing::info!(
                event = "room-again",
                used = usage.used_bytes,
                total = usage.volume_bytes,
                high_water_percent = percent,
                "new mail is taken again"
            );
        }
    }
}

fn full(usage: &Usage) -> Full {
    if usage.memory_bytes >= usage.most_memory {
        Full {
            what: "memory",
            used: usage.memory_bytes,
            total: usage.most_memory,
            mend: "find out what does not leave (queue sites), or give the mail server more memory",
        }
    } else {
        Full {
            what: "volume",
            used: usage.used_bytes,
            total: usage.volume_bytes,
            mend: "find out what does not leave (queue sites) or what else is on the volume, enlarge it, or raise \
                   spool.highWaterPercent (queue.highWaterPercent of the listener)",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(used_bytes: u64, memory_bytes: u64) -> Usage {
        Usage {
            entries: 0,
            segments: 0,
            free_segments: 0,
            segment_bytes: 0,
            live_bytes: 0,
            blob_bytes: 0,
            volume_bytes: 100,
            used_bytes,
            available_bytes: 0,
            above_high_water: true,
            memory_bytes,
            most_memory: 1_000,
            damaged: 0,
            read_only: None,
        }
    }

    #[test]
    fn what_is_full_is_named_with_its_figures_and_its_mend() {
        let volume = full(&usage(91, 999));
        assert_eq!((volume.what, volume.used, volume.total), ("volume", 91, 100));
        assert!(volume.mend.contains("highWaterPercent"));
        let memory = full(&usage(91, 1_000));
        assert_eq!((memory.what, memory.used, memory.total), ("memory", 1_000, 1_000));
        assert!(memory.mend.contains("more memory"));
    }
}
