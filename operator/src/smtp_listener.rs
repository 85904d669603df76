//! `SmtpListener`: a fleet of mail server pods.
//!
//! ```text
//!   gather ─► validate, build (pure) ─► write Secrets, objects ─► ask the pods ─► plan the scale (pure) ─► status (pure)
//! ```
//!
//! * [`validate`]: the spec and the users' Secret, parsed once. [`build`]: desired objects, certificates, configuration.
//! * `certificate`: where the certificate of the ports comes from. `served`: which one they were seen to show.
//! * [`addresses`]: where clients reach it. [`namesake`]: who has a host name that two want.
//! * [`scale`]: who leaves, who may go. [`fleet`]: the pods asked, and the plan carried out.
//! * [`rollout`]: which pod is replaced by a newer one, and when that stops. `replacing`: carries it out.
//! * [`lost`]: volumes that a person declared lost. `losses`: claims marked, pods told.
//! * [`selftest`]: what the listener finds out about itself.
//! * [`orders`]: annotations of a person, to pause and to hibernate. [`unattached`]: volumes that cannot be attached.
//!   `unbound`: claims without a volume.
//! * [`spool_format`]: the format of the spools that every pod reads.
//! * [`volumes`]: larger volumes: claims grow, the StatefulSet is made anew around its pods.
//! * [`guests`]: objects of other namespaces, where the configuration does not come about.
//! * [`current`]: asked before anything is taken away. [`patience`]: how soon a listener is looked at again that stays as it should not be.
//! * [`cleanup`]: the end of a listener; needs no valid spec.
//!
//! Nothing waits here: what is not there yet is looked for again a moment later.

pub mod addresses;
pub mod admin;
pub mod build;
mod certificate;
mod cleanup;
mod current;
mod fleet;
pub(crate) mod gather;
pub mod guests;
mod losses;
pub mod lost;
pub mod names;
pub mod namesake;
mod obstacle;
pub mod orders;
pub mod patience;
mod prepare;
mod replacing;
pub mod rollout;
pub mod routes;
pub mod scale;
pub mod selftest;
mod served;
mod settling;
mod spool_format;
pub mod status;
pub mod unattached;
mod unbound;
pub mod validate;
pub mod volumes;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use postroad_crds::conditions::{self, NewCondition, READY, RECONCILING, set_condition, status_of};
use postroad_crds::{SmtpListener, SmtpListenerStatus};
use serde_json::json;

use crate::apply;
use crate::context::Ctx;
use crate::driver::event;
use crate::error::Error;
use crate::relay_policy;
use names::{FINALIZER, Names};

/// While something moves.
const SOON: Duration = Duration::from_secs(1);
/// While something is missing that somebody has to give, or mail is queued whose figure moves.
const LATER: Duration = Duration::from_secs(5);
/// While pods log in at smart hosts: a login that is refused is to be told soon.
const LOGINS: Duration = Duration::from_secs(15);
/// While all is quiet.
const CALM: Duration = Duration::from_secs(30);

/// Brings a listener to what is wanted, one step.
pub async fn reconcile(listener: Arc<SmtpListener>, ctx: Arc<Ctx>) -> Result<Action, Error> {
    let names = Names {
        namespace: listener.namespace().unwrap_or_default(),
        listener: listener.name_any(),
    };
    if orders::is_paused(&listener) {
        return paused(&listener, &ctx).await;
    }
    if listener.metadata.deletion_timestamp.is_some() {
        return Box::pin(cleanup::run(&listener, &names, &ctx)).await;
    }
    keep_finalizer(&listener, &names, &ctx).await?;
    match Box::pin(step(&listener, &names, &ctx)).await {
        Ok(found) => conclude(&listener, &found, &ctx).await,
        Err(error) => refused(&listener, &names, error, &ctx).await,
    }
}

/// Left alone by a person's order, deletion included: only that is said. All else in the status is as it was, and so is the
/// generation that it is about.
async fn paused(listener: &SmtpListener, ctx: &Ctx) -> Result<Action, Error> {
    let mut next = listener.status.clone().unwrap_or_default();
    let before = next.conditions.iter().find(|known| known.type_ == RECONCILING);
    let is_news = before.is_none_or(|known| known.reason != conditions::reason::PAUSED);
    let message = format!(
        "nothing is looked at or changed while the annotation {} stands, deletion included; all else here is as last seen",
        orders::PAUSED
    );
    let condition = NewCondition::new(
        RECONCILING,
        Some(false),
        conditions::reason::PAUSED,
        message.as_str(),
    );
    let generation = next.observed_generation;
    set_condition(&mut next.conditions, condition, generation, Timestamp::now());
    if is_news {
        event(
            ctx,
            listener,
            EventType::Normal,
            conditions::reason::PAUSED,
            &message,
        )
        .await;
    }
    write_status(listener, &next, ctx).await?;
    Ok(Action::await_change())
}

