//! What every reconcile may use.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::Client;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::Store;
use postroad_crds::{MailDomain, RelayPolicy, SmtpListener};

use crate::args::Args;
use crate::dns::Resolver;
use crate::driver::Guarded;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::smtp_listener::admin::Tokens;
use crate::smtp_listener::build::config::Issuer;

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
    /// Tokens for the pods.
    pub tokens: Tokens,
    /// Issuer of the cluster's tokens, as last read.
    pub issuer: tokio::sync::Mutex<Option<(std::time::Instant, Issuer)>>,
    /// What was applied last.
    pub applied: Applied,
    /// Listeners, watch-fed.
    pub listeners: Store<Guarded<SmtpListener>>,
    /// Domains, watch-fed.
    pub domains: Store<Guarded<MailDomain>>,
    /// Policies, watch-fed.
    pub policies: Store<Guarded<RelayPolicy>>,
}

/// Remembers what was applied, and the version that came of it: an object that nobody has touched since is not sent again.
#[derive(Default)]
pub struct Applied(Mutex<HashMap<String, (String, String)>>);

impl Applied {
    /// Remembers an object by kind, namespace and name.
    pub fn remember(&self, key: &str, fingerprint: &str, version: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(key.to_owned(), (fingerprint.to_owned(), version.to_owned()));
    }

    /// Whether this is what was applied, and nobody has touched it since.
    pub fn is_known(&self, key: &str, fingerprint: &str, version: &str) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(key)
            .is_some_and(|(print, seen)| print == fingerprint && seen == version)
    }
}
