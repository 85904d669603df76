//! The pods: asked what they are, brought to the wanted number, replaced by newer ones. The decisions are [`super::scale`]'s and
//! [`super::rollout`]'s.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt};
use postroad_config::admin::{PortShown, State};
use postroad_config::hash;
use postroad_crds::SmtpListener;
use postroad_crds::smtp_listener::WhenDrained;
use serde_json::json;

use super::admin::{self, AdminError};
use super::build::objects::{self, Image};
use super::current::is_current;
use super::gather::{self, Children};
use super::losses;
use super::names::{CONFIG_HASH, DRAINED, LISTENER, Names};
use super::orders;
use super::prepare::Prepared;
use super::replacing;
use super::rollout::Rollout;
use super::scale::{self, Plan, Said};
use super::spool_format::SPOOL_FORMAT;
use super::status::{Found, Seen, Unattached};
use super::unattached;
use super::unbound;
use super::volumes::{self, Growth};
use crate::apply;
use crate::context::Ctx;
use crate::driver::event;
use crate::error::{Doing, Error};
use crate::relay_policy::logins;

/// A pod and what it said.
pub(super) struct Member {
    pub ordinal: i32,
    pub pod: Pod,
    pub address: Option<String>,
    pub state: Result<State, String>,
    /// What its ports were seen to show.
    shown: Option<Vec<PortShown>>,
}

/// One step towards the wanted fleet. `prepared`: absent where the newest spec cannot be used; the fleet is kept then.
pub async fn run(
    listener: &SmtpListener,
    names: &Names,
    children: &Children,
    prepared: Option<&Prepared>,
    ctx: &Ctx,
) -> Result<Found, Error> {
    let authority = match prepared {
        Some(prepared) => Some(prepared.authority.clone()),
        None => children.text(&names.authority(), "ca.crt"),
    };
    let base = match prepared {
        Some(prepared) => Some((prepared.rendered.hash.clone(), prepared.rendered.generation)),
        None => children.base(names).map(|base| (hash(&base), 0)),
    };
    if let Some((hash, _)) = &base {
        refresh(names, children, hash, ctx).await?;
    }
    label(names, children, ctx).await?;
    let access = access(names, authority.as_deref(), ctx).await;
    let with_tls = prepared.is_some_and(|prepared| prepared.certificate.is_some());
    let mut members = ask_all(names, children, access.as_ref(), with_tls).await;
    for member in &mut members {
        if orders::is_fenced(listener, names, member.ordinal) {
            member.state = Err(format!("it is fenced off by the annotation {}", orders::FENCED));
        }
    }
    let fleet = look(listener, names, children, &members);
    let lost = losses::run(listener, names, &fleet, &mut members, access.as_ref().ok(), ctx).await?;
    let plan = fleet.plan();
    unmark(names, &plan, ctx).await?;
    if let Ok(access) = &access {
        seal_and_unseal(&plan, &mut members, access).await;
    }
    mark(listener, names, &plan, ctx).await?;
    let mut set = children.set.clone();
    let mut growth = Growth::default();
    // Where the newest spec cannot be used, the pods stay as they are; those that are drained may go all the same.
    if prepared.is_some() {
        let wanted = &listener.spec.queue.storage.size.0;
        growth = volumes::grow(names, wanted, &children.claims, ctx).await?;
        set = keep_set(listener, names, children, &fleet, &plan, &growth, ctx).await?;
    }
    if fleet.hibernates {
        set = let_go(listener, names, set, ctx).await?;
    } else if prepared.is_none() && listener.metadata.deletion_timestamp.is_some() {
        set = bring_back(names, set, plan.replicas, ctx).await?;
    }
    if let Some(whole) = &set
        && plan.lowers(&fleet)
        && !fleet.hibernates
    {
        set = Some(
            lower(
                listener,
                names,
                children,
                &fleet,
                whole,
                access.as_ref().ok(),
                ctx,
            )
            .await?,
        );
    }
    discard_drained(listener, names, children, &fleet, ctx).await?;
    let rollout = replacing::run(listener, names, &members, set.as_ref(), ctx).await?;
    let mut found = found(listener, names, prepared, base, set.as_ref(), members, rollout);
    found.unattached = unattached(names, children, &fleet);
    found.unbound = unbound::sentences(names, &children.claims, listener.spec.replicas);
    found.holding = fleet.holding().map(|ordinal| names.pod(ordinal)).collect();
    found.hibernates = fleet.hibernates;
    found.growth = growth;
    found.remade = prepared.is_some() && set.is_none();
    losses::tell(listener, lost, &mut found, ctx).await;
    Ok(found)
}

