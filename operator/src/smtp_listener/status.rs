//! Status of a listener out of what was found. Pure: (spec, what was found, the last status, now) → the next status.

use k8s_openapi::jiff::Timestamp;
use postroad_config::admin::{PortShown, QueueState, State};
use postroad_crds::common::Size;
use postroad_crds::conditions::{
    CERTIFICATE_SERVED, CONFIG_APPLIED, DRAINING, NewCondition, QUEUE_HEALTHY, READY, RECONCILING,
    RELAY_PROTECTED, ROLLED_OUT, STALLED, reason, set_condition,
};
use postroad_crds::smtp_listener::{DrainingPod, LostVolume, PodQueue, QueueStatus};
use postroad_crds::{SmtpListener, SmtpListenerStatus};

use super::build::certificates::Facts;
use super::names::VOLUME_LOST;
use super::namesake::{self, Holder};
pub use super::obstacle::Obstacle;
use super::orders::{FENCED, HIBERNATE};
use super::rollout::{self, Rollout};
use super::routes;
use super::served;
use super::settling::is_settling;
use super::spool_format;
use super::volumes::Growth;

/// One pod and what it said.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Name of the pod.
    pub name: String,
    /// It is to stay.
    pub stays: bool,
    /// Its conditions say that it serves.
    pub ready: bool,
    /// What it said, or why it could not be asked.
    pub state: Result<State, String>,
    /// What its ports showed in a handshake; absent where it was not looked at, or cannot look.
    pub shown: Option<Vec<PortShown>>,
}

/// A volume that cannot be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unattached {
    /// The pod that waits for it.
    pub pod: String,
    /// Its claim.
    pub claim: String,
    /// The node that it is on, or was on last.
    pub node: Option<String>,
    /// Why, in words.
    pub why: String,
}

/// All that the status is made of.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// What stands in the way of the newest spec.
    pub obstacle: Option<Obstacle>,
    /// Volumes that were declared lost.
    pub lost: Vec<LostVolume>,
    /// What was declared lost and is not, or cannot be found: sentences.
    pub not_lost: Vec<String>,
    /// Volumes that cannot be attached.
    pub unattached: Vec<Unattached>,
    /// Pods that stay whose claims have no volume yet: sentences.
    pub unbound: Vec<String>,
    /// Pods, there or not, whose claims may hold mail.
    pub holding: Vec<String>,
    /// A person had the pods let go.
    pub hibernates: bool,
    /// What came of larger volumes.
    pub growth: Growth,
    /// Size in the claim template, where it is not above what is wanted: a status that admission refuses could not be written.
    pub volume_size: Option<String>,
    /// The StatefulSet went to be made anew.
    pub remade: bool,
    /// Where clients reach the listener; absent where it is not known now.
    pub addresses: Option<Vec<String>>,
    /// Replicas of the StatefulSet that exist.
    pub replicas: i32,
    /// Pods.
    pub pods: Vec<Seen>,
    /// Those of them that stay, and that a person has fenced off.
    pub fenced: Vec<String>,
    /// Hash and generation of the configuration that the pods should run.
    pub config: Option<(String, u64)>,
    /// Fingerprint of the attached objects in it.
    pub rendered: Option<String>,
    /// A file of the configuration that has little room left: a sentence.
    pub nearly_full: Option<String>,
    /// The certificate that the ports should show.
    pub certificate: Option<Facts>,
    /// Selector of the pods.
    pub selector: String,
    /// Whether pods are being replaced by newer ones.
    pub rollout: Rollout,
    /// A person's word, see [`spool_format::SPOOL_FORMAT`].
    pub format_cap: Option<u32>,
    /// The other listener that has the host name.
    pub holder: Option<Holder>,
    /// What the self-tests say; empty where none could be made: what they said last stays.
    pub self_tests: Vec<NewCondition>,
}

/// Figures move within this time even when their class stays.
const FIGURES: i64 = 60;

