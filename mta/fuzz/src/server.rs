//! The server's session, in every state, against any octets.
//!
//! * The same octets in any pieces give the same messages.
//! * No recipient without a sender, no body without a recipient; nothing of a transaction is left behind its end.
//! * A message that is handed over is text: no bare CR or LF, no NUL, and as long as its end says.
//! * REQUIRETLS is taken inside TLS alone.
//! * Every reply is of the grammar.

use postroad_smtp::Reply;
use postroad_smtp::sasl::{Mechanism, ScramVerifier};
use postroad_smtp::server::{Config, Event, Role, Session, Tls};

use crate::{is_text, pieces};

/// What a session led to, however its octets were cut.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Mail(String),
    Rcpt(String),
    Message(Vec<u8>),
    Login(String, bool),
    StandIn(String),
    Closed,
}

/// The transaction as this harness keeps it.
#[derive(Default)]
struct Model {
    open: bool,
    recipients: u32,
    body: Option<Vec<u8>>,
}

/// Plays a session; `input` in these pieces. Stops where TLS would begin.
fn play(config: &Config, input: &[&[u8]]) -> (Vec<Step>, Vec<u8>) {
    let limit = config.size_limit;
    let mut session = Session::new(config.clone());
    let (mut steps, mut output, mut model) = (Vec::new(), Vec::new(), Model::default());
    let mut input = input.iter();
    loop {
        let event = session.poll();
        output.extend(session.take_output());
        match event {
            Event::NeedInput => match input.next() {
                Some(piece) => session.feed(piece),
                None => break,
            },
            Event::StartTls => break,
            Event::Close => {
                steps.push(Step::Closed);
                break;
            }
            Event::StandIn(who) => {
                assert!(!model.open, "XCLIENT in a transaction");
                steps.push(Step::StandIn(format!("{who:?}")));
                session.answer(verdict(true));
            }
            Event::Mail(mail) => {
                assert!(!model.open, "MAIL in a transaction");
                assert!(!mail.require_tls || session.is_tls(), "REQUIRETLS in clear");
                let path = mail
                    .reverse_path
                    .as_ref()
                    .map_or("", |path| path.as_str())
                    .to_owned();
                let taken = !path.starts_with("no");
                model = Model {
                    open: taken,
                    ..Model::default()
                };
                steps.push(Step::Mail(path));
                session.answer(verdict(taken));
                assert_eq!(session.in_transaction(), taken);
            }
            Event::Rcpt(rcpt) => {
                assert!(
                    model.open && model.body.is_none(),
                    "RCPT without a sender or in a body"
                );
                let path = rcpt
                    .forward_path
                    .as_ref()
                    .map_or("", |path| path.as_str())
                    .to_owned();
                let taken = !path.starts_with("no");
                model.recipients += u32::from(taken);
                steps.push(Step::Rcpt(path));
                session.answer(verdict(taken));
            }
            Event::BodyBegin => {
                assert!(
                    model.open && model.recipients > 0 && model.body.is_none(),
                    "a body without a recipient"
                );
                model.body = Some(Vec::new());
                session.answer(Reply::ok("2.0.0", "go on"));
            }
            Event::Body(octets) => {
                let body = model.body.as_mut().expect("a body that did not begin");
                body.extend_from_slice(&octets);
                assert!(body.len() as u64 <= limit, "a body above the limit is handed on");
            }
            Event::BodyEnd(end) => {
                let body = model.body.take().expect("the end of no body");
                assert_eq!(end.octets, body.len() as u64);
                assert!(is_text(&body), "a message that is no text: {body:?}");
                let taken = body.len() % 5 != 4;
                steps.push(Step::Message(body));
                model = Model::default();
                session.answer(verdict(taken));
                assert!(!session.in_transaction());
            }
            Event::Reset => model = Model::default(),
            Event::CheckPassword { user, password } => {
                session.password_checked(&user, Some(password == "secret"));
            }
            Event::CheckToken { user, token } => {
                assert!(!token.is_empty());
                session.token_checked(if token == "secret" { Ok(user) } else { Err("no") });
            }
            Event::FindVerifier { user } => session.verifier_found(ScramVerifier::made_up(&user, b"secret")),
            Event::Authenticated { user, success } => {
                assert_eq!(session.identity().is_some(), success);
                steps.push(Step::Login(user, success));
            }
        }
    }
    (steps, output)
}

fn verdict(taken: bool) -> Reply {
    if taken {
        Reply::ok("2.0.0", "ok")
    } else {
        Reply::new(550, "5.7.1", "no")
    }
}

/// Each line is a code and printable text.
fn judge_replies(output: &[u8]) {
    assert!(output.is_empty() || output.ends_with(b"\r\n"));
    for line in output
        .split(|octet| *octet == b'\n')
        .filter(|line| !line.is_empty())
    {
        let line = line.strip_suffix(b"\r").expect("CR LF");
        assert!((4..=510).contains(&line.len()), "{line:?}");
        assert!(
            line[..3].iter().all(u8::is_ascii_digit) && matches!(line[3], b' ' | b'-'),
            "{line:?}"
        );
        assert!(line.iter().all(|octet| (b' '..=b'~').contains(octet)), "{line:?}");
    }
}

