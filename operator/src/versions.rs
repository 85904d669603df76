//! Which version each Secret has, as the watches of their namespaces say: what was read of it once need not be read again at every
//! look of thousands of domains. Pure but for the lock.
//!
//! Where a watch is not open, is at its first list, or broke and was not heard of since, nothing is known, and a Secret is read.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::PartialObjectMeta;
use kube::runtime::watcher::Event;

/// By namespace.
#[derive(Default)]
pub struct Versions(Mutex<HashMap<String, Watched>>);

#[derive(Default)]
struct Watched {
    /// By name; what the watch has said so far.
    known: HashMap<String, String>,
    /// The list that has not come to its end yet.
    listed: Option<HashMap<String, String>>,
    /// A list came to its end.
    is_whole: bool,
    /// The watch broke, and said nothing since.
    is_broken: bool,
}

impl Versions {
    /// What a watch of a namespace said.
    pub fn hear<E>(&self, namespace: &str, said: &Result<Event<PartialObjectMeta<Secret>>, E>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = all.entry(namespace.to_owned()).or_default();
        let named = |secret: &PartialObjectMeta<Secret>| {
            (secret.name_any(), secret.resource_version().unwrap_or_default())
        };
        watched.is_broken = said.is_err();
        match said {
            Err(_) => {}
            Ok(Event::Init) => watched.listed = Some(HashMap::new()),
            Ok(Event::InitApply(secret)) => watched.listed.get_or_insert_default().extend([named(secret)]),
            Ok(Event::InitDone) => {
                watched.known = watched.listed.take().unwrap_or_default();
                watched.is_whole = true;
            }
            Ok(Event::Apply(secret)) => watched.known.extend([named(secret)]),
            Ok(Event::Delete(secret)) => {
                watched.known.remove(&secret.name_any());
            }
        }
    }

    /// The watch of a namespace has ended.
    pub fn forget(&self, namespace: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(namespace);
    }

    /// Whether a Secret is there in this version still. `false` where nothing is known.
    pub fn holds(&self, namespace: &str, name: &str, version: &str) -> bool {
        self.told(namespace, |known| {
            known.get(name).map(String::as_str) == Some(version)
        })
    }

    /// Whether there is no such Secret. `false` where nothing is known.
    pub fn lacks(&self, namespace: &str, name: &str) -> bool {
        self.told(namespace, |known| !known.contains_key(name))
    }

    /// What holds of the versions by name; `false` where nothing is known.
    fn told(&self, namespace: &str, holds: impl Fn(&HashMap<String, String>) -> bool) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(namespace).is_some_and(|watched| {
            let is_told = watched.is_whole && !watched.is_broken && watched.listed.is_none();
            is_told && holds(&watched.known)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    type Said = Result<Event<PartialObjectMeta<Secret>>, ()>;

    fn secret(name: &str, version: &str) -> PartialObjectMeta<Secret> {
        serde_json::from_value(json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": name, "namespace": "mail", "resourceVersion": version},
        }))
        .unwrap()
    }

    #[test]
    fn a_version_holds_while_an_open_watch_says_so() {
        let versions = Versions::default();
        // What is said, and whether keys/1 and keys/2 hold afterwards.
        let steps: Vec<(Said, bool, bool)> = vec![
            (Ok(Event::Init), false, false),
            (Ok(Event::InitApply(secret("keys", "1"))), false, false),
            (Ok(Event::InitDone), true, false),
            (Ok(Event::Apply(secret("other", "7"))), true, false),
            (Ok(Event::Apply(secret("keys", "2"))), false, true),
            (Err(()), false, false),
            (Ok(Event::Apply(secret("other", "8"))), false, true),
            (Ok(Event::Delete(secret("keys", "3"))), false, false),
            (Ok(Event::Apply(secret("keys", "1"))), true, false),
            (Ok(Event::Init), false, false),
            (Ok(Event::InitDone), false, false),
        ];
        for (number, (said, one, two)) in steps.into_iter().enumerate() {
            versions.hear("mail", &said);
            let holds = |version| versions.holds("mail", "keys", version);
            assert_eq!((holds("1"), holds("2")), (one, two), "after step {number}");
        }
        versions.hear("mail", &Said::Ok(Event::Apply(secret("keys", "1"))));
        assert!(versions.holds("mail", "keys", "1"));
        assert!(!versions.holds("shop", "keys", "1"), "another namespace");
        assert!(versions.lacks("mail", "gone") && !versions.lacks("mail", "keys"));
        assert!(!versions.lacks("shop", "gone"), "nothing is known of it");
        versions.forget("mail");
        assert!(!versions.holds("mail", "keys", "1"));
    }
}
