//! Wakes objects when a Secret changes that they use: a renewed certificate, new users, signing keys, one of their own that
//! somebody touched.
//!
//! ```text
//!   namespaces with users ─► a watch of Secrets in each ─► who uses it (pure) ─► objects, to be reconciled at once
//! ```
//!
//! Watched by namespace, because the permission is given by namespace. Where it is not given, or while a watch is broken, an
//! object looks at its Secrets all the same, only later.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::{self, Sender};
use futures::{SinkExt, Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use postroad_crds::relay_policy::Route;
use postroad_crds::{MailDomain, RelayPolicy, SmtpListener};
use tokio::task::{AbortHandle, JoinSet};

use crate::args::Args;
use crate::context::Ctx;
use crate::driver::Guarded;
use crate::mail_domain::signing::secret_name;
use crate::relay_policy::credentials::wanted;
use crate::renewed;
use crate::smtp_listener::names::{LISTENER, Names};
use crate::versions::Versions;

/// A kind of object that uses Secrets of its namespace.
pub trait Uses: Resource<DynamicType = ()> + Clone + Send + Sync + 'static {
    /// Whether it uses any.
    fn uses_some(&self) -> bool;
    /// Whether it uses this one, of its namespace. `listeners`: all there are, for what an object knows by its listener alone.
    fn uses(&self, secret: &PartialObjectMeta<Secret>, listeners: &Store<Guarded<SmtpListener>>) -> bool;
}

impl Uses for SmtpListener {
    fn uses_some(&self) -> bool {
        true
    }

    fn uses(&self, secret: &PartialObjectMeta<Secret>, _: &Store<Guarded<SmtpListener>>) -> bool {
        let is_own = secret.labels().get(LISTENER) == self.meta().name.as_ref();
        is_own || named(self).contains(&secret.name_any())
    }
}

impl Uses for MailDomain {
    fn uses_some(&self) -> bool {
        self.spec.dkim.is_some()
    }

    fn uses(&self, secret: &PartialObjectMeta<Secret>, _: &Store<Guarded<SmtpListener>>) -> bool {
        let dkim = self.spec.dkim.as_ref();
        dkim.is_some_and(|dkim| secret_name(&self.name_any(), dkim) == secret.name_any())
    }
}

impl Uses for RelayPolicy {
    fn uses_some(&self) -> bool {
        names_users(self) || self.spec.routes.iter().any(|route| secret_of(route).is_some())
    }

    fn uses(&self, secret: &PartialObjectMeta<Secret>, listeners: &Store<Guarded<SmtpListener>>) -> bool {
        let name = secret.name_any();
        let logs_in = |route: &Route| secret_of(route) == Some(name.as_str());
        self.spec.routes.iter().any(logs_in)
            || (names_users(self) && users_secrets(self, listeners).any(|users| users == name))
    }
}

/// Whether it is for the mail of users, who have to be there.
fn names_users(policy: &RelayPolicy) -> bool {
    let terms = policy.spec.matches.as_ref();
    terms.is_some_and(|terms| !terms.users.is_empty())
}

/// Names of the Secrets with the users of a policy's listeners, those of its own namespace: others' are nobody's business here.
fn users_secrets<'a>(
    policy: &'a RelayPolicy,
    listeners: &'a Store<Guarded<SmtpListener>>,
) -> impl Iterator<Item = String> + 'a {
    let own = policy.namespace().unwrap_or_default();
    policy.spec.listener_refs.iter().filter_map(move |reference| {
        if !reference.names(&own, &own, &reference.name) {
            return None;
        }
        let listener = listeners.get(&ObjectRef::new(&reference.name).within(&own))?;
        users_secret(listener.0.as_ref().ok()?)
    })
}

/// Name of the Secret with a listener's users.
fn users_secret(listener: &SmtpListener) -> Option<String> {
    let users = listener.spec.authentication.as_ref()?.users.as_ref()?;
    Some(users.secret_ref.name.clone())
}

/// Name of the Secret that a route logs in with.
fn secret_of(route: &Route) -> Option<&str> {
    let reference = wanted(route)?.secret_ref.as_ref();
    reference.map(|reference| reference.name.as_str())
}

type Woken<K> = ObjectRef<Guarded<K>>;

