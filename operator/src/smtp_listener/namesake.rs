//! Two listeners of one host name: which of them has it. Pure.
//!
//! ```text
//!   same name: who served something, ─┬─► in this namespace another is before us: Conflicted, and not Ready:
//!   then the oldest, then namespace/  │     what runs stays, nothing new is served until the name is free
//!   name                              └─► only elsewhere: Conflicted is told; a neighbour changes nothing else
//! ```
//!
//! A listener that is being deleted holds no name: the next one takes over while it still drains. Nor does one whose spec cannot
//! be served and never was: the one that can serve has the name, and keeps it when the other is put right.

use std::borrow::Borrow;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use postroad_config::DomainName;
use postroad_crds::SmtpListener;
use postroad_crds::conditions::{CONFLICTED, NewCondition, reason};

use super::status::Obstacle;
use super::validate;

/// Who has the host name of a listener, where it is another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// The host name, in A-labels.
    pub hostname: String,
    /// `namespace/name`.
    pub listener: String,
    /// It is of the listener's own namespace.
    pub is_near: bool,
}

/// Finds it among all listeners. One of the own namespace is named before others: it decides more.
pub fn holder<L: Borrow<SmtpListener>>(listener: &SmtpListener, all: &[L]) -> Option<Holder> {
    let hostname = hostname(listener)?;
    let before = |other: &&SmtpListener| {
        other.uid() != listener.uid()
            && other.metadata.deletion_timestamp.is_none()
            && self::hostname(other).as_ref() == Some(&hostname)
            && rank(other) < rank(listener)
            && may_hold(other)
    };
    let is_near = |other: &SmtpListener| other.namespace() == listener.namespace();
    let first = all
        .iter()
        .map(<L as Borrow<SmtpListener>>::borrow)
        .filter(before)
        .min_by_key(|other| (!is_near(other), rank(other)))?;
    Some(Holder {
        hostname: hostname.to_string(),
        listener: shown(first),
        is_near: is_near(first),
    })
}

/// What keeps the newest spec from being served.
pub fn obstacle(holder: Option<&Holder>) -> Option<Obstacle> {
    let holder = holder.filter(|holder| holder.is_near)?;
    Some(Obstacle::stalled(reason::CONFLICT, sentence(holder)))
}

/// The condition `Conflicted`.
pub fn condition(holder: Option<&Holder>) -> NewCondition {
    match holder {
        Some(holder) => NewCondition::new(CONFLICTED, Some(true), reason::CONFLICT, sentence(holder)),
        None => NewCondition::new(CONFLICTED, Some(false), reason::AS_WANTED, ""),
    }
}

fn sentence(holder: &Holder) -> String {
    let Holder {
        hostname, listener, ..
    } = holder;
    let end = if holder.is_near {
        "this one takes over when that one goes; give one of the two another hostname"
    } else {
        "it is served here all the same; agree with its owner who has the name in DNS"
    };
    format!("SmtpListener {listener} has the host name {hostname}; {end}")
}

fn hostname(listener: &SmtpListener) -> Option<DomainName> {
    listener.spec.hostname.parse().ok()
}

fn shown(listener: &SmtpListener) -> String {
    format!(
        "{}/{}",
        listener.namespace().unwrap_or_default(),
        listener.name_any()
    )
}

/// The smaller has the name. An object without a time is not stored yet.
fn rank(listener: &SmtpListener) -> (bool, bool, Option<Timestamp>, String) {
    let created = listener.creation_timestamp().map(|time| time.0);
    (!has_served(listener), created.is_none(), created, shown(listener))
}

fn may_hold(listener: &SmtpListener) -> bool {
    has_served(listener) || validate::validate(&listener.spec).is_ok()
}

