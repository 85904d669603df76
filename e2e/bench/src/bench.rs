//! What every test has: the servers, the folder, the generator's runtime, the figures.

use postroad_e2e::kubectl::{Failure, Outcome};
use postroad_e2e::rootfs::Jail;
use tokio::runtime::Runtime;

use crate::figures::{Figures, Sample};
use crate::folder::{Folder, settle};
use crate::load::generator::{self, Given, Load};
use crate::servers::{Running, Server, Task, postfix};

/// Octets of a message where a test names no other size.
pub const SIZE: usize = 10 << 10;

/// Name of our own server.
pub const OURS: &str = "postroad";

/// One run of the benchmark.
#[derive(Debug)]
pub struct Bench {
    /// Ours first, then the peers.
    pub servers: Vec<Box<dyn Server>>,
    /// How often each measurement is made.
    pub rounds: usize,
    /// Where queues are.
    pub folder: Folder,
    /// Where the generator and the sink run.
    pub runtime: Runtime,
    /// What was measured.
    pub figures: Figures,
    /// Runs `smtp-source`; absent where its package cannot be had.
    pub tools: Option<Jail>,
    /// What was to be done, the peer that could not do it, and why.
    pub unfinished: Vec<(String, &'static str, String)>,
    /// How servers were set in tests that set them apart, for the report.
    pub settings: Vec<String>,
    started: usize,
}

impl Bench {
    /// A run in that folder.
    pub fn new(servers: Vec<Box<dyn Server>>, rounds: usize, folder: Folder) -> Outcome<Self> {
        let layer = folder.path().join("tools");
        std::fs::create_dir_all(&layer)?;
        let tools = postfix::root().and_then(|root| root.enter(&layer, &[]));
        if let Err(error) = &tools {
            eprintln!("    no smtp-source: {error}");
        }
        Ok(Self {
            servers,
            rounds,
            folder,
            runtime: Runtime::new()?,
            figures: Figures::default(),
            tools: tools.ok(),
            unfinished: vec![],
            settings: vec![],
            started: 0,
        })
    }

    /// The jail with `smtp-source`.
    pub fn tools(&self) -> Outcome<&Jail> {
        self.tools
            .as_ref()
            .ok_or_else(|| Failure::wrong("smtp-source is not here (Debian's postfix could not be unpacked)"))
    }

    /// An empty folder for a server.
    pub fn place(&mut self) -> Outcome<Folder> {
        self.started += 1;
        self.folder.inside(&format!("server-{}", self.started))
    }

    /// Does the work with each server in turn, as many times as there are rounds: what the machine does meanwhile hits
    /// all of them.
    pub fn in_turns(
        &mut self,
        what: &str,
        task: Task,
        mut work: impl FnMut(&mut Self, &dyn Server, &Running) -> Outcome,
    ) -> Outcome {
        let servers = std::mem::take(&mut self.servers);
        let mut result = Ok(());
        'rounds: for round in 1..=self.rounds {
            for server in &servers {
                let gave_up = |given: &(String, &str, String)| given.0 == what && given.1 == server.name();
                if self.unfinished.iter().any(gave_up) {
                    continue;
                }
                eprintln!("    {what}, round {round} of {}: {}", self.rounds, server.name());
                result = self.turn(server.as_ref(), task, &mut work);
                if let Err(error) = result {
                    if server.name() == OURS {
                        result = Err(Failure::wrong(format!("{what}, {}: {error}", server.name())));
                        break 'rounds;
                    }
                    // What a peer cannot do is its result, and no reason to measure nobody else.
                    let why = error.to_string();
                    self.unfinished.push((what.to_owned(), server.name(), why));
                    result = Ok(());
                }
            }
        }
        self.servers = servers;
        result
    }

    fn turn(
        &mut self,
        server: &dyn Server,
        task: Task,
        work: &mut impl FnMut(&mut Self, &dyn Server, &Running) -> Outcome,
    ) -> Outcome {
        let running = server.start(self.place()?, task)?;
        settle()?;
        work(self, server, &running)?;
        drop(running);
        settle()
    }

    /// Runs our generator to its end.
    pub fn generate(&self, load: Load) -> Outcome<Given> {
        self.runtime.block_on(generator::run(load))
    }

    /// Keeps a sample.
    pub fn note(
        &mut self,
        test: &'static str,
        series: &[&'static str],
        server: &'static str,
        unit: &'static str,
        sample: Sample,
    ) {
        let place = [&[test], series].concat().join(" ");
        let share = |share: Option<f64>| {
            share.map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", share * 100.0))
        };
        eprintln!(
            "      {place}: {server} {:.1} {unit} (generator {}, server {} of the processors)",
            sample.value,
            share(sample.generator),
            share(sample.server)
        );
        self.figures.add((test, series), server, unit, sample);
    }

    /// Keeps a figure of ours that has no processor shares.
    pub fn note_ours(&mut self, test: &'static str, series: &[&'static str], unit: &'static str, value: f64) {
        let sample = Sample {
            value,
            generator: None,
            server: None,
        };
        self.note(test, series, OURS, unit, sample);
    }
}
