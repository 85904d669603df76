//! The only writer of objects. Every write asks for leadership first, has a time limit, and is counted.
//!
//! Children are applied by the server (one field manager, forced), but never over an object that is not ours: a live object of
//! that name must carry our label, or have been applied by us.

mod lists;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::events::EventType;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::context::Ctx;
use crate::driver::event;
use crate::error::{Doing, Error};

/// Field manager of all that the operator writes. Its name is for ever.
pub const MANAGER: &str = "postroad-operator";
/// Label on all children: whose they are.
const OURS: (&str, &str) = ("app.kubernetes.io/managed-by", "postroad");
const WRITE_LIMIT: Duration = Duration::from_secs(15);

/// Runs one write.
pub async fn write<T>(
    ctx: &Ctx,
    what: &'static str,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    if !ctx.leadership.holds() {
        return Err(Error::NotLeader);
    }
    let result = match tokio::time::timeout(WRITE_LIMIT, call).await {
        Ok(result) => result.doing(what),
        Err(_) => Err(Error::Timeout(WRITE_LIMIT)),
    };
    ctx.metrics.wrote(match &result {
        Ok(_) => "ok",
        Err(Error::Timeout(_)) => "timeout",
        Err(_) => "refused",
    });
    result
}

/// Applies a child. Nothing is sent where the live object carries `hash` already as its last applied one.
pub async fn apply<K>(ctx: &Ctx, namespace: &str, object: &Value) -> Result<K, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Serialize
        + DeserializeOwned
        + Debug,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), namespace);
    let live = api.get_opt(name_of(object)).await.doing("reading a child")?;
    apply_over(ctx, namespace, object, live).await
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The same over an object that was read already.
pub async fn apply_over<K>(ctx: &Ctx, namespace: &str, object: &Value, live: Option<K>) -> Result<K, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Serialize
        + DeserializeOwned
        + Debug,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), namespace);
    let name = name_of(object).to_owned();
    let mut object = object.clone();
    let fingerprint = postroad_config::hash(&object.to_string());
    object["metadata"]["annotations"][APPLIED] = Value::String(fingerprint.clone());
    let key = key::<K>(namespace, &name);
    let before = live.as_ref().and_then(ResourceExt::resource_version);
    if let Some(live) = live {
        if !is_ours(&live) {
            return Err(Error::Foreign {
                kind: K::kind(&()).into_owned(),
                name,
            });
        }
        if live.annotations().get(APPLIED) == Some(&fingerprint) && unchanged(ctx, &live, &fingerprint) {
            return Ok(live);
        }
        if ctx.applied.rests(&key, &fingerprint) {
            return Ok(live);
        }
        // Entries of others in lists that are ours: the apply would leave them there. Seldom anything to do: boxed, so that every
        // apply need not have room for it.
        let wrong = whole(&live)?.and_then(|live| lists::mended(&K::kind(&()), &live, &object));
        Box::pin(correct(ctx, &live, wrong, Patch::Merge)).await?;
    }
    let parameters = PatchParams::apply(MANAGER).force();
    let applied = write(
        ctx,
        "applying a child",
        api.patch(&name, &parameters, &Patch::Apply(&object)),
    )
    .await?;
    // What the apply has left of ours under other names.
    let wrong = whole(&applied)?.and_then(|live| lists::renamed(&K::kind(&()), &live, &object));
    if wrong.is_some() {
        tracing::info!(
            namespace,
            name,
            "a container of ours had another name; it is taken out"
        );
    }
    let corrected = Box::pin(correct(ctx, &applied, wrong, Patch::Strategic)).await?;
    let applied = corrected.unwrap_or(applied);
    let version = applied.resource_version().unwrap_or_default();
    // An apply that changes nothing leaves the version as it is.
    let was_another = before.is_some_and(|before| before != version);
    if ctx.applied.remember(&key, &fingerprint, &version, was_another) {
        Box::pin(tell_contest(ctx, &applied)).await;
    }
    Ok(applied)
}

/// Somebody and we undo each other's work.
async fn tell_contest<K: Resource<DynamicType = ()>>(ctx: &Ctx, object: &K) {
    let (kind, name) = (K::kind(&()), object.name_any());
    let managers = object.managed_fields().iter();
    let managers = managers.filter_map(|entry| entry.manager.as_deref());
    let others: BTreeSet<&str> = managers.filter(|manager| *manager != MANAGER).collect();
    let others = others.into_iter().collect::<Vec<_>>().join(", ");
    let note = format!(
        "somebody changes this {kind} back each time that it is put right (other managers of its fields: {others}); it is put right less and \
         less often from now on. Take it out of what they look after, or set what they want in the SmtpListener"
    );
    tracing::warn!(%kind, name, others, "an object is changed back each time that it is put right");
    event(ctx, object, EventType::Warning, "Contested", &note).await;
}

