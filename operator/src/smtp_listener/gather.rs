//! Reads what a reconcile of a listener needs. IO without decisions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodCondition, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::build::certificates::Pair;
use super::build::config::Issuer;
use super::names::{BASE, DRAINED, LISTENER, LOST, Names, REFUSED, SPOOL};
use super::scale;
use crate::apply;
use crate::context::Ctx;
use crate::error::{Doing, Error};

/// Children of a listener as they are.
pub struct Children {
    /// The StatefulSet.
    pub set: Option<StatefulSet>,
    /// Its pods.
    pub pods: Vec<Pod>,
    /// Its claims.
    pub claims: Vec<PersistentVolumeClaim>,
    /// Secrets of ours, by name.
    pub secrets: BTreeMap<String, Secret>,
}

/// What is being done when Secrets are listed: the permission for it is the one that a namespace gives.
pub const LISTING_SECRETS: &str = "listing Secrets";

/// Reads the children. A label is anybody's to set: what carries ours and is not called as ours, or was not made by us, is not among them.
pub async fn children(ctx: &Ctx, names: &Names) -> Result<Children, Error> {
    let namespace = &names.namespace;
    let ours = ListParams::default().labels(&names.selector());
    let sets: Api<StatefulSet> = Api::namespaced(ctx.client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(ctx.client.clone(), namespace);
    let volumes: Api<PersistentVolumeClaim> = Api::namespaced(ctx.client.clone(), namespace);
    let secrets: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    let (set, pods, claims, secrets) = futures::try_join!(
        async {
            sets.get_opt(&names.listener)
                .await
                .doing("reading the StatefulSet")
        },
        async { pods.list(&ours).await.doing("listing pods") },
        async { volumes.list(&ours).await.doing("listing claims") },
        async { secrets.list(&ours).await.doing(LISTING_SECRETS) },
    )?;
    let set = set.filter(|set| set.labels().get(LISTENER) == Some(&names.listener) && apply::is_ours(set));
    let secrets = secrets.items.into_iter().filter(apply::is_ours);
    let pods = pods.items.into_iter();
    let pods: Vec<Pod> = pods.filter(|pod| names.is_pod(&pod.name_any())).collect();
    let claims = claims.items.into_iter();
    let mut claims: Vec<_> = claims.filter(|claim| names.is_claim(&claim.name_any())).collect();
    for name in unlisted(names, &pods, &claims) {
        claims.extend(volumes.get_opt(&name).await.doing("reading a claim")?);
    }
    Ok(Children {
        set,
        pods,
        claims,
        secrets: secrets.map(|secret| (secret.name_any(), secret)).collect(),
    })
}

/// Claims of these pods that are not among those that carry our label: somebody may have taken it off, and their mail is there all the same.
fn unlisted(names: &Names, pods: &[Pod], claims: &[PersistentVolumeClaim]) -> Vec<String> {
    let wanted = pods
        .iter()
        .filter_map(|pod| Some(names.claim(names.ordinal(&pod.name_any())?)));
    let is_listed = |name: &String| claims.iter().any(|claim| claim.name_any() == *name);
    wanted.filter(|name| !is_listed(name)).collect()
}

impl Children {
    /// A text of one of our Secrets.
    pub fn text(&self, secret: &str, key: &str) -> Option<String> {
        let data = self.secrets.get(secret)?.data.as_ref()?;
        String::from_utf8(data.get(key)?.0.clone()).ok()
    }

    /// The base file that is there now.
    pub fn base(&self, names: &Names) -> Option<String> {
        self.text(&names.config(), BASE)
    }

    /// A certificate and its key.
    pub fn pair(&self, secret: &str, certificate: &str, key: &str) -> Option<Pair> {
        Some(Pair {
            certificate: self.text(secret, certificate)?,
            key: self.text(secret, key)?,
        })
    }

    /// Claims as the plan sees them.
    pub fn claims(&self, names: &Names) -> Vec<scale::Claim> {
        let one = |claim: &PersistentVolumeClaim| {
            Some(scale::Claim {
                ordinal: names.ordinal(&claim.name_any())?,
                // Bound, lost, or of a phase unknown to us: it may hold mail. Pending never had a volume.
                bound: claim.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Pending"),
                drained: claim.annotations().get(DRAINED).cloned(),
                spool: claim.annotations().get(SPOOL).cloned(),
                lost: claim.annotations().get(LOST).cloned(),
                refused: claim.annotations().get(REFUSED).cloned(),
            })
        };
        self.claims.iter().filter_map(one).collect()
    }
}

/// A Secret that the owner named. `None`: there is none of that name.
pub async fn named_secret(ctx: &Ctx, namespace: &str, name: &str) -> Result<Option<Secret>, Error> {
    let secrets: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    secrets.get_opt(name).await.doing("reading a Secret")
}

/// Whether a pod's conditions say that it serves.
pub fn is_ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// Since when a pod's conditions say that it serves.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|_| is_ready(pod))?;
    let since = ready.last_transition_time.as_ref().map(|time| time.0);
    Some(since.unwrap_or(Timestamp::UNIX_EPOCH))
}

