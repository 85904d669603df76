//! Interoperation with mail software that others made, each program from Debian's packages in a jail of its own.
//!
//! ```text
//!   peers    client ─► ours ─► tap ─► peer ─► sink        client ─► peer ─► tap ─► ours ─► sink
//!            a store keeps what it gets; look-alikes of the end of data arrive as one message each
//!   dovecot  a reply for each recipient, full mailboxes; a server for submission that logs in to ours
//!   smarthosts  client ─► ours ─► Postfix, Dovecot, Exim, with a login or a certificate ─► sink
//!   alerts   the chart's rules ─► promtool: each goes off when it should, and not otherwise
//!   clients  swaks, msmtp, smtplib … ─► ours (AUTH, STARTTLS or implicit TLS) ─► sink
//!   reports  ours ─► parsedmarc: policy, rows, results; and the schema of RFC 9990
//!   notices  ours ─► sisimai, flufl.bounce, BounceParser: recipient, status, action
//!   filters  client ─► ours, which asks OpenDKIM, rspamd and ClamAV ─► sink
//!   dane     ours ─► servers of signed zones, of zones without signatures and of broken ones; what is delivered and what waits
//!   signatures  ours ─► dkimpy, Mail::DKIM, OpenDKIM, rspamd: what we sign and seal passes; authres reads verdicts as they are meant
//! ```
//!
//! A tap writes down what both sides say, so that an extension counts as used only where it was seen. Bodies are compared
//! octet by octet. Assumes: root, mmdebstrap, openssl.

mod alerts;
mod clients;
mod dane;
mod dovecot;
mod ends;
mod filters;
mod inbox;
mod mail;
mod notices;
mod ours;
mod peers;
mod reports;
mod signatures;
mod sink;
mod smarthosts;
mod stage;
mod tap;
mod way;

use std::fmt::Write as _;
use std::time::Instant;

use crate::checks;
use crate::kubectl::Outcome;
use crate::report::Count;

/// What was seen of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// It works.
    Yes,
    /// The other side does not offer or not use it.
    Absent,
    /// It does not work, and why.
    Fail(String),
}

/// Rows of a printed table: name, and a verdict for each column.
#[derive(Debug)]
struct Table {
    title: &'static str,
    columns: &'static [&'static str],
    rows: Vec<(String, Vec<Verdict>)>,
}

impl Table {
    fn new(title: &'static str, columns: &'static [&'static str]) -> Self {
        Self {
            title,
            columns,
            rows: Vec::new(),
        }
    }

    fn count(&self) -> Count {
        let mut count = Count::default();
        for (row, verdicts) in &self.rows {
            for (column, verdict) in self.columns.iter().zip(verdicts) {
                match verdict {
                    Verdict::Yes => count.passed += 1,
                    Verdict::Absent => {}
                    Verdict::Fail(why) => count += checks::fail(&format!("{row}, {column}"), why),
                }
            }
        }
        count
    }

    fn text(&self) -> String {
        let mut text = format!(
            "| {} | {} |\n|-|{}\n",
            self.title,
            self.columns.join(" | "),
            "-|".repeat(self.columns.len())
        );
        for (row, verdicts) in &self.rows {
            let cells: Vec<&str> = verdicts
                .iter()
                .map(|verdict| match verdict {
                    Verdict::Yes => "yes",
                    Verdict::Absent => "not offered",
                    Verdict::Fail(_) => "FAIL",
                })
                .collect();
            let _ = writeln!(text, "| {row} | {} |", cells.join(" | "));
        }
        text
    }
}

/// One part of the whole.
struct Part {
    name: &'static str,
    play: fn() -> Outcome<Vec<Table>>,
}

impl Part {
    fn run(&self) -> Count {
        eprintln!("==> interop {}", self.name);
        let start = Instant::now();
        let count = match (self.play)() {
            Ok(tables) => tables.iter().fold(Count::default(), |mut count, table| {
                println!("{}", table.text());
                count += table.count();
                count
            }),
            Err(error) => checks::fail(&format!("interop {}", self.name), &error.to_string()),
        };
        eprintln!("    done in {:.1} s", start.elapsed().as_secs_f32());
        count
    }
}

const PARTS: &[Part] = &[
    Part {
        name: "alerts",
        play: alerts::play,
    },
    Part {
        name: "notices",
        play: notices::play,
    },
    Part {
        name: "reports",
        play: reports::play,
    },
    Part {
        name: "signatures",
        play: signatures::play,
    },
    Part {
        name: "filters",
        play: filters::play,
    },
    Part {
        name: "dane",
        play: dane::play,
    },
    Part {
        name: "peers",
        play: peers::play,
    },
    Part {
        name: "dovecot",
        play: dovecot::play,
    },
    Part {
        name: "smarthosts",
        play: smarthosts::play,
    },
    Part {
        name: "clients",
        play: clients::play,
    },
];

/// Names of the parts.
pub fn names() -> Vec<&'static str> {
    PARTS.iter().map(|part| part.name).collect()
}

/// Plays parts (all, where none is named), prints their tables and counts their cells.
pub fn play(only: &[String]) -> Count {
    let mut count = Count::default();
    for part in PARTS
        .iter()
        .filter(|part| only.is_empty() || only.iter().any(|name| name == part.name))
    {
        if let Some(missing) = missing() {
            count += checks::skip(&format!("interop {}", part.name), 1, &missing);
            continue;
        }
        count += part.run();
    }
    count
}

fn missing() -> Option<String> {
    let there = |program: &&&str| {
        crate::shell::Shell::new("sh")
            .args(["-c", "command -v \"$0\"", program])
            .run()
            .is_err()
    };
    let program = ["mmdebstrap", "openssl", "unshare", "ip"].iter().find(there)?;
    Some(format!("{program} is not installed"))
}
