//! Reads the Secret of a domain's signing keys, and makes the first ones. IO; what is made of them is in [`super::signing`].
//!
//! ```text
//!   reconcile ─► gather ─┬─► keys: kept for the listeners that render them
//!                        └─► some are missing ─► Maker: a task of its own, no more at once than there are cores
//!                                                  └─► the Secret is created, which wakes the domain
//! ```
//!
//! A Secret that is not ours is never written to. Where one with keys of ours is gone, or an entry of it, no new key is made
//! by itself: DNS does not know it, and the old one may be restored.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Resource, ResourceExt};
use postroad_crds::MailDomain;
use postroad_crds::conditions::reason;
use postroad_crds::mail_domain::{Dkim, DkimAlgorithm};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::signing::{self, Held};
use crate::apply;
use crate::context::Ctx;
use crate::error::{Doing, Error};
use crate::secrets;

/// What somebody has to mend, or what is under way: reason and message.
pub type Trouble = (&'static str, String);
/// Keys that are there, and algorithms that lack one.
type Standing = (Vec<Held>, Vec<DkimAlgorithm>);

/// Keys of a domain, as far as there are any.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The Secret.
    pub secret: String,
    /// Those that are wanted and there.
    pub keys: Vec<Held>,
    /// What somebody has to mend, or what is under way: reason and message.
    pub trouble: Option<Trouble>,
    /// Keys are being made.
    pub making: bool,
}

/// Reads the keys of a domain; has missing ones made. `None`: it does not sign.
pub async fn gather(object: &MailDomain, ctx: &Arc<Ctx>) -> Result<Option<Gathered>, Error> {
    let uid = object.uid().unwrap_or_default();
    let Some(dkim) = &object.spec.dkim else {
        ctx.signing_keys.forget(&uid);
        return Ok(None);
    };
    let mut gathered = Gathered {
        secret: signing::secret_name(&object.name_any(), dkim),
        ..Gathered::default()
    };
    let namespace = object.namespace().unwrap_or_default();
    if let Some(keys) = ctx.signing_keys.current(object, &gathered.secret, ctx) {
        gathered.keys = keys.to_vec();
        return Ok(Some(gathered));
    }
    // Thousands wait for their turn: to look for a Secret that is not made yet would be most of what is asked.
    if dkim.secret_ref.is_none()
        && ctx.maker.is_at(&uid)
        && ctx.secret_versions.lacks(&namespace, &gathered.secret)
    {
        gathered.trouble = Some(being_made());
        gathered.making = true;
        return Ok(Some(gathered));
    }
    match secret_of(ctx, &namespace, &gathered.secret).await {
        Ok(found) => match judged(object, dkim, found.as_ref(), &gathered.secret) {
            Ok((keys, missing)) => {
                if !keys.is_empty() {
                    let version = found.as_ref().and_then(ResourceExt::resource_version);
                    let read = version.filter(|_| missing.is_empty()).map(|version| Read {
                        generation: object.metadata.generation,
                        version,
                        at: Instant::now(),
                    });
                    ctx.signing_keys.put(ctx, uid, keys.clone(), read);
                }
                gathered.keys = keys;
                if !missing.is_empty() {
                    gathered.trouble = Some(ctx.maker.make(object, missing, found.as_ref(), ctx));
                    gathered.making = true;
                }
            }
            Err(trouble) => gathered.trouble = Some(trouble),
        },
        Err(error) if error.category() == "Forbidden" => {
            let sentence = secrets::denied(&namespace, &ctx.args);
            gathered.trouble = Some((reason::SECRET_ACCESS_DENIED, sentence));
        }
        Err(error) => return Err(error),
    }
    Ok(Some(gathered))
}

/// Keys for a listener that does not know them yet: read, and nothing judged. None where they cannot be read now.
pub async fn load(object: &MailDomain, ctx: &Ctx) -> Option<Arc<Vec<Held>>> {
    let uid = object.uid().unwrap_or_default();
    if let Some(known) = ctx.signing_keys.get(&uid) {
        return Some(known);
    }
    let dkim = object.spec.dkim.as_ref()?;
    let name = signing::secret_name(&object.name_any(), dkim);
    let found = secret_of(ctx, &object.namespace().unwrap_or_default(), &name)
        .await
        .ok()?;
    let (keys, _) = judged(object, dkim, found.as_ref(), &name).ok()?;
    if keys.is_empty() {
        return None;
    }
    ctx.signing_keys.put(ctx, uid.clone(), keys, None);
    ctx.signing_keys.get(&uid)
}

