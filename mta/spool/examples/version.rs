//! One version of the spool as a process, so that two versions can meet: `tests/two_versions.rs` builds it twice.
//!
//! ```text
//!   version fill DIR FORMAT FROM COUNT    messages of all kinds that FORMAT can say, then `dump`
//!   version dump DIR FORMAT               a line for each entry with all that is in it
//!   version churn DIR                     commits, turning from one format to the other, until it is killed
//!   version settle DIR FORMAT             ends what FORMAT cannot say, and waits until nothing newer is on disk
//!   version take DIR FORMAT               the taking side of a hand-over, on standard input and output
//!   version give DIR FORMAT [all]         the giving side; `all`: also what the other cannot keep
//! ```
//!
//! Ends with 3 where the spool cannot be opened, and says why.

use std::error::Error;
use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use postroad_spool::handover::{ToSource, ToTarget, TransferId, item};
use postroad_spool::{
    ByMode, DeliverBy, EntryId, Envelope, NEWEST_FORMAT, OLDEST_FORMAT, Options, Ownership, Recipient,
    RecipientState, RecipientUpdate, Spool, Summary,
};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// See the module.
pub fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["fill", dir, format, from, count] => fill(dir, format.parse()?, from.parse()?, count.parse()?),
        ["dump", dir, format] => dump(&open(dir, format.parse()?)?),
        ["churn", dir] => churn(dir),
        ["settle", dir, format] => settle(dir, format.parse()?),
        ["take", dir, format] => take(&open(dir, format.parse()?)?),
        ["give", dir, format] => give(&open(dir, format.parse()?)?, false),
        ["give", dir, format, "all"] => give(&open(dir, format.parse()?)?, true),
        _ => Err("usage: see the head of examples/version.rs".into()),
    }
}

fn open(dir: &str, format: u32) -> Outcome<Spool> {
    let options = Options {
        segment_size: Some(64 << 10),
        inline_limit: 8 << 10,
        write_format: format,
        ..Options::default()
    };
    match Spool::open(Path::new(dir), &options) {
        Ok((spool, recovery)) if (recovery.damaged, recovery.lost) == (0, 0) => Ok(spool),
        Ok((_, recovery)) => Err(format!("{recovery:?}").into()),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(3)
        }
    }
}

/// The `n`th message, with as much as the format can say.
fn envelope(n: u64, format: u32) -> Envelope {
    let recipient = |name: &str| Recipient {
        forward_path: format!("{name}{n}@example.net"),
        ..Recipient::default()
    };
    let mut envelope = Envelope {
        reverse_path: format!("sender{n}@example.org"),
        recipients: vec![recipient("one"), recipient("two")],
        client: "192.0.2.1".into(),
        arrived: 1_700_000_000_000 + n,
        expires: 1_700_400_000_000,
        ..Envelope::default()
    };
    if format >= 2 && n.is_multiple_of(3) {
        envelope.require_tls = true;
        envelope.deliver_by = Some(DeliverBy {
            deadline: 1_700_000_100_000 + n,
            mode: if n.is_multiple_of(2) {
                ByMode::Return
            } else {
                ByMode::Notify
            },
            trace: n.is_multiple_of(2),
        });
    }
    remark(&mut envelope, n, format);
    envelope
}

#[cfg(feature = "next-format")]
fn remark(envelope: &mut Envelope, n: u64, format: u32) {
    if format >= 3 && n.is_multiple_of(4) {
        envelope.remark = Some(format!("remark {n}"));
    }
}

#[cfg(not(feature = "next-format"))]
fn remark(_: &mut Envelope, _: u64, _: u32) {}

#[cfg(feature = "next-format")]
fn remark_of(envelope: &Envelope) -> &str {
    envelope.remark.as_deref().unwrap_or("-")
}

#[cfg(not(feature = "next-format"))]
fn remark_of(_: &Envelope) -> &'static str {
    "-"
}

