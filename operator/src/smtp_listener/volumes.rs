//! Larger queue volumes: `queue.storage.size` was raised.
//!
//! ```text
//!   claims asked to grow ─┬─► refused: said in QueueHealthy, tried again minutes later
//!                         └─► taken: StatefulSet deleted as an orphan ─► made anew with the larger template, pods untouched
//! ```
//!
//! A StatefulSet's claim templates cannot be changed, and nothing but the size of a later claim comes of them. Its pods stay and
//! are taken over by the new one: the template of the pods, and with it their revision, is the same.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use serde_json::json;

use super::names::Names;
use crate::apply;
use crate::context::Ctx;
use crate::error::Error;

/// What came of a larger size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Claims that grow: they were asked to, and have not said that they have.
    pub growing: Vec<String>,
    /// Why claims do not grow: sentences.
    pub refused: Vec<String>,
}

/// Claims that were refused, and when: asked again after [`AGAIN`].
#[derive(Default)]
pub struct Refusals(Mutex<HashMap<String, (Instant, String)>>);

/// An owner may let a class grow later; until then it is asked seldom.
const AGAIN: Duration = Duration::from_mins(5);

impl Refusals {
    fn standing(&self, key: &str) -> Option<String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (since, _)| since.elapsed() < AGAIN);
        known.get(key).map(|(_, said)| said.clone())
    }

    fn remember(&self, key: String, said: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(key, (Instant::now(), said.to_owned()));
    }
}

/// Asks claims that are smaller than wanted to grow.
pub(super) async fn grow(
    names: &Names,
    wanted: &str,
    claims: &[PersistentVolumeClaim],
    ctx: &Ctx,
) -> Result<Growth, Error> {
    let mut growth = Growth {
        growing: growing(claims),
        refused: Vec::new(),
    };
    for claim in claims.iter().filter(|claim| is_smaller(claim, wanted)) {
        let name = claim.name_any();
        let key = format!("{}/{name}/{wanted}", names.namespace);
        let mut said = ctx.refusals.standing(&key);
        if said.is_none() {
            said = ask(names, &name, wanted, ctx).await?;
            if let Some(said) = &said {
                ctx.refusals.remember(key, said);
            }
        }
        match said {
            Some(said) => {
                growth
                    .refused
                    .push(format!("{name} does not grow to {wanted}: {said}"));
            }
            None => growth.growing.push(name),
        }
    }
    growth.growing.sort();
    growth.growing.dedup();
    Ok(growth)
}

/// Asks one claim to grow. `Some`: what the API server says against it, such as a class that does not allow it.
async fn ask(names: &Names, claim: &str, wanted: &str, ctx: &Ctx) -> Result<Option<String>, Error> {
    let change = json!({"spec": {"resources": {"requests": {"storage": wanted}}}});
    match apply::merge::<PersistentVolumeClaim>(ctx, &names.namespace, claim, &change).await {
        Ok(_) => Ok(None),
        Err(Error::Api(_, kube::Error::Api(said))) if said.is_not_found() => Ok(None),
        Err(Error::Api(_, kube::Error::Api(said))) if said.is_forbidden() || said.is_invalid() => {
            Ok(Some(said.message.clone()))
        }
        Err(error) => Err(error),
    }
}

/// The size in the claim template of a StatefulSet, as it is written there.
pub fn template_size(set: &StatefulSet) -> Option<&str> {
    let template = set.spec.volume_claim_templates.as_ref()?.first()?;
    let requests = template.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    requests.get("storage").map(|size| size.0.as_str())
}

/// Whether a StatefulSet has to be made anew for larger claims. Never for smaller ones: a volume does not shrink.
pub fn is_outgrown(set: &StatefulSet, wanted: &str) -> bool {
    let sizes = (template_size(set).and_then(octets), octets(wanted));
    matches!(sizes, (Some(live), Some(wanted)) if live < wanted)
}

/// Whether a size is not above another one.
pub fn is_within(size: &str, wanted: &str) -> bool {
    matches!((octets(size), octets(wanted)), (Some(size), Some(wanted)) if size <= wanted)
}

