//! Filters that others made, asked by our mail server about each message before it takes it.
//!
//! ```text
//!   client ─► ours ─┬─► OpenDKIM signs ─► OpenDKIM verifies ─► sink: signed, and the second one says that it holds
//!                   └─► rspamd: the pattern that it knows is refused, and plain mail is not
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
    Ok(vec![open_dkim()?, rspamd()?])
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

/// rspamd with its test pattern, and nothing that needs a network.
fn rspamd() -> Outcome<Table> {
    let scratch = tempfile::tempdir()?;
    let jail = Rootfs::cached("rspamd", &["rspamd"])?.enter(scratch.path(), &[])?;
    let at = free_address()?;
    let worker = format!("bind_socket = \"127.0.0.1:{}\";\ncount = 1;\n", at.port());
    for (file, text) in [
        ("worker-normal.inc", worker.as_str()),
        ("worker-controller.inc", "enabled = false;\n"),
        ("worker-proxy.inc", "enabled = false;\n"),
        ("worker-fuzzy.inc", "enabled = false;\n"),
        (
            "options.inc",
            "gtube_patterns = \"all\";\ndns { nameserver = [\"127.0.0.1:1\"]; timeout = 0.1s; retransmits = 1; }\n",
        ),
        ("logging.inc", "type = \"console\";\nlevel = \"warning\";\n"),
    ] {
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
    let filters = format!(
        "filters:\n\x20 - {{name: spam, service: {}}}\n",
        service("rspamd", at)
    );
    let sink = Sink::start()?;
    let ours = Ours::start_with(free_address()?, &[], sink.address, &filters)?;
    let mut table = Table::new("rspamd over HTTP", &["done as it said"]);
    for (row, pattern, code, mark) in SPAM {
        let reply = hand_in(ours.smtp, row, pattern);
        let verdict = match reply {
            Ok(reply) if !reply.starts_with(code) => Verdict::Fail(format!("{reply}\n{}", ours.log())),
            Ok(_) if *code != "250" => Verdict::Yes,
            Ok(_) => match arrived(&sink, row) {
                Some(text) if text.contains(mark) && (!mark.is_empty() || !text.contains("X-Spam:")) => {
                    Verdict::Yes
                }
                text => Verdict::Fail(format!("{}\n{}", text.unwrap_or_default(), ours.log())),
            },
            Err(error) => Verdict::Fail(format!("{error}\n{}", ours.log())),
        };
        table.rows.push(((*row).to_owned(), vec![verdict]));
    }
    drop(program);
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

/// A row, what stands in the body, the reply, and what has to stand in the message that comes out.
const SPAM: &[(&str, &str, &str, &str)] = &[
    ("no action", "hello", "250", ""),
    (
        "reject",
        "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X",
        "554",
        "",
    ),
];