/// Makes the next status.
pub fn status(listener: &SmtpListener, found: &Found, now: Timestamp) -> SmtpListenerStatus {
    let before = listener.status.clone().unwrap_or_default();
    let generation = listener.metadata.generation;
    let serving: Vec<&Seen> = found.pods.iter().filter(|pod| pod.stays && pod.ready).collect();
    let mut next = SmtpListenerStatus {
        observed_generation: generation,
        replicas: found.replicas,
        ready_replicas: i32::try_from(serving.len()).unwrap_or(i32::MAX),
        selector: found.selector.clone(),
        addresses: found.addresses.clone().unwrap_or(before.addresses.clone()),
        config_generation: found
            .config
            .as_ref()
            .map(|(_, generation)| i64::try_from(*generation).unwrap_or(i64::MAX)),
        rendered: found.rendered.clone(),
        queue: queue(&before, found, now),
        certificate: served::status(&serving, found),
        draining: draining(&before, found, now),
        rollout: match &found.rollout {
            Rollout::Unseen => before.rollout.clone(),
            Rollout::Complete => None,
            Rollout::UnderWay(rollout) => Some(rollout.clone()),
        },
        lost: found.lost.clone(),
        routes: routes::troubles(&before.routes, &found.pods, now),
        volume_size: found.volume_size.clone().map(Size).or(before.volume_size.clone()),
        spool_format: Some(spool_format(listener, &before, found)),
        spool_format_on_disk: spool_format::on_disk(&found.pods)
            .map_or(before.spool_format_on_disk, |format| i32::try_from(format).ok()),
        conditions: before.conditions.clone(),
    };
    let mut conditions = vec![
        config_applied(&serving, found),
        served::condition(&listener.spec.hostname, &serving, found, now),
        queue_healthy(listener, &before, found),
        draining_condition(&before, found),
        rolled_out(&found.rollout),
        namesake::condition(found.holder.as_ref()),
    ];
    conditions.extend(found.self_tests.iter().cloned());
    let ready = if found.hibernates && found.obstacle.is_none() {
        NewCondition::new(READY, Some(false), reason::HIBERNATED, asleep(&before))
    } else {
        let settles = |condition: &NewCondition| is_settling(condition, &before, generation, now);
        ready(listener.spec.replicas, &serving, found, &conditions, settles)
    };
    let moving = moving(listener.spec.replicas, &serving, found, &conditions[0]);
    let stalled = stalled(found);
    let summary = [
        NewCondition::new(
            RECONCILING,
            Some(moving.is_some()),
            moving.as_ref().map_or(reason::AS_WANTED, |_| reason::IN_PROGRESS),
            moving.unwrap_or_default(),
        ),
        NewCondition::new(
            STALLED,
            Some(stalled.is_some()),
            stalled.as_ref().map_or(reason::AS_WANTED, |(reason, _)| reason),
            stalled.map(|(_, message)| message).unwrap_or_default(),
        ),
        ready,
    ];
    for condition in conditions.into_iter().chain(summary) {
        set_condition(&mut next.conditions, condition, generation, now);
    }
    next
}

/// See [`spool_format`].
fn spool_format(listener: &SmtpListener, before: &SmtpListenerStatus, found: &Found) -> i32 {
    let expected = usize::try_from(found.replicas.max(listener.spec.replicas)).unwrap_or(0);
    let stands = before.spool_format.and_then(|format| u32::try_from(format).ok());
    let agreed = spool_format::agreed(&found.pods, expected, stands, found.format_cap);
    i32::try_from(agreed).unwrap_or(1)
}

