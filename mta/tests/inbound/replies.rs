//! `docs/reference/replies.md` is the code: every reply of the server with its enhanced status code and sentence.
//!
//! `POSTROAD_WRITE_DOCS=1 cargo test -p postroad-mta --test inbound replies` writes the page anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use postroad_spool::CommitError;

/// Where replies of the server are made.
const SOURCES: [&str; 9] = [
    "smtp/src/server",
    "smtp/src/command",
    "smtp/src/command.rs",
    "src/session",
    "src/policy",
    "src/accept",
    "src/accept.rs",
    "src/net",
    "src/verify",
];

const HEAD: &str = "\
# Replies of the server

Every reply that a client can get, with its enhanced status code (RFC 3463, RFC 5248) and its sentence; made from the code, which a
test holds to this page. 4yz: come again later, nothing is lost. 5yz: do not come again with the same. `421` ends the session. The
greeting, EHLO and the texts that name this server or an entry are left out.

| Reply | Enhanced | Sentence |
|---|---|---|
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn files(at: &Path, found: &mut Vec<PathBuf>) {
    if at.is_dir() {
        for entry in std::fs::read_dir(at).unwrap() {
            files(&entry.unwrap().path(), found);
        }
    } else if at.extension().is_some_and(|kind| kind == "rs") && !at.ends_with("session_tests.rs") {
        found.push(at.to_owned());
    }
}

/// A string literal at the front, and what is behind it.
fn literal(text: &str) -> Option<(&str, &str)> {
    text.trim_start().strip_prefix('"')?.split_once('"')
}

/// Code, enhanced code and sentence where all three stand side by side.
fn replies(source: &str) -> BTreeSet<(u16, String, String)> {
    let source = source.split("#[cfg(test)]").next().unwrap();
    let source = ["code: ", "enhanced: ", "text: "]
        .iter()
        .fold(source.to_owned(), |source, name| source.replace(name, ""));
    let mut found = BTreeSet::new();
    for (at, _) in source.match_indices(", \"").chain(source.match_indices(",\n")) {
        let code = source[..at].rsplit(|c: char| !c.is_ascii_digit()).next().unwrap();
        let Some(code) = code.parse().ok().filter(|code| (200..600).contains(code)) else {
            continue;
        };
        let row = literal(&source[at + 1..]).and_then(|(enhanced, rest)| {
            let (sentence, _) = literal(rest.trim_start().strip_prefix(',')?)?;
            Some((code, enhanced.to_owned(), sentence.to_owned()))
        });
        found.extend(row.filter(|(_, enhanced, sentence)| !enhanced.is_empty() && !sentence.is_empty()));
    }
    found
}

#[test]
fn the_page_has_every_reply_and_each_has_the_class_of_its_code() {
    let mut paths = Vec::new();
    for source in SOURCES {
        files(&root().join(source), &mut paths);
    }
    let mut all: BTreeSet<_> = paths
        .iter()
        .flat_map(|path| replies(&std::fs::read_to_string(path).unwrap()))
        .collect();
    for (error, sentence) in [
        (CommitError::Full, "Not enough storage now, try again later"),
        (
            CommitError::ReadOnly(String::new()),
            "The storage has an error, try again later",
        ),
        (CommitError::TooLarge, "The message is larger than is taken here"),
        (
            CommitError::Format,
            "What the message asks for cannot be kept here now, try again later",
        ),
        (
            CommitError::Sealed,
            "This server is leaving service, try again later",
        ),
    ] {
        let (code, enhanced) = error.reply();
        all.insert((code, enhanced.to_owned(), sentence.to_owned()));
    }
    assert!(all.len() > 50, "the scan has lost its way: {}", all.len());
    let mut page = HEAD.to_owned();
    for (code, enhanced, sentence) in &all {
        // RFC 2034 section 3: the classes agree.
        assert_eq!(
            code.to_string().chars().next(),
            enhanced.chars().next(),
            "{code} {enhanced}"
        );
        page.extend(["| ", &code.to_string(), " | ", enhanced, " | ", sentence, " |\n"]);
    }
    let path = root().join("../docs/reference/replies.md");
    if std::env::var_os("POSTROAD_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        page,
        "write it anew: see the head of this test"
    );
}
