//! Looks through the queue for people: one scan at a time, in memory that does not grow with the queue or with the
//! number of recipients of its messages.

use std::sync::Arc;
use std::time::Duration;

use postroad_config::admin::{Entry, EntryRecipient, ListQuery};
use postroad_spool::{ByMode, EntryId, Item, Message, Ownership, ReadError, RecipientState, Status, Summary};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Desk, gates};
use crate::log::clean;
use crate::queue::shown;

/// Where a scan ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// So many messages were found.
    found: usize,
    /// So many were looked at.
    read: usize,
    /// Those that were found have more recipients.
    recipients: usize,
}

impl Bounds {
    /// What is found is shown.
    pub(super) const fn of_a_page(found: usize) -> Self {
        Self {
            found,
            read: MOST_READ,
            recipients: MOST_RECIPIENTS,
        }
    }

    /// Of what is found only the id is kept.
    pub(super) const fn of_an_order(found: usize) -> Self {
        Self {
            found,
            read: usize::MAX,
            recipients: usize::MAX,
        }
    }
}

/// Who reads the queue now. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Turn(Arc<Semaphore>);

impl Default for Turn {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Turn {
    /// Until it is dropped nobody else has it. `None`: it was taken for so long.
    pub(super) async fn take(&self, longest: Duration) -> Option<OwnedSemaphorePermit> {
        let turn = self.0.clone().acquire_owned();
        tokio::time::timeout(longest, turn).await.ok()?.ok()
    }
}

impl Desk {
    /// Passes each entry behind `after` that `concerns` names and that fits the terms to `keep`. Gives the last that was
    /// looked at, where there are more.
    pub(super) fn scan(
        &self,
        terms: &ListQuery,
        after: Option<EntryId>,
        bounds: Bounds,
        concerns: impl Fn(EntryId) -> bool,
        keep: impl FnMut(Entry),
    ) -> Option<EntryId> {
        let ids = self.spool.ids_behind(after, bounds.read.saturating_add(1));
        let now = crate::queue::clock::now();
        let look = |id| {
            let entry = concerns(id).then(|| self.fitting(id, terms, now))??;
            Some((entry.recipients.len(), entry))
        };
        scan(&ids, bounds, look, keep)
    }

    /// The entry, if it is there and fits the terms.
    fn fitting(&self, id: EntryId, terms: &ListQuery, now: u64) -> Option<Entry> {
        // One that is gone meanwhile is not in the queue.
        let (entry, item) = self.look(id).ok()?;
        let waits_there = |site: &String| {
            let item = item.as_ref();
            item.is_some_and(|item| self.queue.sites_of(id, item).contains(site))
        };
        (fits(&entry, terms, now) && terms.site.as_ref().is_none_or(waits_there)).then_some(entry)
    }

    /// As people are shown it; without an envelope, where that cannot be read, what the index knows.
    pub(super) fn look(&self, id: EntryId) -> Result<(Entry, Option<Item>), ReadError> {
        match self.spool.read(id) {
            Ok(message) => Ok((self.entry(&message), Some(message.item))),
            Err(ReadError::NoSuchEntry) => Err(ReadError::NoSuchEntry),
            Err(_) => {
                let summary = self.spool.summary(id).ok_or(ReadError::NoSuchEntry)?;
                let states = self.spool.states(id).unwrap_or_default();
                Ok((self.unreadable(&summary, &states), None))
            }
        }
    }

    fn unreadable(&self, summary: &Summary, states: &[RecipientState]) -> Entry {
        Entry {
            id: summary.id.to_string(),
            owner: owner(summary.ownership).to_owned(),
            sender: String::new(),
            identity: None,
            arrived: summary.arrived,
            origin: None,
            expires: summary.expires,
            size: summary.size,
            damaged: true,
            moved_to: self.queue.moved_to(summary.id).map(|policy| policy.to_string()),
            require_tls: false,
            deliver_by: None,
            or_return: false,
            recipients: states.iter().map(|state| recipient("", state)).collect(),
        }
    }

    fn entry(&self, message: &Message) -> Entry {
        let envelope = &message.item.envelope;
        let pairs = envelope.recipients.iter().zip(&message.item.recipients);
        let recipients = pairs.map(|(of, state)| recipient(&of.forward_path, state));
        let mut recipients: Vec<_> = recipients.collect();
        self.due_at_sites(message, &mut recipients);
        Entry {
            id: message.id.to_string(),
            owner: owner(message.ownership).to_owned(),
            sender: clean(&envelope.reverse_path),
            identity: envelope.identity.as_deref().map(clean),
            arrived: envelope.arrived,
            origin: message
                .origin
                .map(|transfer| format!("{}@{}", transfer.entry, transfer.source)),
            expires: self.queue.expires(message.id, &message.item),
            size: message.item.prefix.len() as u64 + message.body.len(),
            damaged: message.body.is_lost(),
            moved_to: self.queue.moved_to(message.id).map(|policy| policy.to_string()),
            require_tls: envelope.require_tls,
            deliver_by: envelope.deliver_by.map(|by| by.deadline),
            or_return: envelope.deliver_by.is_some_and(|by| by.mode == ByMode::Return),
            recipients,
        }
    }