/// `settles`: whether a condition says no more than that a change is on its way.
fn ready(
    wanted: i32,
    serving: &[&Seen],
    found: &Found,
    conditions: &[NewCondition],
    settles: impl Fn(&NewCondition) -> bool,
) -> NewCondition {
    if let Some(obstacle) = &found.obstacle {
        return NewCondition::new(READY, Some(false), obstacle.reason, obstacle.message.clone());
    }
    if wanted == 0 {
        return NewCondition::new(READY, Some(true), reason::SCALED_TO_ZERO, "no pod is wanted");
    }
    if serving.is_empty() {
        let why = found
            .pods
            .iter()
            .filter(|pod| pod.stays)
            .find_map(|pod| match &pod.state {
                Err(error) => Some(format!("{}: {error}", pod.name)),
                Ok(state) => (!state.not_accepting.is_empty())
                    .then(|| format!("{}: {}", pod.name, state.not_accepting)),
            });
        let why = found.unbound.first().cloned().or(why);
        return NewCondition::new(
            READY,
            Some(false),
            reason::NO_SERVING_POD,
            why.unwrap_or_else(|| "no pod serves yet".into()),
        );
    }
    let stands_in_the_way = |condition: &&NewCondition| match condition.kind {
        CONFIG_APPLIED | CERTIFICATE_SERVED => condition.status != Some(true),
        RELAY_PROTECTED => condition.status == Some(false),
        _ => false,
    };
    let faults = || conditions.iter().filter(stands_in_the_way);
    if let Some(fault) = faults().find(|fault| !settles(fault)) {
        return NewCondition::new(READY, Some(false), &fault.reason, fault.message.clone());
    }
    let on_its_way = faults().next();
    let on_its_way = on_its_way.map_or(String::new(), |fault| {
        format!("; a change is on its way: {}", fault.message)
    });
    NewCondition::new(
        READY,
        Some(true),
        reason::AS_WANTED,
        serve(serving.len(), wanted, found) + &on_its_way,
    )
}

/// How many pods serve, and who is not to.
fn serve(serving: usize, wanted: i32, found: &Found) -> String {
    let names = found.fenced.join(", ");
    if names.is_empty() {
        format!("{serving} of {wanted} pods serve")
    } else {
        format!("{serving} of {wanted} pods serve; fenced off by the annotation {FENCED}: {names}")
    }
}

/// What only a change from outside can mend: reason and message.
fn stalled(found: &Found) -> Option<(&'static str, String)> {
    if let Some(obstacle) = found.obstacle.as_ref().filter(|obstacle| obstacle.stalled) {
        return Some((obstacle.reason, obstacle.message.clone()));
    }
    match &found.rollout {
        Rollout::UnderWay(rollout) if rollout.stopped => {
            Some((reason::ROLLOUT_STOPPED, rollout::sentence(rollout)))
        }
        _ => None,
    }
}

fn rolled_out(rollout: &Rollout) -> NewCondition {
    let (status, reason, message) = match rollout {
        Rollout::Unseen => (
            None,
            reason::IN_PROGRESS,
            "the StatefulSet is being changed".into(),
        ),
        Rollout::Complete => (
            Some(true),
            reason::AS_WANTED,
            "every pod is of the newest template".into(),
        ),
        Rollout::UnderWay(rollout) => {
            let reason = if rollout.stopped {
                reason::ROLLOUT_STOPPED
            } else {
                reason::IN_PROGRESS
            };
            (Some(false), reason, rollout::sentence(rollout))
        }
    };
    NewCondition::new(ROLLED_OUT, status, reason, message)
}

fn moving(wanted: i32, serving: &[&Seen], found: &Found, config: &NewCondition) -> Option<String> {
    if stalled(found).is_some() {
        return None;
    }
    let leaving = found.pods.iter().filter(|pod| !pod.stays);
    let leaving: Vec<&str> = leaving.map(|pod| pod.name.as_str()).collect();
    // Nobody waits for a pod that is to do nothing.
    let due = usize::try_from(wanted)
        .unwrap_or(0)
        .saturating_sub(found.fenced.len());
    if let Some(obstacle) = &found.obstacle {
        Some(obstacle.message.clone())
    } else if found.hibernates {
        (!found.pods.is_empty() || found.replicas > 0).then(|| "the pods end their sessions".to_owned())
    } else if !leaving.is_empty() {
        Some(format!("on their way out: {}", leaving.join(", ")))
    } else if serving.len() != due || found.replicas != wanted {
        let waits = found
            .unbound
            .first()
            .map_or(String::new(), |why| format!("; {why}"));
        Some(serve(serving.len(), wanted, found) + &waits)
    } else if let Rollout::UnderWay(rollout) = &found.rollout {
        Some(rollout::sentence(rollout))
    } else if found.remade {
        Some("the StatefulSet is made anew for larger volumes".into())
    } else if found.rollout == Rollout::Unseen {
        Some("the StatefulSet is being changed".into())
    } else if !found.growth.growing.is_empty() {
        Some(format!("volumes grow: {}", found.growth.growing.join(", ")))
    } else {
        // Where no pod is wanted, nobody is waited for.
        (wanted > 0 && config.status != Some(true)).then(|| config.message.clone())
    }
}

