//! A filter that says anything, and an answer of rspamd that is anything.
//!
//! * It ends: in an answer, in an error, or in waiting for more.
//! * Same octets in any pieces, same answer.
//! * No text of a filter makes more of a header than the fields that it names, nor more of a reply than one line.

use postroad_filter::header::Section;
use postroad_filter::milter::{Client, Event};
use postroad_filter::{Answer, Change, Malformed, Message, Verdict, rspamd};

use crate::pieces;

const HEADER: &[u8] = b"From: ann@client.example\r\nSubject: a\r\n b\r\n";

fn message() -> Message {
    Message {
        hostname: "mail.example.com".into(),
        port_name: "smtp".into(),
        queue_id: "Q1".into(),
        client: [192, 0, 2, 1].into(),
        client_port: 0,
        helo: "client.example".into(),
        tls: None,
        login: None,
        reverse_path: String::new(),
        eight_bit: false,
        smtputf8: false,
        recipients: vec!["bob@example.com".into()],
        header: Section::parse(HEADER),
        body: 6,
    }
}

/// All octets that a filter says, whatever it is asked; each is there as soon as something is waited for.
fn asked<'a>(said: impl IntoIterator<Item = &'a [u8]>) -> Option<Result<(Answer, Vec<u8>), Malformed>> {
    let mut client = Client::new(message());
    let mut said = said.into_iter();
    let mut told = [b"body\r\n".as_slice(), b""].into_iter();
    let mut body = Vec::new();
    loop {
        match client.poll() {
            Ok(Event::Send(octets)) => assert!(!octets.is_empty()),
            Ok(Event::NeedInput(_)) => client.feed(said.next()?),
            Ok(Event::NeedBody) => client.give_body(told.next().unwrap_or_default()),
            Ok(Event::Body(octets)) => body.extend(octets),
            Ok(Event::Done { answer, .. }) => return Some(Ok((answer, body))),
            Err(error) => return Some(Err(error)),
        }
    }
}

/// A filter's side of a connection.
pub fn milter(octets: &[u8]) {
    // One octet at a time it is never ahead of what it is asked, so that is the reading to compare with.
    let singly = asked(octets.chunks(1));
    let cut = asked(pieces(octets));
    if let (Some(Ok(cut)), Some(Ok(singly))) = (&cut, &singly) {
        assert_eq!(cut, singly, "another answer in other pieces");
    }
    if matches!(cut, Some(Ok(_))) {
        assert!(matches!(singly, Some(Ok(_))), "an answer in some pieces alone");
    }
    if let Some(Ok((answer, _))) = &singly {
        judge(answer);
    }
}

/// An answer of rspamd.
pub fn rspamd(octets: &[u8]) {
    if let Ok(scan) = rspamd::parse(octets, &message()) {
        assert!(scan.symbols.len() <= rspamd::MOST_SYMBOLS);
        assert!(scan.symbols.iter().all(|name| is_line(name)));
        assert!(scan.score.is_finite());
        judge(&scan.answer);
    }
}

fn judge(answer: &Answer) {
    if let Verdict::Refuse(refusal) = &answer.verdict {
        assert!((400..600).contains(&refusal.code) && is_line(&refusal.text) && refusal.text.len() <= 400);
    }
    assert!(answer.verdict == Verdict::Accept || answer.changes.is_empty());
    assert!(answer.quarantine.iter().all(|reason| is_line(reason)));
    let mut header = Section::parse(HEADER);
    for change in &answer.changes {
        let before = header.fields().len();
        header.apply(change);
        let after = header.fields().len();
        assert!(after <= before + 1, "one change, several fields");
        if let Change::From(path) | Change::AddRecipient(path) | Change::RemoveRecipient(path) = change {
            assert!(!path.chars().any(char::is_control));
        }
    }
    assert_eq!(
        Section::parse(&header.write()),
        header,
        "a value is more than one field"
    );
    assert!(crate::is_text(&header.write()), "a header that SMTP cannot carry");
}

fn is_line(text: &str) -> bool {
    text.bytes().all(|octet| matches!(octet, b' '..=b'~'))
}
