//! One look at a policy: is it valid, does another take its mail, do its listeners use it. IO is the status write alone.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use postroad_config::{Dnssec, Policy, Route, RouteTarget, TlsMode};
use postroad_crds::conditions::{
    ACCEPTED, CONFLICTED, NewCondition, QUOTA_AVAILABLE, READY, RECONCILING, STALLED, UPSTREAM_ACCEPTING,
    UPSTREAM_AUTHENTICATED, UPSTREAM_REACHABLE, UPSTREAM_SECURED, reason, set_condition,
};
use postroad_crds::relay_policy::{CredentialsUsed, RouteStatus};
use postroad_crds::{RelayPolicy, RelayPolicyStatus};

use super::probe::{self, Subject};
use super::quota::{self, Told};
use super::rank::{Standing, first_over, winner_over};
use super::reported::Reported;
use super::upstream::{self, Known};
use super::{logins, users, validate};
use crate::apply;
use crate::attached;
use crate::context::Ctx;
use crate::driver::event;
use crate::error::Error;
use crate::rendered::was_served;
use crate::smtp_listener::names::Names;
use crate::smtp_listener::validate::{Invalid, dnssec};
use crate::tenancy::Door;

const SOON: Duration = Duration::from_secs(2);
const CALM: Duration = Duration::from_mins(5);

/// What was found about a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// A field is wrong.
    pub invalid: Option<String>,
    /// A listener does not let it in; a sentence.
    pub not_permitted: Option<String>,
    /// Listeners that are not there.
    pub missing: Vec<String>,
    /// The policy that takes its mail, and the listener.
    pub winner: Option<(String, String)>,
    /// The policy that takes some of its mail, and the listener.
    pub first: Option<(String, String)>,
    /// A listener whose resolvers do not validate DNSSEC, which a route needs.
    pub unvalidated: Option<String>,
    /// Listeners whose pods do not all use this version yet.
    pub pending: Vec<String>,
    /// Why a route has nothing to log in with: reason and sentence.
    pub secret: Option<(&'static str, String)>,
    /// Routes, and how they stand.
    pub routes: Vec<RouteStatus>,
    /// What is to be said of their providers.
    pub providers: Vec<NewCondition>,
    /// When the first route that rests is tried again.
    pub ends: Option<Timestamp>,
    /// What mail found at smart hosts.
    pub reported: Vec<Reported>,
    /// Users of its match who do not exist; a sentence.
    pub strangers: Option<String>,
}

/// Judges a policy and says so in its status.
pub async fn reconcile(object: Arc<RelayPolicy>, ctx: Arc<Ctx>) -> Result<Action, Error> {
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let (found, upstream, used, soonest) = match validate::validate(&object) {
        Ok(policy) => {
            let mut found = look(&object, &policy, &ctx);
            found.strangers = users::strangers(&object, &ctx).await;
            let (upstream, used, soonest) = upstreams(&object, policy, &mut found, &ctx).await?;
            (found, upstream, used, soonest)
        }
        Err(invalid) => (unread(&invalid), Known::unread(), Vec::new(), CALM),
    };
    let next = RelayPolicyStatus {
        credentials: used,
        upstreams: upstream.rows(),
        ..status(&object, &found, &upstream, Timestamp::now())
    };
    announce(&object, &next, &ctx).await;
    let value = |status: &RelayPolicyStatus| {
        serde_json::to_value(status).map_err(|error| Error::Made(error.to_string()))
    };
    let before = object.status.as_ref().map(value).transpose()?;
    apply::status(&ctx, &*object, before.as_ref(), &value(&next)?).await?;
    // A rest that is over is over without anybody's word.
    let ends = found
        .ends
        .map(|at| at.duration_since(Timestamp::now()).unsigned_abs() + SOON);
    let calm = ends.unwrap_or(CALM).min(CALM);
    Ok(Action::requeue(
        if found.missing.is_empty() && found.pending.is_empty() {
            soonest.min(calm)
        } else {
            SOON
        },
    ))
}

/// An Event for each condition that people wait for, when it changes. What is on its way ends by itself, and is not told.
async fn announce(object: &RelayPolicy, next: &RelayPolicyStatus, ctx: &Ctx) {
    for kind in [
        READY,
        UPSTREAM_REACHABLE,
        UPSTREAM_SECURED,
        UPSTREAM_AUTHENTICATED,
        QUOTA_AVAILABLE,
        UPSTREAM_ACCEPTING,
    ] {
        let was = object.status.as_ref().and_then(|status| told(status, kind));
        let Some(is) = told(next, kind) else {
            continue;
        };
        let (before, now) = (was.and_then(truth), truth(is));
        // That a provider has no objection is news only after it had one.
        if before != now && (kind == READY || now == Some(false) || before == Some(false)) {
            let level = if now == Some(true) {
                EventType::Normal
            } else {
                EventType::Warning
            };
            event(ctx, object, level, &is.reason, &is.message).await;
        }
    }
}