/// A new hash on the pods makes the kubelet refresh the mounted files at once.
async fn refresh(names: &Names, children: &Children, hash: &str, ctx: &Ctx) -> Result<(), Error> {
    for pod in &children.pods {
        if pod.metadata.deletion_timestamp.is_none()
            && pod.annotations().get(CONFIG_HASH).map(String::as_str) != Some(hash)
        {
            let change = json!({"metadata": {"annotations": {CONFIG_HASH: hash}}});
            gone_is_fine(
                apply::merge::<Pod>(ctx, &names.namespace, &pod.name_any(), &change)
                    .await
                    .map(drop),
            )?;
        }
    }
    Ok(())
}

/// A claim that lost our label is known by its pod alone: when that is gone, nobody would look for its mail.
async fn label(names: &Names, children: &Children, ctx: &Ctx) -> Result<(), Error> {
    let is_bare = |claim: &&PersistentVolumeClaim| claim.labels().get(LISTENER) != Some(&names.listener);
    for claim in children.claims.iter().filter(is_bare) {
        let change = json!({"metadata": {"labels": names.labels()}});
        let changed =
            apply::merge::<PersistentVolumeClaim>(ctx, &names.namespace, &claim.name_any(), &change).await;
        gone_is_fine(changed.map(drop))?;
    }
    Ok(())
}

pub(super) fn gone_is_fine(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::Api(_, kube::Error::Api(status))) if status.is_not_found() => Ok(()),
        other => other,
    }
}

async fn access(names: &Names, authority: Option<&str>, ctx: &Ctx) -> Result<admin::Fleet, AdminError> {
    let authority = authority.ok_or_else(|| AdminError::Unreachable("there is no authority yet".into()))?;
    let (namespace, account) = (&ctx.args.pod_namespace, &ctx.args.service_account);
    let token = ctx
        .tokens
        .get(&ctx.client, namespace, account, &names.admin_audience())
        .await?;
    admin::Fleet::new(authority, &names.admin_name(), token)
}

async fn ask_all(
    names: &Names,
    children: &Children,
    access: Result<&admin::Fleet, &AdminError>,
    with_tls: bool,
) -> Vec<Member> {
    let pods = children
        .pods
        .iter()
        .filter_map(|pod| Some((names.ordinal(&pod.name_any())?, pod)));
    let mut members = futures::future::join_all(pods.map(async |(ordinal, pod)| {
        let address = gather::admin_address(pod);
        let state = match (access, &address) {
            (Err(error), _) => Err(error.to_string()),
            (Ok(_), None) => Err("it has no address yet".to_owned()),
            (Ok(access), Some(address)) => access.state(address).await.map_err(|error| error.to_string()),
        };
        let shown = match (access, &address) {
            (Ok(access), Some(address)) if with_tls && state.is_ok() && gather::is_ready(pod) => {
                shown(access, address, &pod.name_any()).await
            }
            _ => None,
        };
        Member {
            ordinal,
            pod: pod.clone(),
            address,
            state,
            shown,
        }
    }))
    .await;
    members.sort_by_key(|member| member.ordinal);
    members
}

/// What the ports of a pod show; nothing where it is of a version that cannot look.
async fn shown(access: &admin::Fleet, address: &str, pod: &str) -> Option<Vec<PortShown>> {
    match access.certificates(address).await {
        Ok(shown) => Some(shown),
        Err(error) => {
            tracing::debug!(pod, %error, "its ports were not looked at");
            None
        }
    }
}

fn said(state: &State) -> Said {
    Said {
        spool: state.spool.clone(),
        seal: state.seal.as_ref().map(|seal| seal.number),
        empty: state.seal.as_ref().is_some_and(|seal| seal.empty),
        remaining: state
            .seal
            .as_ref()
            .map_or(state.queue.messages, |seal| seal.remaining),
        has_room: state.queue.below_high_water && state.queue.error.is_none(),
    }
}

fn look(listener: &SmtpListener, names: &Names, children: &Children, members: &[Member]) -> scale::Fleet {
    let now = Timestamp::now();
    let (wanted, hibernates) = (listener.spec.replicas, orders::hibernates(listener));
    let pod = |member: &Member| scale::Pod {
        ordinal: member.ordinal,
        ready: gather::is_ready(&member.pod),
        down: gather::is_down(&member.pod, now),
        said: member.state.as_ref().ok().map(said),
    };
    scale::Fleet {
        wanted,
        live: children.set.as_ref().map(|set| set.spec.replicas.unwrap_or(1)),
        pods: members.iter().map(pod).collect(),
        claims: children.claims(names),
        hibernates,
    }
}

