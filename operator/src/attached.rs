//! Which domains and policies a listener serves, and who wins where two want the same. Pure: objects in, a list out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use postroad_config::{ConfigFile, Dkim, Domain, DomainName, Policy, Within};
use postroad_crds::common::ListenerRef;
use postroad_crds::{MailDomain, RelayPolicy};

use crate::mail_domain::signing::active;
use crate::mail_domain::{proof, validate as domains};
use crate::relay_policy::rank::{Standing, in_order};
use crate::relay_policy::{validate as policies, waiting};
use crate::tenancy::Door;

/// What a listener serves.
#[derive(Clone, Debug, Default)]
pub struct Attached {
    /// Domains, one object for each name.
    pub domains: Vec<(Arc<MailDomain>, Domain)>,
    /// Policies in the order in which they decide.
    pub policies: Vec<(Arc<RelayPolicy>, Policy)>,
    /// Those of both whose newest spec cannot be used, by uid: what was written of them last stays.
    pub kept: BTreeSet<String>,
}

impl Attached {
    /// Whether an object stays as it was written last.
    pub fn keeps<K: Resource>(&self, object: &K) -> bool {
        let uid = object.meta().uid.as_ref();
        uid.is_some_and(|uid| self.kept.contains(uid))
    }
}

/// What a listener serves. Of the valid objects with one domain that it lets in, the one of its own namespace, else the oldest;
/// namespace and name break a tie.
pub fn attached(
    door: Door<'_>,
    all_domains: &[Arc<MailDomain>],
    all_policies: &[Arc<RelayPolicy>],
) -> Attached {
    found(door, all_domains, all_policies, None, Those::Usable)
}

/// The same; an object that was served and whose newest spec is wrong is served as it was in `last`, the configuration that was
/// written last. Its mail would be refused for good, or leave another way, for a slip of the pen.
pub fn with_last(
    door: Door<'_>,
    all_domains: &[Arc<MailDomain>],
    all_policies: &[Arc<RelayPolicy>],
    last: Option<&ConfigFile>,
) -> Attached {
    found(door, all_domains, all_policies, last, Those::All)
}

fn found(
    door: Door<'_>,
    all_domains: &[Arc<MailDomain>],
    all_policies: &[Arc<RelayPolicy>],
    last: Option<&ConfigFile>,
    those: Those,
) -> Attached {
    let mut kept = BTreeSet::new();
    let mut by_name: BTreeMap<DomainName, (Arc<MailDomain>, Domain)> = BTreeMap::new();
    for (object, domain) in claims(door, all_domains) {
        let wins = by_name
            .get(&domain.name)
            .is_none_or(|(other, _)| age(door, &*object) < age(door, &**other));
        if wins {
            by_name.insert(domain.name.clone(), (object, domain));
        }
    }
    for (object, domain) in last.into_iter().flat_map(|last| spoilt(door, all_domains, last)) {
        if !by_name.contains_key(&domain.name) {
            kept.extend(object.uid());
            by_name.insert(domain.name.clone(), (object, domain));
        }
    }
    let domains: Vec<_> = by_name.into_values().collect();
    let known = last.map_or(&[][..], |last| last.policies.as_slice());
    Attached {
        policies: policies_of(door, &domains, all_policies, known, those, &mut kept),
        domains,
        kept,
    }
}

/// Objects whose spec is wrong, with what was written of their domains last; the oldest first.
fn spoilt(door: Door<'_>, all: &[Arc<MailDomain>], last: &ConfigFile) -> Vec<(Arc<MailDomain>, Domain)> {
    let one = |object: &Arc<MailDomain>| {
        let name: DomainName = object.spec.domain.parse().ok()?;
        let namespace = object.namespace().unwrap_or_default();
        door.domain_may(&namespace, &name, proof::holds(object, &name))
            .ok()?;
        let known = last.domains.iter().find(|known| known.name == name)?;
        // With the keys that sign now.
        let dkim = Dkim::default();
        Some((
            object.clone(),
            Domain {
                dkim,
                ..known.clone()
            },
        ))
    };
    let is_spoilt = |object: &&Arc<MailDomain>| {
        names(door, &***object, &object.spec.listener_refs) && domains::validate(&object.spec).is_err()
    };
    let mut found: Vec<_> = all.iter().filter(is_spoilt).filter_map(one).collect();
    found.sort_by_key(|(object, _)| age(door, &**object));
    found
}

