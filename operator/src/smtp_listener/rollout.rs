//! New pods in place of old ones after a change of their template, one at a time: which is next, and when it stops. Pure.
//!
//! ```text
//!   all others do well ─► the highest old pod is named in the status ─► deleted ─► its sessions end ─► back on its volume
//!           ▲                                                                                                │
//!           └──── it does well: ready, asked, on its configuration, its volume writable ◄────────────────────┤
//!                 not within the deadline: stopped, and said ◄───────────────────────────────────────────────┘
//! ```
//!
//! The pod is named before it is deleted, so that an operator that dies in between leaves a rollout that its successor knows of.
//! Pods that stay come first, leaving ones after them: these are on their way out, and must hold nobody up.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::runtime::events::EventType;
use postroad_config::admin::State;
use postroad_crds::conditions::reason::ROLLOUT_STOPPED;
use postroad_crds::smtp_listener::{Rollout as Settings, RolloutStatus};

use super::names::Names;

/// How a pod does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The next one may be replaced.
    Well,
    /// It may not; why, in words.
    Ill(String),
}

/// One pod as a rollout sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its ordinal.
    pub ordinal: i32,
    /// It is of the newest template.
    pub newest: bool,
    /// It is being deleted.
    pub ending: bool,
    /// How it does.
    pub health: Health,
}

/// The pods of a listener, and the template that they are to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet<'a> {
    /// The newest template.
    pub revision: &'a str,
    /// Pods that stay: ordinals below.
    pub wanted: i32,
    /// Pods that are there.
    pub pods: Vec<Pod>,
}

/// What a rollout is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Rollout {
    /// Not known: the StatefulSet has not been looked at by its controller since it changed.
    #[default]
    Unseen,
    /// Every pod is of the newest template.
    Complete,
    /// Some are not, or one that was replaced does not do well yet.
    UnderWay(RolloutStatus),
}

/// A rollout, and the ordinal of the pod that is to be deleted now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// How far it is.
    pub rollout: Rollout,
    /// Whose pod goes now.
    pub delete: Option<i32>,
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Done,
    Await(i32, String),
    Replace(i32),
}

/// What of a pod its health is judged by.
#[derive(Debug)]
pub struct Look<'a> {
    /// It is to stay.
    pub stays: bool,
    /// It is of the newest template.
    pub newest: bool,
    /// Since when it has been ready, by its conditions.
    pub ready_since: Option<Timestamp>,
    /// What its conditions and container wait for.
    pub waits_for: Option<String>,
    /// What it said, or why it could not be asked.
    pub state: Result<&'a State, &'a str>,
}

/// A new pod has to be ready for so long: one that falls at once is none to go on from.
const SETTLED: i64 = 5;
/// Shortest deadline that makes sense.
pub const SHORTEST: Duration = Duration::from_secs(30);
const USUAL: Duration = Duration::from_mins(10);

/// How a pod does. One that leaves is sealed, so never ready: it is to answer. An old one need only be ready.
pub fn health(look: &Look<'_>, now: Timestamp) -> Health {
    let waits = |otherwise: &str| Health::Ill(look.waits_for.clone().unwrap_or_else(|| otherwise.to_owned()));
    if !look.stays {
        return look.state.map_or_else(&waits, |_| Health::Well);
    }
    let Some(since) = look.ready_since else {
        return waits(match look.state {
            Ok(state) if !state.not_accepting.is_empty() => &state.not_accepting,
            _ => "it is not ready",
        });
    };
    if !look.newest {
        return Health::Well;
    }
    match look.state {
        Err(error) => Health::Ill(format!("it cannot be asked: {error}")),
        Ok(state) => match trouble(state) {
            Some(trouble) => Health::Ill(trouble),
            None if now.as_second() - since.as_second() < SETTLED => {
                Health::Ill(format!("it has been ready for less than {SETTLED} s"))
            }
            None => Health::Well,
        },
    }
}

fn trouble(state: &State) -> Option<String> {
    if let Some(error) = &state.config.error {
        return Some(format!("it refuses the newest configuration: {error}"));
    }
    if let Some(error) = &state.queue.error {
        return Some(format!("its volume failed: {error}"));
    }
    (!state.accepting).then(|| state.not_accepting.clone())
}

/// The time within which a replaced pod has to do well. A wish that cannot be read is refused elsewhere.
pub fn deadline(settings: Option<&Settings>) -> Duration {
    let given = settings.and_then(|settings| settings.deadline.as_ref());
    let parsed = given.and_then(|text| text.0.parse::<postroad_config::Period>().ok());
    parsed.map_or(USUAL, |period| period.get().max(SHORTEST))
}

