//! What the index tells of itself, and the sites that a person suspends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
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

/// The sites where the most waits and runs, and the rest as a sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Busiest {
    /// Those with the most, in no order.
    pub sites: Vec<SiteView>,
    /// All the others, if there are any.
    pub others: Option<Load>,
}

/// What waits and runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Jobs that wait.
    pub waiting: u64,
    /// Attempts that run.
    pub running: u64,
}

impl Load {
    fn of(site: &Site) -> Self {
        Self {
            waiting: site.waiting() as u64,
            running: u64::from(site.window.running()),
        }
    }
}

impl Index {
    /// Of the sites that are known now, those that are in use, closed, waited for or suspended: the `most` first ones behind
    /// `after`, in order of their names.
    pub fn sites(&self, after: Option<&str>, most: usize) -> Vec<SiteView> {
        let known = self.places.behind(after).take(most);
        let is_behind = |name: &&str| after.is_none_or(|after| *name > after);
        let idle = self.idle().filter(is_behind).take(most);
        let known = known.map(|site| self.view(site));
        let mut sites: Vec<SiteView> = known.chain(idle.map(suspended_view)).collect();
        sites.sort_by(|one, other| one.name.cmp(&other.name));
        sites.truncate(most);
        sites
    }

    /// These sites, those that nothing waits for left out.
    pub fn views(&self, names: &[String]) -> Vec<SiteView> {
        let view = |name: &String| match self.places.known(name).and_then(|number| self.places.get(number)) {
            Some(site) => Some(self.view(site)),
            None => self.suspended.contains(name).then(|| suspended_view(name)),
        };
        names.iter().filter_map(view).collect()
    }

    /// The `most` busiest of [`Index::sites`]. Looks at each, and keeps no more than those.
    pub fn busiest(&self, most: usize) -> Busiest {
        let mut others = Load::default();
        let known = self.places.iter().map(|site| (Load::of(site), &*site.name));
        let idle = self.idle().map(|name| (Load::default(), name));
        // The one with the least is on top; of those with the same, by name.
        let mut top = BinaryHeap::new();
        let mut count = 0_usize;
        for (load, name) in known.chain(idle) {
            count += 1;
            others.waiting += load.waiting;
            others.running += load.running;
            let place = (load.waiting + load.running, Reverse(name));
            if top.len() < most {
                top.push(Reverse(place));
            } else if let Some(mut least) = top.peek_mut()
                && least.0 < place
            {
                *least = Reverse(place);
            }
        }
        let view = |name: &str| {
            let site = self.places.known(name).and_then(|number| self.places.get(number));
            site.map_or_else(|| suspended_view(name), |site| self.view(site))
        };
        let names = top.into_iter().map(|Reverse((_, Reverse(name)))| name);
        let sites: Vec<SiteView> = names.map(view).collect();
        for site in &sites {
            others.waiting -= site.waiting as u64;
            others.running -= u64::from(site.running);
        }
        Busiest {
            others: (count > sites.len()).then_some(others),
            sites,
        }
    }

    fn view(&self, site: &Site) -> SiteView {
        SiteView {
            name: site.name.clone(),
            waiting: site.waiting(),
            running: site.window.running(),
            window: site.window.allowed(),
            opens_at: site.window.opens_at().max(self.rate_opens_at(site)),
            dead_until: site.window.opens_at(),
            last_trouble: site.last_trouble.clone(),
            suspended: self.suspended.contains(&*site.name),
        }
    }

    /// Suspended sites that nothing waits for.
    fn idle(&self) -> impl Iterator<Item = &str> {
        let names = self.suspended.iter().map(String::as_str);
        names.filter(|name| self.places.known(name).is_none())
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

fn suspended_view(name: &str) -> SiteView {
    SiteView {
        name: name.into(),
        waiting: 0,
        running: 0,
        window: Window::default().allowed(),
        opens_at: 0,
        dead_until: 0,
        last_trouble: None,
        suspended: true,
    }
}