/// Policies that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Those {
    /// Those that can be used.
    Usable,
    /// The same, and new ones whose mail waits until their routes are mended.
    All,
}

/// Policies that a listener uses, in the order in which they decide. `domains`: those that it serves. `last`: what was written last.
fn policies_of(
    door: Door<'_>,
    domains: &[(Arc<MailDomain>, Domain)],
    all_policies: &[Arc<RelayPolicy>],
    last: &[Policy],
    those: Those,
    kept: &mut BTreeSet<String>,
) -> Vec<(Arc<RelayPolicy>, Policy)> {
    let mut found = Vec::new();
    for object in all_policies {
        let namespace = object.namespace().unwrap_or_default();
        if !names(door, &**object, &object.spec.listener_refs) || door.namespace_may(&namespace).is_err() {
            continue;
        }
        let policy = policies::validate(object).or_else(|invalid| {
            let name = policies::name(object);
            let known = last.iter().find(|known| known.name == name);
            let known = known.filter(|known| !waiting::waits(known));
            if known.is_some() {
                kept.extend(object.uid());
            }
            let new = || waiting::policy(object, &invalid).filter(|_| those == Those::All);
            known.cloned().or_else(new).ok_or(invalid)
        });
        if let Ok(policy) = policy {
            let within = within(door, &namespace, domains);
            found.push((object.clone(), Policy { within, ..policy }));
        }
    }
    let ranked = |(object, policy): &(Arc<RelayPolicy>, Policy)| {
        let standing = standing(object, policy);
        // One that nobody can use takes nothing from one of its rank that works.
        let created = standing.created.filter(|_| !waiting::waits(policy));
        Standing { created, ..standing }
    };
    let standings: Vec<Standing> = found.iter().map(ranked).collect();
    let order: HashMap<&str, usize> = in_order(&standings)
        .into_iter()
        .enumerate()
        .map(|(place, standing)| (standing.name.as_str(), place))
        .collect();
    found.sort_by_key(|(_, policy)| order.get(policy.name.as_str()).copied());
    found
}

/// The same policies. Domains matter only for the bounds of those from other namespaces: where there is none, thousands of
/// domains are not looked at.
pub fn ranked(
    door: Door<'_>,
    all_domains: &[Arc<MailDomain>],
    all_policies: &[Arc<RelayPolicy>],
) -> Vec<(Arc<RelayPolicy>, Policy)> {
    let is_foreign =
        |object: &Arc<RelayPolicy>| object.metadata.namespace.as_deref() != Some(door.namespace());
    if all_policies.iter().any(is_foreign) {
        return attached(door, all_domains, all_policies).policies;
    }
    policies_of(door, &[], all_policies, &[], Those::Usable, &mut BTreeSet::new())
}

/// The bounds of a policy from another namespace: mail of the ServiceAccounts there, and of the domains that objects from there
/// have at this listener. The listener's own policies have none.
fn within(door: Door<'_>, namespace: &str, domains: &[(Arc<MailDomain>, Domain)]) -> Option<Within> {
    (namespace != door.namespace()).then(|| Within {
        namespace: namespace.to_owned(),
        sender_domains: domains
            .iter()
            .filter(|(object, _)| object.metadata.namespace.as_deref() == Some(namespace))
            .map(|(_, domain)| domain.name.clone())
            .collect(),
    })
}

/// Objects that name a listener and are let in, with their valid configuration.
fn claims<'a>(
    door: Door<'a>,
    all: &'a [Arc<MailDomain>],
) -> impl Iterator<Item = (Arc<MailDomain>, Domain)> + 'a {
    all.iter()
        .filter(move |object| names(door, &***object, &object.spec.listener_refs))
        .filter_map(move |object| {
            let domain = domains::validate(&object.spec).ok()?;
            let namespace = object.namespace().unwrap_or_default();
            door.domain_may(&namespace, &domain.name, proof::holds(object, &domain.name))
                .ok()?;
            Some((object.clone(), domain))
        })
}

