//! Timers: a hierarchical wheel. Pure: the caller passes the clock in, in milliseconds since any moment.
//!
//! ```text
//!   level 0   64 slots of 1 ms      what is due next
//!   level 1   64 slots of 64 ms     spread over level 0 when their time comes
//!   …                               each level reaches 64 times as far; the last one ends the range of the clock
//!   ready     what is due
//! ```
//!
//! After Varghese and Lauck. A timer is in the level of the highest six bits in which its time differs from the wheel's, so
//! setting and ending one takes the same few steps however many there are, and a far one costs a move for each level
//! that it comes down. What is more than [`NEAR`] away is rounded up to whole ticks of [`TICK`], so that many are due at
//! once and few levels are passed. Never early; at most a tick late.
//!
//! A clock that is set back is followed: what was on its way is sorted anew (a pass over all timers).

use std::num::NonZeroU32;

use super::pages::Pages;

/// Names a timer until it is due or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer(NonZeroU32);

/// Timers with a key each.
#[derive(Debug)]
pub struct Wheel<K> {
    nodes: Pages<Node<K>>,
    /// Those of all levels, then [`READY`].
    slots: Vec<Slot>,
    /// A bit for each slot that holds something.
    occupied: [u64; LEVELS],
    /// The clock, as far as it was followed.
    now: u64,
}

#[derive(Debug)]
struct Node<K> {
    at: u64,
    key: K,
    before: Option<NonZeroU32>,
    after: Option<NonZeroU32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    first: Option<NonZeroU32>,
    last: Option<NonZeroU32>,
    /// No timer of the slot is due before.
    earliest: u64,
}

impl<K: Copy> Wheel<K> {
    /// No timers; it is `now`.
    pub fn new(now: u64) -> Self {
        Self {
            nodes: Pages::default(),
            slots: vec![Slot::default(); READY + 1],
            occupied: [0; LEVELS],
            now,
        }
    }

    /// Timers that are set, those that are due included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// No timer is set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets a timer.
    pub fn set(&mut self, key: K, at: u64) -> Timer {
        let at = self.rounded(at);
        let node = self.nodes.insert(Node {
            at,
            key,
            before: None,
            after: None,
        });
        self.link(node);
        Timer(node)
    }

    /// When a timer is due. `None`: it is none any more.
    pub fn due_at(&self, timer: Timer) -> Option<u64> {
        self.nodes.get(timer.0).map(|node| node.at)
    }

    /// Ends a timer. One that was due, or ended, must not be named again.
    pub fn end(&mut self, timer: Timer) {
        self.unlink(timer.0);
        self.nodes.remove(timer.0);
    }

    /// Takes out a timer that is due; about the earliest.
    pub fn pop(&mut self, now: u64) -> Option<K> {
        self.follow(now);
        let first = self.slots.get(READY)?.first?;
        self.unlink(first);
        self.nodes.remove(first).map(|node| node.key)
    }

    /// When to ask again: not after the next timer is due, and before it only where the earliest was ended.
    pub fn next_at(&self) -> Option<u64> {
        if self.slots.get(READY)?.first.is_some() {
            return Some(self.now);
        }
        let (level, slot) = self.earliest()?;
        self.slots.get(level * SLOTS + slot).map(|slot| slot.earliest)
    }

    fn rounded(&self, at: u64) -> u64 {
        if at > self.now.saturating_add(NEAR) {
            at.checked_next_multiple_of(TICK).unwrap_or(at)
        } else {
            at
        }
    }

    /// Where a timer of that time is. Holds for as long as the clock has not come to the beginning of its slot.
    fn place(&self, at: u64) -> usize {
        if at <= self.now {
            return READY;
        }
        let highest = (u64::BITS - 1 - (at ^ self.now).leading_zeros()) as usize;
        let level = highest / BITS;
        level * SLOTS + slot_of(at, level)
    }