/// Plays it whole, in pieces and octet by octet. Gives the steps of the pieces.
fn judge(config: &Config, octets: &[u8]) -> Vec<Step> {
    let (whole, output) = play(config, &[octets]);
    judge_replies(&output);
    let (cut, output) = play(config, &pieces(octets));
    judge_replies(&output);
    let single: Vec<_> = octets.chunks(1).collect();
    let (single, output) = play(config, &single);
    judge_replies(&output);
    compare(octets, &whole, &cut);
    compare(octets, &cut, &single);
    cut
}

/// Equal; except that behind a refused DATA a session ends at once where the next octets are there already, so that
/// one of the two stops earlier.
fn compare(octets: &[u8], a: &[Step], b: &[Step]) {
    let steps = |steps: &[Step]| -> Vec<Step> {
        steps
            .iter()
            .filter(|step| **step != Step::Closed)
            .cloned()
            .collect()
    };
    let (a, b) = (steps(a), steps(b));
    let shorter = a.len().min(b.len());
    assert_eq!(a[..shorter], b[..shorter], "pieces matter");
    let has_data = octets.windows(4).any(|word| word.eq_ignore_ascii_case(b"DATA"));
    assert!(has_data || a.len() == b.len(), "pieces matter: {a:?} {b:?}");
}

fn config(role: Role, tls: Tls) -> Config {
    Config {
        role,
        tls,
        stand_in: true,
        require_tls: true,
        deliver_by: true,
        hold: Some((60, "2100-01-01T00:00:00Z".into())),
        size_limit: 64 << 10,
        recipients_limit: 5,
        mechanisms: vec![
            Mechanism::ScramSha256Plus,
            Mechanism::ScramSha256,
            Mechanism::Plain,
            Mechanism::Login,
            Mechanism::OAuthBearer,
            Mechanism::XOAuth2,
        ],
        bindings: crate::text::bindings(),
        ..Config::transfer("mx.example.org")
    }
}

const OPEN: &str = "EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n";

/// Octets where commands are read.
pub fn line(octets: &[u8]) {
    judge(
        &config(Role::Transfer, Tls::Offered),
        &[b"EHLO x\r\n", octets].concat(),
    );
}

/// Any session: the first octet chooses what the port is for and what was said before.
pub fn session(octets: &[u8]) {
    let Some((choice, rest)) = octets.split_first() else {
        return;
    };
    let role = if choice & 1 == 0 {
        Role::Transfer
    } else {
        Role::Submission
    };
    let tls = match choice >> 1 & 3 {
        0 => Tls::Unavailable,
        1 => Tls::Offered,
        2 => Tls::Required,
        _ => Tls::Active,
    };
    let before: String = match choice >> 3 & 7 {
        0 => String::new(),
        1 => "EHLO x\r\n".into(),
        2 => "EHLO x\r\nMAIL FROM:<a@b.example> SMTPUTF8\r\n".into(),
        3 => OPEN.into(),
        4 => format!("{OPEN}DATA\r\n"),
        5 => format!("{OPEN}BDAT 10\r\n0123456"),
        6 => "EHLO x\r\nAUTH PLAIN AHgAc2VjcmV0\r\n".into(),
        _ => "EHLO x\r\nAUTH SCRAM-SHA-256-PLUS\r\n".into(),
    };
    judge(&config(role, tls), &[before.as_bytes(), rest].concat());
}

/// A body behind DATA, judged by a second reading that is as simple as can be.
pub fn data(octets: &[u8]) {
    let steps = judge(
        &config(Role::Transfer, Tls::Unavailable),
        &[OPEN.as_bytes(), b"DATA\r\n", octets].concat(),
    );
    let message = steps.iter().find_map(|step| match step {
        Step::Message(body) => Some(body.as_slice()),
        _ => None,
    });
    let framed = [b"\r\n", octets].concat();
    let Some(end) = framed.windows(5).position(|five| five == b"\r\n.\r\n") else {
        assert_eq!(message, None, "an end that is none");
        return;
    };
    let raw = &framed[2..end + 2];
    if is_text(raw) && !steps[2..].is_empty() {
        let plain = unstuffed(raw);
        if plain.len() <= 64 << 10 {
            assert_eq!(message, Some(plain.as_slice()));
        }
    } else if !is_text(raw) {
        // Whatever comes next is another message.
        assert_ne!(
            steps.get(2),
            Some(&Step::Message(unstuffed(raw))),
            "no text, and taken"
        );
    }
}

/// One dot at the head of a line is taken off (RFC 5321 section 4.5.2).
fn unstuffed(raw: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut at_head = true;
    for (at, octet) in raw.iter().enumerate() {
        if !(at_head && *octet == b'.') {
            plain.push(*octet);
        }
        at_head = *octet == b'\n' && at > 0 && raw[at - 1] == b'\r';
    }
    plain
}

/// The same octets as chunks of lengths that the first octet decides: what is text arrives as it is.
pub fn bdat(octets: &[u8]) {
    let Some((choice, body)) = octets.split_first() else {
        return;
    };
    if body.len() > 60 << 10 {
        return;
    }
    let mut said = OPEN.as_bytes().to_vec();
    let chunk = usize::from(*choice).max(1);
    for piece in body.chunks(chunk) {
        said.extend(format!("BDAT {}\r\n", piece.len()).as_bytes());
        said.extend(piece);
    }
    said.extend(b"BDAT 0 LAST\r\nNOOP\r\n");
    let steps = judge(&config(Role::Transfer, Tls::Unavailable), &said);
    let message = steps.iter().find_map(|step| match step {
        Step::Message(body) => Some(body.as_slice()),
        _ => None,
    });
    assert_eq!(message, is_text(body).then_some(body));
}
