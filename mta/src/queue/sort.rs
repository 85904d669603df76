//! Reads entries and groups the recipients that are due by where their mail goes.
//!
//! Reads the spool off the reactor; the grouping is pure.

use std::collections::{BTreeMap, HashSet};
use std::hash::RandomState;
use std::sync::Arc;

use postroad_config::{ConfigFile, DomainName};
use postroad_spool::{EntryId, Item, Ownership, ReadError, RecipientState, Spool, Status};

use super::fair::Share;
use super::hot::{Fresh, Hot};
use super::job::{Group, Sorted};
use super::moved::Moved;
use super::orders::HELD;
use super::owed::is_owed;
use super::retry::Schedule;
use super::{clock, settle};
use crate::deliver::holds::Holds;
use crate::deliver::plan::{Origin, Plan};
use crate::deliver::sites::Sites;
use crate::settings::Live;

/// What sorting takes.
#[derive(Clone, Debug)]
pub struct Sorter {
    /// Where entries are.
    pub spool: Spool,
    /// Routes and schedules.
    pub live: Live,
    /// Names of sites.
    pub sites: Sites,
    /// Where messages are kept for their jobs.
    pub hot: Hot,
    /// Messages that go by a policy that a person chose.
    pub moved: Moved,
    /// Policies whose mail is on hold.
    pub holds: Holds,
    /// See [`Share::of`].
    pub keys: RandomState,
}

impl Sorter {
    /// Sorts entries, all on one blocking thread; `eager`: those that are due whatever their schedules say. `None`: it is not ours to
    /// deliver (any more).
    pub async fn sort(
        self,
        entries: Vec<EntryId>,
        eager: HashSet<EntryId>,
        now: u64,
    ) -> Vec<(EntryId, Option<Sorted>)> {
        let all = entries.clone();
        let sort = move || {
            let config = self.live.current();
            let sort = |entry| {
                let is_eager = eager.contains(&entry);
                (entry, self.sort_one(&config.set.file, entry, is_eager, now))
            };
            entries.into_iter().map(sort).collect()
        };
        tokio::task::spawn_blocking(sort).await.unwrap_or_else(|error| {
            tracing::error!(%error, "reading entries failed");
            all.into_iter().map(|entry| (entry, Some(later(now)))).collect()
        })
    }

    fn sort_one(&self, config: &ConfigFile, entry: EntryId, is_eager: bool, now: u64) -> Option<Sorted> {
        let read = self.spool.read(entry);
        if let Ok(message) = &read
            && message.ownership != Ownership::Owned
        {
            return None;
        }
        let read = read.and_then(|message| Fresh::read(message).map_err(ReadError::from));
        match read {
            Ok(message) => {
                if message.lost {
                    self.spool.found_damaged(entry);
                }
                let by = self.moved.of(entry);
                if let Some(policy) = by.as_deref().filter(|by| !is_policy(config, by)) {
                    tracing::warn!(
                        event = "move-void",
                        queue_id = %entry,
                        policy,
                        "the policy that it was moved to is gone; it goes by its usual route"
                    );
                }
                let known = (&self.sites, &self.holds);
                let mut sorted = group(config, known, &message.item, by.as_deref(), (is_eager, now));
                sorted.share = Share::of(&message.item, &self.keys);
                if !sorted.groups.is_empty() {
                    self.hot.put(entry, Arc::new(message));
                }
                Some(sorted)
            }
            Err(ReadError::NoSuchEntry) => None,
            // It was told and counted when it was found. Nobody can say who is to hear of it: it waits for a person, or for the
            // device to give it back.
            Err(ReadError::Damaged) => Some(later(now)),
            Err(error) => {
                tracing::error!(queue_id = %entry, %error, "an entry cannot be read; it stays in the spool");
                Some(later(now))
            }
        }
    }
}

fn later(now: u64) -> Sorted {
    Sorted {
        next: Some(now.saturating_add(UNREADABLE_AGAIN)),
        ..Sorted::default()
    }
}

/// Whether the configuration has a policy of this name.
pub fn is_policy(config: &ConfigFile, name: &str) -> bool {
    config.policies.iter().any(|policy| policy.name == name)
}

/// Whether mail that waits would be sorted in the same way by both.
pub fn leads_alike(one: &ConfigFile, other: &ConfigFile) -> bool {
    let stores = |config: &ConfigFile| -> Vec<_> {
        let domains = config.domains.iter();
        let inbound = domains.filter_map(|domain| Some((domain.name.clone(), domain.inbound.as_ref()?)));
        inbound
            .map(|(name, inbound)| (name, inbound.deliver_to.clone()))
            .collect()
    };
    one.hostname == other.hostname
        && one.policies == other.policies
        && one.queue.delay_notice == other.queue.delay_notice
        && stores(one) == stores(other)
}

/// Whether mail that waits may expire sooner by `other`: a lifetime has changed, or which policy it is sent by.
pub fn may_expire_sooner(one: &ConfigFile, other: &ConfigFile) -> bool {
    let lifetimes = |config: &ConfigFile| -> Vec<_> {
        let policies = config.policies.iter();
        let told =
            policies.map(|policy| (policy.name.clone(), policy.matches.clone(), policy.retry.lifetime));
        told.collect()
    };
    let (before, after) = (lifetimes(one), lifetimes(other));
    let any = |all: &[(_, _, Option<_>)]| all.iter().any(|(_, _, lifetime)| lifetime.is_some());
    let of_queue = |config: &ConfigFile| (config.queue.lifetime, config.queue.null_sender_lifetime);
    of_queue(one) != of_queue(other) || before != after && (any(&before) || any(&after))
}

