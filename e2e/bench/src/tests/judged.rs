//! B4: how many incoming messages per second are judged by SPF, DKIM and DMARC, with warm DNS, and stored.
//!
//! All servers ask the same name server of ours. One message goes through to a next hop first: each of the three must have
//! passed on it, and the records are warm by then.
//!
//! Then what the checks add to a single message: the median of the accept time at a pace that leaves the server at rest, of ours as it
//! comes and of ours without verification.

use std::time::Duration;

use postroad_e2e::kubectl::{Failure, Outcome};

use super::{accept, count_queue, of_test, with_servers};
use crate::account::Watch;
use crate::bench::{Bench, SIZE};
use crate::figures::{per_mille, rate};
use crate::load::body::Template;
use crate::load::entrance::{CLIENT, Entrance};
use crate::load::generator::Load;
use crate::load::probe::{PROBED, Probe};
use crate::load::signature::{self, DOMAIN, SELECTOR};
use crate::servers::{Running, Task, postfix_judging, postroad_judging};
use crate::{bench::OURS, zone};

/// Messages, to ours and to a peer that takes minutes for so many.
const MESSAGES_OURS: u64 = 20_000;
const MESSAGES: u64 = 4_000;

/// Messages that are looked at one by one, and how many of them a second.
const SINGLE: u64 = 4_000;
const PACE: f64 = 400.0;

pub(super) fn run(bench: &mut Bench) -> Outcome {
    let signed = signature::signed(SIZE)?;
    zone::serve(vec![
        (DOMAIN.into(), format!("v=spf1 ip4:{CLIENT} -all")),
        (format!("{SELECTOR}._domainkey.{DOMAIN}"), signed.record.clone()),
        (format!("_dmarc.{DOMAIN}"), "v=DMARC1; p=reject".into()),
    ])?;
    let probe: &'static Probe = Box::leak(Box::new(Probe::start()?));
    let ours = Box::new(postroad_judging::Judge { probe, judges: true });
    let theirs = Box::new(postfix_judging::Judge(probe));
    of_test(bench, "B4", ours, theirs, |bench| {
        measure(bench, probe, &signed.template)
    })?;
    delay(bench, probe, &signed.template)
}

/// How much longer a message takes to be accepted when it is judged.
fn delay(bench: &mut Bench, probe: &'static Probe, template: &Template) -> Outcome {
    for (judges, series) in [(true, "judged"), (false, "unjudged")] {
        let ours = Box::new(postroad_judging::Judge { probe, judges });
        with_servers(bench, "B4", vec![ours], |bench| {
            let what = format!("B4 p50, {series}");
            bench.in_turns(&what, Task::Keep, |bench, _, running| {
                let p50 = accepted(bench, probe, running, template, judges)?;
                bench.note_ours("B4", &["p50", series], "ms", p50);
                Ok(())
            })
        })?;
    }
    let median = |series| {
        let figure = bench.figures.get("B4", &["p50", series], OURS);
        figure.map(crate::figures::Figure::median)
    };
    if let (Some(judged), Some(unjudged)) = (median("judged"), median("unjudged")) {
        bench.note_ours("B4", &["p50", "added"], "ms", judged - unjudged);
    }
    Ok(())
}

/// Milliseconds that half of the messages took at most, from when they were due to their 250.
fn accepted(
    bench: &mut Bench,
    probe: &Probe,
    running: &Running,
    template: &Template,
    judges: bool,
) -> Outcome<f64> {
    if judges {
        passes(bench, probe, running, template)?;
    }
    let given = bench.generate(Load {
        sessions: 4,
        window: 1,
        pace: Some(PACE),
        ..load(running, template, SINGLE)
    })?;
    let mut times: Vec<Duration> = given.sent.iter().map(|sent| sent.took).collect();
    Ok(per_mille(&mut times, 500).as_secs_f64() * 1_000.0)
}

fn measure(bench: &mut Bench, probe: &Probe, template: &Template) -> Outcome {
    bench.in_turns("B4 judged", Task::Keep, |bench, server, running| {
        let messages = if server.name() == OURS {
            MESSAGES_OURS
        } else {
            MESSAGES
        };
        passes(bench, probe, running, template)?;
        let watch = Watch::start(&running.jail)?;
        let given = bench.generate(load(running, template, messages))?;
        let sample = watch.sample(rate(messages, given.took))?;
        bench.note("B4", &[], server.name(), "/s", sample);
        count_queue(server, running, messages)
    })
}

fn load(running: &Running, template: &Template, messages: u64) -> Load {
    Load {
        template: template.clone(),
        entrance: Entrance::Proxied,
        ..accept::load(running, messages)
    }
}

fn passes(bench: &Bench, probe: &Probe, running: &Running, template: &Template) -> Outcome {
    bench.generate(Load {
        domain: PROBED,
        sessions: 1,
        ..load(running, template, 1)
    })?;
    let message = probe.message(Duration::from_secs(30))?;
    let header = message.split("\r\n\r\n").next().unwrap_or_default();
    match ["spf=pass", "dkim=pass", "dmarc=pass"]
        .into_iter()
        .find(|verdict| !header.contains(verdict))
    {
        None => Ok(()),
        Some(verdict) => Err(Failure::wrong(format!("no {verdict} on the message:\n{header}"))),
    }
}