    /// Of those whose time has come, the site: whether that is open is still to be asked.
    fn due_at_sites(&self, message: &Message, recipients: &mut [EntryRecipient]) {
        let now = crate::queue::clock::now();
        let due = |next: Option<u64>| next.is_some_and(|at| at <= now);
        if !recipients.iter().any(|recipient| due(recipient.next_attempt)) {
            return;
        }
        let pairs = recipients.iter_mut().zip(&message.item.recipients);
        let pending = pairs.filter(|(_, state)| state.status == Status::Pending);
        let sites = self.queue.sites_of(message.id, &message.item);
        for ((recipient, _), site) in pending.zip(sites) {
            recipient.waits_for = due(recipient.next_attempt).then(|| gates::of(site));
        }
    }
}

fn recipient(forward_path: &str, state: &RecipientState) -> EntryRecipient {
    EntryRecipient {
        address: clean(forward_path),
        state: shown::name(state).to_owned(),
        attempts: state.attempts,
        next_attempt: shown::next_attempt(state),
        waits_for: None,
        reply: clean(&state.reply),
    }
}

/// Looks at one after the other, and has what is found kept before the next is looked at. `look` says how many recipients
/// it has.
fn scan<T>(
    ids: &[EntryId],
    bounds: Bounds,
    mut look: impl FnMut(EntryId) -> Option<(usize, T)>,
    mut keep: impl FnMut(T),
) -> Option<EntryId> {
    let (mut found, mut recipients) = (0_usize, 0_usize);
    let mut last = None;
    for (read, id) in ids.iter().enumerate() {
        if found >= bounds.found || read >= bounds.read || recipients > bounds.recipients {
            return last;
        }
        last = Some(*id);
        if let Some((of_it, one)) = look(*id) {
            found += 1;
            recipients = recipients.saturating_add(of_it);
            keep(one);
        }
    }
    None
}

fn fits(entry: &Entry, terms: &ListQuery, now: u64) -> bool {
    let address = |term: &str, address: &str| match term.strip_prefix('@') {
        Some(domain) => address
            .rsplit_once('@')
            .is_some_and(|(_, of)| of.eq_ignore_ascii_case(domain)),
        None => address.eq_ignore_ascii_case(term),
    };
    let held = || entry.recipients.iter().any(|recipient| recipient.state == "held");
    terms
        .sender
        .as_deref()
        .is_none_or(|term| address(term, &entry.sender))
        && terms.recipient.as_deref().is_none_or(|term| {
            let mut recipients = entry.recipients.iter();
            recipients.any(|recipient| address(term, &recipient.address))
        })
        && terms.held.is_none_or(|wanted| held() == wanted)
        && terms
            .older_than
            .is_none_or(|seconds| entry.arrived.saturating_add(seconds.saturating_mul(1_000)) < now)
}

const fn owner(ownership: Ownership) -> &'static str {
    match ownership {
        Ownership::Owned => "owned",
        Ownership::Offered => "offered",
        Ownership::Given => "given",
        Ownership::Held => "held",
    }
}

/// Envelopes read for one page.
const MOST_READ: usize = 5_000;
/// A page ends with the message that brings it beyond so many.
const MOST_RECIPIENTS: usize = 20_000;

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    fn ids(count: u64) -> Vec<EntryId> {
        (1..=count)
            .map(|id| format!("{id:016x}").parse().unwrap())
            .collect()
    }

    #[test]
    fn a_page_ends_when_its_recipients_are_many_and_the_next_goes_on_behind_it() {
        let all = ids(30);
        let (mut after, mut shown, mut pages) = (0, Vec::new(), Vec::new());
        loop {
            let before = shown.len();
            let next = scan(
                &all[after..],
                Bounds::of_a_page(100),
                |id| Some((3_000, id)),
                |id| shown.push(id),
            );
            pages.push(shown.len() - before);
            let Some(next) = next else { break };
            after = all.iter().position(|id| *id == next).unwrap() + 1;
        }
        assert_eq!(pages, [7, 7, 7, 7, 2]);
        assert_eq!(shown, all);
    }

    #[test]
    fn a_scan_ends_with_what_was_found_or_looked_at() {
        let all = ids(MOST_READ as u64 + 1);
        let none = |_| None::<(usize, ())>;
        let last = scan(&all, Bounds::of_a_page(100), none, drop);
        assert_eq!(last, Some(all[MOST_READ - 1]));
        assert_eq!(scan(&all[1..], Bounds::of_a_page(100), none, drop), None);
        let mut found = Vec::new();
        let each = |id| Some((1_000_000, id));
        let last = scan(&all, Bounds::of_an_order(3), each, |id| found.push(id));
        assert_eq!((last, found.as_slice()), (Some(all[2]), &all[..3]));
    }

    #[test]
    fn an_order_over_many_messages_has_one_of_them_in_memory() {
        let token = Rc::new(());
        let look = |id| {
            assert_eq!(
                Rc::strong_count(&token),
                1,
                "what was found before is still there"
            );
            Some((1_000, (id, token.clone())))
        };
        let mut kept = Vec::new();
        let all = ids(100);
        let next = scan(&all, Bounds::of_an_order(1_000), look, |(id, _)| kept.push(id));
        assert_eq!((next, kept), (None, all));
    }

    #[tokio::test]
    async fn one_reads_the_queue_at_a_time() {
        let turn = Turn::default();
        let other = turn.clone();
        let taken = turn.take(Duration::from_mins(1)).await.unwrap();
        assert!(other.take(Duration::ZERO).await.is_none());
        drop(taken);
        assert!(other.take(Duration::from_mins(1)).await.is_some());
    }
}
