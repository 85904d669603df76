//! How clients end sessions: half-closed or reset, in every state; and messages that were here too often.

use crate::sink::Sink;
use crate::stage::Play;
use crate::wire::Wire;

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
    // The same inside TLS, and in the midst of a login.
    let inside = STATES.iter().filter(|state| !state.contains("STARTTLS"));
    for state in inside
        .copied()
        .chain(["EHLO x\r\nAUTH PLAIN\r\n", "EHLO x\r\nAUTH PLAIN AGFs"])
    {
        for how in ["close", "reset"] {
            let port = if state.contains("AUTH") {
                stage.submission
            } else {
                stage.transfer
            };
            let mut wire = Wire::ready(port).secure(&stage.chain);
            wire.send(state.as_bytes());
            if how == "reset" {
                wire.reset();
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
