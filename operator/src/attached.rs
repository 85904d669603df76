//! Which domains and policies a listener serves, and who wins where two want the same. Pure: objects in, a list out.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use postroad_config::{Domain, DomainName, Policy};
use postroad_crds::conditions::{CONFIG_APPLIED, status_of};
use postroad_crds::{MailDomain, RelayPolicy, SmtpListener};

use crate::mail_domain::validate as domains;
use crate::relay_policy::rank::{Standing, in_order};
use crate::relay_policy::validate as policies;

/// What a listener serves.
#[derive(Clone, Debug, Default)]
pub struct Attached {
    /// Domains, one object for each name.
    pub domains: Vec<(Arc<MailDomain>, Domain)>,
    /// Policies in the order in which they decide.
    pub policies: Vec<(Arc<RelayPolicy>, Policy)>,
}

/// The object of a domain name that a listener serves: of the valid ones the oldest; the name breaks a tie.
pub fn attached(
    namespace: &str,
    listener: &str,
    all_domains: &[Arc<MailDomain>],
    all_policies: &[Arc<RelayPolicy>],
) -> Attached {
    let mut by_name: BTreeMap<DomainName, (Arc<MailDomain>, Domain)> = BTreeMap::new();
    for (object, domain) in claims(namespace, listener, all_domains) {
        let wins = by_name
            .get(&domain.name)
            .is_none_or(|(other, _)| age(&*object) < age(&**other));
        if wins {
            by_name.insert(domain.name.clone(), (object, domain));
        }
    }
    let mut found = Vec::new();
    for object in all_policies
        .iter()
        .filter(|object| lives_in(&***object, namespace))
    {
        if object
            .spec
            .listener_refs
            .iter()
            .any(|reference| reference.name == listener)
            && let Ok(policy) = policies::validate(object)
        {
            found.push((object.clone(), policy));
        }
    }
    let standings: Vec<Standing> = found
        .iter()
        .map(|(object, policy)| standing(object, policy))
        .collect();
    let order: Vec<String> = in_order(&standings)
        .into_iter()
        .map(|standing| standing.name.clone())
        .collect();
    found.sort_by_key(|(_, policy)| order.iter().position(|name| *name == policy.name));
    Attached {
        domains: by_name.into_values().collect(),
        policies: found,
    }
}

/// Objects that want to be served by a listener, with their valid configuration.
fn claims<'a>(
    namespace: &'a str,
    listener: &'a str,
    all: &'a [Arc<MailDomain>],
) -> impl Iterator<Item = (Arc<MailDomain>, Domain)> + 'a {
    all.iter()
        .filter(move |object| lives_in(&***object, namespace))
        .filter_map(move |object| {
            let wanted = object
                .spec
                .listener_refs
                .iter()
                .any(|reference| reference.name == listener);
            let domain = domains::validate(&object.spec).ok()?;
            wanted.then(|| (object.clone(), domain))
        })
}

/// The older object that has the same domain on one of the listeners of this one: (listener, its name).
pub fn domain_winner(object: &MailDomain, all: &[Arc<MailDomain>]) -> Option<(String, String)> {
    let namespace = object.namespace().unwrap_or_default();
    let name = domains::validate(&object.spec).ok()?.name;
    object.spec.listener_refs.iter().find_map(|reference| {
        let winner = claims(&namespace, &reference.name, all)
            .filter(|(_, domain)| domain.name == name)
            .map(|(other, _)| other)
            .min_by_key(|other| age(&**other))?;
        (winner.uid() != object.uid()).then(|| (reference.name.clone(), winner.name_any()))
    })
}

/// What a policy's rank is made of.
pub fn standing(object: &RelayPolicy, policy: &Policy) -> Standing {
    Standing {
        name: policy.name.clone(),
        priority: object.spec.priority,
        matches: policy.matches.clone(),
        created: object.creation_timestamp().map(|time| time.0),
    }
}