fn told<'a>(status: &'a RelayPolicyStatus, kind: &str) -> Option<&'a Condition> {
    let mut known = status.conditions.iter();
    known.find(|known| known.type_ == kind && known.reason != reason::NOT_YET_APPLIED)
}

fn truth(condition: &Condition) -> Option<bool> {
    match condition.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    }
}

/// A policy that cannot be read: what was known of its providers may be of other routes.
fn unread(invalid: &Invalid) -> Found {
    let providers = [QUOTA_AVAILABLE, UPSTREAM_ACCEPTING];
    Found {
        invalid: Some(invalid.to_string()),
        providers: providers
            .map(|kind| NewCondition::new(kind, None, reason::INVALID, upstream::INVALID))
            .into(),
        ..Found::default()
    }
}

fn look(object: &RelayPolicy, policy: &Policy, ctx: &Ctx) -> Found {
    let namespace = object.namespace().unwrap_or_default();
    let (domains, policies) = (ctx.all_domains(), ctx.all_policies());
    let mut told = Vec::new();
    let mut used = false;
    let labels = |namespace: &str| ctx.labels_of(namespace);
    let mut found = Found::default();
    for reference in &object.spec.listener_refs {
        let Some(listener) = ctx.listener(&namespace, reference) else {
            found.missing.push(reference.shown());
            continue;
        };
        let door = Door::new(&listener, &labels);
        if let Err(sentence) = door.namespace_may(&namespace) {
            found.not_permitted.get_or_insert(sentence);
            continue;
        }
        if namespace != door.namespace() && logins::proves_by_pods(object) {
            found
                .not_permitted
                .get_or_insert(logins::FOREIGN_TOKEN.to_owned());
        }
        let needs_dnssec = policy.routes.iter().any(|route| route.tls == TlsMode::DaneOnly);
        if needs_dnssec && dnssec(&listener.spec) == Dnssec::Ignored {
            found.unvalidated.get_or_insert_with(|| reference.shown());
        }
        let ranked = attached::ranked(door, &domains, &policies);
        let standings: Vec<Standing> = ranked
            .iter()
            .map(|(other, policy)| attached::standing(other, policy))
            .collect();
        let mine = standings.iter().find(|standing| standing.name == policy.name);
        if let Some(winner) = mine.and_then(|mine| winner_over(mine, &standings)) {
            found
                .winner
                .get_or_insert((winner.name.clone(), reference.name.clone()));
        }
        if let Some(first) = mine.and_then(|mine| first_over(mine, &standings)) {
            found
                .first
                .get_or_insert((first.name.clone(), reference.name.clone()));
        }
        let known = ctx.rendered.holds(&listener, &attached::policy_line(object));
        let is_confirmed = known.unwrap_or_else(|| was_served(object));
        // Who is not let in is in no configuration, and waits for none.
        if !is_confirmed && found.not_permitted.is_none() {
            found.pending.push(reference.shown());
        }
        used |= mine.is_some();
        let rows = listener.status.iter().flat_map(|status| &status.routes);
        let rows = rows.filter(|row| row.policy == policy.name).cloned();
        told.extend(rows.map(|row| Told {
            listener: reference.shown(),
            row,
        }));
    }
    found.routes = quota::routes(policy, &told);
    found.providers = quota::conditions(policy, &told, used).into();
    found.ends = quota::ends(&told);
    let reported = told
        .iter()
        .filter_map(|told| Reported::of(&told.listener, &told.row));
    found.reported = reported.collect();
    found
}