/// How often the namespaces are looked through for listeners.
const LOOK: Duration = Duration::from_secs(5);
/// How long a watch rests that was refused: a namespace that did not opt in costs one request in that time.
const REFUSED: Duration = Duration::from_mins(2);

/// Objects whose Secrets changed. Ends only with the stream. `listeners`: all there are. `versions`: told which versions there are.
pub fn changes<K: Uses>(
    ctx: &Ctx,
    objects: Store<Guarded<K>>,
    listeners: Store<Guarded<SmtpListener>>,
    versions: Option<Arc<Versions>>,
) -> impl Stream<Item = Woken<K>> + Send + use<K> + 'static {
    let (sender, receiver) = mpsc::channel(64);
    let known = Known {
        every: ctx.args.renew_watches,
        objects,
        listeners,
        versions,
    };
    let client = ctx.client.clone();
    // The keeper gives nothing itself: it runs as long as somebody reads.
    let keeper = stream::once(keep(client, known, sender)).filter_map(|()| std::future::ready(None));
    stream::select(receiver, keeper)
}

/// Objects whose Secrets are watched, and what else there is to know.
struct Known<K: Uses> {
    /// How often watches begin anew.
    every: Duration,
    objects: Store<Guarded<K>>,
    listeners: Store<Guarded<SmtpListener>>,
    versions: Option<Arc<Versions>>,
}

// Whatever the objects are, the stores are shared.
impl<K: Uses> Clone for Known<K> {
    fn clone(&self) -> Self {
        Self {
            every: self.every,
            objects: self.objects.clone(),
            listeners: self.listeners.clone(),
            versions: self.versions.clone(),
        }
    }
}