fn commit(spool: &Spool, n: u64, format: u32) -> Outcome<EntryId> {
    let mut incoming = spool.begin();
    let length = if n.is_multiple_of(5) { 20_000 } else { 900 };
    let octets = (0..length).map(|at| (at * 7 + n) % 251);
    let octets: Vec<u8> = octets.map(u8::try_from).collect::<Result<_, _>>()?;
    incoming.write(&octets)?;
    let prefix = format!("Received: {n}\r\n").into_bytes();
    Ok(incoming.commit(envelope(n, format), prefix).wait()?)
}

fn fill(dir: &str, format: u32, from: u64, count: u64) -> Outcome {
    let spool = open(dir, format)?;
    for n in from..from + count {
        let id = commit(&spool, n, format)?;
        if n.is_multiple_of(2) {
            let state = RecipientState {
                attempts: 2,
                next_attempt: n,
                delay_notified: true,
                by_notified: envelope(n, format).deliver_by.is_some(),
                reply: format!("451 later {n}"),
                ..RecipientState::default()
            };
            spool.record(id, &[RecipientUpdate { index: 1, state }])?;
        }
        if n.is_multiple_of(7) {
            spool.finish(id)?;
        }
    }
    spool.flush().wait()?;
    dump(&spool)
}

fn dump(spool: &Spool) -> Outcome {
    for id in spool.ids_behind(None, usize::MAX) {
        println!("{id} {}", line(spool, id)?);
    }
    Ok(())
}

/// All of an entry but its id.
fn line(spool: &Spool, id: EntryId) -> Outcome<String> {
    let mut message = spool.read(id)?;
    let mut body = Vec::new();
    message.body.read_to_end(&mut body)?;
    let envelope = &message.item.envelope;
    Ok(format!(
        "{:?} {} {:?} {:?} {} {:?} {} {} {:?} {:?} {:08x}",
        message.ownership,
        envelope.reverse_path,
        envelope.recipients,
        envelope.deliver_by,
        envelope.require_tls,
        remark_of(envelope),
        envelope.arrived,
        envelope.expires,
        message.item.recipients,
        String::from_utf8_lossy(&message.item.prefix),
        crc32c::crc32c(&body),
    ))
}

fn churn(dir: &str) -> Outcome {
    let spool = open(dir, NEWEST_FORMAT)?;
    let mut out = std::io::stdout().lock();
    let start = spool
        .ids_behind(None, usize::MAX)
        .last()
        .map_or(0, |id| id.as_u64());
    for n in start.. {
        if n.is_multiple_of(9) {
            let next = if spool.write_format() == NEWEST_FORMAT {
                OLDEST_FORMAT
            } else {
                NEWEST_FORMAT
            };
            spool.set_write_format(next).wait()?;
        }
        let id = commit(&spool, n, spool.write_format())?;
        writeln!(out, "committed {id} {}", line(&spool, id)?)?;
        out.flush()?;
    }
    Ok(())
}

