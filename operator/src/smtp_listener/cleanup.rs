//! The end of a listener. Its mail first: the pods stop taking new mail, deliver or return what they have, and go one by one;
//! then everything else goes. Needs no valid spec: only names and the deletion policy.
//!
//! What a foreground deletion takes at once has an owner reference: the Service that clients use, the disruption budget. What the
//! pods need to drain has none, and is removed here, behind the finalizer.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Secret, Service, ServiceAccount};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Api, Resource, ResourceExt};
use postroad_crds::conditions::reason;
use postroad_crds::smtp_listener::DeletionPolicy;
use postroad_crds::{SmtpListener, SmtpListenerStatus};
use serde_json::json;

use super::current::is_current;
use super::gather::{self, Children};
use super::names::{FINALIZER, LISTENER, Names};
use super::status::Obstacle;
use super::{LATER, announce, fleet, orders, status, write_status};
use crate::apply;
use crate::context::Ctx;
use crate::driver::event;
use crate::error::{Doing, Error};

/// One step towards the end.
pub async fn run(listener: &SmtpListener, names: &Names, ctx: &Ctx) -> Result<Action, Error> {
    if !listener
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == FINALIZER)
    {
        return Ok(Action::await_change());
    }
    if !is_current(listener, names, ctx).await? {
        return Ok(Action::requeue(LATER));
    }
    let children = gather::children(ctx, names).await?;
    if listener.spec.deletion_policy == DeletionPolicy::Drain
        && !Box::pin(drained(listener, names, &children, ctx)).await?
    {
        return Ok(Action::requeue(LATER));
    }
    tell_what_stays(listener, names, &children, ctx).await;
    ctx.rendered.forget(listener);
    ctx.last.forget(listener);
    ctx.patience.forget(&listener.uid().unwrap_or_default());
    remove_children(names, &children, ctx).await?;
    ctx.applied.forget(&names.namespace, &names.listener);
    ctx.given_up.forget(listener);
    ctx.crowded.forget(listener);
    let finalizers: Vec<_> = listener
        .finalizers()
        .iter()
        .filter(|finalizer| *finalizer != FINALIZER)
        .collect();
    let change =
        json!({"metadata": {"finalizers": finalizers, "resourceVersion": listener.resource_version()}});
    apply::merge::<SmtpListener>(ctx, &names.namespace, &names.listener, &change).await?;
    Ok(Action::await_change())
}

/// The same steps as lowering to nobody. True once no pod is left and no claim may hold mail that nobody has.
async fn drained(
    listener: &SmtpListener,
    names: &Names,
    children: &Children,
    ctx: &Ctx,
) -> Result<bool, Error> {
    let waits = fleet::waits(listener, names, children);
    let Some(set) = &children.set else {
        if children.pods.is_empty() && !waits {
            return Ok(true);
        }
        fleet::restore_set(listener, names, children, ctx).await?;
        return Ok(false);
    };
    if set.metadata.deletion_timestamp.is_some() {
        return Ok(false);
    }
    let mut ending = listener.clone();
    ending.spec.replicas = 0;
    let mut found = fleet::run(&ending, names, children, None, ctx).await?;
    if found.pods.is_empty() && set.spec.replicas == Some(0) && !waits {
        return Ok(true);
    }
    let now = Timestamp::now();
    let counted = status::status(&ending, &found, now);
    found.obstacle = Some(Obstacle::new(
        reason::IN_PROGRESS,
        waiting(names, &counted, orders::hibernates(listener)),
    ));
    let next = status::status(&ending, &found, now);
    announce(listener, &next, ctx).await;
    write_status(listener, &next, ctx).await?;
    Ok(false)
}

