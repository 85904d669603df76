//! Objects of other namespaces in a configuration that does not come about: it has no room for all of them, or is refused. A neighbour
//! that is let in must not keep the owner's own changes from the pods. Pure.
//!
//! ```text
//!   all of it ─► no ─► without what is newer of the namespace whose news are largest: what it had in the last one stays ─┬─► yes: that is written
//!                               ▲                                                                                       └─► no ─┐
//!                               └── of the next ones too, and then of all: else it is the owner's to mend ◄─────────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};

use kube::{Resource, ResourceExt};
use postroad_config::{ConfigFile, Domain, Policy};
use postroad_crds::SmtpListener;

use crate::attached::{Attached, domain_line, policy_line};

/// Listeners whose configuration did not come about last time, by uid.
#[derive(Default)]
pub struct Crowded(Mutex<HashSet<String>>);

impl Crowded {
    /// Whether it did not.
    pub fn holds(&self, listener: &SmtpListener) -> bool {
        self.lock()
            .contains(listener.metadata.uid.as_deref().unwrap_or_default())
    }

    /// It did not, with objects of others in it.
    pub fn remember(&self, listener: &SmtpListener) {
        self.lock().insert(listener.uid().unwrap_or_default());
    }

    /// All of it has come about, or the listener is gone.
    pub fn forget(&self, listener: &SmtpListener) {
        self.lock()
            .remove(listener.metadata.uid.as_deref().unwrap_or_default());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What goes into the configuration of a listener, of its own namespace and of others.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Domains, as [`Attached::domains`] has them, with their keys.
    pub domains: Vec<Domain>,
    /// Policies, as [`Attached::policies`] has them, with what they log in with.
    pub policies: Vec<Policy>,
    /// Names of policies whose limits are shared out already.
    pub kept_policies: BTreeSet<String>,
}

/// Objects that are not in the configuration as they are now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Their uids.
    pub uids: BTreeSet<String>,
    /// For a sentence: `MailDomain shop/orders`.
    names: Vec<String>,
}

impl Left {
    fn add<K: Resource<DynamicType = ()>>(&mut self, object: &K) {
        self.uids.extend(object.uid());
        let namespace = object.namespace().unwrap_or_default();
        self.names
            .push(format!("{} {namespace}/{}", K::kind(&()), object.name_any()));
    }

    /// Why, and whose it is.
    pub fn sentence(&self, why: &str) -> String {
        let named: Vec<&str> = self.names.iter().take(NAMED).map(String::as_str).collect();
        let more = match self.names.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(
            "{why}; of other namespaces these are as they were, or are not served yet: {}{more}",
            named.join(", ")
        )
    }
}

/// Objects that are named.
const NAMED: usize = 3;

/// Namespaces of others, those first whose news take most room. `own`: that of the listener. `is_written`: whether an object, by its line,
/// is in the last configuration as it is now.
pub fn by_room(
    lists: &Lists,
    attached: &Attached,
    own: &str,
    is_written: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let mut octets: BTreeMap<&str, usize> = BTreeMap::new();
    for ((object, _), domain) in attached.domains.iter().zip(&lists.domains) {
        let of = object.metadata.namespace.as_deref().unwrap_or_default();
        let is_news = of != own && !is_written(&domain_line(object));
        *octets.entry(of).or_default() += if is_news { size(domain) } else { 0 };
    }
    for ((object, _), policy) in attached.policies.iter().zip(&lists.policies) {
        let of = object.metadata.namespace.as_deref().unwrap_or_default();
        let is_news = of != own && !is_written(&policy_line(object));
        *octets.entry(of).or_default() += if is_news { size(policy) } else { 0 };
    }
    octets.remove(own);
    let mut found: Vec<(usize, &str)> = octets.into_iter().map(|(of, octets)| (octets, of)).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, of)| of.to_owned()).collect()
}

fn size<T: serde::Serialize>(value: &T) -> usize {
    postroad_config::render(value).map_or(0, |text| text.len())
}

