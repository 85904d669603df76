//! What the index knows of each entry, as small as it can be: a million of them may wait.
//!
//! Pure. Nearly always at most one recipient of an entry is in a job; only where there are more, a place on the heap holds
//! them (a [`Crowd`]).

use std::collections::HashMap;

use postroad_spool::EntryId;
use postroad_spool::table::Table;

use super::wheel::Timer;

/// Number of a site, see `places.rs`.
pub type SiteNumber = u32;

/// One entry.
#[derive(Debug, Default)]
pub struct Known {
    /// Tells this stay of the entry from an earlier one; jobs of another stay are void. 0: it is about to leave.
    pub stay: u32,
    pub timer: Option<Timer>,
    busy: Busy,
    pub running: u16,
    pub sorting: bool,
    /// A recipient waits for a person.
    pub held: bool,
}

/// Which recipients are in a job.
#[derive(Debug, Default)]
enum Busy {
    #[default]
    None,
    /// One, and the site that its job waits for.
    One(u32, Option<Place>),
    /// They are in [`Entries::crowds`].
    Many,
}

/// A site's number, never 0.
type Place = std::num::NonZeroU32;

/// Recipients of one entry that are in jobs.
#[derive(Debug, Default)]
struct Crowd {
    /// Sorted.
    positions: Vec<u32>,
    /// Where a job waits; a site twice where two wait.
    sites: Vec<Place>,
}

impl Known {
    /// It is to be forgotten when what runs has ended.
    pub const fn is_leaving(&self) -> bool {
        self.stay == 0
    }

    /// Nothing runs, nothing waits, nothing is to come.
    pub const fn is_idle(&self) -> bool {
        self.timer.is_none()
            && !self.sorting
            && !self.held
            && matches!(self.busy, Busy::None)
            && self.running == 0
    }
}

/// All entries.
#[derive(Debug, Default)]
pub struct Entries {
    table: Table<Known>,
    crowds: HashMap<EntryId, Crowd>,
    stays: u32,
}

impl Entries {
    /// Entries.
    pub const fn len(&self) -> usize {
        self.table.len()
    }

    /// Takes an entry in. False: it is here already.
    pub fn add(&mut self, entry: EntryId) -> bool {
        if self.table.get(entry).is_some() {
            return false;
        }
        self.stays = self.stays.wrapping_add(1).max(1);
        let known = Known {
            stay: self.stays,
            ..Known::default()
        };
        self.table.insert(entry, known);
        true
    }

    /// The entry.
    pub fn get(&self, entry: EntryId) -> Option<&Known> {
        self.table.get(entry)
    }

    /// The entry, to be changed.
    pub fn get_mut(&mut self, entry: EntryId) -> Option<&mut Known> {
        self.table.get_mut(entry)
    }

    /// Whether a job is of the entry's present stay.
    pub fn is_of(&self, entry: EntryId, stay: u32) -> bool {
        self.table.get(entry).is_some_and(|known| known.stay == stay)
    }

    /// Those that wait for their time.
    pub fn with_timer(&self) -> Vec<EntryId> {
        let waiting = self.table.iter().filter(|(_, known)| known.timer.is_some());
        waiting.map(|(entry, _)| entry).collect()
    }

    /// Forgets an entry; [`Entries::void`] comes before.
    pub fn remove(&mut self, entry: EntryId) -> Option<Known> {
        self.crowds.remove(&entry);
        self.table.remove(entry)
    }

    /// Makes all jobs of an entry void; returns the sites where they wait.
    pub fn void(&mut self, entry: EntryId) -> Vec<SiteNumber> {
        let Some(known) = self.table.get_mut(entry) else {
            return Vec::new();
        };
        known.stay = 0;
        let sites = match &mut known.busy {
            Busy::None => Vec::new(),
            Busy::One(_, site) => site.take().into_iter().collect(),
            Busy::Many => self
                .crowds
                .get_mut(&entry)
                .map(|crowd| std::mem::take(&mut crowd.sites))
                .unwrap_or_default(),
        };
        sites.into_iter().map(Place::get).collect()
    }

