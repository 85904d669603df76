//! Reads the Secrets that routes log in with. IO; what is made of them is in [`super::credentials`].
//!
//! ```text
//!   policy's reconcile ─► gather ─► kept by the uid of the policy, its version in the status ─► listeners look again
//!   listener's reconcile ─► filled: the routes as the pods are told them; without a good Secret a route says what it lacks
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use postroad_config::{Credentials, Policy, RouteTarget};
use postroad_crds::conditions::reason;
use postroad_crds::relay_policy::{ClientProof, CredentialsUsed};
use postroad_crds::{RelayPolicy, SmtpListener};

use super::credentials::{self, Entries, Place, missing, wanted};
use super::validate::validate;
use crate::context::Ctx;
use crate::error::Error;
use crate::secrets;
use crate::smtp_listener::gather::named_secret;

/// What a route logs in with, or why there is nothing: reason and sentence.
pub type Login = Result<Credentials, (&'static str, String)>;

/// Logins of a policy's routes: `None` where nobody logs in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logins {
    /// One for each route.
    pub routes: Vec<Option<Login>>,
    /// The Secrets that they are of.
    pub used: Vec<CredentialsUsed>,
}

impl Logins {
    /// What somebody has to mend: the reason of the first, and the sentences of all routes.
    pub fn trouble(&self) -> Option<(&'static str, String)> {
        let mut troubles = self
            .routes
            .iter()
            .flatten()
            .filter_map(|login| login.as_ref().err());
        let (why, first) = troubles.next()?.clone();
        let mut sentences = vec![first];
        for (_, other) in troubles {
            // One Secret may serve several routes.
            if !sentences.contains(other) {
                sentences.push(other.clone());
            }
        }
        Some((why, sentences.join("; also: ")))
    }
}

/// Logins by the uid of their policy, as last read, with the generation that they are of: under another one the hosts may be
/// others.
#[derive(Default)]
pub struct Kept(Mutex<HashMap<String, OfGeneration>>);

/// Logins with the generation of their policy.
type OfGeneration = (Option<i64>, Arc<Logins>);

impl Kept {
    fn put(&self, ctx: &Ctx, object: &RelayPolicy, logins: &Arc<Logins>) {
        /// Those of objects that are gone may stay until so many are there.
        const SPARE: usize = 16;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let objects = ctx.policies.state();
        if kept.len() > objects.len() + SPARE {
            kept.retain(|uid, _| objects.iter().any(|object| object.uid().as_ref() == Some(uid)));
        }
        let uid = object.uid().unwrap_or_default();
        kept.insert(uid, (object.metadata.generation, Arc::clone(logins)));
    }

    fn get(&self, object: &RelayPolicy) -> Option<Arc<Logins>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (generation, logins) = kept.get(object.metadata.uid.as_ref()?)?;
        (*generation == object.metadata.generation).then(|| Arc::clone(logins))
    }
}

/// Reads the Secrets of a valid policy.
pub async fn gather(object: &RelayPolicy, policy: &Policy, ctx: &Ctx) -> Result<Arc<Logins>, Error> {
    let namespace = object.namespace().unwrap_or_default();
    let mut logins = Logins::default();
    for (number, (route, planned)) in object.spec.routes.iter().zip(&policy.routes).enumerate() {
        let (Some(given), RouteTarget::SmartHosts(hosts)) = (wanted(route), &planned.to) else {
            logins.routes.push(None);
            continue;
        };
        let vouchers = planned.authorities.as_deref();
        let place = Place::of(route, hosts);
        let Some(reference) = &given.secret_ref else {
            let login = credentials::credentials(given, place, &Entries::new(), Timestamp::now());
            logins.routes.push(Some(
                login
                    .map(|login| login.vouched_by(vouchers))
                    .map_err(|invalid| (reason::INVALID, invalid.to_string())),
            ));
            continue;
        };
        let name = &reference.name;
        let login = match named_secret(ctx, &namespace, name).await {
            Ok(Some(secret)) => {
                logins.used.push(used(number, &secret));
                let entries = credentials::entries(&secret);
                credentials::credentials(given, place, &entries, Timestamp::now())
                    .map(|login| login.vouched_by(vouchers))
                    .map_err(|invalid| (reason::SECRET_INVALID, format!("Secret {name}: {invalid}")))
            }
            Ok(None) => Err((
                reason::SECRET_NOT_FOUND,
                format!(
                    "spec.routes.credentials.secretRef: there is no Secret {name} in namespace {namespace}; create it, it is \
                     picked up then"
                ),
            )),
            Err(error) if error.category() == "Forbidden" => Err((
                reason::SECRET_ACCESS_DENIED,
                secrets::denied(&namespace, &ctx.args),
            )),
            Err(error) => return Err(error),
        };
        logins.routes.push(Some(login));
    }
    let logins = Arc::new(logins);
    ctx.logins.put(ctx, object, &logins);
    Ok(logins)
}

