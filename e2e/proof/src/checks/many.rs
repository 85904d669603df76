//! Check 41: thousands of domains with their keys, and fifty policies: how long a full look takes, what it costs, how soon one
//! change is in the whole configuration, and what all of it costs at rest.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};

use crate::case::{Case, Turn, Verdict};
use crate::operation::{Operation, listener};
use crate::proxy::Seen;
use crate::rig::{QUIET, Rig, World};
use crate::server::{Said, text};

/// Policies beside the domains.
const POLICIES: usize = 50;
/// Keys of each domain.
const KEYS: usize = 2;
/// The promises of the product, for 5,000 domains; the time is that of a core, as others may use the computer at the same time.
const FULL: Duration = Duration::from_mins(5);
const MEMORY: u64 = 400;
/// Objects that the harness makes at once.
const AT_ONCE: usize = 16;
/// Much longer than the promise: what is bounded is the time of a core, and others may use the computer.
const LONGEST: Duration = Duration::from_mins(30);
/// Most requests in a second at rest. Source: the promises of the product.
const REQUESTS: f64 = 1.0;

/// Longest time until 5,000 domains have keys of their own. Source: the promises of the product.
const MADE: Duration = Duration::from_mins(20);

/// Where the keys of the domains come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// They are in a Secret.
    Given,
    /// They are made, one of each algorithm for each domain.
    Made,
}

/// 1,000 domains; 5,000 as well where there is time, those at rest, and those whose keys are to be made.
pub fn cases(exhaustive: bool) -> Vec<Case> {
    let check = "check_41_many_objects";
    let first = format!("1000 domains with keys, {POLICIES} policies");
    let mut cases = vec![Case::new(check, first, |world| many(world, 1_000, false)).at(Turn::First)];
    if exhaustive {
        let given = format!("5000 domains with keys, {POLICIES} policies");
        let made = format!("5000 domains whose keys are made, {POLICIES} policies");
        cases.push(Case::new(check, given, |world| many(world, 5_000, true)).at(Turn::Alone));
        cases.push(Case::new(check, made, |world| many_keys(world, 5_000)).at(Turn::Alone));
    }
    cases
}

async fn many(world: Arc<World>, size: usize, rests: bool) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    all_new(&rig, size, Keys::Given).await?;
    let ((_, most), work) = (rig.operator.memory()?, rig.operator.seconds()?);
    let changed = one_change(&rig, size).await?;
    let again = restarted(&rig, size).await?;
    let ((_, most_again), work_again) = (rig.operator.memory()?, rig.operator.seconds()?);
    eprintln!(
        "    {size} domains: one more is in the whole configuration after {:.1} s; started anew, each is looked at after {:.0} s ({work_again:.0} s of a core), at most {most_again} MB",
        changed.as_secs_f64(),
        again.as_secs_f64()
    );
    if rests {
        rest(&rig, size).await?;
    }
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

async fn many_keys(world: Arc<World>, size: usize) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    let took = all_new(&rig, size, Keys::Made).await?;
    if took > MADE {
        return Err(format!("the keys are there after {} s", took.as_secs()));
    }
    rest(&rig, size).await?;
    Ok(Verdict::Held)
}

/// An operator that finds all of it new: how long until each object is told of and served, and what that takes.
async fn all_new(rig: &Rig, size: usize, keys: Keys) -> Said<Duration> {
    Operation::Create.prepare(rig).await?;
    rig.operator.down().await;
    fill(rig, size, keys).await?;
    rig.proxy.begin(Vec::new(), None);
    rig.operator.up();
    let started = Instant::now();
    // Lists of thousands cost the API server more than the operator does: they are asked for when it says that it is done.
    wait("each domain is looked at", async || {
        let figures = rig.operator.metrics().await.unwrap_or_default();
        Ok(looks(&figures) >= size)
    })
    .await?;
    let looked = started.elapsed().as_secs_f64();
    let mut full = Duration::ZERO;
    wait("all are told and served", async || {
        let Some(last) = rig.proxy.last_write().filter(|at| at.elapsed() > QUIET) else {
            return Ok(false);
        };
        full = last - started;
        let (names, held) = served(rig).await?;
        let is_served = names.len() == size && held == size * KEYS;
        Ok(is_served && told(rig).await? == size + POLICIES)
    })
    .await?;
    let (requests, writes) = requests(rig, started + full);
    let (now, most) = rig.operator.memory()?;
    let (took, work) = (full.as_secs_f64(), rig.operator.seconds()?);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = requests as f64 / took;
    let what = if keys == Keys::Made {
        ", their keys made"
    } else {
        ""
    };
    eprintln!(
        "    {size} domains, {POLICIES} policies, all new{what}: each looked at after {looked:.0} s, all told and served after {took:.0} s ({work:.0} s of a core), {requests} requests ({rate:.0} a second, {writes} of them writes), {now} MB (at most {most} MB)"
    );
    Ok(full)
}

/// The listener, one Secret with a key of each algorithm, the domains and the policies.
async fn fill(rig: &Rig, size: usize, keys: Keys) -> Said<()> {
    let short = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(text)?;
    let long = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"},
        "stringData": {"short.pem": short.serialize_pem(), "long.pem": long.map_err(text)?.serialize_pem()},
    });
    rig.apply("secrets", &secret).await?;
    rig.apply("smtplisteners", &listener()).await?;
    let domains = (0..size).map(|number| ("maildomains", domain(number, keys)));
    let policies = (0..POLICIES).map(|number| ("relaypolicies", policy(number)));
    let mut made = futures::stream::iter(domains.chain(policies))
        .map(async |(kind, object)| rig.api.create(&rig.path(kind, ""), &object).await)
        .buffer_unordered(AT_ONCE);
    while let Some(made) = made.next().await {
        made?;
    }
    Ok(())
}

