//! `cargo demo`: sets everything up and shows the main job; `cargo demo -- down` removes all of it.
//!
//! The last line is `demo: N accepted, N delivered, 0 lost, 0 duplicated`; the exit code is non-zero if that is not so.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use postroad_e2e::cluster::{self, Choice, Cluster, Which};
use postroad_e2e::kubectl::{Namespace, Outcome};
use postroad_e2e::mail::mailbox::Account;
use postroad_e2e::peers::Peers;
use postroad_e2e::report::Steps;
use postroad_e2e::story::{World, discard};
use postroad_e2e::{demo, install, place};

/// Shows Postroad at work on a real cluster.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    choice: Choice,
    #[command(subcommand)]
    command: Option<Verb>,
}

#[derive(Clone, Copy, Subcommand)]
enum Verb {
    /// Removes everything that the demo made, and nothing else.
    Down,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut steps = Steps::default();
    if args.command.is_some() {
        return finish(
            &steps
                .step("down", || down(&args.choice))
                .map(|()| format!("demo: everything is removed{}", kept())),
        );
    }
    let result = run(&args.choice, &mut steps);
    print!("{}", steps.table());
    match result {
        Ok((world, account)) => {
            println!("what to try next, by hand:");
            if let Some(exports) = world.cluster.exports() {
                println!("{exports}");
            }
            println!(
                "{}\n# remove it\n{}\n",
                demo::by_hand::text(),
                down_again(&args.choice)
            );
            account
                .changed
                .iter()
                .chain(&account.lost)
                .for_each(|mail| eprintln!("not as sent: {mail}"));
            println!("demo: {account}");
            if account.is_exact() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => finish(&Err(error)),
    }
}

fn run(choice: &Choice, steps: &mut Steps) -> Outcome<(World, Account)> {
    if choice.cluster == Which::Local {
        steps.step("Debian packages", cluster::packages)?;
    }
    let world = World::ready(choice, steps)?;
    let namespace = Namespace::new(&world.cluster, demo::NAMESPACE);
    if namespace.exists(&format!("namespace/{}", demo::NAMESPACE))? {
        steps.step("remove an earlier demo", || discard(&namespace))?;
    }
    let account = demo::play(&world, steps)?;
    Ok((world, account))
}

fn down(choice: &Choice) -> Outcome {
    if choice.cluster == Which::Local {
        return Ok(Cluster::down()?);
    }
    let cluster = Cluster::ready(choice)?;
    discard(&Namespace::new(&cluster, demo::NAMESPACE))?;
    install::remove(&cluster)?;
    Peers::remove(&cluster)
}

fn down_again(choice: &Choice) -> &'static str {
    match choice.cluster {
        Which::Local => "cargo demo -- down",
        Which::Current => "cargo demo -- --cluster current down",
    }
}

/// What stays for the next run, where anything does.
fn kept() -> String {
    let cache = place::cache();
    if !cache.exists() {
        return String::new();
    }
    format!(
        "; what was built for it stays for the next run in {0} and {1} (`rm -rf {0}` frees the first, `cargo clean` the second)",
        cache.display(),
        place::target().display()
    )
}

fn finish(result: &Outcome<String>) -> ExitCode {
    match result {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}
