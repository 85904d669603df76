//! From spec, Secrets and attached objects to the written configuration: the parts are gathered, rendered by
//! [`super::build`], and written, Secrets before the pods that read them.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Resource, ResourceExt};
use postroad_config::{ConfigFile, Domain, Drained, LoginSecret, Peers, Policy, Review, RouteTarget, User};
use postroad_crds::conditions::reason;
use postroad_crds::{MailDomain, SmtpListener};
use serde_json::{Value, json};

use super::addresses;
use super::build::certificates::{self, Facts, Pair};
use super::build::config::{self, Parts, RenderError, Rendered};
use super::build::network::{self, Talk};
use super::build::objects;
use super::certificate;
use super::gather::{self, Children};
use super::guests::{self, Lists};
use super::lost;
use super::names::{BASE, LOGIN_SECRET, Names};
use super::orders;
use super::scale;
use super::spool_format;
use super::status::Obstacle;
use super::validate::{self, Valid};
use crate::apply;
use crate::attached::{self, Attached};
use crate::context::Ctx;
use crate::error::{Doing, Error};
use crate::mail_domain::{keys, signing};
use crate::relay_policy::logins;
use crate::secrets;
use crate::tenancy::Door;

/// What was written.
pub struct Prepared {
    /// The configuration.
    pub rendered: Rendered,
    /// Fingerprint of the attached objects in it.
    pub fingerprint: String,
    /// The certificate of the ports.
    pub certificate: Option<Facts>,
    /// Authority of the admin endpoints, PEM.
    pub authority: String,
    /// Where clients reach the listener.
    pub addresses: Vec<String>,
    /// Domains in the configuration.
    pub domains: Vec<Domain>,
}

/// What somebody has to mend first is inside.
pub(super) type Wanted<T> = Result<T, Obstacle>;

/// Writes Secrets and objects. The inner error is something that somebody has to mend: what runs stays.
pub async fn prepare(
    listener: &SmtpListener,
    names: &Names,
    children: &Children,
    ctx: &Ctx,
) -> Result<Wanted<Prepared>, Error> {
    let valid = match validate::validate(&listener.spec) {
        Ok(valid) => valid,
        Err(invalid) => return Ok(Err(Obstacle::stalled(reason::INVALID, invalid.to_string()))),
    };
    let users = users(listener, names, ctx).await?;
    let tls = certificate::certificate(listener, names, children, ctx).await?;
    let (users, tls) = match (users, tls) {
        (Ok(users), Ok(tls)) => (users, tls),
        (Err(one), Err(other)) => return Ok(Err(one.and(other, &names.namespace))),
        (Err(obstacle), Ok(_)) | (Ok(_), Err(obstacle)) => return Ok(Err(obstacle)),
    };
    let certificate = tls.as_ref().and_then(certificate::Chosen::facts);
    let tls = tls.map(|chosen| chosen.pair);
    write(
        listener,
        names,
        children,
        ctx,
        Inputs {
            valid,
            users,
            tls,
            certificate,
        },
    )
    .await
}

struct Inputs {
    valid: Valid,
    users: Vec<User>,
    tls: Option<Pair>,
    certificate: Option<Facts>,
}

