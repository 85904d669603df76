//! Carries out what [`super::lost`] decides: claims named after their spools, marked and unmarked; pods told; people told. IO.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::runtime::events::EventType;
use postroad_crds::SmtpListener;
use postroad_crds::smtp_listener::LostVolume;
use serde_json::{Value, json};

use super::admin;
use super::fleet::{Member, gone_is_fine};
use super::lost;
use super::names::{LOST, Names, VOLUME_LOST};
use super::scale::Fleet;
use super::status::Found;
use crate::apply;
use crate::context::Ctx;
use crate::driver::event;
use crate::error::Error;

/// What is declared lost.
pub struct Losses {
    spools: Vec<String>,
    wrong: Vec<String>,
}

/// Marks claims, and tells the pods that answer. The mark comes first: it is what the configuration is made of.
pub async fn run(
    listener: &SmtpListener,
    names: &Names,
    fleet: &Fleet,
    members: &mut [Member],
    access: Option<&admin::Fleet>,
    ctx: &Ctx,
) -> Result<Losses, Error> {
    for (ordinal, annotations) in lost::labels(fleet) {
        annotate(names, ordinal, annotations, ctx).await?;
    }
    for (ordinal, annotations) in lost::refusals(annotation(listener), names, fleet) {
        annotate(names, ordinal, annotations, ctx).await?;
    }
    let declared = if access.is_some() {
        lost::declared(annotation(listener), names, fleet)
    } else {
        // Whoever cannot ask takes every pod for silent.
        let status = listener.status.as_ref().map(|status| status.lost.as_slice());
        let before = lost::looked_at(&fleet.claims, status.unwrap_or_default());
        lost::undecided(annotation(listener), before)
    };
    for (ordinal, spool) in &declared.mark {
        annotate(names, *ordinal, json!({LOST: spool}), ctx).await?;
        let note = format!(
            "{} (spool {spool}) is declared lost: what other pods have of it is delivered by them, some of it perhaps twice",
            names.claim(*ordinal)
        );
        event(ctx, listener, EventType::Warning, "VolumeLost", &note).await;
    }
    let mut spools = lost::spools(declared.direct, &fleet.claims, Vec::new());
    spools.extend(declared.mark.into_iter().map(|(_, spool)| spool));
    if let Some(access) = access {
        for member in members {
            tell_pod(member, &spools, access).await;
        }
    }
    Ok(Losses {
        spools,
        wrong: declared.wrong,
    })
}

fn annotation(listener: &SmtpListener) -> Option<&str> {
    listener.annotations().get(VOLUME_LOST).map(String::as_str)
}

async fn annotate(names: &Names, ordinal: i32, annotations: Value, ctx: &Ctx) -> Result<(), Error> {
    let change = json!({"metadata": {"annotations": annotations}});
    let changed =
        apply::merge::<PersistentVolumeClaim>(ctx, &names.namespace, &names.claim(ordinal), &change).await;
    gone_is_fine(changed.map(drop))
}

/// The configuration tells it too; this is sooner, and works where no configuration is written any more.
async fn tell_pod(member: &mut Member, spools: &[String], access: &admin::Fleet) {
    let (Some(address), Ok(state)) = (&member.address, &member.state) else {
        return;
    };
    let unknown: Vec<&String> = spools
        .iter()
        .filter(|spool| **spool != state.spool && state.lost.iter().all(|known| known.spool != **spool))
        .collect();
    for spool in unknown {
        match access.lost(address, spool).await {
            Ok(state) => member.state = Ok(state),
            Err(error) => tracing::info!(%address, %spool, %error, "a pod was not told of a lost volume"),
        }
    }
}

/// What the pods did, for the status, and an Event where it is more than was told before.
pub async fn tell(listener: &SmtpListener, losses: Losses, found: &mut Found, ctx: &Ctx) {
    let before = listener.status.as_ref().map(|status| status.lost.as_slice());
    let before = before.unwrap_or_default();
    let states: Vec<_> = found
        .pods
        .iter()
        .filter_map(|pod| pod.state.as_ref().ok())
        .collect();
    let said: Vec<_> = states.iter().flat_map(|state| &state.lost).collect();
    let next = lost::volumes(&losses.spools, &said, before);
    for (volume, more) in next.iter().map(|volume| (volume, is_news(volume, before))) {
        if more {
            let note = format!(
                "the spool {} is lost: {} messages released, {} taken back, {} of them perhaps delivered twice",
                volume.spool, volume.released, volume.taken_back, volume.perhaps_twice
            );
            event(ctx, listener, EventType::Warning, "VolumeLost", &note).await;
        }
    }
    found.lost = next;
    found.not_lost = losses.wrong;
}

fn is_news(volume: &LostVolume, before: &[LostVolume]) -> bool {
    let known = before.iter().find(|known| known.spool == volume.spool);
    let count = |volume: &LostVolume| volume.released + volume.taken_back;
    count(volume) > known.map_or(0, count)
}