async fn unmark(names: &Names, plan: &Plan, ctx: &Ctx) -> Result<(), Error> {
    for ordinal in &plan.unmark {
        let change = json!({"metadata": {"annotations": {DRAINED: null}}});
        let claim = names.claim(*ordinal);
        gone_is_fine(
            apply::merge::<PersistentVolumeClaim>(ctx, &names.namespace, &claim, &change)
                .await
                .map(drop),
        )?;
    }
    Ok(())
}

async fn seal_and_unseal(plan: &Plan, members: &mut [Member], access: &admin::Fleet) {
    let of = |ordinal: &i32| {
        let member = members.iter().find(|member| member.ordinal == *ordinal)?;
        member.address.clone()
    };
    let named: Vec<String> = plan.targets.iter().chain(&plan.siblings).filter_map(of).collect();
    for member in members {
        let Some(address) = &member.address else { continue };
        let answer = if plan.seal.contains(&member.ordinal) {
            let others = named.iter().filter(|other| *other != address);
            access.seal(address, others.cloned().collect()).await
        } else if plan.unseal.contains(&member.ordinal) {
            access.unseal(address).await
        } else {
            continue;
        };
        match answer {
            Ok(state) => member.state = Ok(state),
            // 409: entries are given and not freed yet. The next step asks again.
            Err(error) => tracing::info!(pod = member.pod.name_any(), %error, "seal"),
        }
    }
}

async fn mark(listener: &SmtpListener, names: &Names, plan: &Plan, ctx: &Ctx) -> Result<(), Error> {
    for (ordinal, mark) in &plan.mark {
        let change = json!({"metadata": {"annotations": {DRAINED: mark}}});
        apply::merge::<PersistentVolumeClaim>(ctx, &names.namespace, &names.claim(*ordinal), &change).await?;
        event(
            ctx,
            listener,
            EventType::Normal,
            "Drained",
            &format!("{} is empty; its claim is marked {mark}", names.pod(*ordinal)),
        )
        .await;
    }
    Ok(())
}

/// The StatefulSet as it is wanted, never with fewer replicas than it has. `None`: it goes, without its pods, and is made anew
/// when it is gone.
async fn keep_set(
    listener: &SmtpListener,
    names: &Names,
    children: &Children,
    fleet: &scale::Fleet,
    plan: &Plan,
    growth: &Growth,
    ctx: &Ctx,
) -> Result<Option<StatefulSet>, Error> {
    let wanted = listener.spec.queue.storage.size.0.as_str();
    let live = children.set.as_ref();
    if live.is_some_and(|set| set.metadata.deletion_timestamp.is_some()) {
        return Ok(None);
    }
    if let Some(set) = live.filter(|set| growth.refused.is_empty() && volumes::is_outgrown(set, wanted)) {
        tracing::info!(
            set = names.listener,
            wanted,
            "the StatefulSet is made anew for larger volumes"
        );
        apply::orphan(ctx, set).await?;
        return Ok(None);
    }
    let size = live.and_then(volumes::template_size).unwrap_or(wanted);
    let kept = fleet.live.unwrap_or_else(|| there(children, names));
    let replicas = if fleet.hibernates {
        0
    } else {
        plan.replicas.max(kept)
    };
    make_set(listener, names, replicas, size, ctx).await.map(Some)
}

/// Hibernation: all pods go at once, as their mail stays where it is.
async fn let_go(
    listener: &SmtpListener,
    names: &Names,
    set: Option<StatefulSet>,
    ctx: &Ctx,
) -> Result<Option<StatefulSet>, Error> {
    let Some(whole) = set.as_ref().filter(|set| set.spec.replicas != Some(0)) else {
        return Ok(set);
    };
    if !is_current(listener, names, ctx).await? {
        return Ok(set);
    }
    let lowered = replicas(names, whole, 0, ctx).await?;
    let note = format!("the pods are let go while {} stands", orders::HIBERNATE);
    event(ctx, listener, EventType::Normal, "Hibernating", &note).await;
    Ok(Some(lowered))
}

/// A deleted listener writes no configuration and no template any more; its mail needs its pods all the same.
async fn bring_back(
    names: &Names,
    set: Option<StatefulSet>,
    wanted: i32,
    ctx: &Ctx,
) -> Result<Option<StatefulSet>, Error> {
    match &set {
        Some(whole) if whole.spec.replicas.is_some_and(|live| live < wanted) => {
            replicas(names, whole, wanted, ctx).await.map(Some)
        }
        _ => Ok(set),
    }
}

