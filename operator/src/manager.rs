//! Starts everything, and ends the process when anything ends: a half-running operator is worse than a restarted one.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::Shared;
use futures::{FutureExt, Stream, StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::PartialObjectMeta;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use postroad_crds::common::ListenerRef;
use postroad_crds::{MailDomain, RelayPolicy, SmtpListener};
use serde::de::DeserializeOwned;

use crate::applied::Applied;
use crate::args::Args;
use crate::attached;
use crate::context::{Ctx, GivenUp};
use crate::dns::{PolicyHosts, Resolver};
use crate::driver::{self, Guarded};
use crate::known::Known;
use crate::last::Last;
use crate::lease::{self, Leadership};
use crate::metrics::Metrics;
use crate::news::News;
use crate::rendered::Rendered;
use crate::renewed;
use crate::reviews::{self, Reviews};
use crate::smtp_listener::names::LISTENER;
use crate::{http, mail_domain, relay_policy, secrets, smtp_listener};

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// Asked to.
    #[error("asked to stop")]
    Asked,
    /// The Lease was lost.
    #[error("the lease was lost: it could not be renewed in time, or another leads now")]
    LeaseLost,
    /// A controller ended by itself.
    #[error("a controller ended")]
    ControllerEnded,
    /// The HTTP endpoint ended.
    #[error("the address {0} cannot be served: {1}")]
    Http(std::net::SocketAddr, std::io::Error),
    /// There are no usable versions of TLS.
    #[error("no TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The system's resolver cannot be read.
    #[error("no DNS server is known: {0}; give --resolver")]
    Resolver(String),
}

type Guard<K> = Controller<Guarded<K>>;

/// Runs until something ends; says what. `asked`: ends when the process is to stop.
pub async fn run(args: Args, client: Client, asked: impl Future<Output = ()> + Send + 'static) -> Ended {
    let asked = asked.boxed().shared();
    wait_for_definitions(&client, &args).await;
    let listeners = controller::<SmtpListener>(&client, &args, but_status);
    let domains = controller::<MailDomain>(&client, &args, predicates::resource_version);
    let policies = controller::<RelayPolicy>(&client, &args, predicates::resource_version);
    let resolver = if args.resolvers.is_empty() {
        Resolver::from_system()
    } else {
        Ok(Resolver::new(args.resolvers.clone()))
    };
    let resolver = match resolver {
        Ok(resolver) => resolver,
        Err(error) => return Ended::Resolver(error),
    };
    let policy_hosts = match PolicyHosts::public() {
        Ok(hosts) => hosts,
        Err(error) => return Ended::Tls(error),
    };
    let (namespaces, changed) = if args.namespace.is_none() {
        let (store, changed) = namespaces(client.clone(), args.renew_watches);
        (Some(store), Some(changed))
    } else {
        (None, None)
    };
    let reporter = Reporter {
        controller: "postroad-operator".into(),
        instance: Some(args.pod_name.clone()),
    };
    let ctx = Arc::new(Ctx {
        recorder: Recorder::new(client.clone(), reporter),
        leadership: Leadership::default(),
        metrics: Metrics::default(),
        tokens: smtp_listener::admin::Tokens::default(),
        issuer: tokio::sync::Mutex::default(),
        reviews: Reviews::default(),
        applied: Applied::default(),
        self_tests: smtp_listener::selftest::Rounds::default(),
        nodes: smtp_listener::selftest::Nodes::default(),
        failures: driver::Failures::default(),
        refusals: smtp_listener::volumes::Refusals::default(),
        patience: smtp_listener::patience::Patience::default(),
        crowded: smtp_listener::guests::Crowded::default(),
        signing_keys: mail_domain::keys::SigningKeys::default(),
        secret_versions: Arc::default(),
        maker: mail_domain::keys::Maker::default(),
        logins: relay_policy::logins::Kept::default(),
        upstream_tests: relay_policy::probe::Rounds::default(),
        given_up: GivenUp::default(),
        rendered: Rendered::default(),
        last: Last::default(),
        shared_domains: Known::default(),
        shared_policies: Known::default(),
        shared_listeners: Known::default(),
        listeners: listeners.store(),
        domains: domains.store(),
        policies: policies.store(),
        namespaces,
        filled: AtomicBool::new(false),
        resolver,
        policy_hosts,
        args: args.clone(),
        client: client.clone(),
    });
    let listeners = match changed {
        Some(changed) => listeners.reconcile_all_on(changed),
        None => listeners,
    };
    let controllers = controllers(listeners, domains, policies, &ctx, &asked);
    let stores = fill(ctx.clone());
    let place = lease::Place::new(client.clone(), &args.pod_namespace, args.lease());
    let lease = lease::keep(place.clone(), &args.pod_name, ctx.leadership.clone());
    let release = lease::release(place, &args.pod_name, &ctx.leadership);
    let review_address = std::net::SocketAddr::from(([0_u16; 8], args.review_port));
    let ended = tokio::select! {
        () = asked.clone() => Ended::Asked,
        () = lease => Ended::LeaseLost,
        () = controllers => Ended::ControllerEnded,
        served = http::serve(args.http, ctx.clone()) => match served {
            Err(error) => Ended::Http(args.http, error),
            Ok(()) => Ended::ControllerEnded,
        },
        served = reviews::serve(review_address, ctx.reviews.clone(), client.clone()) => match served {
            Err(error) => Ended::Http(review_address, error),
            Ok(()) => Ended::ControllerEnded,
        },
        () = stores => Ended::ControllerEnded,
    };
    if matches!(ended, Ended::Asked) {
        release.await;
    }
    ended
}

