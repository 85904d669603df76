//! The index against a model of what stands around it: whatever happens in whatever order, no recipient is in two jobs at
//! once, no message is forgotten, and in the end nothing is left behind.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SITES: [&str; 3] = ["a", "b", "c"];
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

#[derive(Clone, Debug)]
enum Step {
    Accept(Vec<usize>),
    Read,
    Sorted(usize),
    Start,
    End(usize, How),
    Clock(u64),
    Order(u64, Wanted),
    Suspend(usize, bool),
    Resort,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Delivered,
    Deferred,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    Hold,
    Retry,
    Discard,
}

struct Recipient {
    site: usize,
    next: u64,
}

/// The spool, the worker and the scheduler, as far as the index sees them.
struct World {
    index: Index,
    now: u64,
    /// Recipients that are not done with, by position.
    mails: BTreeMap<u64, BTreeMap<u32, Recipient>>,
    accepted: u64,
    read: Vec<(EntryId, Option<Sorted>)>,
    running: Vec<Job>,
    orders: Vec<(u64, Wanted)>,
    suspended: Names,
}

impl World {
    fn new() -> Self {
        Self {
            index: Index::new(4, 0),
            now: 0,
            mails: BTreeMap::new(),
            accepted: 0,
            read: vec![],
            running: vec![],
            orders: vec![],
            suspended: Names::new(),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Accept(sites) => {
                self.accepted += 1;
                let recipients = sites.into_iter().map(|site| Recipient { site, next: 0 });
                self.mails.insert(self.accepted, (0..).zip(recipients).collect());
                self.index.accept(EntryId::from_u64(self.accepted));
            }
            Step::Read => {
                for entry in self.index.due(self.now, 2) {
                    let found = self.mails.get(&entry.as_u64()).map(|mail| self.sort(mail));
                    self.read.push((entry, found));
                }
            }
            Step::Sorted(which) => {
                if !self.read.is_empty() {
                    let (entry, found) = self.read.swap_remove(which % self.read.len());
                    self.index.sorted(entry, found);
                }
            }
            Step::Start => self.running.extend(self.index.start(self.now)),
            Step::End(which, how) => {
                if !self.running.is_empty() {
                    let job = self.running.swap_remove(which % self.running.len());
                    self.end(job, how);
                }
            }
            Step::Clock(by) => self.now += by,
            Step::Order(which, wanted) => {
                if self.accepted > 0 {
                    self.orders.push((which % self.accepted + 1, wanted));
                }
            }
            Step::Suspend(site, is_on) => {
                if is_on {
                    self.suspended.insert(SITES[site].to_owned());
                } else {
                    self.suspended.remove(SITES[site]);
                }
                self.index.suspend(self.suspended.clone());
            }
            Step::Resort => self.index.resort(self.now),
        }
        self.carry_out_orders();
    }

    fn sort(&self, mail: &BTreeMap<u32, Recipient>) -> Sorted {
        let mut groups: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for (position, recipient) in mail.iter().filter(|(_, one)| one.next <= self.now) {
            groups.entry(recipient.site).or_default().push(*position);
        }
        let later = mail.values().map(|one| one.next).filter(|next| *next > self.now);
        let groups = groups.into_iter().map(|(site, recipients)| Group {
            site: SITES[site].to_owned(),
            recipients,
            patience: 50_000,
            urgent: site == 2,
            pace: None,
        });
        Sorted {
            groups: groups.collect(),
            next: later.min(),
            ..Sorted::default()
        }
    }

    fn end(&mut self, job: Job, how: How) {
        let mut mail = self.mails.get_mut(&job.entry.as_u64());
        let mut pending = vec![];
        for position in &job.recipients {
            let Some(mail) = &mut mail else { continue };
            if matches!(how, How::Delivered) && job.instead.is_none() {
                mail.remove(position);
            } else if let Some(recipient) = mail.get_mut(position) {
                recipient.next = self.now + 7_000;
                pending.push(*position);
            }
        }
        if mail.is_some_and(|mail| mail.is_empty()) {
            self.mails.remove(&job.entry.as_u64());
        }
        let ended = Ended {
            feedback: Some(if matches!(how, How::Dead) || job.instead.is_some() {
                Feedback::Dead
            } else {
                Feedback::Good
            }),
            why: None,
            retry: RETRY,
            urgent: false,
            notice_at: None,
            next: (!pending.is_empty()).then_some(self.now + 7_000),
            pending,
            // Who waited in vain is told, and waits on.
            patience: if job.instead.is_some() {
                u64::MAX
            } else {
                job.patience
            },
            job,
        };
        self.index.ended(ended, self.now, 7);
    }