async fn write(
    listener: &SmtpListener,
    names: &Names,
    children: &Children,
    ctx: &Ctx,
    inputs: Inputs,
) -> Result<Wanted<Prepared>, Error> {
    let (authority, leaf) = admin_certificates(names, children, ctx).await?;
    let before = children.base(names);
    let previous = previous(listener, names, children, before.as_deref(), ctx);
    let mut attached = attached_objects(listener, previous.as_deref(), ctx);
    let review = match review(names, &inputs.valid, &authority, ctx)? {
        Ok(review) => review,
        Err(obstacle) => return Ok(Err(obstacle)),
    };
    let domains = signed(&attached, previous.as_deref(), ctx).await;
    let policies = logged_in(&attached, previous.as_deref(), ctx).await;
    let parts = Parts {
        names,
        valid: &inputs.valid,
        users: inputs.users,
        login_secret: login_secret(listener, names, children, ctx).await?,
        tls: inputs.tls.clone(),
        authority: &authority,
        leaf: &leaf,
        issuer: gather::issuer(ctx).await?,
        operator: format!(
            "system:serviceaccount:{}:{}",
            ctx.args.pod_namespace, ctx.args.service_account
        ),
        domains,
        kept_policies: kept_policies(&attached),
        pods: sending_pods(listener, children),
        peers: peers(
            listener,
            names,
            children,
            previous.as_deref(),
            inputs.valid.access.is_shared() || inputs.valid.reports.is_shared() || has_lanes(&policies),
        ),
        spool_format: spool_format::rendered(agreed_format(listener)),
        review,
        policies,
    };
    let asks_for_reviews = parts.review.is_some();
    let leaves_by = network::mail_ports(
        &parts.policies,
        &parts.domains,
        &inputs.valid.filters,
        &inputs.valid.reports,
        inputs.valid.takes_tls(),
    );
    let live = |number| children.text(&names.shard(number), &postroad_config::shard_file_name(number));
    let texts = (before.as_deref(), previous.as_ref());
    let rendered = match render(listener, parts, &mut attached, texts, &live, ctx) {
        Ok(rendered) => rendered,
        Err(error) => return Ok(Err(Obstacle::stalled(error.reason(), error.to_string()))),
    };
    write_config(names, children, &rendered, ctx).await?;
    ctx.last.put(listener, &rendered.hash, Arc::clone(&rendered.set));
    let fingerprint = attached::fingerprint(&attached);
    ctx.rendered
        .written(listener, &fingerprint, attached::lines(&attached));
    let service = write_objects(listener, names, children, ctx).await?;
    let reviews = asks_for_reviews.then_some(ctx.args.review_port);
    keep_network_policy(listener, names, &inputs.valid, (&leaves_by, reviews), ctx).await?;
    Ok(Ok(Prepared {
        addresses: addresses::addresses(listener, &service),
        domains: attached
            .domains
            .iter()
            .map(|(_, domain)| domain.clone())
            .collect(),
        fingerprint,
        certificate: inputs.certificate,
        authority: authority.certificate,
        rendered,
    }))
}

/// All of it. Where that does not come about, objects of other namespaces are as they were, see [`guests`]: at the next look, as what goes in is
/// copied for it.
fn render(
    listener: &SmtpListener,
    parts: Parts<'_>,
    attached: &mut Attached,
    (before, previous): (Option<&str>, Option<&Arc<ConfigFile>>),
    live: &dyn Fn(u8) -> Option<String>,
    ctx: &Ctx,
) -> Result<Rendered, RenderError> {
    let own = parts.names.namespace.clone();
    let spare = ctx.crowded.holds(listener).then(|| parts.clone());
    let mut error = match config::rendered(parts, before, previous, live) {
        Ok(rendered) => {
            ctx.crowded.forget(listener);
            return Ok(rendered);
        }
        Err(error) => error,
    };
    let Some(mut spare) = spare else {
        ctx.crowded.remember(listener);
        return Err(error);
    };
    let lists = Lists {
        domains: std::mem::take(&mut spare.domains),
        policies: std::mem::take(&mut spare.policies),
        kept_policies: std::mem::take(&mut spare.kept_policies),
    };
    let is_written = |line: &str| ctx.rendered.has_written(listener, line);
    let last = previous.map(|last| &**last);
    let others = guests::by_room(&lists, attached, &own, &is_written);
    let why = error.to_string();
    for count in guests::tries(others.len()) {
        let (lists, left) = guests::as_before(lists.clone(), attached, &others[..count], last, &is_written);
        let parts = Parts {
            domains: lists.domains,
            policies: lists.policies,
            kept_policies: lists.kept_policies,
            ..spare.clone()
        };
        match config::rendered(parts, before, previous, live) {
            Ok(rendered) => {
                attached.kept.extend(left.uids.iter().cloned());
                return Ok(Rendered {
                    nearly_full: Some(left.sentence(&why)),
                    ..rendered
                });
            }
            Err(next) => error = next,
        }
    }
    Err(error)
}

/// Whether pods have something to tell each other of routes.
fn has_lanes(policies: &[Policy]) -> bool {
    let mut routes = policies.iter().flat_map(|policy| &policy.routes);
    routes.any(|route| matches!(route.to, RouteTarget::SmartHosts(_)))
}

