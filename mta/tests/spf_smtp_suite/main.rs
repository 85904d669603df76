//! The public suite for RFC 7208 over SMTP: a real daemon asks a real DNS server, the client's address comes by the PROXY
//! protocol, and the verdict is read from the message that the mail store gets.
//!
//! ```text
//!   case ─► PROXY v2, EHLO, MAIL ─► daemon ─► Authentication-Results ─► LMTP sink ─► verdict
//!                                     └─► DNS server of the scenario (UDP, TCP)
//! ```
//!
//! Reads `$POSTROAD_SUITES/spf/rfc7208-tests.yml` (see `docs/suites.md`). Without the variable its cases count as
//! skipped, visibly.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where a step fails; its parts serve several targets"
)]

mod dns;
#[path = "../../verify/tests/rfc7208/mod.rs"]
mod rfc7208;
#[path = "../strict/sink.rs"]
mod sink;
#[path = "../strict/stage.rs"]
mod stage;
#[path = "../strict/wire.rs"]
mod wire;

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use libtest_mimic::{Arguments, Failed, Trial};

use postroad_verify::dns::Answer;
use rfc7208::{Case, Found, Scenario, read, run};
use sink::{Sink, Taken};
use stage::{Play, Stage};
use wire::Wire;

/// What no client can say: an EHLO name with a space.
const NOT_CARRIED: [&str; 1] = ["invalid-hello-macro"];

/// Mailboxes that RFC 5321 has no syntax for: an empty label, a label too long, no local part. Their domain is asked about as the
/// EHLO name with the null reverse-path, which is the same check (RFC 7208 section 2.4).
const AS_EHLO: [&str; 3] = ["toolonglabel", "emptylabel", "nolocalpart"];

fn main() {
    let mut arguments = Arguments::from_args();
    // Most of the time is spent waiting for servers that do not answer.
    arguments.test_threads.get_or_insert(16);
    run("spf-smtp", &arguments, trials);
}

/// A daemon with a DNS server and a mail store; it ends with the last case that holds it.
struct Place {
    stage: Stage,
    store: Sink,
}

type Shared = Arc<LazyLock<Place, Box<dyn FnOnce() -> Place + Send>>>;

fn trials(root: &Path) -> Vec<Trial> {
    let mut trials = Vec::new();
    for scenario in read(root) {
        let place = place(&scenario);
        for (name, case) in scenario.tests {
            let place = Arc::clone(&place);
            let title = format!("{}/{name}", scenario.description);
            let not_carried = NOT_CARRIED.contains(&name.as_str());
            let trial = Trial::test(title, move || judge(&name, &case, &place));
            trials.push(trial.with_ignored_flag(not_carried));
        }
    }
    trials
}

fn place(scenario: &Scenario) -> Shared {
    let zone = scenario.zone();
    Arc::new(LazyLock::new(Box::new(move || {
        let resolver = dns::serve(move |question| match zone.find(question) {
            Found::Answer { answer, aliases } => (Some(answer), aliases),
            Found::Silence => (None, Vec::new()),
            Found::Loop => (Some(Answer::Failure), Vec::new()),
        });
        let store = Sink::lmtp();
        let play = Play {
            store: Some(store.address),
            listed: "",
            more: format!(
                "resolvers: ['{resolver}']\nproxyProtocol: {{mode: Required, trustedSources: [127.0.0.0/8]}}\n"
            ),
            ..Play::default()
        };
        Place {
            stage: play.start(),
            store,
        }
    })))
}

fn judge(name: &str, case: &Case, place: &Place) -> Result<(), Failed> {
    let client: IpAddr = case.host.parse()?;
    let domain = case.mailfrom.rsplit_once('@').map_or("", |(_, domain)| domain);
    let (helo, mail_from) = if AS_EHLO.contains(&name) {
        (domain, String::new())
    } else {
        (case.helo.as_str(), mailbox(&case.mailfrom))
    };
    let mut wire = Wire::connect(place.stage.transfer);
    wire.send(&proxy_header(client));
    let recipient = format!("{name}@example.com").to_lowercase();
    wire.expect(&[
        ("", 220),
        (&format!("EHLO {helo}"), 250),
        (&format!("MAIL FROM:<{mail_from}>"), 250),
        (&format!("RCPT TO:<{recipient}>"), 250),
        ("DATA", 354),
        ("Subject: x\r\n\r\nx\r\n.", 250),
    ]);
    let message = wait_for(&place.store, &recipient);
    let property = if mail_from.is_empty() {
        "smtp.helo"
    } else {
        "smtp.mailfrom"
    };
    let verdict = verdict(&message, property)?;
    let allowed = case.allowed();
    if allowed.contains(&verdict) {
        Ok(())
    } else {
        Err(format!(
            "verdict {verdict}, not {allowed:?}\n{}",
            String::from_utf8_lossy(&message)
        )
        .into())
    }
}

/// Spaces stand in quotes (RFC 5321 section 4.1.2).
fn mailbox(mail_from: &str) -> String {
    match mail_from.rsplit_once('@') {
        Some((local, domain)) if local.contains(' ') => format!("\"{local}\"@{domain}"),
        _ => mail_from.to_owned(),
    }
}

/// Version 2, as a load balancer writes it.
fn proxy_header(client: IpAddr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    let ports = [40_000_u16.to_be_bytes(), 25_u16.to_be_bytes()].concat();
    match client {
        IpAddr::V4(v4) => {
            header.extend_from_slice(&[0x11, 0, 12]);
            header.extend_from_slice(&v4.octets());
            header.extend_from_slice(&[192, 0, 2, 1]);
        }
        IpAddr::V6(v6) => {
            header.extend_from_slice(&[0x21, 0, 36]);
            header.extend_from_slice(&v6.octets());
            header.extend_from_slice(&[0; 16]);
        }
    }
    header.extend_from_slice(&ports);
    header
}

/// The message to that recipient.
fn wait_for(store: &Sink, recipient: &str) -> Vec<u8> {
    loop {
        let taken = store.taken();
        let is_it = |taken: &&Taken| taken.rcpt.iter().any(|to| to.contains(&format!("<{recipient}>")));
        if let Some(found) = taken.iter().find(is_it) {
            return found.body.clone();
        }
        store.wait_for(taken.len() + 1);
    }
}

/// The result of the statement about that property, in the first field of the message.
fn verdict(message: &[u8], property: &str) -> Result<String, Failed> {
    let text = String::from_utf8(message.to_vec())?.replace("\r\n\t", " ");
    let field = text
        .lines()
        .find_map(|line| line.strip_prefix("Authentication-Results: mail.example.com;"))
        .ok_or("no field")?;
    let wanted = format!(" {property}=");
    let statement = statements(field)
        .into_iter()
        .find(|statement| statement.contains(&wanted))
        .ok_or_else(|| format!("no {property} in {field}"))?;
    let result = statement.trim().strip_prefix("spf=").ok_or("no spf")?;
    Ok(result.split(' ').next().unwrap_or_default().to_owned())
}

/// What stands between semicolons outside of quotes.
fn statements(field: &str) -> Vec<String> {
    let (mut found, mut quoted, mut escaped) = (vec![String::new()], false, false);
    for c in field.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            ';' if !quoted => {
                found.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = found.last_mut() {
            last.push(c);
        }
    }
    found
}