    fn link(&mut self, node: NonZeroU32) {
        let Some(at) = self.nodes.get(node).map(|node| node.at) else {
            return;
        };
        let place = self.place(at);
        let Some(slot) = self.slots.get_mut(place) else {
            return;
        };
        slot.earliest = if slot.first.is_none() {
            at
        } else {
            slot.earliest.min(at)
        };
        let last = slot.last.replace(node);
        match last.and_then(|last| self.nodes.get_mut(last)) {
            Some(last) => last.after = Some(node),
            None => slot.first = Some(node),
        }
        if let Some(node) = self.nodes.get_mut(node) {
            node.before = last;
            node.after = None;
        }
        if let Some(level) = self.occupied.get_mut(place / SLOTS) {
            *level |= 1 << (place % SLOTS);
        }
    }

    fn unlink(&mut self, node: NonZeroU32) {
        let Some((at, before, after)) = self
            .nodes
            .get(node)
            .map(|node| (node.at, node.before, node.after))
        else {
            return;
        };
        let place = self.place(at);
        let Some(slot) = self.slots.get_mut(place) else {
            return;
        };
        match before.and_then(|before| self.nodes.get_mut(before)) {
            Some(before) => before.after = after,
            None => slot.first = after,
        }
        match after.and_then(|after| self.nodes.get_mut(after)) {
            Some(after) => after.before = before,
            None => slot.last = before,
        }
        if slot.first.is_none()
            && let Some(level) = self.occupied.get_mut(place / SLOTS)
        {
            *level &= !(1 << (place % SLOTS));
        }
    }

    /// The slot that comes next: all of a level are before all of the levels above.
    fn earliest(&self) -> Option<(usize, usize)> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let slots = self.occupied.get(level)?;
        Some((level, slots.trailing_zeros() as usize))
    }

    fn follow(&mut self, now: u64) {
        if now < self.now {
            return self.sort_anew(now);
        }
        while let Some((level, slot)) = self.earliest() {
            let begins = begin_of(self.now, level, slot);
            if begins > now {
                break;
            }
            self.now = begins;
            self.spread(level * SLOTS + slot);
        }
        self.now = now;
    }

    /// Moves the timers of a slot to where they belong now.
    fn spread(&mut self, place: usize) {
        let mut next = self.clear(place);
        while let Some(node) = next {
            next = self.nodes.get(node).and_then(|node| node.after);
            self.link(node);
        }
    }

    fn clear(&mut self, place: usize) -> Option<NonZeroU32> {
        if let Some(level) = self.occupied.get_mut(place / SLOTS) {
            *level &= !(1 << (place % SLOTS));
        }
        self.slots.get_mut(place).map(std::mem::take)?.first
    }

    fn sort_anew(&mut self, now: u64) {
        self.now = now;
        let chains: Vec<_> = (0..=READY).rev().filter_map(|place| self.clear(place)).collect();
        for first in chains {
            let mut next = Some(first);
            while let Some(node) = next {
                next = self.nodes.get(node).and_then(|node| node.after);
                self.link(node);
            }
        }
    }
}

const fn slot_of(at: u64, level: usize) -> usize {
    ((at >> (level * BITS)) & LAST) as usize
}

/// When a slot that is still to come begins, seen from `now`.
const fn begin_of(now: u64, level: usize, slot: usize) -> u64 {
    let above = (level + 1) * BITS;
    let base = if above >= u64::BITS as usize {
        0
    } else {
        now >> above << above
    };
    base | (slot as u64) << (level * BITS)
}

/// Bits of the clock that a level looks at.
const BITS: usize = 6;
const SLOTS: usize = 1 << BITS;
/// The last slot of a level.
const LAST: u64 = 63;
/// So many levels that every time has one.
const LEVELS: usize = (u64::BITS as usize).div_ceil(BITS);
/// The slot of what is due.
const READY: usize = LEVELS * SLOTS;

/// What is as near as this, in milliseconds, is kept to the millisecond.
pub const NEAR: u64 = 8_192;
/// What is farther is rounded up to a multiple of this.
pub const TICK: u64 = 1_024;

#[cfg(test)]
#[path = "wheel_tests.rs"]
mod tests;