/// Where the pods ask whether a token was revoked: this very process, whose leaf for it is made here and kept in memory. Another
/// leader has another address, and the pods hear of it as of any change.
fn review(
    names: &Names,
    valid: &Valid,
    authority: &Pair,
    ctx: &Ctx,
) -> Result<Wanted<Option<Review>>, Error> {
    let name = names.review_name();
    if !valid.check_revocation {
        ctx.reviews.end(&name);
        return Ok(Ok(None));
    }
    let Some(address) = ctx.args.pod_ip else {
        let message = "authentication.serviceAccounts.checkRevocation: the operator does not know its own address; start it with \
                       --pod-ip, or POD_IP";
        return Ok(Err(Obstacle::new(reason::INVALID, message.to_owned())));
    };
    let now = Timestamp::now().as_second();
    let kept = ctx.reviews.leaf(&name).filter(|leaf| {
        certificates::facts(&leaf.certificate).is_some_and(|facts| !facts.is_due(now))
            && ctx.reviews.is_of(&name, &authority.certificate)
    });
    let leaf = match kept {
        Some(leaf) => leaf,
        None => certificates::leaf(authority, &name, now).map_err(made)?,
    };
    ctx.reviews
        .serve(&name, &names.submission_audience(), &leaf, &authority.certificate)
        .map_err(made)?;
    Ok(Ok(Some(Review {
        address: std::net::SocketAddr::new(address, ctx.args.review_port),
        server_name: name.parse().map_err(made)?,
        authorities: authority.certificate.clone(),
    })))
}

/// The format that the pods were last seen to agree on.
fn agreed_format(listener: &SmtpListener) -> Option<u32> {
    let status = listener.status.as_ref()?;
    status.spool_format.and_then(|format| u32::try_from(format).ok())
}

/// Pods that send: those that are wanted, and those that are still there to hand their mail over.
fn sending_pods(listener: &SmtpListener, children: &Children) -> u32 {
    let live = children.set.as_ref().and_then(|set| set.spec.replicas);
    u32::try_from(listener.spec.replicas.max(live.unwrap_or(0))).unwrap_or(1)
}

fn attached_objects(listener: &SmtpListener, previous: Option<&ConfigFile>, ctx: &Ctx) -> Attached {
    let labels = |namespace: &str| ctx.labels_of(namespace);
    attached::with_last(
        Door::new(listener, &labels),
        &ctx.all_domains(),
        &ctx.all_policies(),
        previous,
    )
}

/// Names of policies that stay as they were written last.
fn kept_policies(attached: &Attached) -> BTreeSet<String> {
    let kept = attached
        .policies
        .iter()
        .filter(|(object, _)| attached.keeps(&**object));
    kept.map(|(_, policy)| policy.name.clone()).collect()
}

/// The configuration that was written last, as far as it can be read.
fn previous(
    listener: &SmtpListener,
    names: &Names,
    children: &Children,
    base: Option<&str>,
    ctx: &Ctx,
) -> Option<Arc<ConfigFile>> {
    let base = base?;
    if let Some(known) = ctx.last.get(listener, &postroad_config::hash(base)) {
        return Some(known);
    }
    let shards = (0..postroad_config::SHARDS).filter_map(|number| {
        Some((
            number,
            children.text(&names.shard(number), &postroad_config::shard_file_name(number))?,
        ))
    });
    config::read(base, &shards.collect()).map(Arc::new)
}

/// The attached domains with the keys that sign.
async fn signed(attached: &Attached, previous: Option<&ConfigFile>, ctx: &Ctx) -> Vec<Domain> {
    /// Secrets that are read at once, where none is known yet.
    const AT_ONCE: usize = 16;
    let mut domains = Vec::with_capacity(attached.domains.len());
    for some in attached.domains.chunks(AT_ONCE) {
        let one = |(object, domain): &(Arc<MailDomain>, Domain)| {
            with_keys(object.clone(), domain.clone(), previous, ctx)
        };
        domains.extend(join_all(some.iter().map(one)).await);
    }
    domains
}

