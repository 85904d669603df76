//! Carries out what [`super::rollout`] decides: looks at the pods, and deletes the one that is next. IO.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::events::EventType;
use postroad_crds::SmtpListener;

use super::current::is_current;
use super::fleet::Member;
use super::gather;
use super::names::Names;
use super::orders;
use super::rollout::{Fleet, Health, Look, Pod, Rollout, deadline, health};
use crate::apply;
use crate::context::Ctx;
use crate::driver::event;
use crate::error::Error;

/// One step of a rollout. `set`: absent while it is made anew.
pub(super) async fn run(
    listener: &SmtpListener,
    names: &Names,
    members: &[Member],
    set: Option<&StatefulSet>,
    ctx: &Ctx,
) -> Result<Rollout, Error> {
    let Some(revision) = set.and_then(newest) else {
        return Ok(Rollout::Unseen);
    };
    if orders::hibernates(listener) && members.is_empty() {
        // Whoever comes back is of the newest template.
        return Ok(Rollout::Complete);
    }
    let now = Timestamp::now();
    let wanted = listener.spec.replicas;
    let fleet = Fleet {
        revision,
        wanted,
        pods: members
            .iter()
            .map(|member| {
                let fenced = orders::is_fenced(listener, names, member.ordinal);
                if fenced {
                    kept(member)
                } else {
                    seen(member, revision, wanted, now)
                }
            })
            .collect(),
    };
    let before = listener
        .status
        .as_ref()
        .and_then(|status| status.rollout.as_ref());
    let deadline = deadline(listener.spec.rollout.as_ref());
    let decision = fleet.decide(before, deadline, names, now);
    let goes = members
        .iter()
        .find(|member| Some(member.ordinal) == decision.delete);
    if let Some(member) = goes
        && is_current(listener, names, ctx).await?
    {
        // Exactly the pod that was looked at, as it was: the deletion carries uid and resourceVersion.
        apply::delete(ctx, &member.pod).await?;
        let note = format!(
            "{} is replaced by one of the template {revision}",
            member.pod.name_any()
        );
        event(ctx, listener, EventType::Normal, "PodReplaced", &note).await;
    }
    Ok(decision.rollout)
}

/// The newest template, once the StatefulSet's controller has seen the last change.
fn newest(set: &StatefulSet) -> Option<&str> {
    let status = set.status.as_ref()?;
    let is_seen = status.observed_generation == set.metadata.generation;
    status.update_revision.as_deref().filter(|_| is_seen)
}

/// A pod that is fenced off is neither replaced nor waited for.
fn kept(member: &Member) -> Pod {
    Pod {
        ordinal: member.ordinal,
        newest: true,
        ending: false,
        health: Health::Well,
    }
}

fn seen(member: &Member, revision: &str, wanted: i32, now: Timestamp) -> Pod {
    let pod = &member.pod;
    let label = pod.labels().get("controller-revision-hash");
    let newest = label.map(String::as_str) == Some(revision);
    let look = Look {
        stays: member.ordinal < wanted,
        newest,
        ready_since: gather::ready_since(pod),
        waits_for: gather::waits_for(pod),
        state: member.state.as_ref().map_err(String::as_str),
    };
    Pod {
        ordinal: member.ordinal,
        newest,
        ending: pod.metadata.deletion_timestamp.is_some(),
        health: health(&look, now),
    }
}