/// When the first of the recipients who wait is given up; where nobody waits, when somebody would be.
pub fn expires(config: &ConfigFile, holds: &Holds, item: &Item, by: Option<&str>, now: u64) -> u64 {
    let age = |held| settle::age(item, &config.queue, held);
    let schedule = |plan: &Plan| {
        let held = holds.held(&plan.name, item.envelope.arrived, now);
        Schedule::new(&plan.retry, age(held))
    };
    let pending = (0u32..)
        .zip(&item.recipients)
        .filter(|(_, state)| state.status == Status::Pending);
    pending
        .map(|(index, _)| schedule(&plan(config, item, index, by)).expires())
        .min()
        .unwrap_or_else(|| age(0).expires)
}

/// The sites that the recipients wait for who are not done with.
pub fn sites(config: &ConfigFile, sites: &Sites, item: &Item, by: Option<&str>) -> Vec<String> {
    let pending = (0u32..)
        .zip(&item.recipients)
        .filter(|(_, state)| state.status == Status::Pending);
    pending
        .map(|(index, _)| plan(config, item, index, by).site(sites))
        .collect()
}

fn group(
    config: &ConfigFile,
    (sites, holds): (&Sites, &Holds),
    item: &Item,
    by: Option<&str>,
    (is_eager, now): (bool, u64),
) -> Sorted {
    let schedule = |plan: &Plan| {
        let held = holds.held(&plan.name, item.envelope.arrived, now);
        Schedule::new(&plan.retry, settle::age(item, &config.queue, held))
    };
    // Two policies may use one site in different ways: they share it, not an attempt.
    let mut groups: BTreeMap<(String, String), (Vec<u32>, Plan)> = BTreeMap::new();
    let mut owed: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let mut next: Option<u64> = None;
    for (index, state) in (0u32..).zip(&item.recipients) {
        if state.status != Status::Pending {
            continue;
        }
        let plan = plan(config, item, index, by);
        if is_owed(state) {
            owed.entry(plan.name).or_default().push(index);
            continue;
        }
        let schedule = schedule(&plan);
        let at = due_at(state, &schedule);
        let is_due = at <= now || (is_eager && at != HELD && state.attempts > 0);
        if !is_due && !is_of_another_clock(state, &schedule, now) {
            next = Some(next.map_or(at, |next| next.min(at)));
            continue;
        }
        groups
            .entry((plan.site(sites), plan.name.clone()))
            .or_insert_with(|| (vec![], plan))
            .0
            .push(index);
    }
    let groups = groups.into_iter().map(|((site, _), (recipients, plan))| {
        let schedule = schedule(&plan);
        let patience = settle::patience(
            item,
            &recipients,
            &schedule,
            clock::milliseconds(config.queue.delay_notice),
            0,
        );
        Group {
            site,
            recipients,
            patience,
            urgent: schedule.deadline(now).is_some(),
            pace: plan.pace(),
        }
    });
    Sorted {
        groups: groups.collect(),
        owed: owed.into_values().collect(),
        share: Share::default(),
        next,
    }
}

/// When something is to be done about a recipient: its next attempt, or the end of its lifetime, which may have been shortened since
/// that was set. What is held until it is released does not expire, nor does what a smart host does not take from its sender.
fn due_at(state: &RecipientState, schedule: &Schedule) -> u64 {
    match state.next_attempt {
        HELD => HELD,
        at if settle::is_held(state) => at,
        at => at.min(schedule.expires()),
    }
}

/// Whether the next attempt lies further ahead than any wait: the clock was set back since it was written.
fn is_of_another_clock(state: &RecipientState, schedule: &Schedule, now: u64) -> bool {
    // What is held until a time was not tried yet; what is held until it is released has no time.
    state.attempts > 0
        && state.next_attempt != HELD
        && state.next_attempt.saturating_sub(now) > schedule.longest_wait()
}

/// The plan for one recipient. `by`: the policy that a person chose for the message.
pub fn plan(config: &ConfigFile, item: &Item, index: u32, by: Option<&str>) -> Plan {
    let recipient = usize::try_from(index)
        .ok()
        .and_then(|at| item.envelope.recipients.get(at));
    let recipient = recipient.map_or("", |recipient| recipient.forward_path.as_str());
    let sender = domain(&item.envelope.reverse_path);
    // `<Postmaster>` without a domain is ours (RFC 5321 section 4.5.1).
    let recipient = domain(recipient).unwrap_or_else(|| config.hostname.as_str().to_owned());
    by.and_then(|policy| Plan::by_hand(config, policy, &recipient))
        .unwrap_or_else(|| {
            let from = Origin {
                domain: sender.as_deref(),
                identity: item.envelope.identity.as_deref(),
            };
            Plan::decide(config, from, &recipient)
        })
}

/// The plans for these recipients, each once.
pub fn plans(config: &ConfigFile, item: &Item, recipients: &[u32], by: Option<&str>) -> Vec<Plan> {
    let mut plans: Vec<Plan> = vec![];
    let mut seen = HashSet::new();
    for index in recipients {
        let recipient = usize::try_from(*index)
            .ok()
            .and_then(|at| item.envelope.recipients.get(at));
        let of = recipient.and_then(|recipient| domain(&recipient.forward_path));
        if seen.insert(of) {
            plans.push(plan(config, item, *index, by));
        }
    }
    plans
}

/// The domain of an address in the form in which domains are compared; an address literal keeps its brackets.
fn domain(address: &str) -> Option<String> {
    let (_, domain) = address.rsplit_once('@')?;
    match domain.parse::<DomainName>() {
        Ok(name) => Some(name.as_str().to_owned()),
        Err(_) => Some(domain.to_ascii_lowercase()),
    }
}

/// An entry that cannot be read now is looked at again after this time.
const UNREADABLE_AGAIN: u64 = 600_000;

#[cfg(test)]
#[path = "sort_tests.rs"]
mod tests;
