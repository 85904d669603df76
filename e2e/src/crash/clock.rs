//! The machine's clock is set by days, forward and back, under load.
//!
//! What is sane: while the server runs, a step of the clock moves no timer and ends no lifetime, for it counts time by
//! itself. A start believes the clock; even then each waiting mail is tried before it is given up, and none waits for a
//! time that lies days ahead. In no case is mail lost, or returned that its next hop would have taken.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::daemon::Daemon;
use super::load::Ledger;
use super::sink::Sink;
use super::{Choice, Figures, PATIENCE, accounted_for, stop};
use crate::kubectl::{Failure, Outcome};
use crate::shell::Shell;

/// Seconds of a day.
const DAY: i64 = 86_400;
/// Further than `queue.lifetime` (five days) and than any wait.
const STEPS: &[i64] = &[6 * DAY, -6 * DAY, 400 * DAY, -400 * DAY, DAY, -DAY];

/// Plays the method.
pub(super) fn play(choice: &Choice) -> Outcome<Figures> {
    let steps = if choice.exhaustive { STEPS } else { &STEPS[..2] };
    let mut sum = Figures::default();
    for step in steps {
        sum += under_load(choice, *step)?;
        sum += over_a_start(choice, *step)?;
    }
    Ok(sum)
}

/// The step comes while mail arrives and older mail waits; then the next hop opens.
fn under_load(choice: &Choice, step: i64) -> Outcome<Figures> {
    let rig = Rig::new(choice)?;
    let mut daemon = rig.start()?;
    rig.load(&daemon, || rig.clock.set(step))?;
    let what = format!("the clock was set by {} days under load", step / DAY);
    is_believed(&daemon, step, &what)?;
    // The timers go on: what waited before the step is tried again, while the next hop is still closed.
    let before = rig.sink.turned_away();
    let limit = Instant::now() + Duration::from_secs(20);
    while rig.sink.turned_away() < before + 3 {
        if Instant::now() > limit {
            return Err(Failure::wrong(format!(
                "{what}: nothing is tried any more\n{}",
                daemon.log()
            )));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    rig.sink.open();
    let figures = accounted_for(&mut daemon, &rig.ledger, &rig.sink, &what)?;
    rig.nothing_came_back(&daemon, &what)?;
    Ok(figures)
}

/// The step comes while the server is away; its mail has been tried before.
fn over_a_start(choice: &Choice, step: i64) -> Outcome<Figures> {
    let rig = Rig::new(choice)?;
    let mut daemon = rig.start()?;
    rig.load(&daemon, || Ok(()))?;
    daemon.kill();
    rig.clock.set(step)?;
    rig.sink.open();
    let mut daemon = rig.again(daemon)?;
    let what = format!(
        "the clock was set by {} days while the server was away",
        step / DAY
    );
    is_believed(&daemon, step, &what)?;
    let figures = accounted_for(&mut daemon, &rig.ledger, &rig.sink, &what)?;
    rig.nothing_came_back(&daemon, &what)?;
    Ok(figures)
}

/// What both have.
struct Rig<'a> {
    choice: &'a Choice,
    clock: Clock,
    spool: tempfile::TempDir,
    sink: Sink,
    ledger: Ledger,
}

impl<'a> Rig<'a> {
    fn new(choice: &'a Choice) -> Outcome<Self> {
        let sink = Sink::start()?;
        sink.close();
        Ok(Self {
            choice,
            clock: Clock::new()?,
            spool: tempfile::tempdir()?,
            sink,
            ledger: Ledger::default(),
        })
    }

    fn start(&self) -> Outcome<Daemon> {
        let spool = self.spool.path().join("spool");
        self.again(Daemon::new(&self.choice.program, &spool, self.sink.address())?)
    }

    fn again(&self, daemon: Daemon) -> Outcome<Daemon> {
        let words = self.clock.words();
        daemon.start_behind(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Mail from four connections; in the middle of it something happens.
    fn load(&self, daemon: &Daemon, happens: impl FnOnce() -> Outcome) -> Outcome {
        let end = Arc::new(AtomicBool::new(false));
        let senders = self.ledger.storm(daemon.smtp(), 4, &end);
        let happened = self.enough(0).and_then(|()| {
            happens()?;
            self.enough(self.ledger.acknowledged())
        });
        stop(senders, &end);
        happened
    }

    /// Waits until so many mails more are confirmed that some of them have been tried.
    fn enough(&self, before: u64) -> Outcome {
        let limit = Instant::now() + PATIENCE;
        let tried = self.sink.turned_away();
        while self.ledger.acknowledged() < before + 100 || self.sink.turned_away() == tried {
            if Instant::now() > limit {
                return Err(Failure::wrong("no mail is taken any more, or none is tried"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// No mail came back that its next hop takes.
    fn nothing_came_back(&self, daemon: &Daemon, what: &str) -> Outcome {
        let returned = self.sink.returned_by_mistake();
        if returned.is_empty() {
            return Ok(());
        }
        Err(Failure::wrong(format!(
            "{what}: {} mails were given up that the next hop takes, such as {:?}\n{}",
            returned.len(),
            &returned[..returned.len().min(5)],
            daemon.log()
        )))
    }
}

/// A clock that can be set, for one process.
pub struct Clock {
    home: tempfile::TempDir,
    offset: File,
}

impl Clock {
    /// At the true time.
    pub fn new() -> Outcome<Self> {
        let home = tempfile::tempdir()?;
        let source = home.path().join("clock.c");
        std::fs::write(&source, include_str!("clock.c"))?;
        Shell::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([home.path().join("clock.so"), source])
            .run()?;
        let offset = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .open(home.path().join("offset"))?;
        let clock = Self { home, offset };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets it to so many seconds from the true time.
    pub fn set(&self, seconds: i64) -> Outcome {
        Ok(self.offset.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }

    /// What is put in front of a command line.
    pub fn words(&self) -> [String; 3] {
        let path = |name: &str| -> PathBuf { self.home.path().join(name) };
        [
            "env".to_owned(),
            format!("LD_PRELOAD={}", path("clock.so").display()),
            format!("POSTROAD_CLOCK={}", path("offset").display()),
        ]
    }
}

/// The server's log has the day that the clock was set to: without that nothing was shown.
fn is_believed(daemon: &Daemon, seconds: i64, what: &str) -> Outcome {
    let date = format!("{seconds} seconds");
    let day = Shell::new("date")
        .args(["--utc", "--date", &date, "+%Y-%m-%dT"])
        .read()?;
    let limit = Instant::now() + Duration::from_secs(10);
    while !daemon.log().contains(&day) {
        if Instant::now() > limit {
            return Err(Failure::wrong(format!(
                "{what}, and its log does not say {day}: is it a static program?\n{}",
                daemon.log()
            )));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