async fn fill(ctx: Arc<Ctx>) {
    let ready = futures::future::join3(
        ctx.listeners.wait_until_ready(),
        ctx.domains.wait_until_ready(),
        ctx.policies.wait_until_ready(),
    );
    drop(ready.await);
    if let Some(namespaces) = &ctx.namespaces {
        drop(namespaces.wait_until_ready().await);
    }
    ctx.filled.store(true, Ordering::Relaxed);
    std::future::pending::<()>().await;
}

/// The namespaces, and a word each time that the labels of one have changed: listeners may pick them by these.
fn namespaces(
    client: Client,
    every: Duration,
) -> (
    Store<PartialObjectMeta<Namespace>>,
    impl Stream<Item = ()> + Send + 'static,
) {
    let (store, writer) = reflector::store();
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client);
    let changed = renewed::watcher(api, watcher::Config::default(), every)
        .reflect(writer)
        .touched_objects()
        // Behind the above: a list that begins is no success yet, and would begin the waits anew.
        .default_backoff()
        .predicate_filter(predicates::labels, PredicateConfig::default())
        .filter_map(|seen| {
            let seen = seen.inspect_err(
                |error| tracing::warn!(%error, "the namespaces cannot be watched; trying again"),
            );
            std::future::ready(seen.ok().map(drop))
        });
    (store, changed)
}

fn api<K>(client: &Client, args: &Args) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match &args.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// A controller that looks at an object when it is another one than before. `what`: of the object, what counts for that.
fn controller<K>(client: &Client, args: &Args, what: fn(&Guarded<K>) -> Option<u64>) -> Guard<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    let api: Api<Guarded<K>> = match &args.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let config = Config::default()
        .concurrency(8)
        .debounce(Duration::from_millis(200));
    let (store, writer) = reflector::store();
    let changed = renewed::watcher(api, watcher::Config::default(), args.renew_watches)
        .modify(forget_managers)
        .reflect(writer)
        .applied_objects()
        // Behind the above, as for the namespaces.
        .default_backoff()
        // A list that is renewed is no reason to look at thousands that are as they were.
        .predicate_filter(what, PredicateConfig::default());
    Controller::for_stream(changed, store).with_config(config)
}

