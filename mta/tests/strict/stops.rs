//! The daemon is asked to end while a session is in each state, in clear and under TLS: it hears 421 (RFC 5321 section 3.8),
//! where a transaction is open after the message of it; what was confirmed is in the spool, and nothing else is.

use std::process::Command;
use std::time::{Duration, Instant};

use postroad_mta::daemon::Daemon;
use postroad_mta::lifecycle::Patience;

use crate::stage::{PASSWORD, Play, Stage, plain};
use crate::wire::{PATIENCE, Wire};

/// A session behind EHLO.
struct Held {
    /// What the client has said since.
    said: String,
    /// How many replies it has read to that.
    replies: usize,
    /// What it says when the daemon has been asked to end.
    then: &'static str,
    /// The replies to that, before 421.
    answers: &'static [u16],
    /// Messages that are confirmed at the end of it all; the second: where the client says nothing more.
    stored: (usize, usize),
}

fn held(
    said: &str,
    replies: usize,
    then: &'static str,
    answers: &'static [u16],
    stored: (usize, usize),
) -> Held {
    Held {
        said: said.to_owned(),
        replies,
        then,
        answers,
        stored,
    }
}

/// Every state of a transaction, and those around it.
fn transactions() -> Vec<Held> {
    let mail = "MAIL FROM:<a@else.example>\r\n";
    let both = format!("{mail}RCPT TO:<alice@example.com>\r\n");
    let data = format!("{both}DATA\r\n");
    let after_mail = "RCPT TO:<alice@example.com>\r\nBDAT 14 LAST\r\nSubject: x\r\n\r\n";
    vec![
        held("", 0, "", &[], (0, 0)),
        held("NOO", 0, "", &[], (0, 0)),
        held(&format!("{mail}RSET\r\n"), 2, "", &[], (0, 0)),
        held(
            &format!("{both}BDAT 14 LAST\r\nSubject: x\r\n\r\n"),
            3,
            "",
            &[],
            (1, 1),
        ),
        held(mail, 1, "RSET\r\n", &[250], (0, 0)),
        held(mail, 1, after_mail, &[250, 250], (1, 0)),
        held(&both, 2, "BDAT 14 LAST\r\nSubject: x\r\n\r\n", &[250], (1, 0)),
        held(&data, 3, "Subject: x\r\n\r\nx\r\n.\r\n", &[250], (1, 0)),
        held(
            &format!("{data}Subject: x\r\n\r\nhal"),
            3,
            "f\r\n.\r\n",
            &[250],
            (1, 0),
        ),
        held(
            &format!("{both}BDAT 20\r\nSubject: x\r\n"),
            2,
            "\r\nhalf\r\nBDAT 0 LAST\r\n",
            &[250, 250],
            (1, 0),
        ),
        held(
            &format!("{both}BDAT 12\r\nSubject: x\r\n"),
            3,
            "BDAT 6 LAST\r\n\r\nhi\r\n",
            &[250],
            (1, 0),
        ),
    ]
}

/// Before, in the midst of, and behind a login.
fn logins() -> Vec<Held> {
    let whole = format!("AUTH PLAIN {}\r\n", plain("alice", PASSWORD));
    [
        ("AUTH PLAIN\r\n", 1),
        ("AUTH PLAIN AGFs", 0),
        ("AUTH LOGIN\r\n", 1),
        ("AUTH LOGIN\r\nYWxpY2U=\r\n", 2),
        (&whole, 1),
    ]
    .map(|(said, replies)| held(said, replies, "", &[], (0, 0)))
    .into()
}

/// All sessions with their state, each at its state.
fn sessions(ports: [std::net::SocketAddr; 2], chain: &str) -> Vec<(Wire, Held)> {
    let [transfer, submission] = ports;
    let clear = transactions()
        .into_iter()
        .map(|held| (Wire::ready(transfer), held));
    let secured = transactions()
        .into_iter()
        .map(|held| (Wire::ready(transfer).secure(chain), held));
    let users = logins()
        .into_iter()
        .map(|held| (Wire::ready(submission).secure(chain), held));
    let mut all: Vec<_> = clear.chain(secured).chain(users).collect();
    for (wire, held) in &mut all {
        wire.send(held.said.as_bytes());
        for _ in 0..held.replies {
            let reply = wire.reply();
            assert!(reply.class() < 4, "{:?}: {reply:?}", held.said);
        }
    }
    all
}

