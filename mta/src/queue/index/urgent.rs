//! Time that senders give (RFC 2852): kept to the second, whatever a site does.
//!
//! ```text
//!   job with such a time ─► hurry: an alarm ─► keep_time: all whose patience is over get their outcome without an attempt
//! ```
//!
//! Who waits is asked one by one, so once a second at most.

use std::cell::Cell;
use std::sync::Arc;

use super::super::entries::SiteNumber;
use super::Index;
use super::turns::unreachable;
use crate::outcome::{Outcome, Status, Verdict};

impl Index {
    /// Somebody's patience with the site is over then.
    pub(super) fn hurry(&mut self, number: SiteNumber, patience: u64) {
        // As it is kept while it waits (`waiting.rs`).
        let at = patience.div_ceil(A_SECOND).saturating_mul(A_SECOND);
        if let Some(site) = self.places.get_mut(number)
            && site.urgent_at.is_none_or(|set| at < set)
        {
            site.urgent_at = Some(at);
            self.set_alarm(number, at);
        }
    }

    /// Gives up waiting for those whose patience is over, where it is time for that.
    pub(super) fn keep_time(&mut self, number: SiteNumber, now: u64) {
        let Some(site) = self.places.get_mut(number) else {
            return;
        };
        let Some(at) = site.urgent_at else { return };
        if at > now {
            // What woke the site was its alarm, perhaps, and this one is still to come.
            self.set_alarm(number, at);
            return;
        }
        site.urgent_at = None;
        let trouble = site.last_trouble.clone();
        let why = if site.window.is_open(now) {
            Arc::new(busy())
        } else {
            trouble.unwrap_or_else(|| Arc::new(unreachable()))
        };
        self.give_up_waiting(number, now, &why);
        if let Some(next) = self.next_patience(number) {
            self.hurry(number, next.max(now.saturating_add(A_SECOND)));
        }
    }

    /// When the patience of those who wait there is next over.
    fn next_patience(&mut self, number: SiteNumber) -> Option<u64> {
        let next = Cell::new(u64::MAX);
        let look = |job: &super::Waiting| {
            next.set(next.get().min(job.patience()));
            false
        };
        let site = self.places.get_mut(number)?;
        site.take_if(&self.entries, look);
        Some(next.get()).filter(|next| *next < u64::MAX)
    }
}

/// RFC 3463 section 3.5: congestion.
fn busy() -> Outcome {
    Outcome::ours(
        Verdict::Deferred,
        Status::new(4, 4, 5),
        "more mail waits for the next hop than it takes at a time",
    )
}

/// In milliseconds.
const A_SECOND: u64 = 1_000;
