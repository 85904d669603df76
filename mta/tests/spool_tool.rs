//! `postroad-mta spool …` as a person uses it: on the spool of a mail server that does not run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where a step fails"
)]

use std::path::Path;
use std::process::{Command, Output};

use postroad_spool::{Envelope, Options, Recipient, RecipientState, RecipientUpdate, Spool};

fn tool(args: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_postroad-mta"))
        .arg("spool")
        .args(args)
        .arg(directory)
        .output()
        .unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

fn put(spool: &Spool, body: &str) -> String {
    put_with(spool, body, false)
}

fn put_with(spool: &Spool, body: &str, require_tls: bool) -> String {
    let mut incoming = spool.begin();
    incoming.write(body.as_bytes()).unwrap();
    let envelope = Envelope {
        reverse_path: "ann@example.org".into(),
        recipients: vec![Recipient {
            forward_path: "bob@example.net".into(),
            ..Recipient::default()
        }],
        require_tls,
        ..Envelope::default()
    };
    let id = incoming.commit(envelope, b"Received: here\r\n".to_vec()).wait();
    id.unwrap().to_string()
}

#[test]
fn a_spool_is_listed_read_checked_and_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let (spool, _) = Spool::open(at, &Options::default()).unwrap();
    let ids: Vec<String> = (0..3)
        .map(|n| put(&spool, &format!("Subject: {n}\r\n\r\nhello\r\n")))
        .collect();

    let busy = tool(&["ls"], at);
    assert!(!busy.status.success() && text(&busy.stderr).contains("a mail server runs on this spool"));
    drop(spool);

    let listed = text(&tool(&["ls", "--json"], at).stdout);
    let rows: Vec<serde_json::Value> = listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[1]["id"], ids[1]);
    assert_eq!(rows[1]["recipients"][0]["address"], "bob@example.net");
    assert!(text(&tool(&["ls"], at).stdout).contains("<ann@example.org>"));

    let cat = |args: &[&str]| {
        let all = [&["spool", "cat"], args].concat();
        Command::new(env!("CARGO_BIN_EXE_postroad-mta"))
            .args(all)
            .output()
            .unwrap()
    };
    let here = at.to_str().unwrap();
    assert_eq!(
        text(&cat(&[here, &ids[1]]).stdout),
        "Received: here\r\nSubject: 1\r\n\r\nhello\r\n"
    );
    let envelope: serde_json::Value =
        serde_json::from_slice(&cat(&[here, &ids[1], "--envelope"]).stdout).unwrap();
    assert_eq!(envelope["sender"], "ann@example.org");
    assert_eq!(cat(&[here, "nonsense"]).status.code(), Some(2));
    assert!(!cat(&[here, "00000000deadbeef"]).status.success());

    assert!(tool(&["check"], at).status.success());
    damage(at, b"Subject: 1");
    let checked = tool(&["check", "--json"], at);
    assert_eq!(checked.status.code(), Some(1));
    let checked: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(
        (checked["damaged"].as_u64(), checked["entries"].as_u64()),
        (Some(1), Some(3))
    );
    assert_eq!(checked["unreadable"][0]["id"], ids[1]);

    let repaired = tool(&["repair"], at);
    assert!(repaired.status.success(), "{}", text(&repaired.stderr));
    let said = text(&repaired.stdout);
    assert!(
        said.contains("2 messages are there") && said.contains("1 places were damaged"),
        "{said}"
    );
    assert!(said.contains("damaged: segment "), "{said}");
    assert!(said.contains(&format!("lost: {}", ids[1])), "{said}");
    assert!(tool(&["check"], at).status.success());
}

#[test]
fn what_is_held_is_listed_as_held() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(dir.path(), &Options::default()).unwrap();
    let id = put(&spool, "Subject: x\r\n\r\n");
    let held = RecipientState {
        next_attempt: u64::MAX,
        ..RecipientState::default()
    };
    spool
        .record(
            id.parse().unwrap(),
            &[RecipientUpdate {
                index: 0,
                state: held,
            }],
        )
        .unwrap();
    drop(spool);
    let listed: serde_json::Value =
        serde_json::from_slice(&tool(&["ls", "--json"], dir.path()).stdout).unwrap();
    assert_eq!(listed["recipients"][0]["state"], "held");
    assert!(listed["recipients"][0]["nextAttempt"].is_null());
    assert!(text(&tool(&["ls"], dir.path()).stdout).contains(" held "));
}

#[test]
fn both_formats_are_named_checked_and_repaired_and_a_repair_raises_none() {
    for (first, second, named) in [
        (1, 1, "segments of format 1\n"),
        (2, 2, "segments of format 2\n"),
        // What only the newer one can say stays in it.
        (2, 1, ", format 2 (1)"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        let open = |format| {
            let options = Options {
                segment_size: Some(64 << 10),
                write_format: format,
                ..Options::default()
            };
            Spool::open(at, &options).unwrap().0
        };
        put_with(&open(first), "Subject: 0\r\n\r\n", first == 2);
        let spool = open(second);
        for n in 1..3 {
            put(&spool, &format!("Subject: {n}\r\n\r\n"));
        }
        drop(spool);
        let checked = tool(&["check"], at);
        assert!(text(&checked.stdout).contains(named), "{}", text(&checked.stdout));
        damage(at, b"Subject: 1");
        assert!(!tool(&["check"], at).status.success());
        let repaired = tool(&["repair"], at);
        assert!(
            text(&repaired.stdout).contains("2 messages are there"),
            "{}",
            text(&repaired.stderr)
        );
        let checked: serde_json::Value =
            serde_json::from_slice(&tool(&["check", "--json"], at).stdout).unwrap();
        assert_eq!(checked["entries"], 2);
        let newest = checked["formats"].as_object().unwrap().keys().max().cloned();
        assert_eq!(newest, Some(first.to_string()), "{checked}");
    }
}

#[test]
fn a_spool_of_a_newer_format_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(dir.path(), &Options::default()).unwrap();
    drop(spool);
    std::fs::write(dir.path().join("uuid"), "postroad-spool 9\nx\n").unwrap();
    for verb in ["ls", "check", "repair"] {
        let refused = tool(&[verb], dir.path());
        let told = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{told}");
        assert!(
            told.contains("has format 9") && told.contains("start a newer version"),
            "{told}"
        );
    }
}

fn damage(at: &Path, needle: &[u8]) {
    for entry in std::fs::read_dir(at.join("segments")).unwrap() {
        let path = entry.unwrap().path();
        let mut octets = std::fs::read(&path).unwrap();
        if let Some(place) = octets.windows(needle.len()).position(|window| window == needle) {
            octets[place] ^= 0xff;
            return std::fs::write(&path, octets).unwrap();
        }
    }
    panic!("nothing to damage");
}