/// The number of pods in a write of its own, of exactly the StatefulSet that was looked at.
async fn replicas(names: &Names, set: &StatefulSet, wanted: i32, ctx: &Ctx) -> Result<StatefulSet, Error> {
    let change =
        json!({"metadata": {"resourceVersion": set.resource_version()}, "spec": {"replicas": wanted}});
    apply::merge::<StatefulSet>(ctx, &names.namespace, &names.listener, &change).await
}

/// Volumes of silent pods that cannot be attached. A claim whose spool is not known never had one.
fn unattached(names: &Names, children: &Children, fleet: &scale::Fleet) -> Vec<Unattached> {
    let now = Timestamp::now();
    let one = |claim: &PersistentVolumeClaim| {
        let ordinal = names.ordinal(&claim.name_any())?;
        let known = fleet.claims.iter().find(|known| known.ordinal == ordinal)?;
        let answers = |pod: &scale::Pod| pod.ordinal == ordinal && pod.said.is_some();
        if known.spool.is_none() || known.lost.is_some() || fleet.pods.iter().any(answers) {
            return None;
        }
        let pod = children
            .pods
            .iter()
            .find(|pod| pod.name_any() == names.pod(ordinal))?;
        let placed = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        Some(Unattached {
            pod: pod.name_any(),
            claim: claim.name_any(),
            node: placed.or_else(|| claim.annotations().get(SELECTED_NODE).cloned()),
            why: unattached::why(pod, now)?,
        })
    };
    children.claims.iter().filter_map(one).collect()
}

/// Where Kubernetes placed a volume that waited for its first pod.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// Replicas that leave every pod where it is that is there without its StatefulSet.
fn there(children: &Children, names: &Names) -> i32 {
    let ordinals = children.pods.iter().map(|pod| names.ordinal(&pod.name_any()));
    ordinals.flatten().max().map_or(0, |highest| highest + 1)
}

/// Ordinals whose claims may hold mail.
pub(super) fn holding(listener: &SmtpListener, names: &Names, children: &Children) -> Vec<i32> {
    look(listener, names, children, &[]).holding().collect()
}

/// Whether any claim may.
pub(super) fn waits(listener: &SmtpListener, names: &Names, children: &Children) -> bool {
    !holding(listener, names, children).is_empty()
}

/// Brings back the StatefulSet of pods that are there without one: it went to be made anew.
pub(super) async fn restore_set(
    listener: &SmtpListener,
    names: &Names,
    children: &Children,
    ctx: &Ctx,
) -> Result<(), Error> {
    let size = &listener.spec.queue.storage.size.0;
    let replicas = there(children, names).max(look(listener, names, children, &[]).floor());
    make_set(listener, names, replicas, size, ctx).await.map(drop)
}

async fn make_set(
    listener: &SmtpListener,
    names: &Names,
    replicas: i32,
    size: &str,
    ctx: &Ctx,
) -> Result<StatefulSet, Error> {
    let image = Image {
        name: ctx.args.mta_image.clone(),
        pull_policy: ctx.args.mta_image_pull_policy.clone(),
    };
    let mut desired = objects::stateful_set(names, listener, &image, replicas, size);
    if logins::need_platform_token(listener, ctx) {
        desired = objects::with_federated_token(desired);
    }
    apply::apply::<StatefulSet>(ctx, &names.namespace, &desired).await
}

/// Lowers by one in a write of its own, after a fresh look at the pod that goes.
async fn lower(
    listener: &SmtpListener,
    names: &Names,
    children: &Children,
    fleet: &scale::Fleet,
    set: &StatefulSet,
    access: Option<&admin::Fleet>,
    ctx: &Ctx,
) -> Result<StatefulSet, Error> {
    let ordinal = set.spec.replicas.unwrap_or(1) - 1;
    // Of a pod beyond those that we know nobody can say that it is empty.
    if !names.is_pod(&names.pod(ordinal))
        || fleet.live != Some(ordinal + 1)
        || orders::is_fenced(listener, names, ordinal)
        || !may_go_now(names, children, fleet, ordinal, access, ctx).await?
        || !is_current(listener, names, ctx).await?
    {
        return Ok(set.clone());
    }
    let set = replicas(names, set, ordinal, ctx).await?;
    event(
        ctx,
        listener,
        EventType::Normal,
        "PodReleased",
        &format!("{} is drained and goes", names.pod(ordinal)),
    )
    .await;
    Ok(set)
}

