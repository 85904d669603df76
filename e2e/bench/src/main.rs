//! `cargo bench-peers`: Postroad against Postfix, Exim and `OpenSMTPD` on this machine.
//!
//!   servers  each in a jail of its own, its queue in the run's folder        load     smtp-source, our generator
//!   tests    B1 … B12, servers in turns                                      sink     where relayed mail goes
//!   figures  samples, medians, ratios ─► bars ─► report (table, JSON)
//!
//! The exit code is non-zero if anything went wrong, a reply that refuses mail included; a missed bar is reported and is
//! no failure of the run.

mod account;
mod bars;
mod bench;
mod credentials;
mod disk;
mod docs;
mod figures;
mod folder;
mod load;
mod pulse;
mod report;
mod servers;
mod sink;
mod submission;
mod svg;
mod tests;
mod throttle;
mod zone;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use postroad_e2e::checks;
use postroad_e2e::kubectl::Outcome;
use postroad_e2e::report::Count;
use postroad_e2e::{place, rootfs};

use crate::bench::Bench;
use crate::folder::Folder;
use crate::servers::{PEERS, Server, postroad};
use crate::tests::{ALL, Test};

/// Measures Postroad and its peers on this machine.
#[derive(Parser)]
struct Args {
    /// Only these tests.
    #[arg(long, value_delimiter = ',', value_parser = ALL.iter().map(|test| test.name).collect::<Vec<_>>())]
    only: Vec<String>,
    /// Only these peers; `none` measures Postroad alone.
    #[arg(long, value_delimiter = ',', value_parser = [&PEERS[..], &["none"]].concat())]
    peers: Vec<String>,
    /// How often each measurement is made; medians are reported.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=99))]
    rounds: u8,
    /// Print the medians as JSON on standard output instead of the table.
    #[arg(long)]
    json: bool,
    /// Write the page, the charts and every sample into `docs/`.
    #[arg(long)]
    docs: bool,
    /// Measure this mail server in place of the tree's, for instance an earlier build of it.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Folder on the disk that is measured; everything in it that is ours is removed at the end.
    #[arg(long, default_value = "/var/tmp")]
    folder: PathBuf,
    /// What the run starts beside itself.
    #[arg(long, hide = true, exclusive = true)]
    pulse: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.pulse {
        return pulse::beat().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    match run(&args) {
        Ok(count) if count.failed == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench-peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Outcome<Count> {
    eprintln!("==> programs and root file systems");
    postroad::build(args.program.as_deref())?;
    let mut count = Count::default();
    let servers = servers(args, &mut count);
    let mut bench = Bench::new(servers, args.rounds.into(), Folder::of_run(&args.folder)?)?;
    end_on_interrupt(&bench);
    for test in ALL.iter().filter(|test| is_picked(test, args)) {
        eprintln!("==> {}: {}", test.name, test.about);
        count += match (test.run)(&mut bench) {
            Ok(()) => checks::pass(),
            Err(error) => checks::fail(test.name, &error.to_string()),
        };
    }
    for (what, peer, why) in &bench.unfinished {
        count += checks::skip(&format!("{what} with {peer}"), 1, why);
    }
    let verdicts = bars::judge(&bench.figures);
    if args.json {
        println!("{:#}", bench.figures.json());
    } else {
        print!("{}", report::text(&bench.figures));
    }
    for verdict in &verdicts {
        let met = if verdict.met { "met   " } else { "MISSED" };
        eprintln!("    {met} {} {}", verdict.test, verdict.text);
    }
    if args.docs {
        docs::write(&bench, &place::tree().join("docs"))?;
    }
    eprintln!("bench-peers: {count}");
    Ok(count)
}

fn is_picked(test: &Test, args: &Args) -> bool {
    args.only.is_empty() || args.only.iter().any(|name| name == test.name)
}

/// Ours and the picked peers that are there. A peer that is not is a counted skip.
fn servers(args: &Args, count: &mut Count) -> Vec<Box<dyn Server>> {
    let picked = |name: &&str| args.peers.is_empty() || args.peers.iter().any(|peer| peer == name);
    let names = std::iter::once(bench::OURS).chain(PEERS.into_iter().filter(picked));
    let mut servers = Vec::new();
    for server in names.filter_map(servers::named) {
        match server.version() {
            Ok(version) => {
                eprintln!("    {} {version}: {}", server.name(), server.settings());
                servers.push(server);
            }
            Err(error) => *count += checks::skip(server.name(), 1, &error.to_string()),
        }
    }
    servers
}

/// Ctrl-C ends the jails, which frees the folder, removes the folder and ends the run.
fn end_on_interrupt(bench: &Bench) {
    let folder = bench.folder.path().to_owned();
    bench.runtime.spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            rootfs::end_all();
            let _ = std::fs::remove_dir_all(folder);
            std::process::exit(130);
        }
    });
}
