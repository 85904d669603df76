//! What a sealed pod has to give next: as much as a while of hand-over needs, however much there is.
//!
//! ```text
//!   index ─► pages of summaries ─► owned, readable ─► the first of each format ─► those that the target can say
//! ```
//!
//! Formats are kept apart, so that entries which a target cannot say never hide others: the look ends early only when
//! enough was found of what every target can say.

use std::collections::{BTreeMap, HashSet};

use postroad_spool::{EntryId, OLDEST_FORMAT, Ownership, Spool, Summary};
use tokio::task::JoinError;

/// By format.
#[derive(Debug, Default)]
pub(super) struct Waiting(BTreeMap<u32, Found>);

#[derive(Debug, Default)]
struct Found {
    first: Vec<Summary>,
    seen: usize,
}

impl Waiting {
    /// Looks through the spool, in steps that hold nobody up, on a thread that may block.
    pub(super) async fn read(spool: &Spool, unreadable: &HashSet<EntryId>) -> Result<Self, JoinError> {
        let (spool, unreadable) = (spool.clone(), unreadable.clone());
        let look = move || Self::gather(|after| spool.entries_behind(after, PAGE), &unreadable);
        tokio::task::spawn_blocking(look).await
    }

    fn gather(page: impl Fn(Option<EntryId>) -> Vec<Summary>, unreadable: &HashSet<EntryId>) -> Self {
        let mut waiting = Self::default();
        let mut after = None;
        while waiting.for_any_target() < MOST {
            let entries = page(after);
            let Some(last) = entries.last() else { break };
            after = Some(last.id);
            for entry in entries {
                if entry.ownership == Ownership::Owned && !unreadable.contains(&entry.id) {
                    waiting.take(entry);
                }
            }
        }
        waiting
    }

    fn take(&mut self, entry: Summary) {
        let found = self.0.entry(entry.format).or_default();
        found.seen += 1;
        if found.first.len() < MOST {
            found.first.push(entry);
        }
    }

    fn for_any_target(&self) -> usize {
        let any = self.0.range(..=OLDEST_FORMAT);
        any.map(|(_, found)| found.first.len()).sum()
    }

    /// There is nothing to give.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The format that can say all of it.
    pub(super) fn needed(&self) -> u32 {
        self.0
            .last_key_value()
            .map_or(OLDEST_FORMAT, |(format, _)| *format)
    }

    /// What a target that writes this format of the spool can keep whole, in order of arrival, and how many others were
    /// seen. Those stay here and are delivered on schedule until a target writes a newer one.
    pub(super) fn sayable(self, writes: u32) -> (Vec<Summary>, usize) {
        let (mut sayable, mut others) = (Vec::new(), 0);
        for (format, found) in self.0 {
            if format <= writes {
                sayable.extend(found.first);
            } else {
                others += found.seen;
            }
        }
        sayable.sort_unstable_by_key(|entry| (entry.arrived, entry.id));
        (sayable, others)
    }
}

/// More than is given between two probes of the targets.
const MOST: usize = 8_192;
/// Entries that are looked at in one step.
const PAGE: usize = 1_024;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn entry(number: u64, format: u32) -> Summary {
        Summary {
            id: EntryId::from_u64(number),
            ownership: Ownership::Owned,
            arrived: u64::MAX - number,
            expires: 0,
            size: 1,
            recipients: 1,
            pending: 1,
            next_attempt: 0,
            format,
        }
    }

    /// Gathers from a spool with these; also gives how many were looked at.
    fn gather(all: &[Summary], unreadable: &[u64]) -> (Waiting, usize) {
        let looked = Cell::new(0);
        let page = |after: Option<EntryId>| {
            let behind = all
                .iter()
                .filter(|entry| after.is_none_or(|after| entry.id > after));
            let page: Vec<Summary> = behind.take(PAGE).cloned().collect();
            looked.set(looked.get() + page.len());
            page
        };
        let unreadable = unreadable.iter().map(|number| EntryId::from_u64(*number));
        let waiting = Waiting::gather(page, &unreadable.collect());
        (waiting, looked.get())
    }

    #[test]
    fn of_very_many_no_more_is_looked_at_than_is_given() {
        let all: Vec<Summary> = (0..50_000).map(|number| entry(number, OLDEST_FORMAT)).collect();
        let (waiting, looked) = gather(&all, &[]);
        assert!(looked < MOST + PAGE, "{looked}");
        let (sayable, others) = waiting.sayable(OLDEST_FORMAT);
        assert_eq!((sayable.len(), others), (MOST, 0));
        assert!(sayable.is_sorted_by_key(|entry| entry.arrived));
    }

    #[test]
    fn what_a_target_cannot_say_is_not_offered_to_it_and_hides_nothing() {
        const MANY: u64 = 20_000;
        let newer = OLDEST_FORMAT + 1;
        let mut all: Vec<Summary> = (0..MANY).map(|number| entry(number, newer)).collect();
        all.push(entry(MANY, OLDEST_FORMAT));
        let (waiting, _) = gather(&all, &[]);
        assert_eq!(waiting.needed(), newer);
        let (sayable, others) = waiting.sayable(OLDEST_FORMAT);
        assert_eq!(
            sayable.iter().map(|entry| entry.id.as_u64()).collect::<Vec<_>>(),
            [MANY]
        );
        assert_eq!(others, 20_000);
        let (sayable, others) = gather(&all, &[]).0.sayable(newer);
        assert_eq!((sayable.len(), others), (MOST + 1, 0));
    }

    #[test]
    fn only_what_is_owned_and_can_be_read_is_given() {
        let held = Summary {
            ownership: Ownership::Held,
            ..entry(1, 1)
        };
        let offered = Summary {
            ownership: Ownership::Offered,
            ..entry(2, 1)
        };
        let (waiting, _) = gather(&[held.clone(), offered.clone(), entry(3, 1)], &[3]);
        assert!(waiting.is_empty());
        let (waiting, _) = gather(&[held, offered, entry(3, 1), entry(4, 1)], &[3]);
        let (sayable, _) = waiting.sayable(1);
        assert_eq!(sayable.len(), 1);
        assert_eq!(sayable[0].id.as_u64(), 4);
    }
}
