//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use postroad_config::admin::{ListQuery, Selection, SiteOrder};
use postroad_mta::commands::queue::Wish;

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
    /// Look at the queue of the mail server that runs here, and give orders about it.
    Queue {
        /// The mail server's configuration; its `spool.directory` is where it is asked.
        #[arg(
            long,
            value_name = "FILE",
            default_value = "/etc/postroad/config/base.yaml",
            global = true
        )]
        config: PathBuf,
        /// Print what the mail server says, one JSON object a line.
        #[arg(long, global = true)]
        json: bool,
        /// What is wanted.
        #[command(subcommand)]
        command: QueueCommand,
    },
    /// Look at the spool of a mail server that does not run, check it, repair it.
    #[command(subcommand)]
    Spool(SpoolCommand),
}

/// `postroad-mta queue …`.
#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// List messages, oldest id first.
    Ls(Terms),
    /// Show one message: envelope, recipients, last replies, next attempts.
    Show {
        /// Its id, 16 hexadecimal digits.
        id: String,
    },
    /// List where mail goes: what waits, what runs, what is closed and why.
    Sites,
    /// Try nothing at a site until it is resumed; what waits there still expires. Survives restarts of this pod.
    Suspend {
        /// Its name, as `sites` says it.
        site: String,
    },
    /// Let a suspended site go on, now.
    Resume {
        /// Its name, as `sites` says it.
        site: String,
    },
    /// Try no more, until released. Survives restarts and hand-overs.
    Hold(Chosen),
    /// Let held messages go on, now.
    Release(Chosen),
    /// Try now; dead sites are probed at once.
    Retry(Chosen),
    /// Route by another policy from now on, and try now: the way that the mail would take is down. Survives restarts, is not
    /// handed over.
    Move {
        /// Which.
        #[command(flatten)]
        chosen: Chosen,
        /// Name of the policy, or - for the usual route again.
        #[arg(long, value_name = "POLICY", allow_hyphen_values = true)]
        to: String,
    },
    /// Give up now and tell the sender.
    Bounce {
        /// Which.
        #[command(flatten)]
        chosen: Chosen,
        /// Tell nobody: the mail is thrown away.
        #[arg(long)]
        silently: bool,
    },
}

/// Which messages.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Terms {
    /// Only of this sender, or of a domain written as @example.com.
    #[arg(long)]
    pub sender: Option<String>,
    /// Only for this recipient, or for a domain written as @example.com.
    #[arg(long)]
    pub recipient: Option<String>,
    /// Only for recipients of this domain.
    #[arg(long, value_name = "DOMAIN", conflicts_with = "recipient")]
    pub recipient_domain: Option<String>,
    /// Only what waits for this site, as `sites` says it.
    #[arg(long)]
    pub site: Option<String>,
    /// Only held ones.
    #[arg(long)]
    pub held: bool,
    /// Only older ones, in seconds.
    #[arg(long, value_name = "SECONDS")]
    pub older_than: Option<u64>,
}

/// Which messages an order is for.
#[derive(Debug, clap::Args)]
pub(crate) struct Chosen {
    /// Ids of messages.
    #[arg(
        required_unless_present_any = ["all", "site", "recipient_domain"],
        conflicts_with_all = ["all", "sender", "recipient", "recipient_domain", "site", "held", "older_than"]
    )]
    pub ids: Vec<String>,
    /// Every message that fits the terms; without terms, every message. --site and --recipient-domain do without it.
    #[arg(long)]
    pub all: bool,
    /// Terms.
    #[command(flatten)]
    pub terms: Terms,
}

impl Terms {
    pub(crate) fn query(self) -> ListQuery {
        ListQuery {
            sender: self.sender,
            recipient: self
                .recipient
                .or_else(|| self.recipient_domain.map(|domain| format!("@{domain}"))),
            site: self.site,
            held: self.held.then_some(true),
            older_than: self.older_than,
            ..ListQuery::default()
        }
    }
}

impl Chosen {
    fn selection(self) -> Selection {
        Selection {
            all: self.ids.is_empty().then(|| self.terms.query()),
            ids: self.ids,
            ..Selection::default()
        }
    }
}

impl QueueCommand {
    pub(crate) fn wish(self) -> Wish {
        match self {
            Self::Ls(terms) => Wish::List(terms.query()),
            Self::Show { id } => Wish::Show(id),
            Self::Sites => Wish::Sites,
            Self::Suspend { site } => Wish::Site("suspend", SiteOrder { site }),
            Self::Resume { site } => Wish::Site("resume", SiteOrder { site }),
            Self::Hold(chosen) => Wish::Order("hold", chosen.selection()),
            Self::Release(chosen) => Wish::Order("release", chosen.selection()),
            Self::Retry(chosen) => Wish::Order("retry", chosen.selection()),
            Self::Move { chosen, to } => Wish::Order(
                "move",
                Selection {
                    to: Some(to),
                    ..chosen.selection()
                },
            ),
            Self::Bounce { chosen, silently } => Wish::Order(
                "bounce",
                Selection {
                    notify: silently.then_some(false),
                    ..chosen.selection()
                },
            ),
        }
    }
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

    /// The selection of a move that these arguments make.
    fn moved(args: &[&str]) -> Result<Selection, clap::Error> {
        let all = ["postroad-mta", "queue", "move"].iter().chain(args);
        let parsed = Args::try_parse_from(all)?;
        let Some(Command::Queue { command, .. }) = parsed.command else {
            panic!("{args:?}");
        };
        let Wish::Order("move", selection) = command.wish() else {
            panic!("{args:?}");
        };
        Ok(selection)
    }

    #[test]
    fn messages_are_chosen_by_ids_or_by_terms_never_by_nothing() {
        let by_domain = moved(&["--recipient-domain", "far.example", "--to", "mail/backup"]).unwrap();
        assert_eq!(by_domain.to.as_deref(), Some("mail/backup"));
        assert_eq!(by_domain.all.unwrap().recipient.as_deref(), Some("@far.example"));
        let by_site = moved(&["--site", "mx:a", "--to", "-"]).unwrap();
        assert_eq!(by_site.to.as_deref(), Some("-"));
        assert_eq!(by_site.all.unwrap().site.as_deref(), Some("mx:a"));
        let by_id = moved(&["000000000000002a", "--to", "p"]).unwrap();
        assert_eq!((by_id.ids.len(), by_id.all), (1, None));
        assert!(moved(&["--all", "--to", "p"]).unwrap().all.is_some());
        for wrong in [
            &["--to", "p"][..],
            &["--sender", "@x.example", "--to", "p"],
            &["1", "--all", "--to", "p"],
            &["1", "--site", "s", "--to", "p"],
            &["1"],
        ] {
            assert!(moved(wrong).is_err(), "{wrong:?}");
        }
    }

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
