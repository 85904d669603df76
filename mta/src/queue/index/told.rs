//! What the index tells of itself, and the sites that a person suspends.

use std::sync::Arc;

use super::super::job::SiteView;
use super::super::places::Site;
use super::super::rate::Limiter;
use super::super::suspended::Names;
use super::super::window::Window;
use super::Index;

/// What waits for what: messages with a timer or held, and for the rest attempts, of which a message to several sites
/// has several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Wait for the time of their next attempt.
    pub scheduled: usize,
    /// Wait for their turn at a site where mail goes.
    pub ready: usize,
    /// Run.
    pub running: usize,
    /// Wait for a person to release them.
    pub held: usize,
    /// Wait for a site that cannot be reached.
    pub dead: usize,
    /// Wait for a site that a person has suspended.
    pub suspended: usize,
}

impl Index {
    /// The sites that are known now: those that are in use, closed, or waited for.
    pub fn sites(&self) -> Vec<SiteView> {
        let view = |site: &Site| SiteView {
            name: site.name.clone(),
            waiting: site.waiting(),
            running: site.window.running(),
            window: site.window.allowed(),
            opens_at: site.window.opens_at().max(self.rate_opens_at(site)),
            dead_until: site.window.opens_at(),
            last_trouble: site.last_trouble.clone(),
            suspended: self.suspended.contains(&*site.name),
        };
        let idle = self
            .suspended
            .iter()
            .filter(|name| self.places.known(name).is_none());
        let suspended = |name: &String| SiteView {
            name: name.as_str().into(),
            waiting: 0,
            running: 0,
            window: Window::default().allowed(),
            opens_at: 0,
            dead_until: 0,
            last_trouble: None,
            suspended: true,
        };
        self.places.iter().map(view).chain(idle.map(suspended)).collect()
    }

    /// How much waits for what.
    pub fn tally(&self, now: u64) -> Tally {
        let mut tally = Tally {
            scheduled: self.timers.len() + self.fresh.len(),
            running: self.running,
            held: self.held,
            ..Tally::default()
        };
        for site in self.places.iter() {
            let state = if self.suspended.contains(&*site.name) {
                &mut tally.suspended
            } else if site.window.opens_at() > now {
                &mut tally.dead
            } else {
                &mut tally.ready
            };
            *state += site.waiting();
        }
        tally
    }

    /// Nothing is tried at these sites from now on, and again at those that are not among them any more. What waits there
    /// keeps its patience: its sender is told of the delay, and it expires.
    pub fn suspend(&mut self, names: Names) {
        let before = std::mem::replace(&mut self.suspended, names);
        let resumed: Vec<_> = before
            .difference(&self.suspended)
            .filter_map(|name| self.places.known(name))
            .collect();
        for number in resumed {
            self.enliven(number);
        }
    }

    fn rate_opens_at(&self, site: &Site) -> u64 {
        let limiter: Option<&Arc<str>> = site.limiter.as_ref();
        let limiter = limiter.and_then(|route| self.limiters.get(route));
        limiter.map_or(0, Limiter::next_at)
    }
}
