//! Checks 11, 12 and 13: requests that are refused, cut or slow, once or for a while, and watches that end or lag.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::case::{Case, Verdict};
use crate::operation::{Operation, Reference};
use crate::proxy::{Fault, Pick, Rule, WatchRule};
use crate::request::Verb;
use crate::rig::{Rig, World};
use crate::server::Said;

/// Every verb on every kind that the creation of a listener uses, each with each fault; storms; watches.
pub fn cases(created: &Arc<Reference>, renamed: &Arc<Reference>) -> Vec<Case> {
    let mut cases = Vec::new();
    let faults = [
        Fault::Answer(403),
        Fault::Answer(409),
        Fault::Answer(422),
        Fault::Answer(429),
        Fault::Answer(500),
        Fault::Answer(504),
        Fault::Cut,
        Fault::Delay(Duration::from_secs(30)),
    ];
    for (verb, kind) in &created.used {
        for fault in faults {
            for (how, times) in [("once", 1), ("five times", 5)] {
                if times > 1 && matches!(fault, Fault::Delay(_)) {
                    continue;
                }
                let what = format!("{verb} {kind}: {fault:?} {how}");
                let rule = Rule {
                    pick: Pick::Call(verb_of(verb), kind.clone()),
                    fault,
                    times,
                };
                let reference = created.clone();
                cases.push(Case::new(
                    "check_13_a_refused_request_is_made_good",
                    what,
                    move |world| disturbed(world, reference, vec![rule], None),
                ));
            }
        }
    }
    for (what, fault) in [
        ("every request 429 with Retry-After, for 15 s", Fault::Answer(429)),
        ("every request 500, for 15 s", Fault::Answer(500)),
        ("every connection cut, for 15 s", Fault::Cut),
    ] {
        let reference = created.clone();
        let rule = Rule {
            pick: Pick::All,
            fault,
            times: usize::MAX,
        };
        cases.push(Case::new("check_12_storms", what, move |world| {
            disturbed(world, reference, vec![rule], None)
        }));
    }
    for after in [0, 1, 3] {
        let reference = created.clone();
        let watch = WatchRule {
            gone_after: Some(after),
            ..WatchRule::default()
        };
        cases.push(Case::new(
            "check_12_storms",
            format!("every watch ends with 410 after {after} events"),
            move |world| disturbed(world, reference, Vec::new(), Some(watch)),
        ));
    }
    let reference = created.clone();
    let watch = WatchRule {
        delay: Duration::from_millis(200),
        ..WatchRule::default()
    };
    cases.push(Case::new(
        "check_11_late_watches_make_nothing_twice",
        "create",
        move |world| disturbed(world, reference, Vec::new(), Some(watch)),
    ));
    cases.extend(lost_events(created, renamed));
    cases
}

/// Each of the first events of each watch is lost.
fn lost_events(created: &Arc<Reference>, renamed: &Arc<Reference>) -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in [
        "smtplisteners",
        "maildomains",
        "relaypolicies",
        "statefulsets",
        "services",
        "pods",
        "secrets",
    ] {
        // Secrets are watched where a listener is: one has to be there, and to change.
        let of = if kind == "secrets" { renamed } else { created };
        let events = if kind == "secrets" { 1..=2 } else { 1..=4 };
        for event in events {
            let reference = of.clone();
            let lost_so = WatchRule {
                kind: kind.to_owned(),
                lost: Some(event),
                ..WatchRule::default()
            };
            cases.push(Case::new(
                "check_05_a_lost_event",
                format!("{kind}: event {event}"),
                move |world| lost(world, reference, lost_so),
            ));
            let reference = of.clone();
            let swallowed = WatchRule {
                kind: kind.to_owned(),
                swallowed: Some(event),
                ..WatchRule::default()
            };
            cases.push(Case::new(
                "check_05_an_event_swallowed_without_a_word",
                format!("{kind}: event {event}"),
                move |world| lost(world, reference, swallowed),
            ));
        }
    }
    cases
}

/// How long everything is refused.
const STORM: Duration = Duration::from_secs(15);

fn verb_of(name: &str) -> Verb {
    let all = [
        Verb::Get,
        Verb::List,
        Verb::Watch,
        Verb::Create,
        Verb::Update,
        Verb::Patch,
        Verb::Delete,
    ];
    all.into_iter()
        .find(|verb| format!("{verb:?}") == name)
        .unwrap_or(Verb::Get)
}

async fn disturbed(
    world: Arc<World>,
    reference: Arc<Reference>,
    rules: Vec<Rule>,
    watch: Option<WatchRule>,
) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    reference.operation.prepare(&rig).await?;
    let storms = watch.as_ref().is_some_and(|watch| watch.gone_after.is_some());
    let everything = rules.iter().any(|rule| rule.pick == Pick::All);
    // Watches that are open already would hear nothing of it.
    let opens_watches = watch.is_some()
        || rules
            .iter()
            .any(|rule| matches!(&rule.pick, Pick::Call(Verb::Watch | Verb::List, _)));
    if opens_watches {
        rig.operator.down().await;
    }
    rig.proxy.begin(rules, watch);
    if opens_watches {
        rig.operator.up();
    }
    reference.operation.act(&rig).await?;
    if storms {
        rig.until("a watch that ended", async |rig| Ok(rig.proxy.fired() > 0))
            .await?;
        rig.proxy.heal();
    } else if everything {
        // For a while, not for so many requests: an operator that takes its time makes few.
        tokio::time::sleep(STORM).await;
        rig.proxy.heal();
    }
    rig.reaches(&reference.objects).await?;
    let lagging = rig.proxy.seen();
    let mut made = BTreeSet::new();
    for seen in lagging
        .iter()
        .filter(|seen| seen.call.verb == Verb::Create && seen.call.is_numbered())
    {
        if !made.insert(seen.path.clone()) && reference.operation == Operation::Create {
            return Err(format!("made twice: {}", seen.path));
        }
    }
    Ok(Verdict::Held)
}

/// Seconds between two lists where an event is swallowed: ten minutes pass in `operator/tests/calm.rs`.
const RENEWED: &str = "POSTROAD_RENEW_WATCHES=10";

/// An event is lost, and the watch ends with 410 in its place, or goes on as if nothing had been: what was missed is found by the
/// list that follows.
async fn lost(world: Arc<World>, reference: Arc<Reference>, watch: WatchRule) -> Said<Verdict> {
    let before = match watch.swallowed {
        Some(_) => vec!["env".to_owned(), RENEWED.to_owned()],
        None => Vec::new(),
    };
    let rig = Rig::with(&world, &world.program, before).await?;
    reference.operation.prepare(&rig).await?;
    rig.operator.down().await;
    let kind = watch.kind.clone();
    rig.proxy.begin(Vec::new(), Some(watch));
    rig.operator.up();
    rig.until("the operator's watches", async |rig| {
        Ok(rig
            .proxy
            .seen()
            .iter()
            .any(|seen| seen.call.verb == Verb::Watch && seen.call.kind == kind))
    })
    .await?;
    reference.operation.act(&rig).await?;
    rig.reaches(&reference.objects).await?;
    if rig.proxy.fired() == 0 {
        return Ok(Verdict::Skipped("this run saw fewer events of that kind".into()));
    }
    Ok(Verdict::Held)
}
