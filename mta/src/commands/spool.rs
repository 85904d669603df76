//! `postroad-mta spool ls|check|repair|cat`: the spool of a mail server that does not run.
//!
//! While it runs it holds the lock, and these say so: ask the mail server itself then.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use postroad_spool::inspect::{Inspector, repair as repair_spool};
use postroad_spool::{
    ByMode, DeliverBy, EntryId, FromCheckpoint, Message, OpenError, Options, Ownership, Recovery, Summary,
};
use serde_json::{Value, json};

use super::{counted, say};
use crate::log::clean;
use crate::queue::shown;

/// Lists the messages.
pub fn ls(directory: &Path, json: bool) -> ExitCode {
    with(directory, |spool| {
        let mut out = io::BufWriter::new(io::stdout().lock());
        for entry in spool.entries() {
            let row = row(spool, &entry);
            if json {
                writeln!(out, "{row}")?;
            } else {
                write_row(&mut out, &row)?;
            }
        }
        out.flush()?;
        Ok(true)
    })
}

/// Reads everything.
pub fn check(directory: &Path, json: bool) -> ExitCode {
    with(directory, |spool| {
        let entries = spool.entries();
        let mut progress = Progress::new(entries.len());
        let mut unreadable = Vec::new();
        for entry in &entries {
            if let Err(error) = spool.verify(entry.id) {
                unreadable.push((entry.id, error.to_string()));
            }
            progress.step();
        }
        let report = spool.report();
        let whole = is_whole(report, &unreadable);
        if json {
            say(&format_args!("{}", checked(spool, entries.len(), &unreadable)));
        } else {
            tell(spool, entries.len(), report, &unreadable);
        }
        Ok(whole)
    })
}

fn is_whole(report: &Recovery, unreadable: &[(EntryId, String)]) -> bool {
    unreadable.is_empty() && report.vanished.is_empty() && report.damaged == 0 && report.lost == 0
}

/// Repairs, with copies of what is changed.
pub fn repair(directory: &Path) -> ExitCode {
    match repair_spool(directory, &Options::default()) {
        Ok(done) if done.copies.is_empty() && done.lost.is_empty() && done.vanished.is_empty() => {
            say(&format_args!(
                "nothing to repair: {} messages, all whole",
                done.kept
            ));
            ExitCode::SUCCESS
        }
        Ok(done) => {
            for copy in &done.copies {
                say(&format_args!("copied aside: {}", copy.display()));
            }
            for place in &done.damage {
                say(&format_args!(
                    "damaged: segment {:08}, octets {} to {}: what was written there is lost, and nothing says what it was",
                    place.segment, place.from, place.to
                ));
            }
            for id in &done.vanished {
                say(&format_args!("vanished: {id} is in no segment any more"));
            }
            for lost in &done.lost {
                say(&format_args!("lost: {lost} cannot be read and was taken out"));
            }
            say(&format_args!(
                "repaired: {} messages are there, {} that are known by name were lost, {} places were damaged",
                done.kept,
                done.lost.len() + done.vanished.len(),
                done.damage.len()
            ));
            ExitCode::SUCCESS
        }
        Err(error) => refused(directory, &error),
    }
}

/// Prints a message.
pub fn cat(directory: &Path, id: &str, envelope: bool) -> ExitCode {
    let Ok(id) = id.parse::<EntryId>() else {
        eprintln!(
            "`{}` is no id: write the 16 hexadecimal digits that `ls` shows",
            clean(id)
        );
        return ExitCode::from(2);
    };
    with(directory, |spool| {
        let mut message = match spool.read(id) {
            Ok(message) => message,
            Err(error) => {
                eprintln!("{id}: {error}");
                return Ok(false);
            }
        };
        let mut out = io::stdout().lock();
        if envelope {
            writeln!(out, "{:#}", described(&message))?;
        } else {
            out.write_all(&message.item.prefix)?;
            io::copy(&mut message.body as &mut dyn Read, &mut out)?;
        }
        out.flush()?;
        Ok(true)
    })
}