fn config_applied(serving: &[&Seen], found: &Found) -> NewCondition {
    let condition =
        |status, reason, message: String| NewCondition::new(CONFIG_APPLIED, status, reason, message);
    let Some((hash, generation)) = &found.config else {
        return condition(None, reason::IN_PROGRESS, "there is no configuration yet".into());
    };
    for pod in serving {
        match &pod.state {
            Err(error) => {
                return condition(
                    None,
                    reason::POD_UNREACHABLE,
                    format!("{} could not be asked: {error}", pod.name),
                );
            }
            Ok(state) if state.config.hash == *hash => {}
            Ok(state) => {
                return match &state.config.error {
                    Some(error) => condition(
                        Some(false),
                        reason::CONFIG_REFUSED,
                        format!(
                            "{} stays on configuration {}: {error}",
                            pod.name, state.config.generation
                        ),
                    ),
                    None => condition(
                        Some(false),
                        reason::IN_PROGRESS,
                        format!(
                            "{} still runs configuration {}",
                            pod.name, state.config.generation
                        ),
                    ),
                };
            }
        }
    }
    if serving.is_empty() {
        return condition(
            None,
            reason::NO_SERVING_POD,
            format!("configuration {generation} is written; no pod serves"),
        );
    }
    let message = format!("every serving pod runs configuration {generation}");
    match &found.nearly_full {
        Some(full) => condition(
            Some(true),
            reason::CONFIG_NEARLY_FULL,
            format!("{message}; {full}"),
        ),
        None => condition(Some(true), reason::AS_WANTED, message),
    }
}

fn queue_healthy(listener: &SmtpListener, before: &SmtpListenerStatus, found: &Found) -> NewCondition {
    let condition =
        |status, reason, message: String| NewCondition::new(QUEUE_HEALTHY, status, reason, message);
    let known: Vec<(&str, &State)> = found
        .pods
        .iter()
        .filter_map(|pod| Some((pod.name.as_str(), pod.state.as_ref().ok()?)))
        .collect();
    for (name, state) in &known {
        if let Some(error) = &state.queue.error {
            return condition(
                Some(false),
                reason::VOLUME_FAILED,
                format!("the volume of {name} failed: {error}; replace it or restart the pod"),
            );
        }
        if !state.queue.below_high_water {
            return condition(
                Some(false),
                reason::VOLUME_NEARLY_FULL,
                format!(
                    "the queue of {name} is nearly full ({}): new mail gets 452 until there is room",
                    how_full(&state.queue)
                ),
            );
        }
    }
    if let Some((name, state)) = known.iter().find(|(_, state)| state.queue.damaged > 0) {
        return condition(
            Some(false),
            reason::DAMAGED,
            format!(
                "{} damaged places were found on the volume of {name}",
                state.queue.damaged
            ),
        );
    }
    if !found.growth.refused.is_empty() {
        let message = found.growth.refused.join("; ");
        let mend = "let the StorageClass allow it (allowVolumeExpansion), it is tried again every five minutes, or set the size back";
        return condition(
            Some(false),
            reason::VOLUME_NOT_EXPANDABLE,
            format!("{message}; {mend}"),
        );
    }
    if let Some(message) = volume_lost(listener, found) {
        return condition(Some(false), reason::VOLUME_LOST, message);
    }
    if !found.unattached.is_empty() {
        return condition(
            Some(false),
            reason::VOLUME_UNAVAILABLE,
            unavailable(before, found),
        );
    }
    if found.hibernates && known.is_empty() {
        return condition(None, reason::HIBERNATED, asleep(before));
    }
    if found.pods.is_empty() {
        return condition(None, reason::NO_SERVING_POD, "there is no pod to ask".into());
    }
    if known.is_empty() {
        return condition(None, reason::POD_UNREACHABLE, "no pod could be asked".into());
    }
    condition(Some(true), reason::AS_WANTED, "every volume has room".into())
}

