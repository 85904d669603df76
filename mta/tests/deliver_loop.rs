//! Two servers that send everything to each other: the mail ends, and nobody is told for ever.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests and their parts")]

#[allow(dead_code, reason = "parts of other tests")]
#[path = "strict/stage.rs"]
mod stage;
#[allow(dead_code, reason = "parts of other tests")]
#[path = "strict/wire.rs"]
mod wire;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use stage::free_port;
use wire::Wire;

/// A server that relays all to the other.
struct Half {
    _daemon: stage::Daemon,
    log: PathBuf,
}

impl Half {
    fn start(directory: &Path, name: &str, own: SocketAddr, other: SocketAddr) -> Self {
        let at = directory.join(name);
        std::fs::create_dir(&at).unwrap();
        let text = format!(
            "format: 1\nhostname: {name}.example\nspool: {{directory: {at}/spool, highWaterPercent: 99}}\n\
             relayFrom: [127.0.0.0/8]\nports: [{{name: smtp, address: '{own}', role: Transfer, tls: Disabled}}]\n\
             policies: [{{name: p, routes: [{{to: {{smartHosts: [{{host: {ip}, port: {port}}}]}}, tls: Disabled}}], retry: {{first: 1s, max: 1s}}}}]\n",
            at = at.display(),
            ip = other.ip(),
            port = other.port(),
        );
        let config = at.join("postroad.yaml");
        std::fs::write(&config, text).unwrap();
        let log = at.join("log");
        Self {
            _daemon: stage::serve(&config, &log),
            log,
        }
    }

    /// Lines of the log about this event.
    fn events(&self, event: &str) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).unwrap();
        let mark = format!("\"event\":\"{event}\"");
        log.lines()
            .filter(|line| line.contains(&mark))
            .map(str::to_owned)
            .collect()
    }
}

#[test]
fn mail_that_goes_round_ends_where_a_server_meets_itself_too_often() {
    let directory = tempfile::tempdir().unwrap();
    let (here, there) = (free_port(), free_port());
    let halves = [
        Half::start(directory.path(), "here", here, there),
        Half::start(directory.path(), "there", there, here),
    ];
    let events = |event| -> Vec<String> { halves.iter().flat_map(|half| half.events(event)).collect() };
    drop(Wire::connect(there));
    let mut wire = Wire::ready(here);
    wire.expect(&[
        ("MAIL FROM:<a@from.example>", 250),
        ("RCPT TO:<b@to.example>", 250),
        ("DATA", 354),
    ]);
    wire.send(b"Subject: round\r\n\r\nround\r\n");
    assert_eq!(wire.say(".").code, 250);
    // The message fails after its hops; its notice goes the same way, and after it nothing is said.
    let deadline = Instant::now() + Duration::from_mins(2);
    while events("failed").len() < 2 {
        assert!(
            Instant::now() < deadline,
            "{} hops so far",
            events("delivered").len()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    for line in events("failed") {
        assert!(line.contains("5.4.6"), "{line}");
    }
    assert_eq!(events("notice").len(), 1);
    let hops = events("delivered").len();
    // Each sees its own name after every second hop, in the message and in its notice.
    assert!((40..=46).contains(&hops), "{hops}");
}