async fn step(listener: &SmtpListener, names: &Names, ctx: &Arc<Ctx>) -> Result<status::Found, Error> {
    let children = gather::children(ctx, names).await?;
    let holder = namesake::holder(listener, &ctx.all_listeners());
    let valid = validate::validate(&listener.spec).ok();
    // What is wrong with the spec itself is told first.
    let prepared = match namesake::obstacle(holder.as_ref()).filter(|_| valid.is_some()) {
        Some(obstacle) => Err(obstacle),
        None => prepare::prepare(listener, names, &children, ctx).await?,
    };
    let self_tests = selftest::look(
        listener,
        names,
        valid.as_ref(),
        &children,
        prepared.as_ref().ok(),
        ctx,
    );
    let mut found = fleet::run(listener, names, &children, prepared.as_ref().ok(), ctx).await?;
    if let Err(obstacle) = prepared {
        found.obstacle = Some(obstacle);
    }
    found.holder = holder;
    found.self_tests = self_tests;
    Ok(found)
}

async fn conclude(listener: &SmtpListener, found: &status::Found, ctx: &Ctx) -> Result<Action, Error> {
    let next = status::status(listener, found, Timestamp::now());
    let is_applied = status_of(&next.conditions, conditions::CONFIG_APPLIED) == Some(true);
    if found.obstacle.is_none() && (is_applied || listener.spec.replicas == 0) {
        ctx.rendered.confirmed(listener);
    }
    announce(listener, &next, ctx).await;
    announce_rollout(listener, &next, ctx).await;
    write_status(listener, &next, ctx).await?;
    let before = listener.status.as_ref().and_then(|status| status.spool_format);
    let pause = pause(found, &next, before);
    let is_settled = status_of(&next.conditions, READY) == Some(true)
        && status_of(&next.conditions, RECONCILING) == Some(false);
    let lasting = ctx.patience.lasting(&listener.uid().unwrap_or_default(), &next);
    let pause = if is_settled {
        pause
    } else {
        patience::pause(pause, lasting)
    };
    let is_let_in = relay_policy::logins::log_in_anywhere(listener, ctx);
    Ok(Action::requeue(if is_let_in { pause.min(LOGINS) } else { pause }))
}

/// What the API server refuses, and what is not ours, stands in the status; other errors pass by themselves, and stand there
/// when they do not.
async fn refused(listener: &SmtpListener, names: &Names, error: Error, ctx: &Ctx) -> Result<Action, Error> {
    use conditions::reason;
    let (obstacle, again) = match &error {
        // Later and later: the watch of the Secrets wakes the listener as well, once the namespace opted in.
        Error::Api(gather::LISTING_SECRETS, _) if error.category() == "Forbidden" => {
            (prepare::denied(names, ctx), Err(error))
        }
        Error::Foreign { .. } => (
            status::Obstacle::new(reason::FOREIGN_OBJECT, error.to_string()),
            Err(error),
        ),
        Error::Api(_, kube::Error::Api(said)) if said.is_forbidden() || said.is_invalid() => {
            let message = format!("{error}: {}", said.message);
            (status::Obstacle::new(reason::API_ERROR, message), Err(error))
        }
        Error::Api(..) | Error::Timeout(_) if ctx.failures.persist(listener) => {
            let message = format!("{error}{}", cause(&error));
            (status::Obstacle::new(reason::API_ERROR, message), Err(error))
        }
        _ => return Err(error),
    };
    let found = status::Found {
        obstacle: Some(obstacle),
        selector: names.selector(),
        holder: namesake::holder(listener, &ctx.all_listeners()),
        ..status::Found::default()
    };
    let stated = status::status(listener, &found, Timestamp::now());
    // What the pods do is not known now: what was said of them last stays.
    let next = SmtpListenerStatus {
        conditions: stated.conditions,
        observed_generation: stated.observed_generation,
        selector: stated.selector,
        ..listener.status.clone().unwrap_or_default()
    };
    announce(listener, &next, ctx).await;
    write_status(listener, &next, ctx).await?;
    again
}

fn cause(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!(": {cause}"),
        None => String::new(),
    }
}

/// `before`: the format of the spools that the status said so far; another one is to be rendered at once.
fn pause(found: &status::Found, next: &SmtpListenerStatus, before: Option<i32>) -> Duration {
    if found.obstacle.is_some() {
        LATER
    } else if next.rollout.as_ref().is_some_and(|rollout| rollout.stopped) {
        // Its pod is watched.
        LATER
    } else if found.hibernates && status_of(&next.conditions, RECONCILING) != Some(true) {
        CALM
    } else if status_of(&next.conditions, RECONCILING) == Some(true)
        || status_of(&next.conditions, READY) != Some(true)
        || next.spool_format != before
    {
        SOON
    } else if next.queue.as_ref().is_some_and(|queue| queue.messages > 0) {
        LATER
    } else {
        CALM
    }
}