/// A domain with the keys that sign. Keys that cannot be read now, while they have signed before, are those that were written
/// last: the pods go on with them.
async fn with_keys(
    object: Arc<MailDomain>,
    mut domain: Domain,
    previous: Option<&ConfigFile>,
    ctx: &Ctx,
) -> Domain {
    if !signing::active(&object).is_empty() {
        domain.dkim = match keys::load(&object, ctx).await {
            Some(held) => signing::section(&object, &domain.name, &held),
            None => previous
                .and_then(|file| file.domains.iter().find(|known| known.name == domain.name))
                .map(|known| signing::still(&object, &known.dkim))
                .unwrap_or_default(),
        };
    }
    domain
}

/// The attached policies with what their routes log in with.
async fn logged_in(attached: &Attached, previous: Option<&ConfigFile>, ctx: &Ctx) -> Vec<Policy> {
    let mut policies = Vec::with_capacity(attached.policies.len());
    for (object, policy) in &attached.policies {
        if attached.keeps(&**object) {
            policies.push(policy.clone());
            continue;
        }
        let before = previous.and_then(|file| file.policies.iter().find(|known| known.name == policy.name));
        policies.push(logins::filled(object, policy.clone(), before, ctx).await);
    }
    policies
}

/// What the pods are told of each other. Something that was known before still holds when its claim was deleted.
fn peers(
    listener: &SmtpListener,
    names: &Names,
    children: &Children,
    previous: Option<&ConfigFile>,
    shares: bool,
) -> Peers {
    let before = previous.map(|file| file.peers.clone()).unwrap_or_default();
    let claims = children.claims(names);
    let status = listener.status.as_ref().map(|status| status.lost.as_slice());
    let direct = lost::looked_at(&claims, status.unwrap_or_default());
    Peers {
        sealed: sealed(listener, names, children),
        lost: lost::spools(direct, &claims, before.lost),
        drained: drained(&claims, before.drained),
        fleet: if shares {
            names.fleet(listener.spec.replicas)
        } else {
            Vec::new()
        },
        fenced: fenced(listener, names, children),
    }
}

/// Pods that a person has fenced off, by name.
fn fenced(listener: &SmtpListener, names: &Names, children: &Children) -> Vec<String> {
    let pods = i32::try_from(sending_pods(listener, children)).unwrap_or(i32::MAX);
    let ordinals = (0..pods).filter(|ordinal| orders::is_fenced(listener, names, *ordinal));
    ordinals.map(|ordinal| names.pod(ordinal)).collect()
}

/// Pods that leave, by name.
fn sealed(listener: &SmtpListener, names: &Names, children: &Children) -> Vec<String> {
    let pods = children
        .pods
        .iter()
        .filter_map(|pod| names.ordinal(&pod.name_any()));
    let fleet = scale::Fleet {
        wanted: listener.spec.replicas,
        live: children.set.as_ref().map(|set| set.spec.replicas.unwrap_or(1)),
        pods: pods
            .map(|ordinal| scale::Pod {
                ordinal,
                ..scale::Pod::default()
            })
            .collect(),
        claims: children.claims(names),
        hibernates: false,
    };
    let sealed = fleet.sealed();
    sealed.into_iter().map(|ordinal| names.pod(ordinal)).collect()
}

/// Marks of claims, and what was known before.
fn drained(claims: &[scale::Claim], mut known: Vec<Drained>) -> Vec<Drained> {
    const MOST: usize = 200;
    for mark in claims.iter().filter_map(|claim| claim.drained.as_ref()) {
        if let Some((spool, seal)) = mark.split_once('/')
            && let Ok(seal) = seal.parse()
        {
            match known.iter_mut().find(|drained| drained.spool == spool) {
                Some(drained) => drained.seal = drained.seal.max(seal),
                None => known.push(Drained {
                    spool: spool.to_owned(),
                    seal,
                }),
            }
        }
    }
    known.drain(..known.len().saturating_sub(MOST));
    known
}

async fn users(listener: &SmtpListener, names: &Names, ctx: &Ctx) -> Result<Wanted<Vec<User>>, Error> {
    let given = listener.spec.authentication.as_ref();
    let Some(users) = given.and_then(|authentication| authentication.users.as_ref()) else {
        return Ok(Ok(Vec::new()));
    };
    let name = &users.secret_ref.name;
    let secret = match owner_secret(names, name, "spec.authentication.users.secretRef", ctx).await? {
        Ok(secret) => secret,
        Err(obstacle) => return Ok(Err(obstacle)),
    };
    Ok(validate::users(&secret, name)
        .map_err(|invalid| Obstacle::new(reason::SECRET_INVALID, invalid.to_string())))
}

