//! Check 41: thousands of domains with their keys, and fifty policies: how long a full look takes, what it costs, and how soon one
//! change is in the whole configuration.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};

use crate::case::{Case, Verdict};
use crate::operation::{Operation, listener};
use crate::rig::{Rig, World};
use crate::server::{Said, text};

/// Policies beside the domains.
const POLICIES: usize = 50;
/// The promises of the product, for 5,000 domains; the time is that of a core, as others may use the computer at the same time.
const FULL: Duration = Duration::from_mins(5);
const MEMORY: u64 = 400;
/// Objects that the harness makes at once.
const AT_ONCE: usize = 16;
/// Longer than the promise, so that the figure is told when it is missed.
const LONGEST: Duration = Duration::from_mins(9);

/// 1,000 domains; 5,000 as well where there is time.
pub fn cases(exhaustive: bool) -> Vec<Case> {
    let sizes: &[usize] = if exhaustive { &[1_000, 5_000] } else { &[1_000] };
    let one = |size: &usize| {
        let size = *size;
        let what = format!("{size} domains with keys, {POLICIES} policies");
        Case::new("check_41_many_objects", what, move |world| many(world, size))
    };
    sizes.iter().map(one).collect()
}

async fn many(world: Arc<World>, size: usize) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Create.prepare(&rig).await?;
    rig.operator.down().await;
    fill(&rig, size).await?;
    rig.proxy.begin(Vec::new(), None);
    rig.operator.up();
    let started = Instant::now();
    // Lists of thousands cost the API server more than the operator does: they are asked for when it says that it is done.
    wait("each domain is looked at", async || {
        let figures = rig.operator.metrics().await.unwrap_or_default();
        Ok(looks(&figures) >= size)
    })
    .await?;
    wait("all are told and served", async || {
        Ok(served(&rig).await?.len() == size && told(&rig).await? == size + POLICIES)
    })
    .await?;
    let full = started.elapsed();
    let (requests, writes) = requests(&rig);
    let (now, most) = rig.operator.memory()?;
    let (took, work) = (full.as_secs_f64(), rig.operator.seconds()?);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = requests as f64 / took;
    eprintln!(
        "    {size} domains, {POLICIES} policies, all new: {took:.0} s ({work:.0} s of a core), {requests} requests ({rate:.0} a second, {writes} of them writes), {now} MB (at most {most} MB)"
    );
    let changed = one_change(&rig, size).await?;
    let again = restarted(&rig, size).await?;
    let ((_, most_again), work_again) = (rig.operator.memory()?, rig.operator.seconds()?);
    eprintln!(
        "    {size} domains: one more is in the whole configuration after {:.1} s; started anew, each is looked at after {:.0} s ({work_again:.0} s of a core), at most {most_again} MB",
        changed.as_secs_f64(),
        again.as_secs_f64()
    );
    if work.max(work_again) > FULL.as_secs_f64() {
        return Err(format!(
            "{work:.0} s of a core, {work_again:.0} s after a restart"
        ));
    }
    if most.max(most_again) > MEMORY {
        return Err(format!("{} MB", most.max(most_again)));
    }
    Ok(Verdict::Held)
}

/// The listener, one Secret with a key of each algorithm, the domains and the policies.
async fn fill(rig: &Rig, size: usize) -> Said<()> {
    let short = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(text)?;
    let long = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
    let keys = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"},
        "stringData": {"short.pem": short.serialize_pem(), "long.pem": long.map_err(text)?.serialize_pem()},
    });
    rig.apply("secrets", &keys).await?;
    rig.apply("smtplisteners", &listener()).await?;
    let domains = (0..size).map(|number| ("maildomains", domain(number)));
    let policies = (0..POLICIES).map(|number| ("relaypolicies", policy(number)));
    let mut made = futures::stream::iter(domains.chain(policies))
        .map(async |(kind, object)| rig.api.create(&rig.path(kind, ""), &object).await)
        .buffer_unordered(AT_ONCE);
    while let Some(made) = made.next().await {
        made?;
    }
    Ok(())
}

fn domain(number: usize) -> Value {
    json!({
        "apiVersion": "postroad.dev/v1alpha1", "kind": "MailDomain", "metadata": {"name": format!("d{number}")},
        "spec": {
            "domain": format!("d{number}.many.example"), "listenerRefs": [{"name": "edge"}],
            "inbound": {"recipients": {"mode": "Any"}, "deliverTo": {"lmtp": {"host": "store.example", "port": 24}}},
            "dkim": {"secretRef": {"name": "keys"}}, "dns": {"checks": {"dkim": "Ignored"}},
        },
    })
}

