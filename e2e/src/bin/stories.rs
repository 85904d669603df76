//! `cargo e2e`: the stories on a real cluster. `cargo e2e -- --only NAME` plays some of them, `-- --list` names them,
//! `-- --exhaustive` plays the long ones too.

use std::process::ExitCode;

use clap::Parser;
use postroad_e2e::cluster::{self, Choice, Which};
use postroad_e2e::report::Steps;
use postroad_e2e::stories::ALL;
use postroad_e2e::story::{self, World};

/// Plays the stories and counts them.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    choice: Choice,
    /// Only stories whose name contains one of these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Name the stories and end.
    #[arg(long)]
    list: bool,
    /// Play the stories that take minutes, too.
    #[arg(long)]
    exhaustive: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let picked =
        |name: &str| args.only.is_empty() || args.only.iter().any(|part| name.contains(part.as_str()));
    let stories: Vec<_> = ALL.iter().copied().filter(|story| picked(story.name)).collect();
    if args.list {
        for story in &stories {
            println!("{}", story.name);
        }
        return ExitCode::SUCCESS;
    }
    let mut steps = Steps::default();
    let ready = match args.choice.cluster {
        Which::Local => steps.step("packages", cluster::packages).map_err(Into::into),
        Which::Current => Ok(()),
    };
    let world = match ready.and_then(|()| World::ready(&args.choice, &mut steps)) {
        Ok(world) => world,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let count = story::play(&world, &stories, args.exhaustive, &mut steps);
    print!("{}", steps.table());
    println!("{count}");
    if count.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
