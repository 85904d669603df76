//! What every reconcile may use.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::PartialObjectMeta;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt};
use postroad_crds::common::ListenerRef;
use postroad_crds::{MailDomain, RelayPolicy, SmtpListener};

use crate::applied::Applied;
use crate::args::Args;
use crate::dns::{PolicyHosts, Resolver};
use crate::driver::{Failures, Guarded};
use crate::known::{Known, Shared};
use crate::last::Last;
use crate::lease::Leadership;
use crate::mail_domain::keys::{Maker, SigningKeys};
use crate::metrics::Metrics;
use crate::relay_policy::logins::Kept;
use crate::relay_policy::probe;
use crate::rendered::Rendered;
use crate::reviews::Reviews;
use crate::smtp_listener::admin::Tokens;
use crate::smtp_listener::build::config::Issuer;
use crate::smtp_listener::guests::Crowded;
use crate::smtp_listener::patience::Patience;
use crate::smtp_listener::selftest::{Nodes, Rounds};
use crate::smtp_listener::volumes::Refusals;
use crate::tenancy::Labels;
use crate::versions::Versions;

/// Shared by all reconciles.
pub struct Ctx {
    /// The API.
    pub client: Client,
    /// How we were started.
    pub args: Args,
    /// Whether we may write.
    pub leadership: Leadership,
    /// Events.
    pub recorder: Recorder,
    /// Figures.
    pub metrics: Metrics,
    /// Finds name servers.
    pub resolver: Resolver,
    /// Asks the hosts of MTA-STS policies.
    pub policy_hosts: PolicyHosts,
    /// Tokens for the pods.
    pub tokens: Tokens,
    /// Issuer of the cluster's tokens, as last read.
    pub issuer: tokio::sync::Mutex<Option<(std::time::Instant, Issuer)>>,
    /// Names at which pods ask about tokens.
    pub reviews: Reviews,
    /// What was applied last.
    pub applied: Applied,
    /// What listeners found out about themselves.
    pub self_tests: Rounds,
    /// Addresses of nodes.
    pub nodes: Nodes,
    /// Failures in a row.
    pub failures: Failures,
    /// Claims that were refused to grow.
    pub refusals: Refusals,
    /// Listeners whose configuration did not come about with all that others have in it.
    pub crowded: Crowded,
    /// For how long nothing new was said of listeners.
    pub patience: Patience,
    /// Signing keys of the domains, as last read.
    pub signing_keys: SigningKeys,
    /// Versions of the Secrets of namespaces with domains that sign.
    pub secret_versions: Arc<Versions>,
    /// Makes signing keys.
    pub maker: Maker,
    /// What routes log in with, as last read.
    pub logins: Kept,
    /// What was found when smart hosts were tried.
    pub upstream_tests: probe::Rounds,
    /// What the configurations hold.
    pub rendered: Rendered,
    /// The same as values.
    pub last: Last,
    /// Domains that can be parsed, shared.
    pub shared_domains: Known<MailDomain>,
    /// Policies that can be parsed, shared.
    pub shared_policies: Known<RelayPolicy>,
    /// Listeners that can be parsed, shared.
    pub shared_listeners: Known<SmtpListener>,
    /// Children that listeners do not want any more.
    pub given_up: GivenUp,
    /// Listeners, watch-fed.
    pub listeners: Store<Guarded<SmtpListener>>,
    /// Domains, watch-fed.
    pub domains: Store<Guarded<MailDomain>>,
    /// Policies, watch-fed.
    pub policies: Store<Guarded<RelayPolicy>>,
    /// Namespaces, watch-fed; absent where one namespace alone is watched.
    pub namespaces: Option<Store<PartialObjectMeta<Namespace>>>,
    /// All of these are filled: before, an object that is not in them may be there all the same.
    pub filled: AtomicBool,
}

impl Ctx {
    /// The listener that an object of this namespace names.
    pub fn listener(&self, own: &str, reference: &ListenerRef) -> Option<SmtpListener> {
        let namespace = reference.namespace.as_deref().unwrap_or(own);
        let found = self
            .listeners
            .get(&ObjectRef::new(&reference.name).within(namespace))?;
        found.0.as_ref().ok().cloned()
    }

    /// All domains that can be parsed.
    pub fn all_domains(&self) -> Shared<MailDomain> {
        self.shared_domains.of(self.domains.state())
    }

    /// All policies that can be parsed.
    pub fn all_policies(&self) -> Shared<RelayPolicy> {
        self.shared_policies.of(self.policies.state())
    }

    /// All listeners that can be parsed.
    pub fn all_listeners(&self) -> Shared<SmtpListener> {
        self.shared_listeners.of(self.listeners.state())
    }

    /// Labels of a namespace; none where it is not known.
    pub fn labels_of(&self, namespace: &str) -> Labels {
        let found = self
            .namespaces
            .as_ref()
            .and_then(|store| store.get(&ObjectRef::new(namespace)));
        found
            .map(|namespace| namespace.labels().clone())
            .unwrap_or_default()
    }
}

/// Kinds of child that a listener does not want, by the uid of the listener: the generation in which the child was looked for,
/// and deleted where it was there.
#[derive(Default)]
pub struct GivenUp(Mutex<HashMap<(String, &'static str), Option<i64>>>);

impl GivenUp {
    /// Remembers that the child is not there.
    pub fn remember(&self, listener: &SmtpListener, kind: &'static str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(Self::key(listener, kind), listener.metadata.generation);
    }

    /// The listener is gone.
    pub fn forget(&self, listener: &SmtpListener) {
        let uid = listener.metadata.uid.as_deref().unwrap_or_default();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(of, _), _| of != uid);
    }

    /// Whether this was seen in this generation.
    pub fn holds(&self, listener: &SmtpListener, kind: &'static str) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&Self::key(listener, kind)) == Some(&listener.metadata.generation)
    }

    fn key(listener: &SmtpListener, kind: &'static str) -> (String, &'static str) {
        (listener.metadata.uid.clone().unwrap_or_default(), kind)
    }
}