/// A watch for each namespace with objects that use Secrets.
async fn keep<K: Uses>(client: Client, known: Known<K>, sender: Sender<Woken<K>>) {
    let mut tasks = JoinSet::new();
    let mut watches: HashMap<String, AbortHandle> = HashMap::new();
    loop {
        let wanted: BTreeSet<String> = known
            .objects
            .state()
            .iter()
            .filter(|object| object.0.as_ref().is_ok_and(Uses::uses_some))
            .filter_map(|object| object.namespace())
            .collect();
        watches.retain(|namespace, watch| {
            let kept = wanted.contains(namespace) && !watch.is_finished();
            if !kept {
                watch.abort();
                if let Some(versions) = &known.versions {
                    versions.forget(namespace);
                }
            }
            kept
        });
        while tasks.try_join_next().is_some() {}
        for namespace in wanted {
            watches.entry(namespace).or_insert_with_key(|namespace| {
                let (known, sender) = (known.clone(), sender.clone());
                tasks.spawn(watch(client.clone(), namespace.clone(), known, sender))
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn watch<K: Uses>(client: Client, namespace: String, known: Known<K>, mut sender: Sender<Woken<K>>) {
    let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(client, &namespace);
    let changed = renewed::watcher(secrets, watcher::Config::default(), known.every)
        .inspect(|said| {
            if let Some(versions) = &known.versions {
                versions.hear(&namespace, said);
            }
        })
        .touched_objects()
        // Behind the above: a list that begins is no success yet, and would begin the waits anew.
        .default_backoff()
        .predicate_filter(predicates::resource_version, PredicateConfig::default());
    let mut changed = std::pin::pin!(changed);
    while let Some(secret) = changed.next().await {
        match secret {
            Ok(secret) => {
                let parsed = known.objects.state();
                let parsed = parsed.iter().filter_map(|object| object.0.as_ref().ok());
                for woken in users(&secret, parsed, &known.listeners) {
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

/// Objects that use a Secret. Pure.
fn users<'a, K: Uses>(
    secret: &PartialObjectMeta<Secret>,
    objects: impl Iterator<Item = &'a K>,
    listeners: &Store<Guarded<SmtpListener>>,
) -> Vec<Woken<K>> {
    let namespace = secret.namespace();
    let users = objects.filter(|object| object.namespace() == namespace && object.uses(secret, listeners));
    users
        .map(|object| ObjectRef::new(&object.name_any()).within(&object.namespace().unwrap_or_default()))
        .collect()
}

/// The namespace did not opt in: what to do, as a command.
pub fn denied(namespace: &str, args: &Args) -> String {
    let command = format!(
        "kubectl create rolebinding postroad-secrets --namespace {namespace} --clusterrole {} --serviceaccount {}:{}",
        args.secrets_role, args.pod_namespace, args.service_account
    );
    format!("the operator may not use Secrets in namespace {namespace}; allow it: {command}")
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
    [given, issued, users_secret(listener)]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use kube::core::DeserializeGuard;
    use kube::runtime::reflector;
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
        let woken = users(&secret, listeners.iter(), &reflector::store().0);
        woken.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn signing_keys_wake_their_domain() {
        let domain = |name: &str, dkim: &Value| -> MailDomain {
            serde_json::from_value(json!({
                "apiVersion": "postroad.dev/v1alpha1", "kind": "MailDomain", "metadata": {"name": name, "namespace": "mail"},
                "spec": {"domain": "a.example", "listenerRefs": [{"name": "edge"}], "dkim": dkim},
            }))
            .unwrap()
        };
        let domains = [
            domain("made", &json!({})),
            domain("given", &json!({"secretRef": {"name": "keys"}})),
            domain("none", &Value::Null),
        ];
        for (name, want) in [("made-dkim", 1), ("keys", 1), ("given-dkim", 0), ("none-dkim", 0)] {
            let secret: PartialObjectMeta<Secret> = serde_json::from_value(json!({
                "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": {"name": name, "namespace": "mail"},
            }))
            .unwrap();
            let woken = users(&secret, domains.iter(), &reflector::store().0);
            assert_eq!(woken.len(), want, "{name}");
        }
        assert!(!domains[2].uses_some());
    }

    #[test]
    fn a_password_wakes_the_policies_that_log_in_with_it() {
        let policy = |name: &str, credentials: &Value| -> RelayPolicy {
            serde_json::from_value(json!({
                "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy", "metadata": {"name": name, "namespace": "mail"},
                "spec": {"listenerRefs": [{"name": "edge"}], "routes": [
                    {"direct": {}},
                    {"smartHosts": [{"host": "h", "port": 587}], "credentials": credentials},
                ]},
            }))
            .unwrap()
        };
        let policies = [
            policy(
                "corp",
                &json!({"type": "Password", "secretRef": {"name": "corp"}}),
            ),
            policy("open", &json!({"type": "None"})),
        ];
        for (name, want) in [("corp", 1), ("other", 0)] {
            let secret: PartialObjectMeta<Secret> = serde_json::from_value(json!({
                "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": {"name": name, "namespace": "mail"},
            }))
            .unwrap();
            let woken = users(&secret, policies.iter(), &reflector::store().0);
            assert_eq!(woken.len(), want, "{name}");
        }
        assert!(policies[0].uses_some() && !policies[1].uses_some());
    }

    #[test]
    fn users_who_come_and_go_wake_the_policies_that_are_for_their_mail() {
        let (listeners, mut writer) = reflector::store();
        for (name, namespace) in [("edge", "mail"), ("edge", "shop")] {
            let listener: Guarded<SmtpListener> =
                DeserializeGuard(Ok(listener(name, namespace, &Value::Null)));
            writer.apply_watcher_event(&watcher::Event::Apply(listener));
        }
        let policy = |name: &str, namespace: &str, terms: &Value, of: &Value| -> RelayPolicy {
            serde_json::from_value(json!({
                "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"listenerRefs": [of], "match": terms, "routes": [{"direct": {}}]},
            }))
            .unwrap()
        };
        let (ann, edge) = (json!({"users": ["ann"]}), json!({"name": "edge"}));
        let policies = [
            policy("for-ann", "mail", &ann, &edge),
            policy("for-all", "mail", &json!({}), &edge),
            policy("of-shop", "shop", &ann, &edge),
            policy(
                "guest",
                "mail",
                &ann,
                &json!({"name": "edge", "namespace": "shop"}),
            ),
            policy("alone", "mail", &ann, &json!({"name": "gone"})),
        ];
        let woken = |name: &str| -> Vec<String> {
            let secret: PartialObjectMeta<Secret> = serde_json::from_value(json!({
                "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": {"name": name, "namespace": "mail"},
            }))
            .unwrap();
            let woken = users(&secret, policies.iter(), &listeners);
            woken.into_iter().map(|woken| woken.name).collect()
        };
        assert_eq!(woken("people"), ["for-ann"]);
        assert_eq!(woken("other"), [""; 0]);
        assert!(policies[0].uses_some() && !policies[1].uses_some());
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