/// All but the status, which is our own word: a status that says something else at each look would be the reason for the next one. What
/// a listener's look needs of the last status, it comes back for by itself.
fn but_status<K: Resource>(object: &K) -> Option<u64> {
    let meta = object.meta();
    let generation = meta.generation?;
    let mut hasher = DefaultHasher::new();
    let wishes = (&meta.labels, &meta.annotations, &meta.finalizers);
    (generation, wishes, meta.deletion_timestamp.is_some()).hash(&mut hasher);
    Some(hasher.finish())
}

/// Who wrote which field takes more memory than the object itself, times thousands, and nobody asks.
fn forget_managers<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

/// The three controllers with what wakes them.
async fn controllers(
    listeners: Guard<SmtpListener>,
    domains: Guard<MailDomain>,
    policies: Guard<RelayPolicy>,
    ctx: &Arc<Ctx>,
    asked: &Shared<futures::future::BoxFuture<'static, ()>>,
) {
    let (client, args) = (&ctx.client, &ctx.args);
    let ours = watcher::Config::default().labels(LISTENER);
    let all = watcher::Config::default();
    let listeners = listeners
        .reconcile_on(secrets::changes(
            ctx,
            ctx.listeners.clone(),
            ctx.listeners.clone(),
            None,
        ))
        .reconcile_on(woken(
            api::<PartialObjectMeta<StatefulSet>>(client, args),
            ours.clone(),
            |set| labelled(&set),
        ))
        .reconcile_on(woken(
            api::<PartialObjectMeta<Service>>(client, args),
            ours.clone(),
            |service| labelled(&service),
        ))
        .reconcile_on(woken(
            api::<PartialObjectMeta<PodDisruptionBudget>>(client, args),
            ours.clone(),
            |budget| labelled(&budget),
        ))
        .reconcile_on(woken(
            api::<PartialObjectMeta<ServiceAccount>>(client, args),
            ours.clone(),
            |account| labelled(&account),
        ))
        .reconcile_on(woken(api::<Pod>(client, args), ours, |pod| labelled(&pod)))
        .reconcile_on(woken(
            api::<Guarded<MailDomain>>(client, args),
            all.clone(),
            |object| match &object.0 {
                Ok(domain) => referred(domain.namespace(), &domain.spec.listener_refs),
                Err(_) => Vec::new(),
            },
        ))
        .reconcile_on(woken(
            api::<Guarded<RelayPolicy>>(client, args),
            all.clone(),
            |object| match &object.0 {
                Ok(policy) => referred(policy.namespace(), &policy.spec.listener_refs),
                Err(_) => Vec::new(),
            },
        ));
    let (known, news) = (ctx.domains.clone(), News::new(ctx));
    let domains = domains
        .reconcile_on(secrets::changes(
            ctx,
            known.clone(),
            ctx.listeners.clone(),
            Some(ctx.secret_versions.clone()),
        ))
        .reconcile_on(woken(
            api::<Guarded<SmtpListener>>(client, args),
            all.clone(),
            move |listener| {
                news.of(
                    &listener,
                    &known,
                    attached::domain_line,
                    |domain: &MailDomain| &domain.spec.listener_refs,
                    |_, _| false,
                )
            },
        ));
    let (known, news) = (ctx.policies.clone(), News::new(ctx));
    let policies = policies
        .reconcile_on(secrets::changes(ctx, known.clone(), ctx.listeners.clone(), None))
        .reconcile_on(woken(
            api::<Guarded<SmtpListener>>(client, args),
            all,
            move |listener| {
                news.of(
                    &listener,
                    &known,
                    attached::policy_line,
                    |policy: &RelayPolicy| &policy.spec.listener_refs,
                    relay_policy::quota::is_behind,
                )
            },
        ));
    tokio::select! {
        () = driver::run("SmtpListener", listeners, ctx.clone(), asked.clone(), |o, c| smtp_listener::reconcile(o, c).boxed()) => {}
        () = driver::run("MailDomain", domains, ctx.clone(), asked.clone(), |o, c| mail_domain::reconcile(o, c).boxed()) => {}
        () = driver::run("RelayPolicy", policies, ctx.clone(), asked.clone(), |o, c| relay_policy::reconcile(o, c).boxed()) => {}
    }
}