/// The pod is read once more: the same one, not restarted, sealed, empty, under the seal that its claim is marked with.
async fn may_go_now(
    names: &Names,
    children: &Children,
    fleet: &scale::Fleet,
    ordinal: i32,
    access: Option<&admin::Fleet>,
    ctx: &Ctx,
) -> Result<bool, Error> {
    if !fleet.may_go(ordinal) {
        return Ok(false);
    }
    let name = names.pod(ordinal);
    let pods: Api<Pod> = Api::namespaced(ctx.client.clone(), &names.namespace);
    let now = pods.get_opt(&name).await.doing("reading a leaving pod")?;
    let before = children.pods.iter().find(|pod| pod.name_any() == name);
    let Some(now) = now else {
        return Ok(before.is_none());
    };
    if before.and_then(ResourceExt::uid) != now.uid() {
        return Ok(false);
    }
    // A token or an authority that we do not have says nothing about the pod; nor does a pod that serves keep silent.
    let unasked = fleet.may_go_unasked(ordinal, access.is_some() && !gather::is_ready(&now));
    let (Some(access), Some(address)) = (access, gather::admin_address(&now)) else {
        return Ok(unasked);
    };
    let known = fleet
        .pods
        .iter()
        .find(|pod| pod.ordinal == ordinal)
        .and_then(|pod| pod.said.clone());
    Ok(match access.state(&address).await {
        Ok(state) => Some(said(&state)) == known && fleet.may_go(ordinal),
        Err(_) => unasked,
    })
}

/// `whenDrained: Delete`: the claim of a pod that was drained and is gone.
async fn discard_drained(
    listener: &SmtpListener,
    names: &Names,
    children: &Children,
    fleet: &scale::Fleet,
    ctx: &Ctx,
) -> Result<(), Error> {
    if listener.spec.queue.storage.when_drained != WhenDrained::Delete {
        return Ok(());
    }
    for claim in &children.claims {
        let Some(ordinal) = names.ordinal(&claim.name_any()) else {
            continue;
        };
        let outside = ordinal >= fleet.wanted && fleet.live.is_some_and(|live| ordinal >= live);
        let gone = fleet.pods.iter().all(|pod| pod.ordinal != ordinal);
        if outside
            && gone
            && claim.annotations().contains_key(DRAINED)
            && claim.metadata.deletion_timestamp.is_none()
        {
            apply::delete(ctx, claim).await?;
        }
    }
    Ok(())
}

fn found(
    listener: &SmtpListener,
    names: &Names,
    prepared: Option<&Prepared>,
    base: Option<(String, u64)>,
    set: Option<&StatefulSet>,
    members: Vec<Member>,
    rollout: Rollout,
) -> Found {
    let before = listener.status.clone().unwrap_or_default();
    let kept = before
        .config_generation
        .and_then(|generation| u64::try_from(generation).ok());
    let fenced = members
        .iter()
        .map(|member| member.ordinal)
        .filter(|ordinal| *ordinal < listener.spec.replicas && orders::is_fenced(listener, names, *ordinal))
        .map(|ordinal| names.pod(ordinal))
        .collect();
    let seen = |member: Member| Seen {
        name: member.pod.name_any(),
        stays: member.ordinal < listener.spec.replicas,
        ready: gather::is_ready(&member.pod),
        state: member.state,
        shown: member.shown,
    };
    Found {
        obstacle: None,
        lost: Vec::new(),
        not_lost: Vec::new(),
        growth: Growth::default(),
        remade: false,
        unattached: Vec::new(),
        unbound: Vec::new(),
        holding: Vec::new(),
        hibernates: false,
        addresses: prepared.map(|prepared| prepared.addresses.clone()),
        volume_size: set
            .and_then(volumes::template_size)
            .filter(|size| volumes::is_within(size, &listener.spec.queue.storage.size.0))
            .map(str::to_owned),
        // While it is made anew, the pods are there without it.
        replicas: set.map_or(i32::try_from(members.len()).unwrap_or(i32::MAX), |set| {
            set.status.as_ref().map_or(0, |status| status.replicas)
        }),
        pods: members.into_iter().map(seen).collect(),
        fenced,
        nearly_full: prepared.and_then(|prepared| prepared.rendered.nearly_full.clone()),
        config: base.map(|(hash, generation)| {
            (
                hash,
                if generation == 0 {
                    kept.unwrap_or(0)
                } else {
                    generation
                },
            )
        }),
        rendered: prepared
            .map(|prepared| prepared.fingerprint.clone())
            .or(before.rendered),
        certificate: prepared.and_then(|prepared| prepared.certificate.clone()),
        selector: names.selector(),
        rollout,
        format_cap: listener
            .annotations()
            .get(SPOOL_FORMAT)
            .and_then(|cap| cap.parse().ok()),
        holder: None,
        self_tests: Vec::new(),
    }
}
