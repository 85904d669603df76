//! Wakes listeners when a Secret changes that they use: a renewed certificate, new users, one of their own that somebody touched.
//!
//! ```text
//!   namespaces with listeners ─► a watch of Secrets in each ─► who uses it (pure) ─► listeners, to be reconciled at once
//! ```
//!
//! Watched by namespace, because the permission is given by namespace. Where it is not given, or while a watch is broken, a
//! listener looks at its Secrets all the same, only later.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures::channel::mpsc::{self, Sender};
use futures::{SinkExt, Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use postroad_crds::SmtpListener;
use tokio::task::{AbortHandle, JoinSet};

use crate::driver::Guarded;
use crate::smtp_listener::names::{LISTENER, Names};

type Listeners = Store<Guarded<SmtpListener>>;
type Woken = ObjectRef<Guarded<SmtpListener>>;

/// How often the namespaces are looked through for listeners.
const LOOK: Duration = Duration::from_secs(5);
/// How long a watch rests that was refused: a namespace that did not opt in costs one request in that time.
const REFUSED: Duration = Duration::from_mins(2);

/// Listeners whose Secrets changed. Ends only with the stream.
pub fn changes(client: Client, listeners: Listeners) -> impl Stream<Item = Woken> + Send + 'static {
    let (sender, receiver) = mpsc::channel(64);
    // The keeper gives nothing itself: it runs as long as somebody reads.
    let keeper = stream::once(keep(client, listeners, sender)).filter_map(|()| std::future::ready(None));
    stream::select(receiver, keeper)
}

/// A watch for each namespace with listeners.
async fn keep(client: Client, listeners: Listeners, sender: Sender<Woken>) {
    let mut tasks = JoinSet::new();
    let mut watches: HashMap<String, AbortHandle> = HashMap::new();
    loop {
        let wanted: BTreeSet<String> = listeners
            .state()
            .iter()
            .filter_map(|listener| listener.namespace())
            .collect();
        watches.retain(|namespace, watch| {
            let kept = wanted.contains(namespace) && !watch.is_finished();
            if !kept {
                watch.abort();
            }
            kept
        });
        while tasks.try_join_next().is_some() {}
        for namespace in wanted {
            watches.entry(namespace).or_insert_with_key(|namespace| {
                let watch = watch(
                    client.clone(),
                    namespace.clone(),
                    listeners.clone(),
                    sender.clone(),
                );
                tasks.spawn(watch)
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn watch(client: Client, namespace: String, listeners: Listeners, mut sender: Sender<Woken>) {
    let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(client, &namespace);
    let changed = watcher(secrets, watcher::Config::default())
        .touched_objects()
        // Behind the above: a list that begins is no success yet, and would begin the waits anew.
        .default_backoff()
        .predicate_filter(predicates::resource_version, PredicateConfig::default());
    let mut changed = std::pin::pin!(changed);
    while let Some(secret) = changed.next().await {
        match secret {
            Ok(secret) => {
                let parsed = listeners.state();
                let parsed = parsed.iter().filter_map(|listener| listener.0.as_ref().ok());
                for woken in users(&secret, parsed) {
                    if sender.send(woken).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) if is_refused(&error) => tokio::time::sleep(REFUSED).await,
            Err(error) => tracing::debug!(namespace, %error, "watching Secrets"),
        }
    }
}

fn is_refused(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(cause) | watcher::Error::WatchStartFailed(cause)) = error else {
        return false;
    };
    matches!(cause, kube::Error::Api(said) if said.is_forbidden())
}

/// Listeners that a Secret is of, or that name it. Pure.
fn users<'a>(
    secret: &PartialObjectMeta<Secret>,
    listeners: impl Iterator<Item = &'a SmtpListener>,
) -> Vec<Woken> {
    let (name, namespace) = (secret.name_any(), secret.namespace());
    let owner = secret.labels().get(LISTENER);
    let users = listeners.filter(|listener| {
        let is_own = owner == listener.meta().name.as_ref();
        listener.namespace() == namespace && (is_own || named(listener).contains(&name))
    });
    users
        .map(|listener| {
            ObjectRef::new(&listener.name_any()).within(&listener.namespace().unwrap_or_default())
        })
        .collect()
}

/// Secrets that a listener uses and that are not its own.
fn named(listener: &SmtpListener) -> Vec<String> {
    let names = Names {
        namespace: listener.namespace().unwrap_or_default(),
        listener: listener.name_any(),
    };
    let spec = &listener.spec;
    let tls = spec.tls.as_ref();
    let given = tls.and_then(|tls| tls.secret_name.clone());
    let issued = tls.filter(|tls| tls.issuer_ref.is_some()).map(|_| names.issued());
    let authentication = spec.authentication.as_ref();
    let users = authentication.and_then(|given| given.users.as_ref());
    let users = users.map(|users| users.secret_ref.name.clone());
    [given, issued, users].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn listener(name: &str, namespace: &str, tls: &Value) -> SmtpListener {
        serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "hostname": "mail.example.com", "queue": {"storage": {"size": "1Gi"}}, "tls": tls,
                "ports": [{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Opportunistic"}],
                "authentication": {"users": {"secretRef": {"name": "people"}}},
            },
        }))
        .unwrap()
    }

    fn woken(name: &str, namespace: &str, labels: &Value) -> Vec<String> {
        let secret: PartialObjectMeta<Secret> = serde_json::from_value(json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
        }))
        .unwrap();
        let listeners = [
            listener("edge", "mail", &json!({"secretName": "given"})),
            listener("relay", "mail", &json!({"issuerRef": {"name": "ca"}})),
            listener("edge", "shop", &json!({"secretName": "given"})),
        ];
        let woken = users(&secret, listeners.iter());
        woken.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_secret_wakes_those_that_use_it_and_nobody_else() {
        let count = |name: &str, namespace: &str| woken(name, namespace, &json!({})).len();
        assert_eq!(count("given", "mail"), 1);
        assert_eq!(count("given", "shop"), 1);
        assert_eq!(count("people", "mail"), 2);
        assert_eq!(count("relay-issued", "mail"), 1);
        assert_eq!(count("edge-issued", "mail"), 0, "edge has no issuer");
        assert_eq!(count("given", "elsewhere"), 0);
        assert_eq!(count("other", "mail"), 0);
        let own = woken("edge-config", "mail", &json!({"postroad.dev/listener": "edge"}));
        assert_eq!(own.len(), 1);
        assert!(own[0].contains("edge") && own[0].contains("mail"), "{own:?}");
    }
}