/// By magnitudes: a sentence that is another one for each message would be written for each of them.
fn how_full(queue: &QueueState) -> String {
    let free = ((queue.free_bytes >> 20) + 1).next_power_of_two();
    let messages = match class(i64::try_from(queue.messages).unwrap_or(i64::MAX)) {
        0 => "no messages".to_owned(),
        1 => "a few messages".to_owned(),
        class => format!("{} messages or more", 10_i64.saturating_pow(class - 1)),
    };
    format!("less than {free} MiB free on the volume, {messages} in memory")
}

/// Claim, node, and how much was on it when its pod last answered.
fn unavailable(before: &SmtpListenerStatus, found: &Found) -> String {
    let one = |volume: &Unattached| {
        let node = volume.node.as_deref().unwrap_or("a node that is not known");
        let number = before
            .queue
            .as_ref()
            .and_then(|queue| queue.pods.iter().find(|known| known.pod == volume.pod))
            .map_or("an unknown number of".to_owned(), |known| {
                known.messages.to_string()
            });
        format!(
            "{} on {node} cannot be attached, with {number} messages when {} last answered: {}",
            volume.claim, volume.pod, volume.why
        )
    };
    let each: Vec<String> = found.unattached.iter().map(one).collect();
    format!(
        "{}; nothing is forced: the mail waits for it. Bring the node back, or declare the volume lost ({VOLUME_LOST}) if it is gone for good",
        each.join("; ")
    )
}

/// What a hibernating listener keeps.
fn asleep(before: &SmtpListenerStatus) -> String {
    let messages = before.queue.as_ref().map_or(0, |queue| queue.messages);
    format!(
        "the pods are let go while the annotation {HIBERNATE} stands; {messages} messages, as last counted, stay on the volumes"
    )
}

/// As long as the annotation stands: what came of it.
fn volume_lost(listener: &SmtpListener, found: &Found) -> Option<String> {
    listener.metadata.annotations.as_ref()?.get(VOLUME_LOST)?;
    let one = |lost: &LostVolume| {
        format!(
            "the spool {} is declared lost: the other pods deliver {} messages that they held for it and {} that stood \
             with it, {} of them perhaps for the second time",
            lost.spool, lost.released, lost.taken_back, lost.perhaps_twice
        )
    };
    let mut told: Vec<String> = found.not_lost.clone();
    told.extend(found.lost.iter().map(one));
    let end = format!("take the annotation {VOLUME_LOST} off when you have read this");
    (!told.is_empty()).then(|| format!("{}; {end}", told.join("; ")))
}

/// Pods that leave. Of one that is silent, what it had when it last answered.
fn leaving(before: &SmtpListenerStatus, found: &Found) -> Vec<DrainingPod> {
    let leaving = found.pods.iter().filter(|pod| !pod.stays);
    leaving
        .map(|pod| {
            let mut queues = before.queue.iter().flat_map(|queue| &queue.pods);
            let known = queues.find(|known| known.pod == pod.name);
            let remaining = match &pod.state {
                Ok(state) => {
                    let sealed = state.seal.as_ref().map(|seal| seal.remaining);
                    i64::try_from(sealed.unwrap_or(state.queue.messages)).unwrap_or(i64::MAX)
                }
                Err(_) => known.map_or(0, |known| known.messages),
            };
            DrainingPod {
                pod: pod.name.clone(),
                remaining,
            }
        })
        .collect()
}