    /// A recipient is in a job from now on. False: it was.
    pub fn occupy(&mut self, entry: EntryId, position: u32) -> bool {
        let Some(known) = self.table.get_mut(entry) else {
            return false;
        };
        match known.busy {
            Busy::None => known.busy = Busy::One(position, None),
            Busy::One(other, _) if other == position => return false,
            Busy::One(other, site) => {
                known.busy = Busy::Many;
                let crowd = Crowd {
                    positions: vec![other.min(position), other.max(position)],
                    sites: site.into_iter().collect(),
                };
                self.crowds.insert(entry, crowd);
            }
            Busy::Many => {
                let crowd = self.crowds.entry(entry).or_default();
                match crowd.positions.binary_search(&position) {
                    Ok(_) => return false,
                    Err(at) => crowd.positions.insert(at, position),
                }
            }
        }
        true
    }

    /// Recipients are in no job any more.
    pub fn release(&mut self, entry: EntryId, positions: &[u32]) {
        let Some(known) = self.table.get_mut(entry) else {
            return;
        };
        match known.busy {
            Busy::None => {}
            Busy::One(position, _) => {
                if positions.contains(&position) {
                    known.busy = Busy::None;
                }
            }
            Busy::Many => {
                if let Some(crowd) = self.crowds.get_mut(&entry) {
                    for position in positions {
                        if let Ok(at) = crowd.positions.binary_search(position) {
                            crowd.positions.remove(at);
                        }
                    }
                    if crowd.positions.is_empty() {
                        self.crowds.remove(&entry);
                        known.busy = Busy::None;
                    }
                }
            }
        }
    }

    /// A job of the entry waits for a site from now on; its recipients are occupied.
    pub fn waits(&mut self, entry: EntryId, site: SiteNumber) {
        let Some(known) = self.table.get_mut(entry) else {
            return;
        };
        match &mut known.busy {
            Busy::None => {}
            Busy::One(_, at) => *at = Place::new(site),
            Busy::Many => {
                if let Some(crowd) = self.crowds.get_mut(&entry) {
                    crowd.sites.extend(Place::new(site));
                }
            }
        }
    }

    /// A job of the entry waits no more.
    pub fn waits_no_more(&mut self, entry: EntryId, site: SiteNumber) {
        let Some(known) = self.table.get_mut(entry) else {
            return;
        };
        match &mut known.busy {
            Busy::None => {}
            Busy::One(_, at) => *at = None,
            Busy::Many => {
                if let Some(crowd) = self.crowds.get_mut(&entry) {
                    let at = crowd.sites.iter().position(|known| known.get() == site);
                    if let Some(at) = at {
                        crowd.sites.swap_remove(at);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> EntryId {
        EntryId::from_u64(number)
    }

    #[test]
    fn recipients_in_jobs_are_a_set() {
        let mut entries = Entries::default();
        assert!(entries.add(id(1)) && !entries.add(id(1)));
        for round in 0..2 {
            for position in 0..3 {
                assert!(entries.occupy(id(1), position), "{round}");
                assert!(!entries.occupy(id(1), position));
            }
            entries.release(id(1), &[1, 1, 7]);
            assert!(!entries.get(id(1)).unwrap().is_idle());
            entries.release(id(1), &[0, 2]);
            assert!(entries.get(id(1)).unwrap().is_idle() && entries.crowds.is_empty());
        }
        assert!(entries.occupy(id(1), 5));
        entries.release(id(1), &[4]);
        assert!(!entries.get(id(1)).unwrap().is_idle());
    }

    #[test]
    fn the_sites_where_jobs_wait_are_known() {
        let mut entries = Entries::default();
        entries.add(id(1));
        entries.occupy(id(1), 0);
        entries.waits(id(1), 7);
        entries.occupy(id(1), 1);
        entries.waits(id(1), 8);
        entries.occupy(id(1), 2);
        entries.waits(id(1), 8);
        entries.waits_no_more(id(1), 8);
        assert_eq!(entries.void(id(1)), [7, 8]);
        assert!(entries.void(id(1)).is_empty(), "told once");
        assert!(entries.get(id(1)).is_some_and(|known| known.stay == 0));
        entries.remove(id(1));
        entries.add(id(1));
        entries.occupy(id(1), 3);
        entries.waits(id(1), 9);
        entries.waits_no_more(id(1), 9);
        assert!(entries.void(id(1)).is_empty());
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Known>() <= 24, "{}", size_of::<Known>());
    }
}