fn policy(number: usize) -> Value {
    json!({
        "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy", "metadata": {"name": format!("p{number}")},
        "spec": {
            "listenerRefs": [{"name": "edge"}], "priority": number,
            "routes": [{"direct": {}, "tls": {"mode": "Opportunistic"}}],
        },
    })
}

/// Objects whose status is about their newest generation.
async fn told(rig: &Rig) -> Said<usize> {
    let mut told = 0;
    for kind in ["maildomains", "relaypolicies"] {
        let list = rig.api.get(&rig.path(kind, "")).await?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let is_told =
            |object: &&Value| object["status"]["observedGeneration"] == object["metadata"]["generation"];
        told += items.iter().filter(is_told).count();
    }
    Ok(told)
}

/// Domains in the configuration, with a key each.
async fn served(rig: &Rig) -> Said<BTreeSet<String>> {
    let list = rig.api.get(&rig.path("secrets", "")).await?;
    let mut names = BTreeSet::new();
    for secret in list["items"].as_array().into_iter().flatten() {
        let name = secret["metadata"]["name"].as_str().unwrap_or_default();
        if !name.starts_with("edge-domains-") {
            continue;
        }
        let texts = crate::objects::texts(&secret["data"]);
        for text in texts.as_object().into_iter().flat_map(|texts| texts.values()) {
            let lines = text.as_str().unwrap_or_default().lines();
            let words = lines
                .flat_map(str::split_whitespace)
                .map(|word| word.trim_matches('"'));
            names.extend(
                words
                    .filter(|word| word.ends_with(".many.example"))
                    .map(str::to_owned),
            );
        }
    }
    Ok(names)
}

/// Requests but those of the Lease, and how many of them write.
fn requests(rig: &Rig) -> (usize, usize) {
    let seen = rig.proxy.seen();
    let of = seen.iter().filter(|seen| seen.call.kind != "leases");
    (of.count(), seen.iter().filter(|seen| seen.call.writes()).count())
}

/// A domain more: how long it takes, and that nothing is written but its shard and the base that names it.
async fn one_change(rig: &Rig, size: usize) -> Said<Duration> {
    rig.quiet(0).await?;
    rig.proxy.begin(Vec::new(), None);
    let started = Instant::now();
    rig.api
        .create(&rig.path("maildomains", ""), &domain(size))
        .await?;
    let name = format!("d{size}.many.example");
    wait("the new one is served", async || {
        Ok(served(rig).await?.contains(&name))
    })
    .await?;
    let took = started.elapsed();
    rig.quiet(1).await?;
    let seen = rig.proxy.seen();
    let written = seen
        .iter()
        .filter(|seen| seen.call.writes() && seen.call.kind == "secrets");
    let mut written: Vec<_> = written.map(|seen| seen.path.as_str()).collect();
    let writes = written.len();
    written.sort_unstable();
    written.dedup();
    let is_base = |path: &&&str| path.contains("/secrets/edge-config?");
    let bases = written.iter().filter(is_base).count();
    // Once when the domain is there, and once more where its keys were looked at later than that.
    if (written.len(), bases) != (2, 1) || writes > 4 {
        return Err(format!(
            "a domain more, and {writes} writes went to these Secrets: {written:?}"
        ));
    }
    Ok(took)
}

/// Until an operator that is started anew has looked at each domain.
async fn restarted(rig: &Rig, size: usize) -> Said<Duration> {
    rig.operator.down().await;
    rig.proxy.begin(Vec::new(), None);
    let started = Instant::now();
    let starts = rig.operator.starts();
    rig.operator.up();
    wait("each domain is looked at", async || {
        if rig.operator.starts() == starts {
            return Ok(false);
        }
        // Not reached: it is starting.
        let figures = rig.operator.metrics().await.unwrap_or_default();
        Ok(looks(&figures) > size)
    })
    .await?;
    Ok(started.elapsed())
}

/// Reconciles of domains that went well, by the operator's own figures.
fn looks(figures: &str) -> usize {
    let name = "postroad_operator_reconciles_total{kind=\"MailDomain\",outcome=\"ok\"} ";
    let line = figures.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

async fn wait(what: &str, holds: impl AsyncFn() -> Said<bool>) -> Said<()> {
    let started = Instant::now();
    loop {
        let asked = Instant::now();
        if holds().await? {
            return Ok(());
        }
        if started.elapsed() > LONGEST {
            return Err(format!("not within {} s: {what}", LONGEST.as_secs()));
        }
        // Whoever asks must not be what takes the time.
        tokio::time::sleep(asked.elapsed().max(Duration::from_millis(250)) * 4).await;
    }
}
