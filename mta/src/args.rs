//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Postroad's mail transfer agent.
#[derive(Debug, Parser)]
#[command(name = "postroad-mta", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// Serve with this configuration; files `domains-NN.yaml` beside it are its shards.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Something else than serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Commands that end by themselves.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a configuration and print every mistake with its line; exit code 1 if there is one.
    Check {
        /// The base file; files `domains-NN.yaml` beside it are its shards.
        file: PathBuf,
        /// Print one JSON object instead of lines for people.
        #[arg(long)]
        json: bool,
    },
    /// Read a password from standard input and print its verifier for the file of users.
    HashPassword {
        /// Make a SCRAM-SHA-256 verifier (serves PLAIN and LOGIN as well) instead of an argon2id one.
        #[arg(long)]
        scram: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
        let args = Args::try_parse_from(["postroad-mta", "--config", "/x"]).unwrap();
        assert_eq!(args.config, Some(PathBuf::from("/x")));
        assert!(
            Args::try_parse_from(["postroad-mta", "check", "/x"])
                .unwrap()
                .command
                .is_some()
        );
    }
}