fn settle(dir: &str, format: u32) -> Outcome {
    let spool = open(dir, format)?;
    for entry in spool.entries() {
        if entry.format > format {
            spool.finish(entry.id)?;
        }
    }
    spool.flush().wait()?;
    spool.set_write_format(format).wait()?;
    let begun = Instant::now();
    while spool.format_on_disk() > format {
        if begun.elapsed() > Duration::from_mins(1) {
            return Err("something newer stays on disk".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    dump(&spool)
}

fn take(spool: &Spool) -> Outcome {
    let mut lines = std::io::stdin().lock().lines();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} {}", spool.uuid(), spool.write_format())?;
    out.flush()?;
    let mut offered = None;
    while let Some(line) = lines.next().transpose()? {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["offer", source, seal, entry, generation, form, octets, body] => {
                let transfer = TransferId {
                    source: source.parse()?,
                    seal: seal.parse()?,
                    entry: entry.parse()?,
                    generation: generation.parse()?,
                };
                offered = Some(transfer);
                hold(spool, transfer, form == "plain", (&bytes(octets)?, &bytes(body)?))?
            }
            ["release", hold] => {
                let transfer = offered.ok_or("nothing was offered")?;
                let hold = hold.parse()?;
                let release = ToTarget::Release { transfer, hold };
                spool.requested(release).wait()?.send
            }
            ["freed"] => {
                let transfer = offered.ok_or("nothing was offered")?;
                spool.requested(ToTarget::Freed(transfer)).wait()?;
                None
            }
            _ => return Err(format!("not understood: {line}").into()),
        };
        match answer {
            Some(ToSource::Held { hold, .. }) => writeln!(out, "held {hold}")?,
            Some(ToSource::Released(_)) => writeln!(out, "released")?,
            Some(_) => writeln!(out, "unknown")?,
            None => writeln!(out, "nothing")?,
        }
        out.flush()?;
    }
    Ok(())
}

/// What cannot be read, or not be kept whole, is not held.
fn hold(
    spool: &Spool,
    transfer: TransferId,
    plain: bool,
    (octets, body): (&[u8], &[u8]),
) -> Outcome<Option<ToSource>> {
    let Some((item, length)) = item::decode(octets, plain) else {
        return Ok(Some(ToSource::Unknown(transfer)));
    };
    if length != body.len() as u64 {
        return Err("the body is not as long as was said".into());
    }
    let mut incoming = spool.begin();
    incoming.write(body)?;
    Ok(Some(
        incoming
            .hold(transfer, item)
            .wait()
            .unwrap_or(ToSource::Unknown(transfer)),
    ))
}

fn give(spool: &Spool, all: bool) -> Outcome {
    spool.seal().wait()?;
    let mut lines = std::io::stdin().lock().lines();
    let mut hear = move || -> Outcome<String> { Ok(lines.next().ok_or("the other side ended")??) };
    let hello = hear()?;
    let (uuid, writes) = hello.split_once(' ').ok_or("no greeting")?;
    let (target, writes): (_, u32) = (uuid.parse()?, writes.parse()?);
    let mut out = std::io::stdout().lock();
    let mut say = |line: String| -> Outcome {
        writeln!(out, "{line}")?;
        Ok(out.flush()?)
    };
    let fits = |entry: &Summary| entry.ownership == Ownership::Owned && (all || entry.format <= writes);
    let mut entries = spool.entries();
    entries.retain(fits);
    entries.sort_by_key(|entry| entry.id);
    for entry in entries {
        let transfer = spool.offer(entry.id, target).wait()?.transfer();
        say(offer(spool, &transfer)?)?;
        let answer = hear()?;
        let answer = match answer.split_once(' ') {
            Some(("held", hold)) => ToSource::Held {
                transfer,
                hold: hold.parse()?,
            },
            _ => ToSource::Unknown(transfer),
        };
        let step = spool.answered(target, answer).wait()?;
        if let Some(ToTarget::Release { hold, .. }) = step.send {
            say(format!("release {hold}"))?;
            if hear()? != "released" {
                return Err("not released".into());
            }
            spool.answered(target, ToSource::Released(transfer)).wait()?;
            say("freed".into())?;
            hear()?;
        }
    }
    Ok(())
}

fn offer(spool: &Spool, transfer: &TransferId) -> Outcome<String> {
    let mut message = spool.read(transfer.entry)?;
    let mut body = Vec::new();
    message.body.read_to_end(&mut body)?;
    let form = if item::is_plain(&message.item.envelope) {
        "plain"
    } else {
        "extended"
    };
    let octets = item::encode(&message.item, body.len() as u64);
    Ok(format!(
        "offer {} {} {} {} {form} {} {}",
        transfer.source,
        transfer.seal,
        transfer.entry,
        transfer.generation,
        text(&octets),
        text(&body)
    ))
}

fn text(octets: &[u8]) -> String {
    octets
        .iter()
        .flat_map(|octet| [octet >> 4, octet & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

fn bytes(text: &str) -> Outcome<Vec<u8>> {
    let digits = text.as_bytes().chunks(2).map(std::str::from_utf8);
    let octet = |digits: Result<&str, _>| -> Outcome<u8> { Ok(u8::from_str_radix(digits?, 16)?) };
    digits.map(octet).collect()
}