fn domain(number: usize, keys: Keys) -> Value {
    let dkim = match keys {
        Keys::Given => json!({"secretRef": {"name": "keys"}}),
        Keys::Made => json!({}),
    };
    json!({
        "apiVersion": "postroad.dev/v1alpha1", "kind": "MailDomain", "metadata": {"name": format!("d{number}")},
        "spec": {
            "domain": format!("d{number}.many.example"), "listenerRefs": [{"name": "edge"}],
            "inbound": {"recipients": {"mode": "Any"}, "deliverTo": {"lmtp": {"host": "store.example", "port": 24}}},
            "dkim": dkim, "dns": {"checks": {"dkim": "Ignored"}},
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

/// Domains in the configuration, and how many keys they have there.
async fn served(rig: &Rig) -> Said<(BTreeSet<String>, usize)> {
    let list = rig.api.get(&rig.path("secrets", "")).await?;
    let (mut names, mut keys) = (BTreeSet::new(), 0);
    for secret in list["items"].as_array().into_iter().flatten() {
        let name = secret["metadata"]["name"].as_str().unwrap_or_default();
        if !name.starts_with("edge-domains-") {
            continue;
        }
        let texts = crate::objects::texts(&secret["data"]);
        for text in texts.as_object().into_iter().flat_map(|texts| texts.values()) {
            let text = text.as_str().unwrap_or_default();
            keys += text.matches("-----BEGIN ").count();
            let words = text
                .lines()
                .flat_map(str::split_whitespace)
                .map(|word| word.trim_matches('"'));
            names.extend(
                words
                    .filter(|word| word.ends_with(".many.example"))
                    .map(str::to_owned),
            );
        }
    }
    Ok((names, keys))
}

/// Requests until then but those of the Lease, and how many of them write.
fn requests(rig: &Rig, until: Instant) -> (usize, usize) {
    let seen = rig.proxy.seen();
    let of = |seen: &&Seen| seen.at <= until && seen.call.kind != "leases";
    let seen: Vec<_> = seen.iter().filter(of).collect();
    (seen.len(), seen.iter().filter(|seen| seen.call.writes()).count())
}

/// A domain more: how long it takes, and that nothing is written but its shard and the base that names it.
async fn one_change(rig: &Rig, size: usize) -> Said<Duration> {
    rig.quiet(0).await?;
    rig.proxy.begin(Vec::new(), None);
    let started = Instant::now();
    rig.api
        .create(&rig.path("maildomains", ""), &domain(size, Keys::Given))
        .await?;
    rig.quiet(1).await?;
    let name = format!("d{size}.many.example");
    wait("the new one is served", async || {
        Ok(served(rig).await?.0.contains(&name))
    })
    .await?;
    rig.quiet(0).await?;
    let seen = rig.proxy.seen();
    let is_base = |path: &str| path.contains("/secrets/edge-config?");
    let mut newest = seen.iter().rev();
    let last = newest.find(|seen| seen.call.writes() && is_base(&seen.path));
    let last = last.ok_or("the base was not written")?.at;
    let written = seen
        .iter()
        .filter(|seen| seen.call.writes() && seen.call.kind == "secrets");
    let mut written: Vec<_> = written.map(|seen| seen.path.as_str()).collect();
    let writes = written.len();
    written.sort_unstable();
    written.dedup();
    let bases = written.iter().filter(|path| is_base(path)).count();
    // Once when the domain is there, and once more where its keys were looked at later than that.
    if (written.len(), bases) != (2, 1) || writes > 4 {
        return Err(format!(
            "a domain more, and {writes} writes went to these Secrets: {written:?}"
        ));
    }
    Ok(last - started)
}

/// All of it at rest: pods never serve here, and a listener that wants none is served by all of them, as each domain says then.
async fn rest(rig: &Rig, size: usize) -> Said<()> {
    rig.proxy.begin(Vec::new(), None);
    Operation::Hibernate.act(rig).await?;
    wait(
        "each domain says that it is served, and nothing is written any more",
        async || {
            let is_still = rig.proxy.last_write().is_some_and(|at| at.elapsed() > 4 * QUIET);
            Ok(is_still && rig.proxy.writes() >= size)
        },
    )
    .await?;
    rig.proxy.begin(Vec::new(), None);
    let worked = rig.operator.seconds()?;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let (seen, work) = (rig.proxy.seen(), rig.operator.seconds()? - worked);
    if let Some(write) = seen.iter().find(|seen| seen.call.writes()) {
        return Err(format!("at rest: {:?} {}", write.call.verb, write.path));
    }
    #[expect(clippy::cast_precision_loss, reason = "a few requests")]
    let requests = seen.len() as f64 / 60.0;
    let (now, _) = rig.operator.memory()?;
    eprintln!(
        "    {size} domains at rest for a minute: no write, {requests:.2} requests a second, {work:.1} s of a core, {now} MB"
    );
    if requests >= REQUESTS {
        return Err(format!("{requests:.2} requests a second at rest"));
    }
    Ok(())
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

async fn wait(what: &str, mut holds: impl AsyncFnMut() -> Said<bool>) -> Said<()> {
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