impl Fleet<'_> {
    fn next(&self, awaited: Option<i32>) -> Next {
        let missing = (0..self.wanted).rev().find(|ordinal| {
            let mut pods = self.pods.iter();
            pods.all(|pod| pod.ordinal != *ordinal)
        });
        let staying = || self.highest_first().filter(|pod| pod.ordinal < self.wanted);
        let leaving = || self.highest_first().filter(|pod| pod.ordinal >= self.wanted);
        if let Some(pod) = staying().find(|pod| pod.ending) {
            return Next::Await(pod.ordinal, ENDING.into());
        }
        if let Some(ordinal) = missing {
            return Next::Await(ordinal, "it is not there yet".into());
        }
        if let Some((ordinal, why)) = staying().filter(|pod| pod.newest).find_map(ill) {
            return Next::Await(ordinal, why);
        }
        // One that does not serve cannot get worse.
        let old_and_ill = staying().filter(|pod| !pod.newest).find(|pod| ill(pod).is_some());
        if let Some(pod) = old_and_ill.or_else(|| staying().find(|pod| !pod.newest)) {
            return Next::Replace(pod.ordinal);
        }
        let ours = |pod: &&Pod| awaited == Some(pod.ordinal);
        if let Some(pod) = leaving().filter(ours).find(|pod| pod.ending) {
            return Next::Await(pod.ordinal, ENDING.into());
        }
        if let Some((ordinal, why)) = leaving().filter(ours).filter(|pod| pod.newest).find_map(ill) {
            return Next::Await(ordinal, why);
        }
        match leaving().find(|pod| !pod.newest && !pod.ending) {
            Some(pod) => Next::Replace(pod.ordinal),
            None => Next::Done,
        }
    }

    fn highest_first(&self) -> impl Iterator<Item = &Pod> {
        let mut pods: Vec<&Pod> = self.pods.iter().collect();
        pods.sort_by_key(|pod| std::cmp::Reverse(pod.ordinal));
        pods.into_iter()
    }

    /// Decides. `before`: the last word of the status. A pod is deleted only when that has named it.
    pub fn decide(
        &self,
        before: Option<&RolloutStatus>,
        deadline: Duration,
        names: &Names,
        now: Timestamp,
    ) -> Decision {
        let complete = Decision {
            rollout: Rollout::Complete,
            delete: None,
        };
        if before.is_none() && self.pods.iter().all(|pod| pod.newest) {
            return complete;
        }
        let known = before.filter(|before| before.revision == self.revision);
        let next = self.next(known.and_then(|known| names.ordinal(&known.pod)));
        let (ordinal, message) = match &next {
            Next::Done => return complete,
            Next::Await(ordinal, why) => (*ordinal, why.clone()),
            Next::Replace(ordinal) => (*ordinal, "it is of an older template and goes next".to_owned()),
        };
        let pod = names.pod(ordinal);
        let told = known.filter(|known| known.pod == pod);
        let since = told.and_then(|told| told.since.parse().ok()).unwrap_or(now);
        let waited = u64::try_from(now.as_second() - since.as_second()).unwrap_or(0);
        let stopped = matches!(next, Next::Await(..)) && waited >= deadline.as_secs();
        let leaving = self.pods.iter().filter(|pod| pod.ordinal >= self.wanted).count();
        let well = |pod: &&Pod| pod.newest && !pod.ending && pod.health == Health::Well;
        let count = |pods: usize| i32::try_from(pods).unwrap_or(i32::MAX);
        Decision {
            rollout: Rollout::UnderWay(RolloutStatus {
                revision: self.revision.to_owned(),
                updated: count(self.pods.iter().filter(well).count()),
                total: self.wanted.max(0).saturating_add(count(leaving)),
                pod,
                since: since.to_string(),
                message,
                stopped,
            }),
            delete: (matches!(next, Next::Replace(_)) && told.is_some()).then_some(ordinal),
        }
    }
}

const ENDING: &str = "it ends its sessions";

fn ill(pod: &Pod) -> Option<(i32, String)> {
    match &pod.health {
        Health::Well => None,
        Health::Ill(why) => Some((pod.ordinal, why.clone())),
    }
}

/// How a rollout stands, in a sentence.
pub fn sentence(rollout: &RolloutStatus) -> String {
    let RolloutStatus {
        updated,
        total,
        pod,
        message,
        since,
        ..
    } = rollout;
    if rollout.stopped {
        format!(
            "stopped at {updated} of {total} pods: {pod} has not done well since {since}: {message}; the others stay as they \
             are. Mend it, or change the image or spec.pod again"
        )
    } else {
        format!("{updated} of {total} pods are of the newest template; {pod}: {message}")
    }
}

/// A step that people are told of.
#[derive(Debug, PartialEq, Eq)]
pub struct News {
    /// Normal or a warning.
    pub kind: EventType,
    /// Reason of the Event; also the outcome in the metric.
    pub reason: &'static str,
    /// A sentence.
    pub note: String,
}

/// What happened between two words of the status.
pub fn news(before: Option<&RolloutStatus>, next: Option<&RolloutStatus>) -> Option<News> {
    let told = |kind, reason, note| Some(News { kind, reason, note });
    match (before, next) {
        (Some(before), None) => told(
            EventType::Normal,
            "RolloutCompleted",
            format!("every pod is of the template {}", before.revision),
        ),
        (before, Some(next)) if next.stopped => {
            let known = before.is_some_and(|before| before.stopped && before.pod == next.pod);
            if known {
                return None;
            }
            told(EventType::Warning, ROLLOUT_STOPPED, sentence(next))
        }
        (before, Some(next)) if before.is_none_or(|before| before.revision != next.revision) => told(
            EventType::Normal,
            "RolloutStarted",
            format!(
                "{} of {} pods are replaced by ones of the template {}, one at a time",
                next.total.saturating_sub(next.updated),
                next.total,
                next.revision
            ),
        ),
        (Some(before), Some(next)) if before.stopped => {
            told(EventType::Normal, "RolloutResumed", sentence(next))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