/// What waits, how much mail it is, and the one command that gives it up.
fn waiting(names: &Names, status: &SmtpListenerStatus, hibernates: bool) -> String {
    let each: Vec<String> = status
        .queue
        .iter()
        .flat_map(|queue| &queue.pods)
        .map(|queue| format!("{} {}", queue.pod, queue.messages))
        .collect();
    let messages = status.queue.as_ref().map_or(0, |queue| queue.messages);
    let what = if hibernates {
        format!(
            "hibernates, so its mail waits on the volumes; take the annotation {} off to have it delivered",
            orders::HIBERNATE
        )
    } else {
        "stays until its pods have delivered or returned what they have".to_owned()
    };
    format!(
        "the listener is deleted and {what}: {messages} messages ({}). To give them up (the volumes stay): kubectl -n {} patch smtplistener {} --type merge -p '{{\"spec\":{{\"deletionPolicy\":\"Discard\"}}}}'",
        each.join(", "),
        names.namespace,
        names.listener,
    )
}

/// `Discard` with mail on the volumes: the last word about it.
async fn tell_what_stays(listener: &SmtpListener, names: &Names, children: &Children, ctx: &Ctx) {
    let claims: Vec<String> = fleet::holding(listener, names, children)
        .into_iter()
        .map(|ordinal| names.claim(ordinal))
        .collect();
    if !claims.is_empty() {
        let queue = listener.status.as_ref().and_then(|status| status.queue.as_ref());
        let note = format!(
            "deleted with spec.deletionPolicy Discard: the claims {} stay, {} messages were counted on them last",
            claims.join(", "),
            queue.map_or(0, |queue| queue.messages)
        );
        event(ctx, listener, EventType::Warning, "QueueDiscarded", &note).await;
    }
}

async fn remove_children(names: &Names, children: &Children, ctx: &Ctx) -> Result<(), Error> {
    match &children.set {
        Some(set) if set.metadata.deletion_timestamp.is_none() => {
            apply::delete::<StatefulSet>(ctx, set).await?;
        }
        // It went to be made anew, and its pods have nobody who takes them along.
        _ => {
            for pod in &children.pods {
                apply::delete::<Pod>(ctx, pod).await?;
            }
        }
    }
    ctx.reviews.end(&names.review_name());
    for secret in children.secrets.values() {
        apply::delete::<Secret>(ctx, secret).await?;
    }
    let services: Api<Service> = Api::namespaced(ctx.client.clone(), &names.namespace);
    if let Some(service) = services
        .get_opt(&names.peers())
        .await
        .doing("reading a Service")?
        && is_of(&service, names)
    {
        apply::delete(ctx, &service).await?;
    }
    let accounts: Api<ServiceAccount> = Api::namespaced(ctx.client.clone(), &names.namespace);
    for name in [names.account(), names.admin_account()] {
        if let Some(account) = accounts.get_opt(&name).await.doing("reading a ServiceAccount")?
            && is_of(&account, names)
        {
            apply::delete(ctx, &account).await?;
        }
    }
    Ok(())
}

/// Made by us, for this listener: a label alone is anybody's to set.
fn is_of<K: Resource>(object: &K, names: &Names) -> bool {
    apply::is_ours(object) && object.labels().get(LISTENER) == Some(&names.listener)
}

#[cfg(test)]
mod tests {
    use postroad_crds::smtp_listener::{PodQueue, QueueStatus};

    use super::*;

    #[test]
    fn what_waits_is_told_with_the_number_and_the_command_that_gives_it_up() {
        let names = Names {
            namespace: "mail".into(),
            listener: "edge".into(),
        };
        let pods = [("edge-0", 12), ("edge-1", 0)];
        let queue = QueueStatus {
            messages: 12,
            pods: pods
                .map(|(pod, messages)| PodQueue {
                    pod: pod.into(),
                    messages,
                })
                .to_vec(),
            ..QueueStatus::default()
        };
        let status = SmtpListenerStatus {
            queue: Some(queue),
            ..SmtpListenerStatus::default()
        };
        let said = waiting(&names, &status, false);
        for part in [
            "12 messages (edge-0 12, edge-1 0)",
            "kubectl -n mail patch smtplistener edge --type merge -p '{\"spec\":{\"deletionPolicy\":\"Discard\"}}'",
        ] {
            assert!(said.contains(part), "{said}");
        }
        assert!(waiting(&names, &status, true).contains(orders::HIBERNATE));
    }
}