fn codes(wire: &mut Wire) -> Vec<u16> {
    wire.rest().iter().map(|reply| reply.code).collect()
}

fn ask_to_end(stage: &Stage) {
    let pid = stage.daemon.0.id().to_string();
    let asked = Command::new("sh").args(["-c", "kill -TERM $0", &pid]).status();
    assert!(asked.unwrap().success());
}

/// The process is gone within a generous time, and says that all went well.
fn has_ended(stage: &mut Stage) {
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = stage.daemon.0.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "it does not end: {}", stage.log());
        std::thread::sleep(Duration::from_millis(10));
    };
    let log = stage.log();
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("\"stopped\"") && !log.contains("panicked"), "{log}");
}

/// How many messages wait in the spool of a daemon that has ended.
fn spooled(stage: &Stage) -> usize {
    let told = Command::new(env!("CARGO_BIN_EXE_postroad-mta"))
        .args(["spool", "ls", "--json"])
        .arg(stage.directory.path().join("spool"))
        .output()
        .unwrap();
    assert!(told.status.success(), "{told:?}");
    String::from_utf8(told.stdout).unwrap().lines().count()
}

#[test]
fn a_client_that_goes_on_is_served_to_the_end_of_its_transaction() {
    let mut stage = Play::default().start();
    let mut greeted = Wire::connect(stage.transfer);
    greeted.expect(&[("", 220)]);
    let mut all = sessions([stage.transfer, stage.submission], &stage.chain);
    let mut shy = Wire::ready(stage.transfer);
    shy.expect(&[("STARTTLS", 220)]);
    let mut silent = Wire::ready(stage.transfer);
    silent.expect(&[("STARTTLS", 220)]);
    ask_to_end(&stage);
    assert_eq!(codes(&mut greeted), [421]);
    assert_eq!(codes(&mut Wire::connect(stage.transfer)), [421], "a new session");
    // The handshake that comes now is done, and the session inside it ends.
    shy.handshake(&stage.chain);
    assert_eq!(codes(&mut shy), [421], "in the midst of STARTTLS");
    let mut stored = 0;
    for (wire, held) in &mut all {
        wire.send(held.then.as_bytes());
        assert_eq!(
            codes(wire),
            [held.answers, &[421]].concat(),
            "{:?}, then {:?}",
            held.said,
            held.then
        );
        stored += held.stored.0;
    }
    assert_eq!(
        codes(&mut silent),
        [0; 0],
        "nobody can be told in the midst of a handshake"
    );
    has_ended(&mut stage);
    assert_eq!(spooled(&stage), stored);
}

#[test]
fn a_client_that_says_no_more_is_told_and_its_message_never_was() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let files = Play::default().write();
    let daemon = runtime.block_on(Daemon::start(&files.config)).unwrap();
    let mut all = sessions([files.transfer, files.submission], &files.chain);
    let mut silent = Wire::ready(files.transfer);
    silent.expect(&[("STARTTLS", 220)]);
    let spool = daemon.handles().spool.clone();
    let patience = Patience {
        leave: Duration::ZERO,
        sessions: Duration::from_millis(300),
    };
    let stopping = std::thread::spawn(move || runtime.block_on(daemon.stop(patience)));
    let mut stored = 0;
    for (wire, held) in &mut all {
        assert_eq!(codes(wire), [421], "{:?}", held.said);
        stored += held.stored.1;
    }
    assert_eq!(codes(&mut silent), [0; 0]);
    stopping.join().unwrap();
    assert_eq!(spool.entries().len(), stored);
}

/// Who waits for the greeting (`limits.greetingDelay`) waits no longer.
#[test]
fn a_client_that_was_not_greeted_yet_is_told() {
    let mut stage = Play {
        limits: "{greetingDelay: 30s}".to_owned(),
        ..Play::default()
    }
    .start();
    // Who logs in is greeted at once: the daemon serves, and takes connections in their order.
    let mut waiting = Wire::connect(stage.transfer);
    Wire::ready(stage.submission).expect(&[("NOOP", 250)]);
    ask_to_end(&stage);
    assert_eq!(codes(&mut waiting).last(), Some(&421));
    has_ended(&mut stage);
}
