//! In which format the pods write their spools: the newest that every pod of the fleet reads. Pure.
//!
//! ```text
//!   what each pod says it reads, the word that stands, a person's cap ─► the next word ─► status ─► spool.writeFormat
//! ```
//!
//! A pod that does not answer may be of any version, so the word is not raised while one is silent, and not lowered either:
//! a restart is no reason to stop keeping what the newer format keeps.

use postroad_config::{NEWEST_SPOOL_FORMAT, OLDEST_SPOOL_FORMAT};

use super::status::Seen;

/// Annotation of a listener: no newer format than this, for the way back to an older version.
pub const SPOOL_FORMAT: &str = "postroad.dev/spool-format";

/// What pods write that were told nothing, if their version knows no other.
const FIRST: u32 = 1;

/// The format to write. `expected`: how many pods there should be. `before`: the word that stands. `cap`: see
/// [`SPOOL_FORMAT`].
pub fn agreed(pods: &[Seen], expected: usize, before: Option<u32>, cap: Option<u32>) -> u32 {
    let said = || pods.iter().filter_map(|pod| pod.state.as_ref().ok());
    let lowest = said()
        .map(|state| state.spool_format.reads)
        .min()
        .map(|lowest| lowest.min(NEWEST_SPOOL_FORMAT));
    let all_said = said().count() == pods.len() && pods.len() >= expected;
    let next = match lowest {
        Some(lowest) if all_said => lowest,
        Some(lowest) => lowest.min(before.unwrap_or(FIRST)),
        None => before.unwrap_or(FIRST),
    };
    next.min(cap.unwrap_or(NEWEST_SPOOL_FORMAT)).max(FIRST)
}

/// The newest format on the disks of the pods that answer; `None` where none does.
pub fn on_disk(pods: &[Seen]) -> Option<u32> {
    let said = pods.iter().filter_map(|pod| pod.state.as_ref().ok());
    said.map(|state| state.spool_format.on_disk).max()
}

/// What stands in the configuration: nothing for the first format, so that a pod that knows no other can read it; and
/// nothing that this version's own check would refuse.
pub fn rendered(agreed: Option<u32>) -> Option<u32> {
    agreed.filter(|format| *format > FIRST && (OLDEST_SPOOL_FORMAT..=NEWEST_SPOOL_FORMAT).contains(format))
}

#[cfg(test)]
mod tests {
    use postroad_config::admin::{SpoolFormatState, State};

    use super::*;

    /// A pod that reads this, or is silent.
    fn pod(reads: Option<u32>) -> Seen {
        let state = |reads| State {
            spool_format: SpoolFormatState {
                reads,
                writes: 1,
                on_disk: reads,
            },
            accepting: true,
            ..State::default()
        };
        Seen {
            name: "edge-0".into(),
            stays: true,
            ready: true,
            state: reads.map(state).ok_or_else(|| "no answer".into()),
            shown: None,
        }
    }

    /// What the pods read, how many there should be, the word that stands, a person's cap, the next word.
    type Row<'a> = (&'a [Option<u32>], usize, Option<u32>, Option<u32>, u32);

    #[test]
    fn the_newest_format_that_every_pod_reads_is_written() {
        let (old, new, newer, silent) = (Some(1), Some(2), Some(3), None);
        let rows: &[Row<'_>] = &[
            (&[], 0, None, None, 1),
            (&[], 2, Some(2), None, 2),
            (&[old, old], 2, None, None, 1),
            (&[new, old], 2, None, None, 1),
            (&[new, new], 2, None, None, 2),
            (&[new, newer], 2, Some(2), None, 2),
            (&[newer, newer], 2, Some(2), None, 2),
            // One is missing, or silent: not raised, and not lowered.
            (&[new], 2, None, None, 1),
            (&[new, silent], 2, None, None, 1),
            (&[new, silent], 2, Some(2), None, 2),
            (&[silent], 1, Some(2), None, 2),
            // An older one came back.
            (&[new, old], 2, Some(2), None, 1),
            (&[silent, old], 2, Some(2), None, 1),
            // One more than expected counts as well.
            (&[new, new, old], 2, None, None, 1),
            // A person's word.
            (&[new, new], 2, Some(2), Some(1), 1),
            (&[new, new], 2, Some(1), Some(7), 2),
            (&[new, new], 2, Some(1), Some(0), 1),
        ];
        for (reads, expected, before, cap, next) in rows {
            let pods: Vec<Seen> = reads.iter().copied().map(pod).collect();
            assert_eq!(
                agreed(&pods, *expected, *before, *cap),
                *next,
                "{reads:?} of {expected}, {before:?}, {cap:?}"
            );
        }
    }

    #[test]
    fn the_newest_format_on_any_disk_counts() {
        assert_eq!(on_disk(&[pod(Some(1)), pod(Some(2)), pod(None)]), Some(2));
        assert_eq!(on_disk(&[pod(None)]), None);
    }

    #[test]
    fn the_first_format_is_said_by_saying_nothing() {
        assert_eq!(
            [None, Some(1), Some(2), Some(3)].map(rendered),
            [None, None, Some(2), None]
        );
    }
}
