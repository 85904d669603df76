//! Somebody deletes the spool's directory under the running server, or moves it away. From then on nothing is confirmed,
//! the server says why and leaves service, without dying. What was moved comes back whole; on an empty place a start makes
//! a new spool and serves.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::daemon::Daemon;
use super::load::Ledger;
use super::sink::Sink;
use super::{Choice, Draw, Figures, PATIENCE, brings, judge, refuses, stop};
use crate::kubectl::{Failure, Outcome};

/// Rounds of an exhaustive run.
const ROUNDS: usize = 20;
/// Connections of the load; each may have one reply on its way.
const CONNECTIONS: usize = 4;

/// Plays the method.
pub(super) fn play(choice: &Choice) -> Outcome<Figures> {
    let mut draw = Draw::new(choice.seed);
    let rounds = if choice.exhaustive { ROUNDS } else { 2 };
    let mut sum = Figures::default();
    for _ in 0..rounds {
        sum += round(choice, draw.between(20, 500), Way::Deleted)?;
        sum += round(choice, draw.between(20, 500), Way::Moved)?;
    }
    Ok(sum)
}

/// What happens to the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Deleted,
    Moved,
}

fn round(choice: &Choice, after: u64, way: Way) -> Outcome<Figures> {
    let what = format!("the spool's directory was {way:?} after {after} ms");
    let home = tempfile::tempdir()?;
    let (spool, away) = (home.path().join("spool"), home.path().join("away"));
    let sink = Sink::start()?;
    sink.close();
    let ledger = Ledger::default();
    let mut daemon = Daemon::new(&choice.program, &spool, sink.address())?.start()?;
    let end = Arc::new(AtomicBool::new(false));
    let senders = ledger.storm(daemon.smtp(), CONNECTIONS, &end);
    let began = brings(&ledger, 20);
    std::thread::sleep(Duration::from_millis(after));
    let removed = began.and_then(|()| match way {
        Way::Deleted => delete(&spool),
        Way::Moved => Ok(std::fs::rename(&spool, &away)?),
    });
    let before = ledger.acknowledged();
    let refused = removed.and_then(|()| refuses(&mut daemon, &ledger, &what));
    stop(senders, &end);
    refused?;
    if way == Way::Moved {
        // What was confirmed meanwhile is in the files that were moved.
        std::fs::rename(&away, &spool)?;
        return judge(daemon, &ledger, &sink, &what);
    }
    let lies = ledger.acknowledged() - before;
    if lies > CONNECTIONS as u64 {
        return Err(Failure::wrong(format!(
            "{what}: {lies} mails were confirmed afterwards, and are nowhere\n{}",
            daemon.log()
        )));
    }
    // Those mails went with the directory, which is their deleter's deed; the server begins anew.
    let anew = Ledger::default();
    let daemon = daemon.restart()?;
    anew.send(daemon.smtp(), 20, &AtomicBool::new(false))?;
    judge(daemon, &anew, &sink, &what)
}

/// Deletes it with all that is in it; files that appear meanwhile as well.
fn delete(directory: &Path) -> Outcome {
    let limit = Instant::now() + PATIENCE;
    while directory.exists() {
        let result = std::fs::remove_dir_all(directory);
        if Instant::now() > limit {
            result?;
        }
    }
    Ok(())
}
