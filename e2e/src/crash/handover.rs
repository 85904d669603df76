//! Two servers, one of which gives its whole queue to the other, as pods do when a fleet is made smaller. Either is killed,
//! or both, again and again until the first is empty. Every mail is delivered, and none twice: a hand-over may not double.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::daemon::Daemon;
use super::fleet::Fleet;
use super::load::Ledger;
use super::sink::Sink;
use super::{Choice, Draw, Figures, PATIENCE, brings, judge, stop};
use crate::kubectl::{Failure, Outcome};

/// Mails that are handed over in one round.
const MAILS: u64 = 1_500;
/// Kills of one round, at most.
const KILLS: u64 = 8;
/// Rounds of an exhaustive run.
const ROUNDS: usize = 20;

/// Plays the method.
pub(super) fn play(choice: &Choice) -> Outcome<Figures> {
    let mut draw = Draw::new(choice.seed);
    control(choice)?;
    let rounds = if choice.exhaustive { ROUNDS } else { 1 };
    let mut sum = Figures::default();
    for _ in 0..rounds {
        sum += round(choice, &mut draw)?;
    }
    Ok(sum)
}

fn round(choice: &Choice, draw: &mut Draw) -> Outcome<Figures> {
    let mut pair = Pair::new(choice)?;
    let mut kills = 0;
    while !pair.is_through()? {
        if kills < KILLS {
            std::thread::sleep(Duration::from_millis(draw.between(0, 60)));
            match draw.between(0, 3) {
                0 => pair.leaving.kill(),
                1 => pair.staying.kill(),
                _ => {
                    pair.leaving.kill();
                    pair.staying.kill();
                }
            }
            kills += 1;
            pair.revive()?;
        } else {
            std::thread::sleep(Duration::from_millis(20));
        }
        if Instant::now() > pair.deadline {
            return Err(Failure::wrong(format!(
                "the hand-over does not come to its end\n{}\n{}",
                pair.leaving.log(),
                pair.staying.log()
            )));
        }
    }
    if kills == 0 {
        return Err(Failure::wrong("the hand-over ended before the first kill"));
    }
    pair.leaving.kill();
    let figures = judge(pair.staying, &pair.ledger, &pair.sink, "after the hand-over")?;
    if figures.duplicates > 0 {
        return Err(Failure::wrong(format!(
            "{} mails arrived twice: the hand-over doubled them",
            figures.duplicates
        )));
    }
    Ok(Figures {
        points: kills,
        ..figures
    })
}

/// The same, but the leaving server's volume is thrown away in the middle: here mail must be missed, or the kills above
/// came when all was over.
fn control(choice: &Choice) -> Outcome {
    let mut pair = Pair::new(choice)?;
    pair.leaving.kill();
    pair.sink.open();
    let limit = Instant::now() + Duration::from_secs(5);
    while !pair.ledger.missing(&pair.sink).is_empty() && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(20));
    }
    if pair.ledger.missing(&pair.sink).is_empty() {
        return Err(Failure::wrong(
            "a volume was thrown away in the middle of a hand-over, and nothing is missed: this test cannot see a loss",
        ));
    }
    Ok(())
}

/// The two servers, with the order to hand over given.
struct Pair {
    fleet: Fleet,
    leaving: Daemon,
    staying: Daemon,
    sink: Sink,
    ledger: Ledger,
    deadline: Instant,
    _home: tempfile::TempDir,
}

impl Pair {
    fn new(choice: &Choice) -> Outcome<Self> {
        let (home, fleet, sink) = (tempfile::tempdir()?, Fleet::new()?, Sink::start()?);
        sink.close();
        let start = |name: &str| -> Outcome<Daemon> {
            let mut daemon = Daemon::new(&choice.program, &home.path().join(name), sink.address())?;
            daemon.serve_api(&fleet.api(daemon.smtp().ip())?)?;
            daemon.start()
        };
        let (leaving, staying) = (start("leaving")?, start("staying")?);
        let ledger = Ledger::default();
        let end = Arc::new(AtomicBool::new(false));
        let senders = ledger.storm(leaving.smtp(), 4, &end);
        let filled = brings(&ledger, MAILS);
        stop(senders, &end);
        filled?;
        let pair = Self {
            fleet,
            leaving,
            staying,
            sink,
            ledger,
            deadline: Instant::now() + 2 * PATIENCE,
            _home: home,
        };
        pair.give()?;
        Ok(pair)
    }

    /// As the operator does it: again after every start, as the list of targets is not kept.
    fn give(&self) -> Outcome<Value> {
        let ip = |daemon: &Daemon| -> IpAddr { daemon.smtp().ip() };
        self.fleet.seal(ip(&self.leaving), ip(&self.staying))
    }

    /// Whether the leaving server has nothing left.
    fn is_through(&self) -> Outcome<bool> {
        let state = self.fleet.state(self.leaving.smtp().ip())?;
        Ok(state["seal"]["empty"] == true)
    }

    /// Starts who was killed. A sealed server serves nobody, so it is not asked whether it is ready.
    fn revive(&mut self) -> Outcome {
        for daemon in [&mut self.staying, &mut self.leaving] {
            if daemon.runs() {
                continue;
            }
            daemon.spawn(&[])?;
            if !daemon.becomes_alive(PATIENCE) {
                return Err(Failure::wrong(format!(
                    "it does not start again\n{}",
                    daemon.log()
                )));
            }
        }
        self.give().map(drop)
    }
}