/// Of how many namespaces what is newer is left out, one try after the other, where there are so many.
pub fn tries(namespaces: usize) -> Vec<usize> {
    let mut tries: Vec<usize> = [1, 2, 4, namespaces]
        .into_iter()
        .filter(|count| (1..=namespaces).contains(count))
        .collect();
    tries.dedup();
    tries
}

/// The lists with objects of these namespaces as they were in `last`. `is_written`: as above.
pub fn as_before(
    mut lists: Lists,
    attached: &Attached,
    others: &[String],
    last: Option<&ConfigFile>,
    is_written: &dyn Fn(&str) -> bool,
) -> (Lists, Left) {
    let mut left = Left::default();
    let domains = last.map_or(&[][..], |last| last.domains.as_slice());
    let domains: BTreeMap<_, &Domain> = domains.iter().map(|known| (&known.name, known)).collect();
    let policies = last.map_or(&[][..], |last| last.policies.as_slice());
    let policies: BTreeMap<&str, &Policy> = policies
        .iter()
        .map(|known| (known.name.as_str(), known))
        .collect();
    let given = std::mem::take(&mut lists.domains);
    for ((object, _), domain) in attached.domains.iter().zip(given) {
        if !is_of(&**object, others) || is_written(&domain_line(object)) {
            lists.domains.push(domain);
            continue;
        }
        left.add(&**object);
        lists
            .domains
            .extend(domains.get(&domain.name).map(|known| (*known).clone()));
    }
    let given = std::mem::take(&mut lists.policies);
    for ((object, _), policy) in attached.policies.iter().zip(given) {
        if !is_of(&**object, others) {
            lists.policies.push(policy);
            continue;
        }
        if !is_written(&policy_line(object)) {
            left.add(&**object);
        }
        if let Some(known) = policies.get(policy.name.as_str()) {
            lists.kept_policies.insert(policy.name);
            lists.policies.push((*known).clone());
        }
    }
    (lists, left)
}