/// What the answers to logins of users who do not exist are made of: drawn once for each listener, so that they are the same
/// at every pod and stay when users change. Not given while a pod may be of a version that knows the first format of the
/// spool only: it would refuse the whole file.
async fn login_secret(
    listener: &SmtpListener,
    names: &Names,
    children: &Children,
    ctx: &Ctx,
) -> Result<Option<LoginSecret>, Error> {
    let is_known = spool_format::rendered(agreed_format(listener)).is_some();
    if listener.spec.authentication.is_none() || !is_known {
        return Ok(None);
    }
    let kept = children.text(&names.logins(), LOGIN_SECRET);
    let secret = match kept.filter(|kept| LoginSecret::new(kept.clone()).is_usable()) {
        Some(kept) => kept,
        None => draw()?,
    };
    let data = [(LOGIN_SECRET, secret.as_str())];
    write_secret(names, children, &names.logins(), "Opaque", &data, ctx).await?;
    Ok(Some(LoginSecret::new(secret)))
}

fn draw() -> Result<String, Error> {
    let mut octets = [0; 32];
    aws_lc_rs::rand::fill(&mut octets).map_err(|_| Error::Made("the system gives no randomness".into()))?;
    Ok(base64::engine::general_purpose::STANDARD.encode(octets))
}

pub(super) async fn owner_secret(
    names: &Names,
    name: &str,
    field: &str,
    ctx: &Ctx,
) -> Result<Wanted<Secret>, Error> {
    match gather::named_secret(ctx, &names.namespace, name).await {
        Ok(Some(secret)) => Ok(Ok(secret)),
        Ok(None) => Ok(Err(Obstacle::absent(field, name, &names.namespace))),
        Err(error) if error.category() == "Forbidden" => Ok(Err(denied(names, ctx))),
        Err(error) => Err(error),
    }
}

/// The namespace did not opt in: what to do, as a command.
pub fn denied(names: &Names, ctx: &Ctx) -> Obstacle {
    let message = secrets::denied(&names.namespace, &ctx.args);
    Obstacle::new(reason::SECRET_ACCESS_DENIED, message)
}

pub(super) fn made(error: impl std::fmt::Display) -> Error {
    Error::Made(format!("a certificate could not be made: {error}"))
}

async fn admin_certificates(names: &Names, children: &Children, ctx: &Ctx) -> Result<(Pair, Pair), Error> {
    let now = Timestamp::now().as_second();
    let secret = names.authority();
    let whole = |pair: &Pair| certificates::belong_together(pair);
    let kept = children.pair(&secret, "ca.crt", "ca.key").filter(whole);
    let name = format!("postroad {}/{}", names.namespace, names.listener);
    let authority = certificates::authority_at(kept.as_ref(), &name, now).map_err(made)?;
    let leaf = children.pair(&secret, "tls.crt", "tls.key").filter(|leaf| {
        kept.as_ref() == Some(&authority)
            && whole(leaf)
            && certificates::facts(&leaf.certificate)
                .is_some_and(|facts| facts.covers(&names.admin_name()) && !facts.is_due(now))
    });
    let leaf = match leaf {
        Some(leaf) => leaf,
        None => certificates::leaf(&authority, &names.admin_name(), now).map_err(made)?,
    };
    let data = [
        ("ca.crt", authority.certificate.as_str()),
        ("ca.key", authority.key.as_str()),
        ("tls.crt", leaf.certificate.as_str()),
        ("tls.key", leaf.key.as_str()),
    ];
    write_secret(names, children, &secret, "Opaque", &data, ctx).await?;
    Ok((authority, leaf))
}