async fn secret_of(ctx: &Ctx, namespace: &str, name: &str) -> Result<Option<Secret>, Error> {
    let secrets: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    secrets
        .get_opt(name)
        .await
        .doing("reading the Secret of signing keys")
}

/// Keys that are there and algorithms that lack one; or what somebody has to mend. Pure.
fn judged(object: &MailDomain, dkim: &Dkim, found: Option<&Secret>, name: &str) -> Result<Standing, Trouble> {
    let namespace = object.namespace().unwrap_or_default();
    let given = dkim.secret_ref.is_some();
    let Some(secret) = found else {
        if given {
            let sentence = format!(
                "spec.dkim.secretRef: there is no Secret {name} in namespace {namespace}; create it, it is picked up then"
            );
            return Err((reason::SECRET_NOT_FOUND, sentence));
        }
        if signing::had_keys(object.status.as_ref(), name) {
            let sentence = format!(
                "Secret {name} with the keys that status.dkim names is gone; restore it, or take spec.dkim out and give it \
                 again to have new keys made, whose records must then be published. The pods sign with the old keys meanwhile"
            );
            return Err((reason::KEYS_LOST, sentence));
        }
        return Ok((Vec::new(), signing::algorithms(dkim)));
    };
    if !given && !is_own(secret, object) {
        let sentence = format!(
            "Secret {name} exists and is not of this MailDomain; rename it, or name it in spec.dkim.secretRef to sign with \
             its keys"
        );
        return Err((reason::FOREIGN_OBJECT, sentence));
    }
    let data = secret.data.iter().flatten();
    let held = signing::read(data.map(|(entry, value)| (entry, value.0.as_slice())))
        .map_err(|sentence| (reason::SECRET_INVALID, format!("Secret {name}: {sentence}")))?;
    if given {
        return Ok((held, Vec::new()));
    }
    let (keys, missing) = signing::wanted(dkim, &held);
    if let Some(selector) = signing::lost(object.status.as_ref(), name, &missing) {
        let sentence = format!(
            "Secret {name} has no entry {selector}.pem any more, whose key status.dkim names; restore it, or take spec.dkim \
             out and give it again to have a new key made, whose record must then be published. The pods sign with the old \
             key meanwhile"
        );
        return Err((reason::KEYS_LOST, sentence));
    }
    Ok((keys, missing))
}

/// Whether this very object owns it: one of the same name before it may have left one behind.
fn is_own(secret: &Secret, object: &MailDomain) -> bool {
    let owners = secret.metadata.owner_references.iter().flatten();
    apply::is_ours(secret)
        && owners
            .into_iter()
            .any(|owner| Some(&owner.uid) == object.metadata.uid.as_ref())
}

/// Keys by the uid of their MailDomain, so that a listener with thousands of domains need not read them anew each time.
#[derive(Default)]
pub struct SigningKeys(Mutex<HashMap<String, Kept>>);

struct Kept {
    keys: Arc<Vec<Held>>,
    read: Option<Read>,
}

/// Of what keys were read that lacked nothing.
#[derive(Clone, Debug)]
struct Read {
    /// Of the MailDomain.
    generation: Option<i64>,
    /// Of the Secret.
    version: String,
    at: Instant,
}

impl Read {
    /// A Secret is read again after this time, whatever its watch says.
    const OLD: Duration = Duration::from_hours(6);

    /// Whether it is of the object as it is now, and young enough.
    fn is_of(&self, object: &MailDomain) -> bool {
        self.generation == object.metadata.generation && self.at.elapsed() < Self::OLD
    }
}

impl SigningKeys {
    /// Keys of a Secret that is as it was when they were read, by its watch.
    fn current(&self, object: &MailDomain, secret: &str, ctx: &Ctx) -> Option<Arc<Vec<Held>>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = known.get(object.metadata.uid.as_deref()?)?;
        let read = kept.read.as_ref().filter(|read| read.is_of(object))?;
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let holds = ctx.secret_versions.holds(namespace, secret, &read.version);
        holds.then(|| Arc::clone(&kept.keys))
    }

    fn put(&self, ctx: &Ctx, uid: String, keys: Vec<Held>, read: Option<Read>) {
        /// Keys of objects that are gone may stay until so many are there.
        const SPARE: usize = 64;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let objects = ctx.domains.state();
        if known.len() > objects.len() + SPARE {
            known.retain(|uid, _| objects.iter().any(|object| object.uid().as_ref() == Some(uid)));
        }
        let keys = Arc::new(keys);
        known.insert(uid, Kept { keys, read });
    }

    fn get(&self, uid: &str) -> Option<Arc<Vec<Held>>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(uid).map(|kept| Arc::clone(&kept.keys))
    }

    fn forget(&self, uid: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(uid);
    }
}

