//! The client's connection against a next hop that says anything.
//!
//! * What we send is commands and text: no bare CR or LF, no NUL, whatever the peer says.
//! * Every transaction ends with one outcome for each recipient, or with a failure that says what is known.
//! * REQUIRETLS is said inside TLS to a peer that offers it there, and a message that needs it goes nowhere else.
//! * It ends: no reply keeps it busy for ever.

use postroad_smtp::client::{Config, Connection, Event, Message, Recipient};
use postroad_smtp::sasl::client::{Login, Proof};
use postroad_smtp::{By, ByMode};

use crate::{is_text, pieces};

const BODY: &[u8] = b"Subject: x\r\n\r\n.leading dot\r\nbody\r\n";

/// How far a connection came.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Ready(String),
    Failed(String),
    Closed,
    Silent,
}

/// The reply to the connection and to EHLO: the same in any pieces.
pub fn reply(octets: &[u8]) {
    let greet = |pieces: &[&[u8]]| {
        let mut connection = Connection::new(Config::smtp("mail.example.com"));
        let mut pieces = pieces.iter();
        loop {
            match connection.poll() {
                Event::NeedInput => match pieces.next() {
                    Some(piece) => connection.feed(piece),
                    None => return End::Silent,
                },
                Event::Ready => return End::Ready(format!("{:?}", connection.capabilities())),
                Event::Failed(failure) => return End::Failed(failure.error.to_string()),
                Event::Closed => return End::Closed,
                event => panic!("{event:?} before anything was asked"),
            }
        }
    };
    let whole = greet(&[octets]);
    let cut = greet(&pieces(octets));
    // A peer that talks on is noticed as soon as its octets are there, for what they are or for being there.
    let early = matches!((&whole, &cut), (End::Failed(_), End::Ready(_) | End::Failed(_)));
    assert!(early || whole == cut, "{whole:?} is not {cut:?}");
}

/// Logs in by whatever the peer offers; nothing of it may leave outside of TLS.
fn log_in(connection: &mut Connection) {
    let proof = Proof::Password {
        user: "alice".to_owned(),
        password: "secret".to_owned(),
    };
    let Some(mechanism) = proof.choose(&connection.capabilities().mechanisms) else {
        return;
    };
    if let Ok(login) = Login::new(&proof, mechanism) {
        let begun = connection.log_in(login);
        assert!(!begun || connection.is_tls(), "a login outside of TLS");
    }
}

/// A whole connection: the first octet chooses its kind, the rest is what the peer sends, piece by piece.
pub fn connection(octets: &[u8]) {
    let Some((choice, said)) = octets.split_first() else {
        return;
    };
    let config = if choice & 1 == 0 {
        Config::smtp("mail.example.com")
    } else {
        Config::lmtp("mail.example.com")
    };
    let mut connection = Connection::new(config);
    let mut said = pieces(said).into_iter();
    let (mut sent, mut tls_asked, mut login_tried, mut closed) = (0, choice & 2 == 0, false, false);
    let mut wire = Vec::new();
    for step in 0.. {
        assert!(step < 200_000, "it does not end");
        let event = connection.poll();
        wire.extend(connection.take_output());
        match event {
            Event::NeedInput => {
                if let Some(piece) = said.next() {
                    connection.feed(piece);
                } else {
                    assert!(!closed, "input is asked for behind the end");
                    closed = true;
                    connection.closed();
                }
            }
            Event::Ready if !tls_asked => {
                tls_asked = true;
                connection.start_tls();
            }
            Event::Ready if !login_tried => {
                login_tried = true;
                log_in(&mut connection);
            }
            Event::Ready if sent < 3 => {
                sent += 1;
                let mut message = Message::new("a@example.com", BODY.len() as u64);
                message.envid = Some("id + = x".into());
                message.require_tls = choice & 4 != 0;
                message.by = (choice & 8 != 0).then_some(By {
                    seconds: 60,
                    mode: ByMode::Return,
                    trace: true,
                });
                for number in 0..=choice >> 4 {
                    message
                        .recipients
                        .push(Recipient::new(format!("r{number}@example.org")));
                }
                if connection.send(message).is_err() {
                    break;
                }
                let safe = connection.is_tls() && connection.capabilities().require_tls;
                assert!(safe || choice & 4 == 0, "REQUIRETLS without TLS or offer");
            }
            Event::Ready => connection.quit(),
            Event::StartTls => {
                // TLS carries octets of its own.
                connection.tls_started();
            }
            Event::TlsRefused(_) | Event::LoggedIn | Event::LoginRefused(_) => {}
            Event::NeedBody => {
                connection.body(BODY);
                connection.body_end();
            }
            Event::Sent(outcomes) => assert_eq!(outcomes.len(), usize::from(choice >> 4) + 1),
            Event::Failed(failure) => {
                let known = failure.outcomes.len();
                assert!(
                    known == 0 || known == usize::from(choice >> 4) + 1,
                    "{known} outcomes"
                );
            }
            Event::Closed => break,
        }
    }
    assert!(is_text(&wire), "{:?}", String::from_utf8_lossy(&wire));
}
