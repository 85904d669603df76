//! Filters that others made, asked by our mail server about each message before it takes it.
//!
//! ```text
//!   client ─► ours ─┬─► OpenDKIM signs ─► OpenDKIM verifies ─► sink: signed, and the second one says that it holds
//!                   ├─► rspamd, over HTTP or as a milter: what it knows is refused, marked or renamed, and plain mail is not
//!                   └─► ClamAV: what is infected is refused
//! ```
//!
//! One that verifies what another one signed has seen every octet of header and body as it will leave; and so has the one that
//! signs, of what a filter before it changed.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::mail::{Mail, Session, header};
use super::ours::{Ours, listens};
use super::sink::Sink;
use super::{Table, Verdict, signatures};
use crate::kubectl::{Failure, Outcome};
use crate::place::free_address;
use crate::rootfs::{Jail, Rootfs};
use crate::shell::{Background, Shell};

pub(super) fn play() -> Outcome<Vec<Table>> {
    Ok(vec![open_dkim()?, rspamd()?, clamav()?])
}

/// The first filter signs and the second verifies.
fn open_dkim() -> Outcome<Table> {
    let scratch = tempfile::tempdir()?;
    let jail = Rootfs::cached("signatures", signatures::PACKAGES)?.enter(scratch.path(), &[])?;
    let folder = tempfile::tempdir()?;
    let zone = key(folder.path())?;
    jail.write("/key.pem", std::fs::read(folder.path().join("key.pem"))?)?;
    jail.run("chmod", ["600", "/key.pem"])?;
    jail.write("/zone", zone)?;
    let (signer, verifier) = (free_address()?, free_address()?);
    let programs = [
        milter(
            &jail,
            "signer",
            signer,
            "Mode s\nDomain back.test\nSelector s\nKeyFile /key.pem\nCanonicalization relaxed/simple\n",
        )?,
        milter(
            &jail,
            "verifier",
            verifier,
            "Mode v\nTestDNSData /zone\nAuthservID verifier.test\n",
        )?,
    ];
    let filters = format!(
        "filters:\n\x20 - {{name: signer, service: {}}}\n\x20 - {{name: verifier, service: {}}}\n",
        service("milter", signer),
        service("milter", verifier)
    );
    let sink = Sink::start()?;
    let ours = Ours::start_with(free_address()?, &[], sink.address, &filters)?;
    let mut table = Table::new("OpenDKIM as two milters", &["signs", "verifies what it signed"]);
    for (name, body) in bodies() {
        let mail = Mail {
            body,
            ..Mail::new(name, &["carol@sink.test"])
        };
        let verdicts = match mail.send(ours.smtp, None) {
            Ok(()) => arrived(&sink, name).map_or_else(
                || both(&format!("it never came out\n{}", ours.log())),
                |text| judged(&text),
            ),
            Err(error) => both(&format!("{error}\n{}", ours.log())),
        };
        table.rows.push((name.to_owned(), verdicts));
    }
    drop(programs);
    Ok(table)
}

fn both(why: &str) -> Vec<Verdict> {
    vec![Verdict::Fail(why.to_owned()); 2]
}

fn judged(text: &str) -> Vec<Verdict> {
    let unfolded = text.replace("\r\n\t", " ").replace("\r\n ", " ");
    let (header, _) = unfolded.split_once("\r\n\r\n").unwrap_or((&unfolded, ""));
    let said = |holds: bool| {
        if holds {
            Verdict::Yes
        } else {
            Verdict::Fail(format!("the header is\n{header}"))
        }
    };
    let results = header
        .lines()
        .find(|line| line.starts_with("Authentication-Results: verifier.test"));
    vec![
        said(header.lines().any(|line| line.starts_with("DKIM-Signature: "))),
        said(results.is_some_and(|line| line.contains("dkim=pass"))),
    ]
}

fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let plain = Mail::new("", &[]).body;
    vec![
        ("plain", plain.clone()),
        ("empty body", Vec::new()),
        ("blank lines", b"x\r\n\r\n\r\n\r\n".to_vec()),
        ("eight bits", "Gr\u{fc}\u{df}e \u{1f4ec}\r\n".as_bytes().to_vec()),
        ("a body of 3 MB", plain.repeat(100_000)),
    ]
}

/// A key for `s._domainkey.back.test`, and the zone with its record.
fn key(folder: &Path) -> Outcome<String> {
    let run = |args: &str| Shell::new("openssl").args(args.split(' ')).dir(folder).run();
    run("genrsa -out key.pem 2048")?;
    run("rsa -in key.pem -pubout -outform DER -out key.der")?;
    let text = Shell::new("openssl")
        .args(["base64", "-A", "-in", "key.der"])
        .dir(folder)
        .read()?;
    Ok(format!(
        "s._domainkey.back.test v=DKIM1; k=rsa; p={}\n",
        text.trim()
    ))
}