fn draining_condition(before: &SmtpListenerStatus, found: &Found) -> NewCondition {
    let pods = leaving(before, found);
    if pods.is_empty() {
        return NewCondition::new(DRAINING, Some(false), reason::NOT_DRAINING, "");
    }
    let names: Vec<String> = pods.iter().map(|pod| pod.pod.clone()).collect();
    let names = names.join(", ");
    let stuck = found
        .pods
        .iter()
        .filter(|pod| !pod.stays)
        .find_map(|pod| pod.state.as_ref().ok()?.seal.as_ref()?.stuck.clone());
    let any_target = found.pods.iter().any(|pod| pod.stays && pod.ready);
    if !any_target {
        let message = format!(
            "{names} leave and no pod stays that could take their mail; they stay and deliver on schedule"
        );
        return NewCondition::new(DRAINING, Some(true), reason::NO_TARGET, message);
    }
    let why = stuck.map(|stuck| format!(" ({stuck})")).unwrap_or_default();
    NewCondition::new(
        DRAINING,
        Some(true),
        reason::HANDING_OVER,
        format!("{names} hand their mail over{why}"),
    )
}

/// The figure counts only by its class, or once a minute: status must not become traffic.
fn queue(before: &SmtpListenerStatus, found: &Found, now: Timestamp) -> Option<QueueStatus> {
    let states: Vec<&State> = found
        .pods
        .iter()
        .filter_map(|pod| pod.state.as_ref().ok())
        .collect();
    if states.is_empty() {
        return before.queue.clone();
    }
    let pods = queues(before, found);
    let messages = pods
        .iter()
        .fold(0, |sum: i64, queue| sum.saturating_add(queue.messages));
    let oldest = states.iter().filter_map(|state| state.queue.oldest).min();
    let next = QueueStatus {
        messages,
        pods,
        counted: now.to_string(),
        oldest: oldest
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .map(|at| at.to_string()),
    };
    let Some(last) = &before.queue else {
        return Some(next);
    };
    let counted = last.counted.parse::<Timestamp>().map_or(0, Timestamp::as_second);
    let fresh = now.as_second() - counted < FIGURES;
    let names = |queue: &QueueStatus| queue.pods.iter().map(|pod| pod.pod.clone()).collect::<Vec<_>>();
    if names(last) != names(&next) {
        return Some(next);
    }
    let same = last.messages == messages && last.oldest == next.oldest;
    if same || (fresh && class(last.messages) == class(messages)) {
        Some(last.clone())
    } else {
        Some(next)
    }
}

/// What each pod has; of one that is silent, or gone with mail on its claim, what it had.
fn queues(before: &SmtpListenerStatus, found: &Found) -> Vec<PodQueue> {
    let answer = |pod: &Seen| {
        let messages = pod.state.as_ref().ok()?.queue.messages;
        Some(PodQueue {
            pod: pod.name.clone(),
            messages: i64::try_from(messages).unwrap_or(i64::MAX),
        })
    };
    let mut pods: Vec<PodQueue> = found.pods.iter().filter_map(answer).collect();
    let known = before.queue.iter().flat_map(|queue| &queue.pods);
    for known in known.filter(|known| found.holding.contains(&known.pod)) {
        if pods.iter().all(|pod| pod.pod != known.pod) {
            pods.push(known.clone());
        }
    }
    pods.sort_by(|a, b| a.pod.len().cmp(&b.pod.len()).then_with(|| a.pod.cmp(&b.pod)));
    pods
}

/// 0, 1–9, 10–99, …
fn class(figure: i64) -> u32 {
    if figure <= 0 { 0 } else { figure.ilog10() + 1 }
}

fn draining(before: &SmtpListenerStatus, found: &Found, now: Timestamp) -> Vec<DrainingPod> {
    let next = leaving(before, found);
    let same = next.len() == before.draining.len()
        && next
            .iter()
            .zip(&before.draining)
            .all(|(a, b)| a.pod == b.pod && class(a.remaining) == class(b.remaining));
    // Progress of a drain is shown every five seconds.
    if same && now.as_second() % 5 != 0 {
        before.draining.clone()
    } else {
        next
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
