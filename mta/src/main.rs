//! `postroad-mta`: reads the command line, starts what it asks for, and says in one sentence why it could not.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use postroad_mta::{check, commands, daemon, log};

mod args;

use args::SpoolCommand;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match (args.command, args.config) {
        (Some(args::Command::Check { file, json }), _) => check::run(&file, json),
        (Some(args::Command::HashPassword { scram }), _) => commands::hash_password(scram),
        (
            Some(args::Command::Queue {
                config,
                json,
                command,
            }),
            _,
        ) => match commands::queue::spool_of(&config) {
            Ok(spool) => commands::queue::run(&spool, command.wish(), json),
            Err(sentence) => {
                eprintln!("{sentence}");
                ExitCode::FAILURE
            }
        },
        (Some(args::Command::Spool(command)), _) => match command {
            SpoolCommand::Ls { directory, json } => commands::spool::ls(&directory, json),
            SpoolCommand::Check { directory, json } => commands::spool::check(&directory, json),
            SpoolCommand::Repair { directory } => commands::spool::repair(&directory),
            SpoolCommand::Cat {
                directory,
                id,
                envelope,
            } => commands::spool::cat(&directory, &id, envelope),
        },
        (None, Some(config)) => {
            let _written = log::start();
            match daemon::run(&config) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    tracing::error!(%error, "cannot serve");
                    ExitCode::FAILURE
                }
            }
        }
        (None, None) => {
            let _ = args::Args::command().print_help();
            ExitCode::from(2)
        }
    }
}