/// The object that has the same domain on one of the doors that this one names: (listener, its namespace and name).
pub fn domain_winner(
    object: &MailDomain,
    doors: &[Door<'_>],
    all: &[Arc<MailDomain>],
) -> Option<(String, String)> {
    let name = domains::validate(&object.spec).ok()?.name;
    let rivals: Vec<Arc<MailDomain>> = all
        .iter()
        .filter(|other| may_be(&other.spec.domain, &name))
        .cloned()
        .collect();
    doors.iter().find_map(|door| {
        let winner = claims(*door, &rivals)
            .filter(|(_, domain)| domain.name == name)
            .map(|(other, _)| other)
            .min_by_key(|other| age(*door, &**other))?;
        let shown = if winner.namespace() == object.namespace() {
            winner.name_any()
        } else {
            format!("{}/{}", winner.namespace().unwrap_or_default(), winner.name_any())
        };
        (winner.uid() != object.uid()).then(|| (door.name().to_owned(), shown))
    })
}

/// Whether a text can be that name, by letters alone: what is to be parsed is few of thousands then.
fn may_be(text: &str, name: &DomainName) -> bool {
    let bare = text.strip_suffix('.').unwrap_or(text);
    !text.is_ascii() || bare.eq_ignore_ascii_case(name.as_str())
}

/// What a policy's rank is made of.
pub fn standing(object: &RelayPolicy, policy: &Policy) -> Standing {
    Standing {
        name: policy.name.clone(),
        priority: object.spec.priority,
        matches: policy.matches.clone(),
        within: policy.within.clone(),
        created: object.creation_timestamp().map(|time| time.0),
    }
}

/// Names the objects in a set and their versions, with those of the Secrets that policies log in with, so that a domain's reconcile
/// can tell whether a configuration holds it.
pub fn fingerprint(attached: &Attached) -> String {
    postroad_config::hash(&lines(attached).join("\n"))
}

/// The objects in a set as they are now, a line each, sorted.
pub fn lines(attached: &Attached) -> Vec<String> {
    let domains = attached.domains.iter().map(|(object, _)| &**object);
    let domains = domains.filter(|object| !attached.keeps(*object)).map(domain_line);
    let policies = attached.policies.iter().map(|(object, _)| &**object);
    let policies = policies
        .filter(|object| !attached.keeps(*object))
        .map(policy_line);
    let mut lines: Vec<String> = domains.chain(policies).collect();
    lines.sort();
    lines
}

/// A domain as it is now, with the keys that sign.
pub fn domain_line(object: &MailDomain) -> String {
    let signs = active(object).into_iter().map(|key| key.selector.as_str());
    let keys: Vec<&str> = signs.collect();
    format!("{}/{}", line(object), keys.join(","))
}

/// A policy as it is now, with the versions of the Secrets that it logs in with.
pub fn policy_line(object: &RelayPolicy) -> String {
    let used = object.status.iter().flat_map(|status| &status.credentials);
    let versions: Vec<String> = used
        .map(|used| format!("{}:{}", used.secret, used.version))
        .collect();
    format!("{}/{}", line(object), versions.join(","))
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

/// Whether an object that stays names the listener.
fn names<K: Resource>(door: Door<'_>, object: &K, references: &[ListenerRef]) -> bool {
    let meta = object.meta();
    let own = meta.namespace.as_deref().unwrap_or_default();
    meta.deletion_timestamp.is_none()
        && references
            .iter()
            .any(|reference| reference.names(own, door.namespace(), door.name()))
}

/// What decides between objects that want the same: the smaller wins.
fn age<K: Resource>(door: Door<'_>, object: &K) -> (bool, Option<Timestamp>, String, String) {
    let meta = object.meta();
    let namespace = meta.namespace.clone().unwrap_or_default();
    (
        namespace != door.namespace(),
        meta.creation_timestamp.as_ref().map(|time| time.0),
        namespace,
        meta.name.clone().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests;
