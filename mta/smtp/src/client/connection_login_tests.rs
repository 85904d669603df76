//! Logins of the client against a scripted peer.

use super::*;
use crate::sasl::Mechanism;
use crate::sasl::client::Proof;

fn password() -> Proof {
    Proof::Password {
        user: "alice".into(),
        password: "secret".into(),
    }
}

fn token(length: usize) -> Proof {
    Proof::Token {
        user: "box@example.com".into(),
        token: "x".repeat(length),
    }
}

/// A connection that has said hello to a peer with this offer.
fn greeted(tls: bool, offer: &str) -> Connection {
    let mut connection = Connection::new(Config::smtp("me.example"));
    if tls {
        connection.tls_from_start();
    }
    connection.feed(b"220 mx\r\n");
    assert_eq!(connection.poll(), Event::NeedInput);
    connection.feed(format!("250-mx\r\n250 {offer}\r\n").as_bytes());
    assert_eq!(connection.poll(), Event::Ready);
    connection.take_output();
    connection
}

/// What is sent, and the events up to the next `Ready` or the end.
fn log_in(connection: &mut Connection, proof: &Proof, said: &[&str]) -> (Vec<String>, Vec<Event>) {
    let mechanism = proof.choose(&connection.capabilities().mechanisms).unwrap();
    assert!(connection.log_in(Login::new(proof, mechanism).unwrap()));
    let (mut said, mut sent, mut events) = (said.iter(), vec![], vec![]);
    loop {
        let event = connection.poll();
        let output = connection.take_output();
        if !output.is_empty() {
            sent.push(String::from_utf8(output).unwrap());
        }
        match event {
            Event::NeedInput => connection.feed(said.next().unwrap().as_bytes()),
            Event::Ready | Event::Closed => return (sent, events),
            event => events.push(event),
        }
    }
}

fn refused_code(events: &[Event]) -> u16 {
    match events {
        [Event::LoginRefused(reply)] => reply.code(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_said_outside_of_tls() {
    let mut connection = greeted(false, "AUTH PLAIN");
    let login = Login::new(&password(), Mechanism::Plain).unwrap();
    assert!(!connection.log_in(login));
    assert_eq!(connection.poll(), Event::Ready);
    assert!(connection.take_output().is_empty());
}

#[test]
fn what_is_not_offered_is_not_tried() {
    let mut connection = greeted(true, "AUTH LOGIN");
    let login = Login::new(&password(), Mechanism::Plain).unwrap();
    assert!(!connection.log_in(login) && connection.take_output().is_empty());
}

#[test]
fn a_login_is_one_command_where_it_is_short_and_two_lines_where_it_is_not() {
    let mut connection = greeted(true, "AUTH PLAIN");
    let (sent, events) = log_in(&mut connection, &password(), &["235 2.7.0 welcome\r\n"]);
    assert_eq!(sent, ["AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"]);
    assert_eq!(events, [Event::LoggedIn]);
    let mut connection = greeted(true, "AUTH XOAUTH2");
    let (sent, events) = log_in(
        &mut connection,
        &token(2_000),
        &["334 \r\n", "235 2.7.0 welcome\r\n"],
    );
    assert_eq!((sent[0].as_str(), sent.len()), ("AUTH XOAUTH2\r\n", 2));
    assert!(sent[1].len() > 2_000);
    assert_eq!(events, [Event::LoggedIn]);
}

#[test]
fn login_answers_two_questions() {
    let mut connection = greeted(true, "AUTH LOGIN");
    let said = [
        "334 VXNlcm5hbWU6\r\n",
        "334 UGFzc3dvcmQ6\r\n",
        "235 2.7.0 welcome\r\n",
    ];
    let (sent, events) = log_in(&mut connection, &password(), &said);
    assert_eq!(sent, ["AUTH LOGIN\r\n", "YWxpY2U=\r\n", "c2VjcmV0\r\n"]);
    assert_eq!(events, [Event::LoggedIn]);
}

#[test]
fn a_refused_token_is_answered_by_an_empty_line_and_the_connection_goes_on() {
    let mut connection = greeted(true, "AUTH XOAUTH2");
    let said = ["334 eyJzdGF0dXMiOiI0MDAifQ==\r\n", "535 5.7.8 no\r\n"];
    let (sent, events) = log_in(&mut connection, &token(20), &said);
    assert_eq!(sent[1], "\r\n");
    assert_eq!(refused_code(&events), 535);
    let mut connection = greeted(true, "AUTH OAUTHBEARER");
    let (sent, events) = log_in(&mut connection, &token(20), &said);
    assert_eq!(sent[1], "AQ==\r\n");
    assert_eq!(refused_code(&events), 535);
    // Another one may be tried on the same connection.
    let (_, events) = log_in(&mut connection, &token(10), &["235 2.7.0 welcome\r\n"]);
    assert_eq!(events, [Event::LoggedIn]);
}

#[test]
fn who_asks_too_much_or_says_yes_too_soon_is_left() {
    let error = |offer: &str, proof: &Proof, said: &[&str]| {
        let (sent, events) = log_in(&mut greeted(true, offer), proof, said);
        match events.as_slice() {
            [Event::Failed(failure)] => (sent.len(), failure.stage, failure.error.clone()),
            other => panic!("{other:?}"),
        }
    };
    for (offer, proof, said, sent, want) in [
        (
            "AUTH PLAIN",
            password(),
            &["334 more\r\n"][..],
            1,
            Error::Login(LoginError::Challenge),
        ),
        (
            "AUTH SCRAM-SHA-256",
            password(),
            &["235 2.7.0 welcome\r\n"],
            1,
            Error::Login(LoginError::Unproven),
        ),
        (
            "AUTH XOAUTH2",
            token(2_000),
            &["235 2.7.0 welcome\r\n"],
            1,
            Error::Login(LoginError::Unproven),
        ),
    ] {
        assert_eq!(error(offer, &proof, said), (sent, Stage::Auth, want), "{offer}");
    }
}

#[test]
fn a_peer_that_gives_up_amid_a_login_is_left() {
    let mut connection = greeted(true, "AUTH PLAIN");
    let (_, events) = log_in(&mut connection, &password(), &["421 4.7.0 go away\r\n"]);
    assert!(
        matches!(events.as_slice(), [Event::Failed(failure)] if matches!(failure.error, Error::Refused(_))),
        "{events:?}"
    );
}