/// Applies a Secret of ours over the one that was listed.
pub(super) async fn write_secret(
    names: &Names,
    children: &Children,
    name: &str,
    kind: &str,
    data: &[(&str, &str)],
    ctx: &Ctx,
) -> Result<(), Error> {
    let encoded: serde_json::Map<String, Value> = data
        .iter()
        .map(|(key, text)| {
            (
                (*key).to_owned(),
                Value::String(base64::engine::general_purpose::STANDARD.encode(text)),
            )
        })
        .collect();
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind,
        "metadata": {"name": name, "namespace": names.namespace, "labels": names.labels()},
        "data": encoded,
    });
    let namespace = &names.namespace;
    match children.secrets.get(name) {
        Some(live) => apply::apply_over(ctx, namespace, &object, Some(live.clone())).await,
        None => apply::apply(ctx, namespace, &object).await,
    }
    .map(|_: Secret| ())
}

/// Shards first, then the base that names them, then away with shards that nothing names.
async fn write_config(
    names: &Names,
    children: &Children,
    rendered: &Rendered,
    ctx: &Ctx,
) -> Result<(), Error> {
    for (number, text) in &rendered.shards {
        let file = postroad_config::shard_file_name(*number);
        let data = [(file.as_str(), text.as_str())];
        write_secret(names, children, &names.shard(*number), "Opaque", &data, ctx).await?;
    }
    let data = [(BASE, rendered.base.as_str())];
    write_secret(names, children, &names.config(), "Opaque", &data, ctx).await?;
    for number in (0..postroad_config::SHARDS).filter(|number| !rendered.shards.contains_key(number)) {
        if let Some(secret) = children.secrets.get(&names.shard(number)) {
            apply::delete(ctx, secret).await?;
        }
    }
    Ok(())
}

async fn write_objects(
    listener: &SmtpListener,
    names: &Names,
    children: &Children,
    ctx: &Ctx,
) -> Result<Service, Error> {
    let owner = owner(listener)?;
    let sealed = children
        .pods
        .iter()
        .filter(|pod| {
            names
                .ordinal(&pod.name_any())
                .is_some_and(|o| o >= listener.spec.replicas || orders::is_fenced(listener, names, o))
        })
        .count();
    let namespace = &names.namespace;
    apply::apply::<ServiceAccount>(ctx, namespace, &objects::account(names, listener)).await?;
    apply::apply::<ServiceAccount>(ctx, namespace, &objects::admin_account(names)).await?;
    apply::apply::<Service>(ctx, namespace, &objects::peers(names)).await?;
    let service = apply::apply::<Service>(ctx, namespace, &objects::service(names, listener, &owner)).await?;
    apply::apply::<PodDisruptionBudget>(ctx, namespace, &objects::budget(names, sealed, &owner)).await?;
    Ok(service)
}

/// The NetworkPolicy where one is wanted. Where none is, ours is looked for once in each generation and after each start.
async fn keep_network_policy(
    listener: &SmtpListener,
    names: &Names,
    valid: &Valid,
    (mail, reviews): (&BTreeSet<u16>, Option<u16>),
    ctx: &Ctx,
) -> Result<(), Error> {
    if let Some(settings) = &listener.spec.network_policy {
        let talk = Talk {
            mail,
            resolvers: &valid.resolvers,
            operator: &ctx.args.pod_namespace,
            reviews,
        };
        let owner = owner(listener)?;
        let policy = network::network_policy(names, listener, &settings.egress_ports, talk, &owner);
        apply::apply::<NetworkPolicy>(ctx, &names.namespace, &policy).await?;
        return Ok(());
    }
    if ctx.given_up.holds(listener, NETWORK_POLICY) {
        return Ok(());
    }
    let policies: Api<NetworkPolicy> = Api::namespaced(ctx.client.clone(), &names.namespace);
    let live = policies
        .get_opt(&names.listener)
        .await
        .doing("reading a NetworkPolicy")?;
    if let Some(live) = live.filter(apply::is_ours) {
        apply::delete(ctx, &live).await?;
    }
    ctx.given_up.remember(listener, NETWORK_POLICY);
    Ok(())
}

const NETWORK_POLICY: &str = "NetworkPolicy";

pub(super) fn owner(listener: &SmtpListener) -> Result<Value, Error> {
    let reference = listener
        .controller_owner_ref(&())
        .ok_or_else(|| Error::Made("the listener has no uid".into()))?;
    serde_json::to_value(reference).map_err(|error| Error::Made(error.to_string()))
}