/// Names the objects in a set and their versions, so that a domain's reconcile can tell whether a configuration holds it.
pub fn fingerprint(attached: &Attached) -> String {
    let mut lines: Vec<String> = attached
        .domains
        .iter()
        .map(|(object, _)| line(&**object))
        .collect();
    lines.extend(attached.policies.iter().map(|(object, _)| line(&**object)));
    lines.sort();
    postroad_config::hash(&lines.join("\n"))
}

/// Whether every serving pod of a listener runs a configuration with exactly these objects. Where no pod is wanted, none is
/// asked.
pub fn confirmed(listener: &SmtpListener, attached: &Attached) -> bool {
    listener.status.as_ref().is_some_and(|status| {
        status.rendered.as_deref() == Some(fingerprint(attached).as_str())
            && (listener.spec.replicas == 0 || status_of(&status.conditions, CONFIG_APPLIED) == Some(true))
    })
}

fn line<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let meta = object.meta();
    let generation = meta.generation.unwrap_or_default();
    format!(
        "{}/{}/{generation}",
        K::kind(&()),
        meta.uid.as_deref().unwrap_or_default()
    )
}

fn lives_in<K: Resource>(object: &K, namespace: &str) -> bool {
    object.meta().namespace.as_deref() == Some(namespace) && object.meta().deletion_timestamp.is_none()
}

fn age<K: Resource>(object: &K) -> (Option<Timestamp>, String) {
    let meta = object.meta();
    (
        meta.creation_timestamp.as_ref().map(|time| time.0),
        meta.name.clone().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn domain(name: &str, domain: &str, listener: &str, created: &str) -> Arc<MailDomain> {
        Arc::new(serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "MailDomain",
            "metadata": {"name": name, "namespace": "mail", "uid": name, "generation": 1, "creationTimestamp": created},
            "spec": {"domain": domain, "listenerRefs": [{"name": listener}]},
        })).unwrap())
    }

    fn policy(name: &str, priority: i32) -> Arc<RelayPolicy> {
        Arc::new(serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy",
            "metadata": {"name": name, "namespace": "mail", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"listenerRefs": [{"name": "edge"}], "priority": priority, "routes": [{"direct": {}}]},
        })).unwrap())
    }

    #[test]
    fn the_older_object_has_the_domain_and_the_other_is_told() {
        let old = domain("old", "Example.com", "edge", "2026-01-01T00:00:00Z");
        let young = domain("young", "example.com", "edge", "2026-01-02T00:00:00Z");
        let elsewhere = domain("elsewhere", "example.com", "other", "2025-01-01T00:00:00Z");
        let all = [young.clone(), old.clone(), elsewhere.clone()];
        let served = attached("mail", "edge", &all, &[]);
        assert_eq!(
            served
                .domains
                .iter()
                .map(|(object, _)| object.name_any())
                .collect::<Vec<_>>(),
            ["old"]
        );
        assert_eq!(domain_winner(&young, &all), Some(("edge".into(), "old".into())));
        assert_eq!(
            (domain_winner(&old, &all), domain_winner(&elsewhere, &all)),
            (None, None)
        );
    }

    #[test]
    fn a_wrong_object_and_one_of_another_namespace_change_nothing() {
        let wrong = domain("wrong", "10.0.0.1", "edge", "2026-01-01T00:00:00Z");
        let good = domain("good", "a.example", "edge", "2026-01-01T00:00:00Z");
        assert_eq!(
            attached("mail", "edge", &[wrong.clone(), good.clone()], &[])
                .domains
                .len(),
            1
        );
        assert_eq!(attached("shop", "edge", &[good], &[]).domains.len(), 0);
    }

    #[test]
    fn policies_stand_in_rank_order_and_the_fingerprint_moves_with_generations() {
        let served = attached("mail", "edge", &[], &[policy("low", 1), policy("high", 9)]);
        assert_eq!(
            served
                .policies
                .iter()
                .map(|(_, policy)| policy.name.as_str())
                .collect::<Vec<_>>(),
            ["mail/high", "mail/low"]
        );
        let mut changed = served.clone();
        Arc::make_mut(&mut changed.policies[0].0).metadata.generation = Some(2);
        assert_ne!(fingerprint(&served), fingerprint(&changed));
    }
}