/// Opens the spool and does the work. False, or an error, is exit code 1.
fn with(directory: &Path, work: impl FnOnce(&Inspector) -> io::Result<bool>) -> ExitCode {
    let spool = match Inspector::open(directory) {
        Ok(spool) => spool,
        Err(error) => return refused(directory, &error),
    };
    match work(&spool) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever reads our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

fn refused(directory: &Path, error: &OpenError) -> ExitCode {
    match error {
        OpenError::Locked(_) => eprintln!(
            "{}: a mail server runs on this spool; ask it, or stop it first",
            directory.display()
        ),
        other => eprintln!("{}: {other}", directory.display()),
    }
    ExitCode::FAILURE
}

fn row(spool: &Inspector, entry: &Summary) -> Value {
    let mut row = json!({
        "id": entry.id.to_string(), "owner": owner(entry.ownership), "arrived": entry.arrived, "expires": entry.expires,
        "size": entry.size,
    });
    let more = match spool.read(entry.id) {
        Ok(message) => {
            json!({"sender": clean(&message.item.envelope.reverse_path), "recipients": recipients(&message)})
        }
        Err(error) => json!({"error": error.to_string()}),
    };
    if let (Some(row), Value::Object(more)) = (row.as_object_mut(), more) {
        row.extend(more);
    }
    row
}

fn write_row(out: &mut impl Write, row: &Value) -> io::Result<()> {
    let text = |field: &str| row[field].as_str().unwrap_or("").to_owned();
    let arrived = row["arrived"]
        .as_i64()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let arrived = arrived
        .map(|at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default();
    writeln!(
        out,
        "{}  {}  {:>9}  {:<7}  <{}>{}",
        text("id"),
        arrived,
        row["size"],
        text("owner"),
        text("sender"),
        row["error"]
            .as_str()
            .map(|error| format!("  {error}"))
            .unwrap_or_default(),
    )?;
    for recipient in row["recipients"].as_array().into_iter().flatten() {
        writeln!(
            out,
            "{:18}{:<9} <{}>  {}  {}",
            "",
            recipient["state"].as_str().unwrap_or(""),
            recipient["address"].as_str().unwrap_or(""),
            counted(recipient["attempts"].as_u64().unwrap_or(0), "attempt"),
            recipient["reply"].as_str().unwrap_or(""),
        )?;
    }
    Ok(())
}

fn recipients(message: &Message) -> Value {
    let pairs = message
        .item
        .envelope
        .recipients
        .iter()
        .zip(&message.item.recipients);
    let one = |(recipient, state): (&postroad_spool::Recipient, &postroad_spool::RecipientState)| {
        json!({
            "address": clean(&recipient.forward_path), "state": shown::name(state), "attempts": state.attempts,
            "nextAttempt": shown::next_attempt(state), "reply": clean(&state.reply),
        })
    };
    pairs.map(one).collect()
}

fn described(message: &Message) -> Value {
    let envelope = &message.item.envelope;
    json!({
        "id": message.id.to_string(), "owner": owner(message.ownership), "sender": clean(&envelope.reverse_path),
        "recipients": recipients(message), "identity": envelope.identity, "client": envelope.client,
        "arrived": envelope.arrived, "expires": envelope.expires, "smtputf8": envelope.smtputf8,
        "envid": envelope.envid, "size": message.item.prefix.len() as u64 + message.body.len(),
        "requireTls": envelope.require_tls, "deliverBy": envelope.deliver_by.map(deliver_by),
    })
}

fn deliver_by(by: DeliverBy) -> Value {
    let mode = match by.mode {
        ByMode::Return => "return",
        ByMode::Notify => "notify",
    };
    json!({"deadline": by.deadline, "mode": mode, "trace": by.trace})
}

fn checked(spool: &Inspector, entries: usize, unreadable: &[(EntryId, String)]) -> Value {
    let report = spool.report();
    let damage = report
        .damage
        .iter()
        .map(|place| json!({"segment": place.segment, "from": place.from, "to": place.to}));
    let vanished = report.vanished.iter().map(ToString::to_string);
    let unreadable = unreadable
        .iter()
        .map(|(id, error)| json!({"id": id.to_string(), "error": error}));
    json!({
        "spool": spool.uuid().to_string(), "sealed": spool.seal_state().sealed, "entries": entries,
        "segments": report.segments, "formats": spool.formats(), "damaged": report.damaged,
        "damage": damage.collect::<Vec<_>>(), "headless": report.headless, "vanished": vanished.collect::<Vec<_>>(), "lost": report.lost, "orphans": report.orphans, "tornTail": report.torn_tail,
        "checkpoint": spool.checkpoint().name(),
        "unreadable": unreadable.collect::<Vec<_>>(),
    })
}

fn tell(spool: &Inspector, entries: usize, report: &Recovery, unreadable: &[(EntryId, String)]) {
    say(&format_args!(
        "spool {}: {entries} messages in {} segments of {}",
        spool.uuid(),
        report.segments,
        formats(spool)
    ));
    for place in &report.damage {
        say(&format_args!(
            "damaged: segment {:08}, octets {} to {}",
            place.segment, place.from, place.to
        ));
    }
    for number in &report.headless {
        say(&format_args!("damaged: segment {number:08}, its first block"));
    }
    for id in &report.vanished {
        say(&format_args!(
            "vanished: {id} was accepted, and is in no segment: a file was removed, cut off or replaced by an older one"
        ));
    }
    for (id, error) in unreadable {
        say(&format_args!("unreadable: {id}: {error}"));
    }
    if report.lost > 0 {
        say(&format_args!(
            "lost: the body files of {} messages are missing or short",
            report.lost
        ));
    }
    if report.torn_tail && report.vanished.is_empty() {
        say(&format_args!(
            "the last write was cut off; nothing of it was ever acknowledged"
        ));
    }
    if report.orphans > 0 {
        say(&format_args!(
            "{} body files belong to no message; the next start removes them",
            report.orphans
        ));
    }
    match spool.checkpoint() {
        FromCheckpoint::Used => say(&format_args!("the next start uses the checkpoint of the index")),
        other => say(&format_args!(
            "the next start reads everything: the checkpoint of the index is {}",
            other.name()
        )),
    }
    let whole = is_whole(report, unreadable);
    say(&format_args!(
        "{}",
        if whole {
            "whole"
        } else {
            "NOT whole: `postroad-mta spool repair` mends what can be mended"
        }
    ));
}

/// `format 1`, or with both: `format 1 (3), format 2 (1)`.
fn formats(spool: &Inspector) -> String {
    let formats = spool.formats();
    let one = |(format, count): (&u32, &usize)| match (format, formats.len()) {
        (0, _) => format!("unknown format ({count})"),
        (_, 1) => format!("format {format}"),
        _ => format!("format {format} ({count})"),
    };
    formats.iter().map(one).collect::<Vec<_>>().join(", ")
}

const fn owner(ownership: Ownership) -> &'static str {
    match ownership {
        Ownership::Owned => "ours",
        Ownership::Offered => "offered",
        Ownership::Given => "given",
        Ownership::Held => "held",
    }
}

/// A line on standard error every 10,000 messages.
struct Progress {
    done: usize,
    of: usize,
}

impl Progress {
    const fn new(of: usize) -> Self {
        Self { done: 0, of }
    }

    fn step(&mut self) {
        self.done += 1;
        if self.done.is_multiple_of(10_000) {
            eprintln!("{} of {} messages read", self.done, self.of);
        }
    }
}
