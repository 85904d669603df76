//! The network between the server and the next hop gets sick under load: it loses packets, is slow, is cut for a while, or
//! breaks every connection. When it is well again everything arrives. Where no connection broke nothing arrives twice; where
//! all broke, a mail may arrive twice whose last reply was on its way.
//!
//! Server, client and sink live in a network namespace of this run, with its own loopback and its own packet filter.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::daemon::Daemon;
use super::load::Ledger;
use super::sink::Sink;
use super::{Choice, Draw, Figures, accounted_for, brings, stop};
use crate::kubectl::{Failure, Outcome};
use crate::namespace;
use crate::shell::Shell;

/// Rounds of an exhaustive run, each with every trouble.
const ROUNDS: usize = 10;
/// Connections of the load.
const CONNECTIONS: usize = 4;
/// Mails that come before the trouble and while it lasts.
const MAILS: u64 = 40;

/// Plays the method.
pub(super) fn play(choice: &Choice) -> Outcome<Figures> {
    namespace::inside(|| rounds(choice))
}

fn rounds(choice: &Choice) -> Outcome<Figures> {
    let mut draw = Draw::new(choice.seed);
    let mut sum = Figures::default();
    for _ in 0..if choice.exhaustive { ROUNDS } else { 1 } {
        for trouble in Trouble::ALL {
            let (found, length) = (draw.between(1, 400), draw.between(500, 3_000));
            let figures = round(
                choice,
                trouble,
                Duration::from_millis(found),
                Duration::from_millis(length),
            )?;
            eprintln!(
                "    {trouble:?} for {length} ms: {} acknowledged, {} duplicates",
                figures.acknowledged, figures.duplicates
            );
            sum += figures;
        }
    }
    Ok(sum)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// Every seventh packet or so does not come.
    Loss,
    /// What is beyond a small rate does not come.
    Slow,
    /// Nothing comes.
    Partition,
    /// Every connection breaks, and none is made.
    Reset,
}

impl Trouble {
    const ALL: [Self; 4] = [Self::Loss, Self::Slow, Self::Partition, Self::Reset];

    /// As the packet filter says it.
    const fn rule(self) -> &'static str {
        match self {
            Self::Loss => "numgen random mod 100 < 15 drop",
            Self::Slow => "limit rate over 600 kbytes/second drop",
            Self::Partition => "drop",
            Self::Reset => "meta l4proto tcp reject with tcp reset",
        }
    }
}

fn round(choice: &Choice, trouble: Trouble, after: Duration, length: Duration) -> Outcome<Figures> {
    let what = format!("{trouble:?} after {after:?} for {length:?}");
    let home = tempfile::tempdir()?;
    let sink = Sink::start()?;
    watch(sink.address().port())?;
    let ledger = Ledger::default();
    let spool = home.path().join("spool");
    let mut daemon = Daemon::new(&choice.program, &spool, sink.address())?.start()?;
    let end = Arc::new(AtomicBool::new(false));
    let senders = ledger.storm(daemon.smtp(), CONNECTIONS, &end);
    let troubled = brings(&ledger, MAILS).and_then(|()| {
        std::thread::sleep(after);
        sicken(trouble)?;
        // Whatever the network behind it does, it goes on taking mail.
        brings(&ledger, MAILS)?;
        std::thread::sleep(length);
        Ok(())
    });
    stop(senders, &end);
    troubled.map_err(|error| Failure::wrong(format!("{what}: {error}\n{}", daemon.log())))?;
    if ledger.missing(&sink).is_empty() && trouble == Trouble::Partition {
        return Err(Failure::wrong(format!("{what}: everything came through a cut")));
    }
    heal()?;
    let figures = accounted_for(&mut daemon, &ledger, &sink, &what)?;
    if trouble != Trouble::Reset && figures.duplicates > 0 {
        let count = figures.duplicates;
        return Err(Failure::wrong(format!(
            "{what}: {count} arrived twice though no connection broke\n{}",
            daemon.log()
        )));
    }
    Ok(figures)
}

/// Lets the filter look at the packets to and from that port.
fn watch(port: u16) -> Outcome {
    nft(&format!(
        "add table inet sick\ndelete table inet sick\ntable inet sick {{\n\
         chain trouble {{ }}\n\
         chain come {{ type filter hook input priority 0; tcp dport {port} jump trouble; tcp sport {port} jump trouble; }}\n\
         }}\n"
    ))
}

fn sicken(trouble: Trouble) -> Outcome {
    nft(&format!("add rule inet sick trouble {}\n", trouble.rule()))
}

fn heal() -> Outcome {
    nft("flush chain inet sick trouble\n")
}

fn nft(script: &str) -> Outcome {
    Shell::new("nft").args(["-f", "-"]).input(script).run()?;
    Ok(())
}