fn is_of<K: Resource>(object: &K, namespaces: &[String]) -> bool {
    let own = object.meta().namespace.as_ref();
    own.is_some_and(|own| namespaces.contains(own))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use postroad_crds::{MailDomain, RelayPolicy};
    use serde_json::{Value, json};

    use super::*;

    fn object<T: serde::de::DeserializeOwned>(kind: &str, path: &str, spec: &Value) -> Arc<T> {
        let (namespace, name) = path.split_once('/').unwrap();
        let object = json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "uid": path, "generation": 1}, "spec": spec,
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    /// A domain of a namespace, sent as by so many users.
    fn domain(path: &str, senders: usize) -> (Arc<MailDomain>, Domain) {
        let name = format!("{}.example", path.replace('/', "."));
        let references = json!([{"name": "edge", "namespace": "mail"}]);
        let spec = json!({"domain": name, "listenerRefs": references});
        let senders: Vec<_> = (0..senders)
            .map(|number| json!({"user": number.to_string()}))
            .collect();
        let domain = serde_json::from_value(json!({"name": name, "senders": senders})).unwrap();
        (object("MailDomain", path, &spec), domain)
    }

    fn policy(path: &str, port: u16) -> (Arc<RelayPolicy>, Policy) {
        let spec =
            json!({"listenerRefs": [{"name": "edge", "namespace": "mail"}], "routes": [{"direct": {}}]});
        let to = json!({"smartHosts": [{"host": "h.example", "port": port}]});
        let policy = json!({"name": path, "routes": [{"to": to, "tls": "Verified"}]});
        (
            object("RelayPolicy", path, &spec),
            serde_json::from_value(policy).unwrap(),
        )
    }

    fn file(domains: &[Domain], policies: &[Policy]) -> ConfigFile {
        let text = "format: 1\nhostname: m.example\nspool: {directory: /x}\n";
        let mut file = postroad_config::assemble(text, &std::collections::BTreeMap::new())
            .unwrap()
            .file;
        file.domains = domains.to_vec();
        file.policies = policies.to_vec();
        file
    }

    #[test]
    fn the_owner_s_are_as_they_are_now_and_those_of_others_as_they_were() {
        let attached = Attached {
            domains: vec![
                domain("mail/own", 2),
                domain("shop/same", 2),
                domain("shop/grown", 9),
                domain("shop/new", 9),
                domain("crm/new", 1),
            ],
            policies: vec![
                policy("mail/out", 2),
                policy("shop/changed", 2),
                policy("shop/new", 2),
            ],
            ..Attached::default()
        };
        let now = Lists {
            domains: attached
                .domains
                .iter()
                .map(|(_, domain)| domain.clone())
                .collect(),
            policies: attached
                .policies
                .iter()
                .map(|(_, policy)| policy.clone())
                .collect(),
            ..Lists::default()
        };
        let before = [
            domain("mail/own", 1),
            domain("shop/same", 2),
            domain("shop/grown", 1),
        ];
        let before = before.map(|(_, domain)| domain);
        let known = [policy("mail/out", 1), policy("shop/changed", 1)].map(|(_, policy)| policy);
        let last = file(&before, &known);
        let same = domain_line(&attached.domains[1].0);
        let is_written = |line: &str| line == same;
        let others = by_room(&now, &attached, "mail", &is_written);
        assert_eq!(others, ["shop", "crm"], "the largest first, and not the owner");
        let (lists, left) = as_before(now.clone(), &attached, &others[..1], Some(&last), &is_written);
        let counts: Vec<_> = lists
            .domains
            .iter()
            .map(|domain| (domain.name.as_str(), domain.senders.len()))
            .collect();
        assert_eq!(
            counts,
            [
                ("mail.own.example", 2),
                ("shop.same.example", 2),
                ("shop.grown.example", 1),
                ("crm.new.example", 1),
            ]
        );
        assert_eq!(lists.policies, [policy("mail/out", 2).1, known[1].clone()]);
        assert_eq!(lists.kept_policies, BTreeSet::from(["shop/changed".to_owned()]));
        let uids = ["shop/grown", "shop/new", "shop/changed"].map(str::to_owned);
        assert_eq!(left.uids, BTreeSet::from(uids));
        let sentence = left.sentence("it is full");
        assert!(
            sentence.starts_with("it is full; ")
                && sentence.contains(
                    "MailDomain shop/grown, MailDomain shop/new, RelayPolicy shop/changed and 1 more"
                ),
            "{sentence}"
        );
        // At first there is nothing of before.
        let (lists, left) = as_before(now, &attached, &others, None, &|_| false);
        assert_eq!(
            (lists.domains.len(), lists.policies.len(), left.names.len()),
            (1, 1, 6)
        );
        let own = Attached {
            domains: vec![domain("mail/own", 1)],
            ..Attached::default()
        };
        assert!(by_room(&Lists::default(), &own, "mail", &|_| false).is_empty());
        for (namespaces, want) in [
            (0, vec![]),
            (1, vec![1]),
            (3, vec![1, 2, 3]),
            (4, vec![1, 2, 4]),
            (9, vec![1, 2, 4, 9]),
        ] {
            assert_eq!(tries(namespaces), want, "{namespaces}");
        }
    }

    #[test]
    fn what_did_not_come_about_is_remembered_until_it_does() {
        let listener: SmtpListener = serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener",
            "metadata": {"name": "edge", "namespace": "mail", "uid": "u"},
            "spec": {
                "hostname": "mx.example.com", "queue": {"storage": {"size": "1Gi"}},
                "ports": [{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Disabled"}],
            },
        }))
        .unwrap();
        let crowded = Crowded::default();
        assert!(!crowded.holds(&listener));
        crowded.remember(&listener);
        assert!(crowded.holds(&listener));
        crowded.forget(&listener);
        assert!(!crowded.holds(&listener));
    }
}