async fn write_status(listener: &SmtpListener, next: &SmtpListenerStatus, ctx: &Ctx) -> Result<(), Error> {
    let value = |status: &SmtpListenerStatus| {
        serde_json::to_value(status).map_err(|error| Error::Made(error.to_string()))
    };
    let before = listener.status.as_ref().map(value).transpose()?;
    apply::status(ctx, listener, before.as_ref(), &value(next)?).await
}

/// Before the first pod: the finalizer that keeps a queue's pods.
async fn keep_finalizer(listener: &SmtpListener, names: &Names, ctx: &Ctx) -> Result<(), Error> {
    if listener
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == FINALIZER)
    {
        return Ok(());
    }
    let mut finalizers = listener.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    let change =
        json!({"metadata": {"finalizers": finalizers, "resourceVersion": listener.resource_version()}});
    apply::merge::<SmtpListener>(ctx, &names.namespace, &names.listener, &change)
        .await
        .map(drop)
}

/// The steps of a rollout, which one condition cannot tell: an Event, a figure, and a line in the log where it stops.
async fn announce_rollout(listener: &SmtpListener, next: &SmtpListenerStatus, ctx: &Ctx) {
    let before = listener
        .status
        .as_ref()
        .and_then(|status| status.rollout.as_ref());
    let Some(news) = rollout::news(before, next.rollout.as_ref()) else {
        return;
    };
    if news.kind == EventType::Warning {
        tracing::warn!(listener = listener.name_any(), reason = news.reason, news.note);
    }
    ctx.metrics.rollout(news.reason);
    event(ctx, listener, news.kind, news.reason, &news.note).await;
}

/// An Event for each condition that changed its status, with its own reason.
async fn announce(listener: &SmtpListener, next: &SmtpListenerStatus, ctx: &Ctx) {
    let before = listener
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    for condition in &next.conditions {
        let was = before.iter().find(|known| known.type_ == condition.type_);
        if let Some(kind) = news(was, condition) {
            let note = format!("{}={}: {}", condition.type_, condition.status, condition.message);
            let note = note.trim_end_matches([':', ' ']);
            event(ctx, listener, kind, &condition.reason, note).await;
        }
    }
}

/// Whether a condition is worth an Event, and of which kind.
fn news(was: Option<&Condition>, is: &Condition) -> Option<EventType> {
    use conditions::{CONFLICTED, DRAINING, ROLLED_OUT, STALLED, reason};
    let kind = is.type_.as_str();
    // A rollout tells its own steps.
    if matches!(kind, RECONCILING | STALLED | ROLLED_OUT) {
        return None;
    }
    // Nothing is wrong yet; who can mend it has to know it all the same.
    let is_warning = [reason::EXPIRES_SOON, reason::CONFIG_NEARLY_FULL].contains(&is.reason.as_str());
    if is_warning && was.is_none_or(|was| was.reason != is.reason) {
        return Some(EventType::Warning);
    }
    let good = if matches!(kind, DRAINING | CONFLICTED) {
        "False"
    } else {
        "True"
    };
    let changed = match was {
        None => is.status != good && is.status != "Unknown",
        Some(was) => was.status != is.status,
    };
    let calm = is.status == good || kind == DRAINING;
    changed.then_some(if calm {
        EventType::Normal
    } else {
        EventType::Warning
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn condition(kind: &str, status: &str, reason: &str) -> Condition {
        Condition {
            type_: kind.into(),
            status: status.into(),
            reason: reason.into(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }
    }

    #[test]
    fn a_change_is_news_and_a_good_beginning_is_not() {
        for (kind, was, is, want) in [
            ("Ready", None, "False", Some("Warning")),
            ("Ready", None, "True", None),
            ("Ready", Some("False"), "True", Some("Normal")),
            ("Ready", Some("True"), "True", None),
            ("Draining", None, "False", None),
            ("Draining", Some("False"), "True", Some("Normal")),
            ("Conflicted", None, "False", None),
            ("Conflicted", None, "True", Some("Warning")),
            ("Conflicted", Some("True"), "False", Some("Normal")),
            ("RelayProtected", None, "Unknown", None),
            ("RelayProtected", Some("Unknown"), "False", Some("Warning")),
            ("Reconciling", Some("True"), "False", None),
        ] {
            let was = was.map(|status| condition(kind, status, "AsWanted"));
            let found = news(was.as_ref(), &condition(kind, is, "AsWanted"));
            let found = found.map(|kind| match kind {
                EventType::Normal => "Normal",
                EventType::Warning => "Warning",
            });
            assert_eq!(found, want, "{kind} {is}");
        }
        let soon = condition("CertificateServed", "True", "ExpiresSoon");
        let before = condition("CertificateServed", "True", "AsWanted");
        assert!(matches!(news(Some(&before), &soon), Some(EventType::Warning)));
        assert!(news(Some(&soon), &soon).is_none());
        let full = condition("ConfigApplied", "True", "ConfigNearlyFull");
        assert!(matches!(news(Some(&before), &full), Some(EventType::Warning)));
        assert!(news(Some(&full), &before).is_none());
    }
}
