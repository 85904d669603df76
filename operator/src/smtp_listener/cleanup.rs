//! The end of a listener. Its mail first: the pods stop taking new mail, deliver or return what they have, and go one by one;
//! then everything else goes. Needs no valid spec: only names and the deletion policy.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Secret, Service, ServiceAccount};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use postroad_crds::SmtpListener;
use postroad_crds::conditions::reason;
use postroad_crds::smtp_listener::DeletionPolicy;
use serde_json::json;

use super::gather::{self, Children};
use super::names::{FINALIZER, LISTENER, Names};
use super::status::Obstacle;
use super::{fleet, status, write_status};
use crate::apply;
use crate::context::Ctx;
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
    let children = gather::children(ctx, names).await?;
    if listener.spec.deletion_policy == DeletionPolicy::Drain
        && !drained(listener, names, &children, ctx).await?
    {
        return Ok(Action::requeue(Duration::from_secs(1)));
    }
    remove_children(names, &children, ctx).await?;
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
    let Some(set) = &children.set else {
        if children.pods.is_empty() {
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
    let left = found.pods.len();
    if left == 0 && set.spec.replicas == Some(0) {
        return Ok(true);
    }
    found.obstacle = Some(Obstacle {
        reason: reason::IN_PROGRESS,
        message: format!(
            "the listener is deleted; {left} pods deliver or return what they have, then go. To give the mail up, set spec.deletionPolicy to Discard"
        ),
        stalled: false,
    });
    let next = status::status(&ending, &found, Timestamp::now());
    write_status(listener, &next, ctx).await?;
    Ok(false)
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
        && service.labels().get(LISTENER) == Some(&names.listener)
    {
        apply::delete(ctx, &service).await?;
    }
    let accounts: Api<ServiceAccount> = Api::namespaced(ctx.client.clone(), &names.namespace);
    for name in [names.account(), names.admin_account()] {
        if let Some(account) = accounts.get_opt(&name).await.doing("reading a ServiceAccount")?
            && account.labels().get(LISTENER) == Some(&names.listener)
        {
            apply::delete(ctx, &account).await?;
        }
    }
    Ok(())
}
