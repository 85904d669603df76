//! B4: how many incoming messages per second are judged by SPF, DKIM and DMARC, with warm DNS, and stored.
//!
//! All servers ask the same name server of ours. One message goes through to a next hop first: each of the three must have
//! passed on it, and the records are warm by then.

use std::time::Duration;

use postroad_e2e::kubectl::{Failure, Outcome};

use super::{accept, count_queue, of_test};
use crate::account::Watch;
use crate::bench::{Bench, SIZE};
use crate::figures::rate;
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

pub(super) fn run(bench: &mut Bench) -> Outcome {
    let signed = signature::signed(SIZE)?;
    zone::serve(vec![
        (DOMAIN.into(), format!("v=spf1 ip4:{CLIENT} -all")),
        (format!("{SELECTOR}._domainkey.{DOMAIN}"), signed.record.clone()),
        (format!("_dmarc.{DOMAIN}"), "v=DMARC1; p=reject".into()),
    ])?;
    let probe: &'static Probe = Box::leak(Box::new(Probe::start()?));
    let ours = Box::new(postroad_judging::Judge(probe));
    let theirs = Box::new(postfix_judging::Judge(probe));
    of_test(bench, "B4", ours, theirs, |bench| {
        measure(bench, probe, &signed.template)
    })
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