/// What a pod that does not serve waits for, as scheduler and kubelet say it.
pub fn waits_for(pod: &Pod) -> Option<String> {
    let said = |reason: Option<&String>, message: Option<&String>| match (reason, message) {
        (Some(reason), Some(message)) => Some(format!("{reason}: {message}")),
        (reason, message) => reason.or(message).cloned(),
    };
    if let Some(scheduled) = condition(pod, "PodScheduled").filter(|scheduled| scheduled.status == "False") {
        return said(scheduled.reason.as_ref(), scheduled.message.as_ref());
    }
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let waiting = statuses
        .iter()
        .find_map(|status| status.state.as_ref()?.waiting.as_ref())?;
    said(waiting.reason.as_ref(), waiting.message.as_ref())
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether a pod has not served for [`scale::DOWN_AFTER`]: by its condition, or since it was made where it has none yet.
pub fn is_down(pod: &Pod, now: Timestamp) -> bool {
    let since = match condition(pod, "Ready") {
        Some(ready) if ready.status == "True" => return false,
        Some(other) => other.last_transition_time.as_ref(),
        None => pod.metadata.creation_timestamp.as_ref(),
    };
    since.is_some_and(|since| {
        u64::try_from(now.as_second() - since.0.as_second())
            .is_ok_and(|silent| Duration::from_secs(silent) >= scale::DOWN_AFTER)
    })
}

/// Admin address of a pod: by IP, no name is looked up.
pub fn admin_address(pod: &Pod) -> Option<String> {
    let ip: std::net::IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    Some(std::net::SocketAddr::new(ip, 8443).to_string())
}

/// Issuer, key set and API audiences of the cluster's ServiceAccount tokens; read anew every minute, as keys are rotated.
pub async fn issuer(ctx: &Ctx) -> Result<Issuer, Error> {
    const FRESH: Duration = Duration::from_mins(1);
    let mut known = ctx.issuer.lock().await;
    if let Some((since, issuer)) = &*known
        && since.elapsed() < FRESH
    {
        return Ok(issuer.clone());
    }
    let get = async |path: &'static str| {
        let request = http::Request::get(path)
            .body(Vec::new())
            .map_err(|error| Error::Made(error.to_string()))?;
        ctx.client
            .request_text(request)
            .await
            .doing("reading the issuer of tokens")
    };
    let discovery: serde_json::Value = serde_json::from_str(&get("/.well-known/openid-configuration").await?)
        .map_err(|error| Error::Made(format!("the issuer of tokens cannot be read: {error}")))?;
    let name = discovery["issuer"].as_str().unwrap_or_default().to_owned();
    let mut api_audiences = ctx
        .tokens
        .api_audiences(&ctx.client, &ctx.args.pod_namespace, &ctx.args.service_account)
        .await
        .doing("asking for the API server's audiences")?;
    // Most clusters have this one; others go by another name and still sign with it.
    api_audiences.push(name.clone());
    api_audiences.sort();
    api_audiences.dedup();
    let issuer = Issuer {
        issuer: name,
        key_set: get("/openid/v1/jwks").await?,
        api_audiences,
    };
    *known = Some((Instant::now(), issuer.clone()));
    Ok(issuer)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodStatus;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn pod(made: i64, ready: Option<(&str, i64)>) -> Pod {
        let time = |second| Timestamp::from_second(second).ok().map(Time);
        let condition = |(status, since): (&str, i64)| PodCondition {
            type_: "Ready".into(),
            status: status.into(),
            last_transition_time: time(since),
            ..PodCondition::default()
        };
        let mut pod = Pod::default();
        pod.metadata.creation_timestamp = time(made);
        pod.status = Some(PodStatus {
            conditions: Some(ready.into_iter().map(condition).collect()),
            ..PodStatus::default()
        });
        pod
    }

    #[test]
    fn a_pod_is_down_when_it_has_not_served_for_minutes() {
        let now = Timestamp::from_second(10_000).unwrap();
        let after = i64::try_from(scale::DOWN_AFTER.as_secs()).unwrap();
        for (made, ready, down) in [
            (1, Some(("True", 1)), false),
            (1, Some(("False", 10_000 - after + 1)), false),
            (1, Some(("False", 10_000 - after)), true),
            (1, Some(("Unknown", 1)), true),
            (1, None, true),
            (9_999, None, false),
            (20_000, None, false),
        ] {
            assert_eq!(is_down(&pod(made, ready), now), down, "{made} {ready:?}");
        }
    }
}