/// A configuration was written for it: pods may run.
fn has_served(listener: &SmtpListener) -> bool {
    let status = listener.status.as_ref();
    status.is_some_and(|status| status.config_generation.is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listener(path: &str, hostname: &str, created: &str) -> SmtpListener {
        let (namespace, name) = path.split_once('/').unwrap();
        serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener",
            "metadata": {"name": name, "namespace": namespace, "uid": path, "creationTimestamp": created},
            "spec": {
                "hostname": hostname, "queue": {"storage": {"size": "1Gi"}},
                "ports": [{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Disabled"}],
            },
        }))
        .unwrap()
    }

    fn held(of: &SmtpListener, all: &[SmtpListener]) -> Option<(String, bool)> {
        holder(of, all).map(|holder| (holder.listener, holder.is_near))
    }

    #[test]
    fn the_older_has_the_name_and_the_next_takes_over_when_it_goes() {
        let old = listener("mail/z", "MX.B\u{fc}cher.example", "2026-01-01T00:00:00Z");
        let next = listener("mail/a", "mx.xn--bcher-kva.example", "2026-01-02T00:00:00Z");
        let last = listener("mail/b", "mx.xn--bcher-kva.EXAMPLE", "2026-01-02T00:00:00Z");
        let other = listener("mail/o", "mx.other.example", "2025-01-01T00:00:00Z");
        let mut all = vec![last.clone(), other.clone(), next.clone(), old.clone()];
        assert_eq!((held(&old, &all), held(&other, &all)), (None, None));
        assert_eq!(held(&next, &all), Some(("mail/z".into(), true)));
        // Of two objects of one second, the name decides.
        all[3].metadata.deletion_timestamp = old.metadata.creation_timestamp.clone();
        assert_eq!(held(&next, &all), None);
        assert_eq!(held(&last, &all), Some(("mail/a".into(), true)));
        all.retain(|one| one.name_any() == "b");
        assert_eq!(held(&last, &all), None);
    }

    #[test]
    fn a_neighbour_is_named_and_stops_nothing() {
        let theirs = listener("a/edge", "mx.example.com", "2025-01-01T00:00:00Z");
        let ours = listener("mail/edge", "mx.example.com", "2026-01-01T00:00:00Z");
        let near = listener("mail/older", "mx.example.com", "2025-06-01T00:00:00Z");
        let found = holder(&ours, &[theirs.clone(), ours.clone()]);
        assert_eq!(obstacle(found.as_ref()), None);
        let said = condition(found.as_ref());
        assert_eq!(
            (said.status, said.reason.as_str()),
            (Some(true), reason::CONFLICT)
        );
        assert!(said.message.contains("a/edge"), "{}", said.message);

        let found = holder(&ours, &[theirs, near, ours.clone()]);
        let stops = obstacle(found.as_ref()).unwrap();
        assert!(
            stops.stalled && stops.message.contains("mail/older"),
            "{}",
            stops.message
        );
        assert_eq!(condition(None).status, Some(false));
    }

    #[test]
    fn who_cannot_be_served_and_never_was_gives_the_name_to_who_can_for_good() {
        let served = |mut listener: SmtpListener| {
            let status = json!({"replicas": 1, "readyReplicas": 1, "selector": "", "configGeneration": 1});
            listener.status = Some(serde_json::from_value(status).unwrap());
            listener
        };
        let good = listener("mail/a", "mx.example.com", "2025-01-01T00:00:00Z");
        let mut wrong = good.clone();
        wrong.spec.pod = Some(serde_json::from_value(json!({"labels": {"no key": "x"}})).unwrap());
        let younger = listener("mail/b", "mx.example.com", "2026-01-01T00:00:00Z");
        assert_eq!(
            held(&younger, &[good.clone(), younger.clone()]),
            Some(("mail/a".into(), true))
        );
        assert_eq!(held(&younger, &[wrong.clone(), younger.clone()]), None);
        // Put right, it is too late; what has served holds its name with a spec that became wrong, too.
        let taken_over = served(younger.clone());
        assert_eq!(held(&taken_over, &[good.clone(), taken_over.clone()]), None);
        assert_eq!(
            held(&good, &[good.clone(), taken_over.clone()]),
            Some(("mail/b".into(), true))
        );
        assert_eq!(
            held(&younger, &[served(wrong), younger.clone()]),
            Some(("mail/a".into(), true))
        );
        let both = [served(good), taken_over.clone()];
        assert_eq!(
            held(&taken_over, &both),
            Some(("mail/a".into(), true)),
            "then the older"
        );
    }

    #[test]
    fn a_name_that_cannot_be_read_holds_nothing() {
        let wrong = listener("mail/a", "10.0.0.1", "2025-01-01T00:00:00Z");
        let same = listener("mail/b", "10.0.0.1", "2026-01-01T00:00:00Z");
        assert_eq!(held(&same, &[wrong, same.clone()]), None);
    }
}