fn used(number: usize, secret: &Secret) -> CredentialsUsed {
    CredentialsUsed {
        route: i32::try_from(number).unwrap_or(i32::MAX),
        secret: secret.name_any(),
        version: secret.resource_version().unwrap_or_default(),
    }
}

/// A policy with what its routes log in with, for the pods of a listener. A route whose Secret cannot be used waits, and says why;
/// `previous`: what was written last, for a Secret that cannot be read now.
pub async fn filled(
    object: &RelayPolicy,
    mut policy: Policy,
    previous: Option<&Policy>,
    ctx: &Ctx,
) -> Policy {
    // One whose newest spec is wrong stays as it was written, or waits: its Secrets would be read for other routes.
    if policy.routes.iter().all(|route| route.credentials.is_none()) || validate(object).is_err() {
        return policy;
    }
    let logins = match ctx.logins.get(object) {
        Some(known) => Some(known),
        None => gather(object, &policy, ctx).await.ok(),
    };
    for (number, route) in policy.routes.iter_mut().enumerate() {
        if route.credentials.is_none() {
            continue;
        }
        let login = logins
            .as_ref()
            .and_then(|logins| logins.routes.get(number).cloned().flatten());
        route.credentials = Some(match login {
            Some(Ok(login)) if is_own_token(&login) && policy.within.is_some() => missing(FOREIGN_TOKEN),
            Some(Ok(login)) => login,
            Some(Err((_, sentence))) => missing(sentence),
            // The API server does not answer now: the pods go on with what they have.
            None => previous
                .and_then(|policy| policy.routes.get(number))
                .filter(|before| before.to == route.to)
                .and_then(|before| before.credentials.clone())
                .unwrap_or_else(|| missing("the Secret cannot be read now")),
        });
    }
    policy
}

/// Whether the pods' own token is sent to an authority that the policy names.
fn is_own_token(login: &Credentials) -> bool {
    matches!(
        login,
        Credentials::OauthClient(client) if matches!(client.proof, postroad_config::ClientProof::TokenFile(_))
    )
}

/// Whoever names the authority gets the token: that of a listener is not for its neighbours.
pub const FOREIGN_TOKEN: &str = "spec.routes.credentials.proof: ServiceAccountToken sends the token of the listener's pods, which \
     a policy of another namespace may not; use a client secret or a certificate";

/// Whether a policy proves itself by the pods' own token.
pub fn proves_by_pods(object: &RelayPolicy) -> bool {
    let given = object.spec.routes.iter().filter_map(wanted);
    given
        .into_iter()
        .any(|given| given.proof == Some(ClientProof::ServiceAccountToken))
}

/// Whether the pods of a listener need a token for the authority of a policy of its own namespace.
pub fn need_platform_token(listener: &SmtpListener, ctx: &Ctx) -> bool {
    let namespace = listener.namespace();
    any_policy(listener, ctx, |policy| {
        policy.namespace() == namespace && proves_by_pods(policy)
    })
}

/// Whether pods of the listener log in at smart hosts.
pub fn log_in_anywhere(listener: &SmtpListener, ctx: &Ctx) -> bool {
    any_policy(listener, ctx, |policy| {
        policy.spec.routes.iter().any(|route| wanted(route).is_some())
    })
}

/// Whether one of the policies that name the listener is such.
fn any_policy(listener: &SmtpListener, ctx: &Ctx, is_such: impl Fn(&RelayPolicy) -> bool) -> bool {
    let namespace = listener.namespace().unwrap_or_default();
    let name = listener.name_any();
    ctx.policies.state().iter().any(|object| {
        object.0.as_ref().is_ok_and(|policy| {
            let own = policy.namespace().unwrap_or_default();
            let mut references = policy.spec.listener_refs.iter();
            references.any(|reference| reference.names(&own, &namespace, &name)) && is_such(policy)
        })
    })
}