/// Objects to look at again, whenever one of another kind changes. Nothing is kept of these watches, and who is woken looks again
/// by itself too: they are not renewed. Each watch has waits of its own: those of a `Controller` are
/// shared, and watches that break all at once would come back one after the other, minutes later.
fn woken<W, K, I>(
    api: Api<W>,
    config: watcher::Config,
    whom: impl Fn(W) -> I + Send + 'static,
) -> impl Stream<Item = ObjectRef<Guarded<K>>> + Send + 'static
where
    W: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
    K: Resource<DynamicType = ()> + 'static,
    I: IntoIterator<Item = ObjectRef<Guarded<K>>, IntoIter: Send> + 'static,
{
    watcher(api, config)
        .touched_objects()
        // Behind the above: a list that begins is no success yet, and would begin the waits anew.
        .default_backoff()
        .filter_map(|seen| {
            let seen = seen.inspect_err(|error| tracing::debug!(%error, "a watch broke; trying again"));
            std::future::ready(seen.ok())
        })
        .flat_map(move |object| stream::iter(whom(object)))
}

/// The listener in an object's label.
fn labelled<K: Resource>(object: &K) -> Vec<ObjectRef<Guarded<SmtpListener>>> {
    let namespace = object.namespace().unwrap_or_default();
    let name = object.labels().get(LISTENER);
    name.map(|name| ObjectRef::new(name).within(&namespace))
        .into_iter()
        .collect()
}

/// The listeners that an object of this namespace names.
fn referred(namespace: Option<String>, references: &[ListenerRef]) -> Vec<ObjectRef<Guarded<SmtpListener>>> {
    let own = namespace.unwrap_or_default();
    let one = |reference: &ListenerRef| {
        ObjectRef::new(&reference.name).within(reference.namespace.as_ref().unwrap_or(&own))
    };
    references.iter().map(one).collect()
}

/// Waits until the API server knows all kinds; says so, and never gives up.
async fn wait_for_definitions(client: &Client, args: &Args) {
    let limit = kube::api::ListParams::default().limit(1);
    let mut wait = Duration::from_secs(1);
    loop {
        let all = async {
            api::<SmtpListener>(client, args).list_metadata(&limit).await?;
            api::<MailDomain>(client, args).list_metadata(&limit).await?;
            api::<RelayPolicy>(client, args).list_metadata(&limit).await
        };
        match all.await {
            Ok(_) => return,
            Err(error) => tracing::warn!(%error, "the custom resources cannot be listed yet; waiting"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST);
    }
}

/// Between two looks for the definitions: an API server that comes back is not to find a crowd at its door.
const LONGEST: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_listener_is_looked_at_for_every_change_but_that_of_its_status() {
        let seen = |change: &Value| {
            let mut object = json!({
                "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener",
                "metadata": {"name": "edge", "namespace": "mail", "uid": "u", "generation": 3, "resourceVersion": "9"},
                "spec": {
                    "hostname": "mx.example.com", "queue": {"storage": {"size": "1Gi"}},
                    "ports": [{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Disabled"}],
                },
            });
            for (field, value) in change.as_object().unwrap() {
                object["metadata"][field] = value.clone();
            }
            object["status"] =
                json!({"replicas": object["metadata"]["generation"], "readyReplicas": 0, "selector": ""});
            but_status::<Guarded<SmtpListener>>(&serde_json::from_value(object).unwrap())
        };
        let before = seen(&json!({}));
        assert_eq!(seen(&json!({"resourceVersion": "10"})), before);
        for change in [
            json!({"generation": 4}),
            json!({"annotations": {"postroad.dev/paused": "true"}}),
            json!({"labels": {"a": "b"}}),
            json!({"finalizers": ["postroad.dev/queue"]}),
            json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
        ] {
            assert_ne!(seen(&change), before, "{change}");
        }
    }
}
