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
    /// Look at the spool of a mail server that does not run, check it, repair it.
    #[command(subcommand)]
    Spool(SpoolCommand),
}

/// `postroad-mta spool …`: takes the directory that the configuration calls `spool.directory`.
#[derive(Debug, Subcommand)]
pub(crate) enum SpoolCommand {
    /// List the messages: id, age, size, sender, recipients and how far each of them is.
    Ls {
        /// The spool's directory.
        directory: PathBuf,
        /// Print one JSON object a line instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Read everything and say what is damaged; exit code 1 if anything is.
    Check {
        /// The spool's directory.
        directory: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Copy damaged segments to `damaged/`, write what survived in them anew, take out what cannot be read.
    Repair {
        /// The spool's directory.
        directory: PathBuf,
    },
    /// Print a message as it would leave, or its envelope.
    Cat {
        /// The spool's directory.
        directory: PathBuf,
        /// Its id, 16 hexadecimal digits.
        id: String,
        /// Print the envelope and the state of each recipient as JSON instead.
        #[arg(long)]
        envelope: bool,
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