/// One `opendkim`, running. Mail of this computer is neither trusted nor left alone.
fn milter(jail: &Jail, name: &str, at: SocketAddr, config: &str) -> Outcome<Background> {
    let config = format!(
        "Background no\nSocket inet:{}@127.0.0.1\nRequireSafeKeys no\nInternalHosts csl:127.0.0.1\n\
         PidFile /run/{name}.pid\n{config}",
        at.port()
    );
    let file = format!("/{name}.conf");
    jail.write(&file, config)?;
    let program = jail.spawn(
        "sh",
        ["-c", &format!("exec opendkim -f -x {file} >/{name}.log 2>&1")],
    )?;
    listens(at).map_err(|error| {
        let log = jail.run("cat", [&format!("/{name}.log")]).unwrap_or_default();
        Failure::wrong(format!("{name}: {error}\n{log}"))
    })?;
    Ok(program)
}

fn service(protocol: &str, at: SocketAddr) -> String {
    format!("{{{protocol}: {{host: 127.0.0.1, port: {}}}}}", at.port())
}

/// rspamd with its test patterns (`enable_test_patterns` in Debian's 3.4, `gtube_patterns` since 3.8), and nothing that needs a
/// network: its normal worker over HTTP, and its proxy as a milter.
fn rspamd() -> Outcome<Table> {
    let scratch = tempfile::tempdir()?;
    let jail = Rootfs::cached("rspamd", RSPAMD)?.enter(scratch.path(), &[])?;
    let (http, milter) = (free_address()?, free_address()?);
    let proxy =
        format!("bind_socket = \"{milter}\";\nupstream \"local\" {{ default = yes; self_scan = yes; }}\n");
    let program = start_rspamd(
        &jail,
        http,
        &[
            ("worker-proxy.inc", &proxy),
            // Without a score of its own it is no action that rspamd takes.
            ("actions.conf", "rewrite_subject = 8;\nsubject = \"[junk] %s\";\n"),
        ],
        "enable_test_patterns = true;\ndns { nameserver = [\"127.0.0.1:1\"]; timeout = 0.1s; retransmits = 1; }\n",
    )?;
    listens(milter)?;
    let columns = [("rspamd", http), ("milter", milter)].map(|(protocol, at)| acted(protocol, at));
    let [http, milter] = columns;
    let (http, milter) = (http?, milter?);
    let mut table = Table::new("done as rspamd says", &["over HTTP", "as a milter"]);
    for (number, (row, ..)) in SPAM.iter().enumerate() {
        let cells = [&http, &milter].map(|column| column[number].clone());
        table.rows.push(((*row).to_owned(), cells.to_vec()));
    }
    drop(program);
    Ok(table)
}

/// Starts rspamd with its normal worker there, no fuzzy storage and no controller.
pub(super) fn start_rspamd(
    jail: &Jail,
    at: SocketAddr,
    more: &[(&str, &str)],
    options: &str,
) -> Outcome<Background> {
    let worker = format!("bind_socket = \"{at}\";\ncount = 1;\n");
    let options = format!("{options}disable_hyperscan = true;\nurl_tld = \"/etc/rspamd/local.d/tld\";\n");
    let usual = [
        ("worker-normal.inc", worker.as_str()),
        ("worker-controller.inc", "enabled = false;\n"),
        ("worker-proxy.inc", "enabled = false;\n"),
        ("worker-fuzzy.inc", "enabled = false;\n"),
        ("options.inc", &options),
        // Thousands of names are compiled for many seconds otherwise.
        ("tld", "com\ntest\n"),
        ("logging.inc", "type = \"console\";\nlevel = \"warning\";\n"),
    ];
    for (file, text) in usual.iter().chain(more) {
        jail.write(&format!("/etc/rspamd/local.d/{file}"), text)?;
    }
    jail.run(
        "mkdir",
        ["-p", "/run/rspamd", "/var/lib/rspamd", "/var/log/rspamd"],
    )?;
    let program = jail.spawn("sh", ["-c", "exec rspamd -f -i >/rspamd.log 2>&1"])?;
    listens(at).map_err(|error| {
        let log = jail.run("tail", ["-n", "30", "/rspamd.log"]).unwrap_or_default();
        Failure::wrong(format!("rspamd: {error}\n{log}"))
    })?;
    Ok(program)
}

/// What became of each row of [`SPAM`], by a filter in that protocol.
fn acted(protocol: &str, at: SocketAddr) -> Outcome<Vec<Verdict>> {
    let filters = format!(
        "filters:\n\x20 - {{name: spam, service: {}}}\n",
        service(protocol, at)
    );
    let sink = Sink::start()?;
    let ours = Ours::start_with(free_address()?, &[], sink.address, &filters)?;
    let became = |(row, pattern, code, mark): &(&str, &str, &str, &str)| {
        let reply = match hand_in(ours.smtp, row, pattern) {
            Ok(reply) => reply,
            Err(error) => return Verdict::Fail(format!("{error}\n{}", ours.log())),
        };
        if !reply.starts_with(code) {
            return Verdict::Fail(format!("{reply}\n{}", ours.log()));
        }
        if *code != "250" {
            return Verdict::Yes;
        }
        match arrived(&sink, row) {
            Some(text) if text.contains(mark) && (!mark.is_empty() || !text.contains("X-Spam:")) => {
                Verdict::Yes
            }
            text => Verdict::Fail(format!("{}\n{}", text.unwrap_or_default(), ours.log())),
        }
    };
    Ok(SPAM.iter().map(became).collect())
}