    /// As `orders.rs` does.
    fn carry_out_orders(&mut self) {
        for (number, wanted) in std::mem::take(&mut self.orders) {
            let entry = EntryId::from_u64(number);
            if !self.index.contains(entry) {
                continue;
            }
            if !self.index.remove(entry) {
                self.orders.push((number, wanted));
                continue;
            }
            let Some(mail) = self.mails.get_mut(&number) else {
                continue;
            };
            let at = match wanted {
                Wanted::Hold => NEVER,
                Wanted::Retry => self.now,
                Wanted::Discard => {
                    self.mails.remove(&number);
                    continue;
                }
            };
            for recipient in mail.values_mut() {
                recipient.next = at;
            }
            if wanted == Wanted::Retry {
                self.index.retry(entry, at);
            } else {
                self.index.add(entry, at);
            }
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let mut busy = HashSet::new();
        for job in &self.running {
            for position in &job.recipients {
                prop_assert!(
                    busy.insert((job.entry, *position)),
                    "{position} of {} twice",
                    job.entry
                );
            }
        }
        for number in self.mails.keys() {
            prop_assert!(
                self.index.contains(EntryId::from_u64(*number)),
                "{number} is forgotten"
            );
        }
        prop_assert_eq!(self.index.count().1, self.running.len());
        let waiting: usize = self.index.sites(None, 100).iter().map(|site| site.waiting).sum();
        prop_assert!(waiting <= self.index.count().0 * SITES.len());
        Ok(())
    }

    /// Everything goes well from now on.
    fn come_to_rest(&mut self) -> Result<(), TestCaseError> {
        self.suspended.clear();
        self.index.suspend(Names::new());
        let held: BTreeSet<u64> = self.mails.keys().copied().collect();
        self.orders
            .extend(held.into_iter().map(|number| (number, Wanted::Retry)));
        for _ in 0..10_000 {
            self.take(Step::Read);
            while !self.read.is_empty() {
                self.take(Step::Sorted(0));
            }
            self.take(Step::Start);
            self.take(Step::End(0, How::Delivered));
            self.check()?;
            if self.running.is_empty() {
                match self.index.wakes_at() {
                    Some(at) => self.now = self.now.max(at),
                    None if self.mails.is_empty() && self.orders.is_empty() => return Ok(()),
                    None => {}
                }
            }
        }
        Err(TestCaseError::fail(format!(
            "{} are never delivered, {:?}",
            self.mails.len(),
            self.index
        )))
    }
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![Just(How::Delivered), Just(How::Deferred), Just(How::Dead)];
    let wanted = prop_oneof![Just(Wanted::Hold), Just(Wanted::Retry), Just(Wanted::Discard)];
    prop_oneof![
        3 => prop::collection::vec(0..SITES.len(), 1..4).prop_map(Step::Accept),
        4 => Just(Step::Read),
        4 => any::<usize>().prop_map(Step::Sorted),
        5 => Just(Step::Start),
        4 => (any::<usize>(), how).prop_map(|(which, how)| Step::End(which, how)),
        2 => (0_u64..20_000).prop_map(Step::Clock),
        2 => (any::<u64>(), wanted).prop_map(|(which, wanted)| Step::Order(which, wanted)),
        1 => (0..SITES.len(), any::<bool>()).prop_map(|(site, is_on)| Step::Suspend(site, is_on)),
        1 => Just(Step::Resort),
    ]
}

proptest! {
    #[test]
    fn nothing_is_forgotten_doubled_or_left_behind(steps in prop::collection::vec(step(), 0..150)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
            world.check()?;
        }
        world.come_to_rest()?;
        prop_assert_eq!(world.index.count(), (0, 0));
        prop_assert_eq!(world.index.tally(world.now), Tally::default());
        // Once sites would start afresh anyway they are forgotten, with their alarms.
        world.now += 10_000_000;
        prop_assert_eq!(world.index.start(world.now), None);
        prop_assert!(world.index.places.iter().all(|site| site.ready.is_empty()));
        prop_assert!(world.index.timers.is_empty() && world.index.alarms.is_empty());
    }
}