fn is_smaller(claim: &PersistentVolumeClaim, wanted: &str) -> bool {
    let spec = claim.spec.as_ref();
    let requests = spec.and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    let sizes = (size(requests), octets(wanted));
    // A claim that was never bound may be refused, and has nothing on it: it comes again with its pod.
    let bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    let stays = claim.metadata.deletion_timestamp.is_none();
    bound && stays && matches!(sizes, (Some(asked), Some(wanted)) if asked < wanted)
}

/// Claims that have less than they asked for.
fn growing(claims: &[PersistentVolumeClaim]) -> Vec<String> {
    let grows = |claim: &&PersistentVolumeClaim| {
        let spec = claim.spec.as_ref();
        let asked = spec.and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
        let has = claim.status.as_ref().and_then(|status| status.capacity.as_ref());
        matches!((size(has), size(asked)), (Some(has), Some(asked)) if has < asked)
    };
    claims.iter().filter(grows).map(ResourceExt::name_any).collect()
}

fn size(amounts: Option<&std::collections::BTreeMap<String, Quantity>>) -> Option<u128> {
    octets(&amounts?.get("storage")?.0)
}

/// A quantity of octets in whole numbers, with a binary or a decimal unit. `None`: it is written in some other way.
fn octets(quantity: &str) -> Option<u128> {
    let end = quantity
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(quantity.len());
    let (number, unit) = quantity.split_at(end);
    let factor: u128 = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    number.parse::<u128>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(phase: &str, asked: &str, has: &str) -> PersistentVolumeClaim {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "queue-edge-0"},
            "spec": {"resources": {"requests": {"storage": asked}}},
            "status": {"phase": phase, "capacity": {"storage": has}},
        }))
        .unwrap()
    }

    fn set(size: &str) -> StatefulSet {
        serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "spec": {
                "serviceName": "s", "selector": {}, "template": {},
                "volumeClaimTemplates": [{"spec": {"resources": {"requests": {"storage": size}}}}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn sizes_are_compared_whatever_their_unit() {
        for (text, value) in [
            ("1Gi", Some(1 << 30)),
            ("1024Mi", Some(1 << 30)),
            ("1073741824", Some(1 << 30)),
            ("1G", Some(1_000_000_000)),
            ("0.5Gi", None),
            ("1e3", None),
            ("", None),
        ] {
            assert_eq!(octets(text), value, "{text}");
        }
    }

    #[test]
    fn claims_that_are_bound_and_smaller_are_asked_to_grow() {
        for (phase, asked, wanted, smaller) in [
            ("Bound", "1Gi", "2Gi", true),
            ("Bound", "2Gi", "2048Mi", false),
            ("Bound", "3Gi", "2Gi", false),
            ("Pending", "1Gi", "2Gi", false),
            ("Lost", "1Gi", "2Gi", false),
            ("Bound", "1.5Gi", "2Gi", false),
        ] {
            let claim = claim(phase, asked, asked);
            assert_eq!(is_smaller(&claim, wanted), smaller, "{phase} {asked} {wanted}");
        }
    }

    #[test]
    fn a_claim_grows_until_it_has_what_it_asked_for() {
        let claims = [claim("Bound", "2Gi", "1Gi"), claim("Bound", "2Gi", "2Gi")];
        assert_eq!(growing(&claims), ["queue-edge-0"]);
        assert_eq!(growing(&claims[1..]), Vec::<String>::new());
    }

    #[test]
    fn a_set_is_made_anew_for_larger_claims_alone() {
        for (live, wanted, outgrown) in [
            ("1Gi", "2Gi", true),
            ("1Gi", "1024Mi", false),
            ("2Gi", "1Gi", false),
        ] {
            assert_eq!(is_outgrown(&set(live), wanted), outgrown, "{live} {wanted}");
        }
        assert_eq!(template_size(&set("1Gi")), Some("1Gi"));
        assert!(is_within("1Gi", "1024Mi") && !is_within("2Gi", "1Gi"));
    }

    #[test]
    fn a_refusal_stands_for_its_claim_and_size() {
        let refusals = Refusals::default();
        refusals.remember("mail/queue-edge-0/2Gi".into(), "no");
        assert_eq!(refusals.standing("mail/queue-edge-0/2Gi").as_deref(), Some("no"));
        assert_eq!(refusals.standing("mail/queue-edge-0/3Gi"), None);
    }
}