/// clamav-milter with one signature of ours and no other.
fn clamav() -> Outcome<Table> {
    let scratch = tempfile::tempdir()?;
    let jail = Rootfs::cached("clamav", &["clamav-daemon", "clamav-milter"])?.enter(scratch.path(), &[])?;
    let (scanner, milter) = (free_address()?, free_address()?);
    let hex: Vec<_> = INFECTED.bytes().map(|octet| format!("{octet:02x}")).collect();
    let hex = hex.concat();
    jail.write("/db/test.ndb", format!("Postroad.Test:0:*:{hex}\n"))?;
    jail.write(
        "/clamd.conf",
        format!(
            "Foreground yes\nTCPSocket {}\nTCPAddr 127.0.0.1\nDatabaseDirectory /db\n",
            scanner.port()
        ),
    )?;
    jail.write(
        "/milter.conf",
        format!(
            "Foreground yes\nMilterSocket inet:{}@127.0.0.1\nClamdSocket tcp:{scanner}\nOnInfected Reject\nAddHeader Replace\n",
            milter.port()
        ),
    )?;
    let spawn = |name: &str, command: &str, at: SocketAddr| -> Outcome<Background> {
        let program = jail.spawn("sh", ["-c", &format!("exec {command} >/{name}.log 2>&1")])?;
        listens(at).map_err(|error| {
            let log = jail.run("cat", [&format!("/{name}.log")]).unwrap_or_default();
            Failure::wrong(format!("{name}: {error}\n{log}"))
        })?;
        Ok(program)
    };
    let programs = [
        spawn("clamd", "clamd --config-file=/clamd.conf", scanner)?,
        spawn(
            "clamav-milter",
            "clamav-milter --config-file=/milter.conf",
            milter,
        )?,
    ];
    let filters = format!(
        "filters:\n\x20 - {{name: virus, service: {}}}\n",
        service("milter", milter)
    );
    let sink = Sink::start()?;
    let ours = Ours::start_with(free_address()?, &[], sink.address, &filters)?;
    let mut table = Table::new("clamav-milter", &["done as it said"]);
    let clean = match hand_in(ours.smtp, "clean", "hello") {
        Ok(reply) if reply.starts_with("250") => match arrived(&sink, "clean") {
            Some(text) if text.contains("\r\nX-Virus-Status: Clean\r\n") => Verdict::Yes,
            text => Verdict::Fail(text.unwrap_or_default()),
        },
        reply => Verdict::Fail(format!("{reply:?}\n{}", ours.log())),
    };
    let infected = match hand_in(ours.smtp, "infected", INFECTED) {
        Ok(reply) if reply.starts_with('5') => Verdict::Yes,
        reply => Verdict::Fail(format!("{reply:?}\n{}", ours.log())),
    };
    table.rows = vec![
        ("clean: taken, and says so".to_owned(), vec![clean]),
        ("infected: refused".to_owned(), vec![infected]),
    ];
    drop(programs);
    Ok(table)
}

/// The reply behind the data.
fn hand_in(to: SocketAddr, subject: &str, body: &str) -> io::Result<String> {
    let mut session = Session::start(to, None)?;
    session.open("<alice@back.test>", &["<carol@sink.test>".to_owned()])?;
    session.say(b"DATA\r\n")?;
    let mut mail = header(subject);
    mail.extend_from_slice(format!("{body}\r\n.\r\n").as_bytes());
    session.ask(&mail)
}

/// The message of that subject, however it is called by now.
fn arrived(sink: &Sink, subject: &str) -> Option<String> {
    let id = format!("Message-ID: <{}@back.test>\r\n", subject.replace(' ', "-"));
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let mail = sink.wait(Duration::from_mins(1), |mail| text(&mail.content).contains(&id));
    mail.map(|mail| text(&mail.content))
}

pub(super) const RSPAMD: &[&str] = &["rspamd"];
/// What the scanner's one signature is of.
const INFECTED: &str = "THIS-IS-NO-VIRUS-BUT-POSTROADS-TEST-OF-ONE";

/// A row, what stands in the body, the reply, and what has to stand in the message that comes out.
const SPAM: &[(&str, &str, &str, &str)] = &[
    ("no action", "hello", "250", ""),
    (
        "reject",
        "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X",
        "554",
        "",
    ),
    (
        "add header",
        "YJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X",
        "250",
        "\r\nX-Spam: Yes\r\n",
    ),
    (
        "rewrite subject",
        "ZJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X",
        "250",
        "\r\nSubject: [junk] rewrite subject\r\n",
    ),
];