/// Puts lists right on exactly the object that was looked at. Gives it as it is then; none where there is nothing to do.
async fn correct<K>(
    ctx: &Ctx,
    live: &K,
    change: Option<Value>,
    how: fn(Value) -> Patch<Value>,
) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let Some(mut change) = change else {
        return Ok(None);
    };
    change["metadata"]["resourceVersion"] = Value::from(live.resource_version());
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &live.namespace().unwrap_or_default());
    let (name, parameters, change) = (live.name_any(), PatchParams::default(), how(change));
    write(ctx, "putting lists right", api.patch(&name, &parameters, &change))
        .await
        .map(Some)
}

/// An object whose lists are looked at; none of another kind.
fn whole<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Result<Option<Value>, Error> {
    if !lists::are_in(&K::kind(&())) {
        return Ok(None);
    }
    serde_json::to_value(object)
        .map(Some)
        .map_err(|error| Error::Made(error.to_string()))
}

/// Whether an object was made by the operator: by its label, or, where somebody took that away, by the API server's record of who
/// applied it.
pub fn is_ours<K: Resource>(live: &K) -> bool {
    let record = live.managed_fields().iter().any(|entry| {
        entry.manager.as_deref() == Some(MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.is_none()
    });
    record || live.labels().get(OURS.0).map(String::as_str) == Some(OURS.1)
}

/// Whether nobody has touched a child since we last applied this very object to it.
fn unchanged<K: Resource<DynamicType = ()>>(ctx: &Ctx, live: &K, fingerprint: &str) -> bool {
    let key = key::<K>(&live.namespace().unwrap_or_default(), &live.name_any());
    ctx.applied
        .is_known(&key, fingerprint, &live.generation_or_version())
}

fn key<K: Resource<DynamicType = ()>>(namespace: &str, name: &str) -> String {
    format!("{}/{namespace}/{name}", K::kind(&()))
}

const APPLIED: &str = "postroad.dev/applied";

trait Version {
    fn generation_or_version(&self) -> String;
}

impl<K: Resource> Version for K {
    fn generation_or_version(&self) -> String {
        self.meta().resource_version.clone().unwrap_or_default()
    }
}

/// Writes a status, where it is another one.
pub async fn status<K>(ctx: &Ctx, object: &K, before: Option<&Value>, next: &Value) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    if before == Some(next) {
        return Ok(());
    }
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &object.namespace().unwrap_or_default());
    let body = serde_json::json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()),
        "metadata": {"name": object.name_any()},
        "status": next,
    });
    let parameters = PatchParams::apply(MANAGER).force();
    write(
        ctx,
        "writing a status",
        api.patch_status(&object.name_any(), &parameters, &Patch::Apply(&body)),
    )
    .await?;
    Ok(())
}

/// Merges a few fields into an object.
pub async fn merge<K>(ctx: &Ctx, namespace: &str, name: &str, change: &Value) -> Result<K, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), namespace);
    write(
        ctx,
        "changing an object",
        api.patch(name, &PatchParams::default(), &Patch::Merge(change)),
    )
    .await
}

/// Deletes exactly this object: a new one of the same name stays. Gone already is fine.
pub async fn delete<K>(ctx: &Ctx, object: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    remove(ctx, object, DeleteParams::background()).await
}

/// The same, and what the object owns stays.
pub async fn orphan<K>(ctx: &Ctx, object: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    remove(ctx, object, DeleteParams::orphan()).await
}

async fn remove<K>(ctx: &Ctx, object: &K, how: DeleteParams) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &object.namespace().unwrap_or_default());
    let preconditions = Preconditions {
        uid: object.uid(),
        resource_version: object.resource_version(),
    };
    let parameters = how.preconditions(preconditions);
    match write(
        ctx,
        "deleting an object",
        api.delete(&object.name_any(), &parameters),
    )
    .await
    {
        Err(Error::Api(_, kube::Error::Api(status))) if status.is_not_found() => Ok(()),
        other => other.map(drop),
    }
}