/// What is known of the smart hosts, the Secrets in use, and when to look again; begins a test where one is due.
async fn upstreams(
    object: &RelayPolicy,
    policy: Policy,
    found: &mut Found,
    ctx: &Arc<Ctx>,
) -> Result<(Known, Vec<CredentialsUsed>, Duration), Error> {
    let is_host = |route: &Route| matches!(route.to, RouteTarget::SmartHosts(_));
    let mut known = Known {
        has_hosts: policy.routes.iter().any(is_host),
        logs_in: policy.routes.iter().any(|route| route.credentials.is_some()),
        ..Known::default()
    };
    if !known.has_hosts {
        return Ok((known, Vec::new(), CALM));
    }
    let logins = logins::gather(object, &policy, ctx).await?;
    found.secret = logins.trouble();
    known.secret.clone_from(&found.secret);
    known.reported.clone_from(&found.reported);
    let used = logins.used.clone();
    let uid = object.uid().unwrap_or_default();
    let about = format!("{:?} {used:?}", object.metadata.generation);
    let accepted = accepted(found).0 || found.secret.is_some();
    // Listeners know of a Secret by the status: before it stands there, what their pods have confirmed is the one before.
    let is_told = is_told(object.status.as_ref(), &used);
    if accepted && is_told && found.pending.is_empty() {
        let subject = Subject {
            uid: uid.clone(),
            policy: policy.name,
            listeners: listeners(object, ctx),
            about: about.clone(),
            reported: found.reported.clone(),
        };
        probe::look(subject, ctx);
    }
    known.tests = ctx.upstream_tests.last(&uid, &about);
    let soonest = if !is_told || ctx.upstream_tests.is_under_way(&uid) {
        SOON
    } else {
        ctx.upstream_tests.rest(&uid, &about).max(SOON)
    };
    Ok((known, used, soonest))
}

/// Whether the status names these Secrets.
fn is_told(status: Option<&RelayPolicyStatus>, used: &[CredentialsUsed]) -> bool {
    status.map_or(&[][..], |status| &status.credentials) == used
}

/// Listeners of the policy that want pods.
fn listeners(object: &RelayPolicy, ctx: &Ctx) -> Vec<Names> {
    let own = object.namespace().unwrap_or_default();
    let known = object.spec.listener_refs.iter().filter_map(|reference| {
        let listener = ctx.listener(&own, reference)?;
        (listener.spec.replicas > 0).then(|| Names {
            namespace: listener.namespace().unwrap_or_default(),
            listener: listener.name_any(),
        })
    });
    known.collect()
}

fn status(object: &RelayPolicy, found: &Found, upstream: &Known, now: Timestamp) -> RelayPolicyStatus {
    let generation = object.metadata.generation;
    let mut next = object.status.clone().unwrap_or_default();
    next.observed_generation = generation;
    next.routes.clone_from(&found.routes);
    let all = conditions(found).into_iter().chain(upstream.conditions());
    for condition in all.chain(found.providers.clone()) {
        set_condition(&mut next.conditions, condition, generation, now);
    }
    next
}

fn conditions(found: &Found) -> Vec<NewCondition> {
    let (accepted, why, message) = accepted(found);
    let waiting = !found.missing.is_empty() || !found.pending.is_empty();
    let stalled = found.invalid.is_some()
        || found.not_permitted.is_some()
        || found.winner.is_some()
        || found.unvalidated.is_some();
    let conflict = match (&found.winner, &found.first) {
        (Some((winner, listener)), _) => NewCondition::new(
            CONFLICTED,
            Some(true),
            reason::CONFLICT,
            conflict_sentence(winner, listener),
        ),
        (None, Some((first, listener))) => NewCondition::new(
            CONFLICTED,
            Some(true),
            reason::OVERLAP,
            format!(
                "RelayPolicy {first} is older, has the same rank and takes some of this mail on listener {listener}; the rest is \
                 this one's. Another priority makes clear who decides"
            ),
        ),
        (None, None) => NewCondition::new(CONFLICTED, Some(false), reason::AS_WANTED, ""),
    };
    let ready = if accepted && !found.pending.is_empty() {
        let names = found.pending.join(", ");
        NewCondition::new(
            READY,
            Some(false),
            reason::NOT_YET_APPLIED,
            format!("not all pods of {names} use this version yet"),
        )
    } else {
        NewCondition::new(READY, Some(accepted), why, message.clone())
    };
    let moving = waiting && !stalled;
    vec![
        NewCondition::new(ACCEPTED, Some(accepted), why, message.clone()),
        conflict,
        NewCondition::new(
            RECONCILING,
            Some(moving),
            if moving {
                reason::IN_PROGRESS
            } else {
                reason::AS_WANTED
            },
            "",
        ),
        NewCondition::new(
            STALLED,
            Some(stalled),
            if stalled { why } else { reason::AS_WANTED },
            if stalled { message } else { String::new() },
        ),
        ready,
    ]
}

