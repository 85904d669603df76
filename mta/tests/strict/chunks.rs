//! BDAT (RFC 3030) as nobody should say it.

use crate::sink::{Kind, Sink};
use crate::stage::Play;

const OPEN: [(&str, u16); 2] = [
    ("MAIL FROM:<a@else.example>", 250),
    ("RCPT TO:<alice@example.com>", 250),
];

#[test]
fn chunks_make_one_message_whatever_they_look_like() {
    let store = Sink::lmtp();
    let stage = Play {
        store: Some(store.address),
        ..Play::default()
    }
    .start();
    let mut wire = stage.wire();
    let body = b"Subject: x\r\n\r\n.\r\nQUIT\r\nRSET\r\n..\r\n.\r\n";
    // As one, octet by octet, and with empty chunks at both ends.
    wire.expect(&OPEN);
    wire.send(format!("BDAT {} LAST\r\n", body.len()).as_bytes());
    wire.send(body);
    assert_eq!(wire.reply().code, 250);
    wire.expect(&OPEN);
    for octet in body {
        wire.send(&[b"BDAT 1\r\n".as_slice(), &[*octet]].concat());
    }
    wire.send(b"BDAT 0 LAST\r\n");
    for _ in 0..=body.len() {
        assert_eq!(wire.reply().code, 250);
    }
    wire.expect(&OPEN);
    wire.expect(&[("BDAT 0", 250), ("BDAT 0", 250)]);
    wire.send(format!("BDAT {} last\r\n", body.len()).as_bytes());
    wire.send(body);
    assert_eq!(wire.reply().code, 250);
    for taken in store.wait_for(3) {
        assert_eq!(taken.original(), body);
    }
    store.judge_wire();
    // Nothing at all is a message, too.
    wire.expect(&OPEN);
    wire.expect(&[("BDAT 0 LAST", 250), ("QUIT", 221)]);
}

#[test]
fn chunks_and_data_do_not_mix() {
    let mut stage = Play::default().start();
    let mut wire = stage.wire();
    wire.expect(&OPEN);
    wire.send(b"BDAT 3\r\nabc");
    assert_eq!(wire.reply().code, 250);
    wire.expect(&[
        ("DATA", 503),
        ("MAIL FROM:<b@else.example>", 503),
        ("RCPT TO:<bob@example.com>", 503),
        ("BDAT 0 LAST", 250),
    ]);
    stage.is_well();
}

/// A size that cannot be read leaves us without knowing where commands begin: the session ends.
#[test]
fn sizes_that_cannot_be_read_end_the_session() {
    let mut stage = Play::default().start();
    for size in [
        "",
        "-1",
        "2a",
        "0x10",
        "+1",
        "1  LAST",
        "1 LAST LAST",
        "1 FIRST",
        "18446744073709551616",
        "1,0",
        "٣",
        "1\t2",
    ] {
        let mut wire = stage.wire();
        wire.expect(&OPEN);
        wire.send(format!("BDAT {size}\r\nMAIL FROM:<evil@else.example>\r\nNOOP\r\n").as_bytes());
        let replies = wire.rest();
        assert!(
            replies.len() == 1 && replies[0].class() == 5,
            "{size}: {replies:?}"
        );
    }
    for size in ["18446744073709551615", "9999999999999"] {
        let mut wire = stage.wire();
        wire.expect(&OPEN);
        wire.send(format!("BDAT {size}\r\nNOOP\r\n").as_bytes());
        let replies = wire.rest();
        assert!(
            replies.len() == 1 && replies[0].code == 552,
            "{size}: {replies:?}"
        );
    }
    stage.is_well();
}

#[test]
fn a_message_without_its_last_chunk_never_was() {
    let store = Sink::lmtp();
    let mut stage = Play {
        store: Some(store.address),
        ..Play::default()
    }
    .start();
    for end in ["QUIT\r\n", "RSET\r\nQUIT\r\n", "EHLO x\r\nQUIT\r\n", ""] {
        let mut wire = stage.wire();
        wire.expect(&OPEN);
        wire.send(format!("BDAT 12\r\nSubject: no\n{end}").as_bytes());
        wire.half_close();
        wire.rest();
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

/// NUL and bare line ends are no text; they are refused in the first chunk and in the last one, and never passed on.
#[test]
fn chunks_of_no_text_are_refused() {
    let relay = Sink::start(Kind {
        lmtp: false,
        chunking: true,
    });
    let mut stage = Play {
        store: Some(Sink::lmtp().address),
        relay: Some(relay.address),
        ..Play::default()
    }
    .start();
    for bad in [
        "a\0b\r\n", "a\rb\r\n", "a\nb\r\n", "a\r\r\n", "a\r", "a\n", "\r\n\n",
    ] {
        for split in 0..=bad.len() {
            let mut wire = stage.submitting();
            wire.expect(&[
                ("MAIL FROM:<alice@example.com>", 250),
                ("RCPT TO:<b@else.example>", 250),
            ]);
            wire.send(format!("BDAT {split}\r\n{}", &bad[..split]).as_bytes());
            wire.send(format!("BDAT {} LAST\r\n{}", bad.len() - split, &bad[split..]).as_bytes());
            let codes = [wire.reply().code, wire.reply().code];
            assert!(codes.contains(&550), "{bad:?} at {split}: {codes:?}");
        }
    }
    stage.is_well();
    assert!(relay.taken().is_empty());
}
