//! How sessions end: half-closed, reset, or by us, in every state; and messages that go round.

use std::time::{Duration, Instant};

use postroad_mta::daemon::Daemon;
use postroad_mta::lifecycle::Patience;

use crate::sink::Sink;
use crate::stage::{Play, free_port};
use crate::wire::{PATIENCE, Wire};

/// What is said before the end; the state that it leads to.
const STATES: &[&str] = &[
    "",
    "EHLO x\r\n",
    "EHLO x\r\nNOO",
    "EHLO x\r\nMAIL FROM:<a@else.example>\r\n",
    "EHLO x\r\nMAIL FROM:<a@else.example>\r\nRCPT TO:<alice@example.com>\r\n",
    "EHLO x\r\nMAIL FROM:<a@else.example>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\n",
    "EHLO x\r\nMAIL FROM:<a@else.example>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\nSubject: cut\r\n\r\nhalf a mail\r\n.\r",
    "EHLO x\r\nMAIL FROM:<a@else.example>\r\nRCPT TO:<alice@example.com>\r\nBDAT 100\r\nhalf a chunk",
    "EHLO x\r\nMAIL FROM:<a@else.example>\r\nRCPT TO:<alice@example.com>\r\nBDAT 3\r\nabc",
    "EHLO x\r\nSTARTTLS\r\n",
];

#[test]
fn a_client_that_goes_leaves_no_trace_in_any_state() {
    let store = Sink::lmtp();
    let mut stage = Play {
        store: Some(store.address),
        ..Play::default()
    }
    .start();
    for state in STATES {
        for how in ["close", "half", "reset"] {
            let mut wire = Wire::connect(stage.transfer);
            wire.send(state.as_bytes());
            match how {
                "half" => {
                    wire.half_close();
                    wire.rest();
                }
                "reset" => wire.reset(),
                _ => {}
            }
        }
    }
    stage.is_well();
    let taken = store.wait_for(1);
    assert!(
        taken
            .iter()
            .all(|taken| taken.original().starts_with(b"Subject: well")),
        "{taken:?}"
    );
}

/// A client may close its side behind the last octet of a message; the message is whole.
#[test]
fn a_message_with_its_end_is_taken_though_the_client_closes() {
    let store = Sink::lmtp();
    let stage = Play {
        store: Some(store.address),
        ..Play::default()
    }
    .start();
    let mut wire = Wire::connect(stage.transfer);
    wire.send(STATES[5].as_bytes());
    wire.send(b"Subject: whole\r\n\r\nwhole\r\n.\r\n");
    wire.half_close();
    assert_eq!(wire.rest().last().map(|reply| reply.code), Some(250));
    assert_eq!(
        store.wait_for(1)[0].original(),
        b"Subject: whole\r\n\r\nwhole\r\n"
    );
}

/// RFC 5321 section 3.8: 421 before we close, in every state.
#[test]
fn a_daemon_that_stops_says_421_in_every_state() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (config, port) = (directory.path().join("postroad.yaml"), free_port());
    let text = format!(
        "format: 1\nhostname: mail.example.com\nspool: {{directory: {}/spool, highWaterPercent: 99}}\nports:\n\
         \x20 - {{name: smtp, address: '{port}', role: Transfer, tls: Disabled}}\ndomains:\n  - name: example.com\n    inbound:\n\
         \x20     recipients: {{mode: Any}}\n      deliverTo: {{lmtp: {{host: 127.0.0.1, port: 1}}}}\n",
        directory.path().display()
    );
    std::fs::write(&config, text).unwrap();
    let daemon = runtime.block_on(Daemon::start(&config)).unwrap();
    let states: Vec<_> = STATES
        .iter()
        .filter(|state| !state.contains("STARTTLS"))
        .collect();
    let mut wires: Vec<_> = states.iter().map(|_| Wire::connect(port)).collect();
    for (wire, state) in wires.iter_mut().zip(&states) {
        wire.expect(&[("", 220)]);
        wire.send(state.as_bytes());
        let unanswered = usize::from(state.contains("BDAT 100"));
        for _ in unanswered..state.matches("\r\n").count().min(4) {
            wire.reply();
        }
    }
    let patience = Patience {
        leave: Duration::ZERO,
        sessions: Duration::from_millis(300),
    };
    let stopping = std::thread::spawn(move || runtime.block_on(daemon.stop(patience)));
    for (wire, state) in wires.iter_mut().zip(&states) {
        let codes: Vec<_> = wire.rest().iter().map(|reply| reply.code).collect();
        assert_eq!(codes.last(), Some(&421), "{state:?}: {codes:?}");
    }
    stopping.join().unwrap();
}

#[test]
fn a_message_that_was_here_too_often_is_refused() {
    let mut stage = Play::default().start();
    for (fields, code) in [(100, 250), (101, 554), (1_000, 554)] {
        let message = "Received: from a by b\r\n".repeat(fields) + "Subject: round\r\n\r\nround\r\n";
        let mut wire = stage.wire();
        let reply = wire.deliver("alice@example.com", &message);
        assert_eq!(reply.code, code, "{fields} Received fields: {reply:?}");
    }
    stage.is_well();
}

/// Two servers that send to each other: the message ends, its sender's notice ends as well, nothing is left going round.
#[test]
fn two_servers_that_point_at_each_other_come_to_rest() {
    let (one, two) = (free_port(), free_port());
    let directory = tempfile::tempdir().unwrap();
    let mut daemons = Vec::new();
    for (name, port, other) in [("one", one, two), ("two", two, one)] {
        let folder = directory.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let config = folder.join("postroad.yaml");
        let text = format!(
            "format: 1\nhostname: {name}.example.com\nspool: {{directory: {}/spool, highWaterPercent: 99}}\nrelayFrom: [127.0.0.0/8]\n\
             limits: {{messagesPerConnection: 1000}}\nports:\n  - {{name: smtp, address: '{port}', role: Transfer, tls: Disabled}}\n\
             policies:\n  - {{name: p, routes: [{{to: {{smartHosts: [{{host: {}, port: {}}}]}}, tls: Disabled}}]}}\n",
            folder.display(),
            other.ip(),
            other.port()
        );
        std::fs::write(&config, text).unwrap();
        daemons.push((
            crate::stage::serve(&config, &folder.join("log")),
            folder.join("log"),
        ));
    }
    let mut wire = Wire::ready(one);
    wire.expect(&[
        ("MAIL FROM:<sender@loop.example>", 250),
        ("RCPT TO:<rcpt@loop.example>", 250),
        ("DATA", 354),
    ]);
    wire.send(b"Subject: round\r\n\r\nround\r\n");
    assert_eq!(wire.say(".").code, 250);
    let accepted = |daemons: &[(crate::stage::Daemon, std::path::PathBuf)]| -> usize {
        let logs = daemons
            .iter()
            .map(|(_, log)| std::fs::read_to_string(log).unwrap());
        logs.map(|log| log.matches("\"accepted\"").count()).sum()
    };
    // The message and then its notice each make about a hundred hops; then nothing moves any more.
    let deadline = Instant::now() + PATIENCE;
    let (mut count, mut still) = (0, 0);
    while still < 10 {
        assert!(Instant::now() < deadline, "{count} messages and no end");
        std::thread::sleep(Duration::from_millis(200));
        let now = accepted(&daemons);
        still = if now == count && now > 100 { still + 1 } else { 0 };
        count = now;
    }
    assert!((150..=210).contains(&count), "{count} hops");
}