/// Makes keys, and the Secret that holds them.
pub struct Maker {
    /// By uid of the MailDomain: under way, or why it ended in vain.
    jobs: Mutex<HashMap<String, Option<String>>>,
    turns: Arc<Semaphore>,
}

impl Default for Maker {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            jobs: Mutex::default(),
            turns: Arc::new(Semaphore::new(cores)),
        }
    }
}

impl Maker {
    /// Whether keys of this MailDomain are being made.
    fn is_at(&self, uid: &str) -> bool {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.get(uid) == Some(&None)
    }

    /// Has keys made, unless they are being made; says how that stands.
    fn make(
        &self,
        object: &MailDomain,
        missing: Vec<DkimAlgorithm>,
        into: Option<&Secret>,
        ctx: &Arc<Ctx>,
    ) -> Trouble {
        let uid = object.uid().unwrap_or_default();
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let known = jobs.get(&uid).cloned();
        let stands = match &known {
            Some(Some(failed)) => (reason::API_ERROR, format!("keys could not be made: {failed}")),
            _ => being_made(),
        };
        if known != Some(None) {
            jobs.insert(uid.clone(), None);
            let task = Task {
                object: object.clone(),
                missing,
                into: into.cloned(),
            };
            let (turns, ctx) = (Arc::clone(&self.turns), Arc::clone(ctx));
            tokio::spawn(async move {
                let done = task.run(&turns, &ctx).await;
                let mut jobs = ctx.maker.jobs.lock().unwrap_or_else(PoisonError::into_inner);
                match done {
                    Ok(()) => jobs.remove(&uid),
                    Err(error) => jobs.insert(uid, Some(error.to_string())),
                };
            });
        }
        stands
    }
}

fn being_made() -> Trouble {
    (reason::KEYS_BEING_MADE, "keys are being made".to_owned())
}

struct Task {
    object: MailDomain,
    missing: Vec<DkimAlgorithm>,
    into: Option<Secret>,
}

impl Task {
    async fn run(self, turns: &Semaphore, ctx: &Ctx) -> Result<(), Error> {
        let cut_short = || Error::Made("making a key was cut short".to_owned());
        let turn = turns.acquire().await.map_err(|_| cut_short())?;
        let (uid, now) = (self.object.uid().unwrap_or_default(), Timestamp::now());
        let mut entries = BTreeMap::new();
        for algorithm in &self.missing {
            let (algorithm, selector) = (*algorithm, signing::selector(*algorithm, &uid, now));
            let made = tokio::task::spawn_blocking(move || signing::make(algorithm, &selector)).await;
            let (entry, pem) = made.map_err(|_| cut_short())?.map_err(Error::Made)?;
            let encoded = base64::engine::general_purpose::STANDARD.encode(pem);
            entries.insert(entry, Value::String(encoded));
        }
        drop(turn);
        match self.into {
            Some(secret) => add(&secret, &entries, ctx).await,
            None => create(&self.object, &entries, ctx).await,
        }
    }
}

/// Only if nobody has changed it since it was read.
async fn add(secret: &Secret, entries: &BTreeMap<String, Value>, ctx: &Ctx) -> Result<(), Error> {
    let change = json!({"metadata": {"resourceVersion": secret.resource_version()}, "data": entries});
    let namespace = secret.namespace().unwrap_or_default();
    apply::merge::<Secret>(ctx, &namespace, &secret.name_any(), &change)
        .await
        .map(drop)
}

/// Only if there is none of that name.
async fn create(object: &MailDomain, entries: &BTreeMap<String, Value>, ctx: &Ctx) -> Result<(), Error> {
    let written = |error: serde_json::Error| Error::Made(error.to_string());
    let dkim = object.spec.dkim.clone().unwrap_or_default();
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {
            "name": signing::secret_name(&object.name_any(), &dkim),
            "namespace": object.namespace(),
            "labels": {"app.kubernetes.io/name": "postroad", "app.kubernetes.io/managed-by": "postroad"},
            "ownerReferences": [object.controller_owner_ref(&())],
        },
        "type": "Opaque",
        "data": entries,
    }))
    .map_err(written)?;
    let secrets: Api<Secret> = Api::namespaced(ctx.client.clone(), &object.namespace().unwrap_or_default());
    let (what, parameters) = ("making the Secret of signing keys", PostParams::default());
    match apply::write(ctx, what, secrets.create(&parameters, &secret)).await {
        // Somebody was first: the next look judges what is there.
        Err(Error::Api(_, kube::Error::Api(said))) if said.is_already_exists() => Ok(()),
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests;
