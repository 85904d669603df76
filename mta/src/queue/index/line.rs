//! The line in which sites wait for one of the places of all attempts.
//!
//! Sites do not simply take turns, or a tenant with mail for ten thousand sites would have ten thousand turns for one of a tenant
//! with mail for one. Tenants take turns, and of each kind of job as often as `fair.rs` says; a site is in line once for each
//! of the tenants that wait there, up to a few of them. Which job the site then starts is its own affair: between those who wait at
//! one site that is fair already.
//!
//! ```text
//!   a job is put to a site ─► in line for its share ─┐
//!   a site may have something to start again ────────┴─► lively ─► start_at (turns.rs) ─► lively again, aside, or out of line
//! ```

use super::super::entries::SiteNumber;
use super::super::fair::Share;
use super::Index;

/// A site in line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    site: SiteNumber,
    /// See [`super::super::places::Site::epoch`].
    epoch: u32,
}

impl Index {
    /// The next site that may have a job to start, and in whose turn.
    pub(super) fn next_in_line(&mut self) -> Option<(Share, Place)> {
        let aside = self
            .has_room_for_trials()
            .then(|| self.aside.pop(|_| 1))
            .flatten();
        aside.or_else(|| self.lively.pop(|_| 1))
    }

    /// The site that came out of the line. `None`: it had left before.
    pub(super) fn leave_line(&mut self, share: Share, place: Place) -> Option<SiteNumber> {
        let site = self.places.get_mut(place.site)?;
        if site.epoch != place.epoch {
            return None;
        }
        site.lined.retain(|lined| *lined != share);
        if site.lined.is_empty() {
            // There may be very many sites, of which most wait for better days.
            site.lined = Vec::new();
        }
        Some(place.site)
    }

    /// Puts a site in line for this share, unless it is.
    pub(super) fn line_up(&mut self, number: SiteNumber, share: Share) {
        let Some(site) = self.places.get_mut(number) else {
            return;
        };
        if site.lined.len() < MOST_PLACES && !site.lined.contains(&share) {
            site.lined.push(share);
            let place = Place {
                site: number,
                epoch: site.epoch,
            };
            self.lively.push(share, place);
        }
    }

    /// The site may have something to start: puts it in line for those who wait there.
    pub(super) fn enliven(&mut self, number: SiteNumber) {
        let Some(site) = self.places.get(number) else {
            return;
        };
        let shares: Vec<Share> = site.ready.shares(MOST_OF_A_KIND).collect();
        if shares.is_empty() && site.lined.is_empty() {
            // It is looked at all the same: it may be forgotten.
            self.line_up(number, Share::default());
        }
        for share in shares {
            self.line_up(number, share);
        }
    }
}

/// Tenants of one kind for which a site gets in line by itself.
const MOST_OF_A_KIND: usize = 4;
/// Places of one site in the line.
const MOST_PLACES: usize = 32;
