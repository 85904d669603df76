//! Odd and malformed MIME (Dovecot): each message goes in by DATA and by BDAT, and comes out by LMTP and by SMTP as it was.

use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};

use crate::sink::{Kind, Sink};
use crate::stage::{Play, Stage};

/// Not text as SMTP may carry it, so refused whole: it has NUL (RFC 5321 section 2.3.8).
const REFUSED: [&str; 1] = ["dovecot-thirdparty/005"];

pub fn cases(folder: &Path) -> Vec<Trial> {
    let trial = |path: PathBuf| {
        let short = path
            .strip_prefix(folder)
            .unwrap()
            .with_extension("")
            .display()
            .to_string();
        let text = std::fs::read(&path).unwrap();
        Trial::test(format!("mime {short}"), move || relay(&short, &canonical(&text)))
    };
    let folders = ["dovecot-malformed", "dovecot-thirdparty"];
    let files = folders
        .iter()
        .flat_map(|name| crate::files(&folder.join(name), "eml"));
    files.map(trial).collect()
}

/// With CR LF at the end of each line, as a client sends a file.
fn canonical(text: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        let bare = line.strip_suffix(b"\n").unwrap_or(line);
        lines.extend_from_slice(bare.strip_suffix(b"\r").unwrap_or(bare));
        lines.extend_from_slice(b"\r\n");
    }
    lines
}

fn relay(name: &str, text: &[u8]) -> Result<(), Failed> {
    let (store, relay) = (
        Sink::lmtp(),
        Sink::start(Kind {
            lmtp: false,
            chunking: true,
        }),
    );
    let mut stage = Play {
        store: Some(store.address),
        relay: Some(relay.address),
        trusted: true,
        ..Play::default()
    }
    .start();
    let refused = REFUSED.contains(&name);
    let code = if refused { 550 } else { 250 };
    for by_chunks in [false, true] {
        let got = send(&stage, text, by_chunks);
        if got != code {
            return Err(format!("by chunks: {by_chunks}: {got}").into());
        }
    }
    stage.is_well();
    if refused {
        return Ok(());
    }
    store.wait_for(3);
    relay.wait_for(2);
    for sink in [store, relay] {
        let same = |body: &[u8]| body.strip_suffix(text).is_some_and(is_trace);
        let arrived = sink.taken().iter().filter(|taken| same(&taken.body)).count();
        if arrived != 2 {
            return Err(format!("{arrived} of 2 copies are as they were").into());
        }
        sink.judge_wire();
    }
    Ok(())
}

/// What a relay may put on top, and nothing else.
fn is_trace(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head);
    head.split_inclusive("\r\n").all(|line| {
        ["Received: ", "Return-Path: ", " ", "\t"]
            .iter()
            .any(|start| line.starts_with(start))
            && line.ends_with("\r\n")
    })
}

fn send(stage: &Stage, text: &[u8], by_chunks: bool) -> u16 {
    let mut wire = stage.wire();
    wire.expect(&[
        ("MAIL FROM:<a@else.example> BODY=8BITMIME", 250),
        ("RCPT TO:<alice@example.com>", 250),
        ("RCPT TO:<b@else.example>", 250),
    ]);
    if by_chunks {
        let (first, second) = text.split_at(text.len() / 3);
        wire.send(&[format!("BDAT {}\r\n", first.len()).as_bytes(), first].concat());
        let reply = wire.reply();
        if reply.code != 250 {
            return reply.code;
        }
        wire.send(&[format!("BDAT {} LAST\r\n", second.len()).as_bytes(), second].concat());
        return wire.reply().code;
    }
    wire.expect(&[("DATA", 354)]);
    let mut stuffed = Vec::new();
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    wire.send(&stuffed);
    wire.say(".").code
}
