//! `docs/reference/replies.md` is the code: every reply of the server with its enhanced status code and sentence.
//!
//! `POSTROAD_WRITE_DOCS=1 cargo test -p postroad-mta --test inbound replies` writes the page anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use postroad_spool::CommitError;

/// Where replies of the server are made.
const SOURCES: [&str; 10] = [
    "smtp/src/server",
    "smtp/src/command",
    "smtp/src/command.rs",
    "src/session",
    "src/policy",
    "src/access",
    "src/accept",
    "src/accept.rs",
    "src/net",
    "src/verify",
];

/// Places where not all three are literals: how it goes on behind the code, and which replies those are. None: it is left out
/// of the page, as its head says.
const PARTLY: [(&str, &[Row]); 11] = [
    ("\"2.0.0\", format!(\"queued as {id}\"", &[]),
    ("\"\", format!(\"{} ESMTP Postroad\"", &[]),
    ("\"\", self.config.hostname.clone()", &[]),
    ("\"\", lines.join", &[]),
    ("\"\", \"\"", &[]),
    (
        "\"4.3.2\", format!(\"{hostname} is leaving service, try again later\"",
        &[],
    ),
    (
        "\"4.4.2\", TOO_LONG",
        &[(421, "4.4.2", "This transaction takes too long")],
    ),
    (
        "\"4.4.2\", text",
        &[
            (421, "4.4.2", "This message comes too slowly"),
            (421, "4.4.2", "No whole command came in time"),
        ],
    ),
    (
        "\"5.5.1\", refusal",
        &[
            (503, "5.5.1", "say MAIL first"),
            (503, "5.5.1", "BDAT has begun"),
            (503, "5.5.1", "no valid recipient"),
        ],
    ),
    ("\"5.5.1\", text", &[(503, "5.5.1", "no valid recipient")]),
    // It names this server.
    ("reason = TEXT", &[]),
];

/// The enhanced code says which of the two paths is meant.
const PATHS: [(&str, &[Row]); 2] = [
    (
        "syntax, \"that is not an address\"",
        &[
            (501, "5.1.3", "that is not an address"),
            (501, "5.1.7", "that is not an address"),
        ],
    ),
    (
        "syntax, \"the address is too long\"",
        &[
            (501, "5.1.3", "the address is too long"),
            (501, "5.1.7", "the address is too long"),
        ],
    ),
];

/// No reply to DATA or BDAT: it says to the machine that the body may come.
const UNSAID: Row = (250, "2.0.0", "Go on");

type Row = (u16, &'static str, &'static str);

const HEAD: &str = "\
# Replies of the server

Every reply that a client can get, with its enhanced status code (RFC 3463, RFC 5248) and its sentence; made from the code, which a
test holds to this page. 4yz: come again later, nothing is lost. 5yz: do not come again with the same. `421` ends the session. The
greeting, EHLO, the challenges of a login (334), the texts that name this server or an entry, what [filters](../how-to/filters.md) say, and
what an SPF record says for itself ([`exp=`](../how-to/verify-senders.md)) are left out.

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
        return;
    }
    let name = at.file_name().unwrap().to_string_lossy();
    // Tests, and the codes as they are counted.
    let is_source = name.ends_with(".rs") && !name.ends_with("tests.rs") && name != "counted.rs";
    if is_source {
        found.push(at.to_owned());
    }
}

/// A string literal at the front, and what is behind it.
fn literal(text: &str) -> Option<(&str, &str)> {
    text.trim_start().strip_prefix('"')?.split_once('"')
}

/// What is made of one source.
#[derive(Default)]
struct Found {
    /// Code, enhanced code and sentence.
    rows: BTreeSet<(u16, String, String)>,
    /// Where they are not all literals: how it goes on behind the code.
    other: BTreeSet<String>,
}

/// What stands where a reply code does, and all that is written to a client without one.
fn replies(source: &str) -> Found {
    let source = source.split("#[cfg(test)]").next().unwrap();
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let source = ["code: ", "enhanced: ", "text: "]
        .iter()
        .fold(code.collect::<Vec<_>>().join("\n"), |source, name| {
            source.replace(name, "")
        });
    let source = source.replace("Reply::ok(", "Reply::new(250, ");
    let mut found = Found::default();
    for (at, _) in source.match_indices(',') {
        let code = source[..at].rsplit(|c: char| !c.is_ascii_digit()).next().unwrap();
        let before = source[..at - code.len()].chars().next_back().unwrap_or(' ');
        let Some(code) = code.parse().ok().filter(|code| (200..600).contains(code)) else {
            continue;
        };
        let rest = source[at + 1..].split_whitespace().collect::<Vec<_>>().join(" ");
        if before.is_alphanumeric() || "_.\"".contains(before) {
            continue;
        }
        let row = literal(&rest).and_then(|(enhanced, rest)| {
            let (sentence, _) = literal(rest.trim_start().strip_prefix(',')?)?;
            Some((code, enhanced.to_owned(), sentence.to_owned()))
        });
        match row.filter(|(_, enhanced, sentence)| !enhanced.is_empty() && !sentence.is_empty()) {
            Some(row) => found.rows.extend(Some(row)),
            None => found
                .other
                .extend(Some(rest.chars().take(90).collect::<String>())),
        }
    }
    // Without an enhanced code, as RFC 2034 section 4 has it for 3yz.
    for (at, _) in source.match_indices("(b\"3") {
        let said = source[at + 3..].split("\\r\\n").next().unwrap();
        let (code, sentence) = said.split_once(' ').unwrap();
        found
            .rows
            .insert((code.parse().unwrap(), String::new(), sentence.to_owned()));
    }
    found
}

#[test]
fn the_page_has_every_reply_and_each_has_the_class_of_its_code() {
    let mut paths = Vec::new();
    for source in SOURCES {
        files(&root().join(source), &mut paths);
    }
    let (mut all, mut other) = (BTreeSet::new(), BTreeSet::new());
    for path in paths {
        let found = replies(&std::fs::read_to_string(path).unwrap());
        all.extend(found.rows);
        other.extend(found.other);
    }
    let owned = |(code, enhanced, sentence): &Row| (*code, (*enhanced).to_owned(), (*sentence).to_owned());
    let known = || PARTLY.iter().chain(&PATHS);
    for place in &other {
        assert!(
            known().any(|(start, _)| place.starts_with(start)),
            "which replies are these? {place}"
        );
    }
    for (start, rows) in known() {
        assert!(
            other.iter().any(|place| place.starts_with(start)),
            "nowhere any more: {start}"
        );
        all.extend(rows.iter().map(owned));
    }
    assert!(all.remove(&owned(&UNSAID)));
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
        let class = code.to_string().chars().next();
        assert!(
            class == Some('3') || class == enhanced.chars().next(),
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