fn accepted(found: &Found) -> (bool, &'static str, String) {
    if let Some(invalid) = &found.invalid {
        (false, reason::INVALID, invalid.clone())
    } else if let Some(sentence) = &found.not_permitted {
        (false, reason::NOT_PERMITTED, sentence.clone())
    } else if let Some((winner, listener)) = &found.winner {
        (false, reason::CONFLICT, conflict_sentence(winner, listener))
    } else if let Some((why, sentence)) = &found.secret {
        (false, why, sentence.clone())
    } else if !found.missing.is_empty() {
        let names = found.missing.join(", ");
        (
            false,
            reason::LISTENER_NOT_FOUND,
            format!("there is no SmtpListener {names}; create it, or correct listenerRefs"),
        )
    } else if let Some(listener) = &found.unvalidated {
        (
            false,
            reason::DNSSEC_NOT_VALIDATED,
            format!(
                "a route is DaneOnly, and listener {listener} ignores DNSSEC, so its mail waits; say dns.dnssec: Validated (its pods \
                 validate), or Trusted (their resolvers do), or use Automatic"
            ),
        )
    } else {
        let mut message = "used by every listener it names".to_owned();
        if let Some(sentence) = &found.strangers {
            message = format!("{message}; {sentence}");
        }
        (true, reason::AS_WANTED, message)
    }
}

fn conflict_sentence(winner: &str, listener: &str) -> String {
    format!(
        "RelayPolicy {winner} is older and takes the same mail on listener {listener}; give this one another priority or match"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(list: &'a [NewCondition], kind: &str) -> (Option<bool>, &'a str) {
        list.iter()
            .find(|condition| condition.kind == kind)
            .map(|c| (c.status, c.reason.as_str()))
            .unwrap()
    }

    #[test]
    fn a_secret_is_told_once_its_version_stands_in_the_status() {
        let used = |version: &str| {
            vec![CredentialsUsed {
                secret: "login".into(),
                version: version.into(),
                ..CredentialsUsed::default()
            }]
        };
        let status = RelayPolicyStatus {
            credentials: used("1"),
            ..RelayPolicyStatus::default()
        };
        assert!(is_told(Some(&status), &used("1")));
        assert!(!is_told(Some(&status), &used("2")), "pods have what was before");
        assert!(!is_told(None, &used("1")));
        assert!(is_told(None, &[]));
    }

    #[test]
    fn what_keeps_a_policy_from_ready_is_named() {
        let rows = [
            (Found::default(), Some(true), reason::AS_WANTED, Some(false)),
            (
                Found {
                    invalid: Some("x".into()),
                    ..Found::default()
                },
                Some(false),
                reason::INVALID,
                Some(true),
            ),
            (
                Found {
                    missing: vec!["edge".into()],
                    ..Found::default()
                },
                Some(false),
                reason::LISTENER_NOT_FOUND,
                Some(false),
            ),
            (
                Found {
                    not_permitted: Some("x".into()),
                    pending: vec!["edge".into()],
                    ..Found::default()
                },
                Some(false),
                reason::NOT_PERMITTED,
                Some(true),
            ),
            (
                Found {
                    secret: Some((reason::SECRET_NOT_FOUND, "x".into())),
                    ..Found::default()
                },
                Some(false),
                reason::SECRET_NOT_FOUND,
                Some(false),
            ),
            (
                Found {
                    pending: vec!["edge".into()],
                    ..Found::default()
                },
                Some(false),
                reason::NOT_YET_APPLIED,
                Some(false),
            ),
            (
                Found {
                    unvalidated: Some("edge".into()),
                    ..Found::default()
                },
                Some(false),
                reason::DNSSEC_NOT_VALIDATED,
                Some(true),
            ),
            (
                Found {
                    winner: Some(("m/old".into(), "edge".into())),
                    ..Found::default()
                },
                Some(false),
                reason::CONFLICT,
                Some(true),
            ),
        ];
        for (found, ready, why, stalled) in rows {
            let list = conditions(&found);
            assert_eq!(of(&list, READY), (ready, why), "{found:?}");
            assert_eq!(of(&list, STALLED).0, stalled, "{found:?}");
            assert_eq!(of(&list, CONFLICTED).0, Some(found.winner.is_some()));
        }
        let unheard = Found {
            strangers: Some("no listener has `bob`".into()),
            ..Found::default()
        };
        let ready = conditions(&unheard).into_iter().find(|found| found.kind == READY);
        assert!(ready.unwrap().message.contains("; no listener has `bob`"));
        let providers = unread(&Invalid::new("spec.routes", "x")).providers;
        assert!(
            providers
                .iter()
                .all(|found| found.reason == reason::INVALID && found.status.is_none())
        );
        let shared = Found {
            first: Some(("m/old".into(), "edge".into())),
            ..Found::default()
        };
        let list = conditions(&shared);
        assert_eq!(of(&list, CONFLICTED), (Some(true), reason::OVERLAP));
        assert_eq!(
            (of(&list, READY).0, of(&list, STALLED).0),
            (Some(true), Some(false))
        );
    }
}
