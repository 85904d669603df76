//! Look-alikes of the end of data, handed to us and judged by the peer behind us: one message each, and nothing that was
//! hidden in one is run as commands.
//!
//! Which of all look-alikes we refuse, in every split, is for `mta/tests/strict/endings.rs`; here the point is what other
//! programs make of what we let through.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use super::Verdict;
use super::inbox::Arrived;
use super::mail::{self, Session};
use super::stage::{DATA, PLAIN, Stage};
use crate::kubectl::Outcome;

pub(super) const COLUMNS: &[&str] = &["by BDAT", "by DATA"];

const BEFORE: [&str; 5] = ["", "\n", "\r", "\r\n", "\0"];
const DOTS: [&str; 3] = [".", "..", ".x"];
const AFTER: [&str; 5] = ["", "\n", "\r", "\r\n", "\0"];

/// The peer's view of each way to it. A peer without chunks gets all by DATA anyway.
pub(super) fn judge(stage: &Stage) -> Outcome<Vec<Verdict>> {
    let chunks = if stage.plain.server_offers("CHUNKING") {
        behind(stage, PLAIN)?
    } else {
        Verdict::Absent
    };
    Ok(vec![chunks, behind(stage, DATA)?])
}

fn behind(stage: &Stage, domain: &str) -> io::Result<Verdict> {
    let mut accepted = BTreeMap::new();
    for (number, alike) in look_alikes().iter().enumerate() {
        for chunked in [false, true] {
            let subject = format!("ends-{domain}-{number}-{chunked}");
            let message = Hidden::new(&subject, domain, alike);
            if chunked || !message.is_cut() {
                let taken = message.hand_in(stage, domain, chunked)?;
                if taken != message.is_text() {
                    return Ok(Verdict::Fail(format!("{alike:?}: taken is {taken}")));
                }
                if taken {
                    accepted.insert(subject, message.at_the_end(chunked));
                }
            }
        }
    }
    let mut arrived = Vec::new();
    let deadline = Instant::now() + LIMIT;
    while arrived.len() < accepted.len() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
        arrived = stage.inbox.all();
        arrived.retain(|one| mail::subject(&one.content).starts_with(&format!("ends-{domain}-")));
    }
    Ok(compare(&accepted, &arrived, &stage.inbox.all()))
}

/// `of_these`: what came with one of our subjects. `all`: whatever came.
fn compare(accepted: &BTreeMap<String, Vec<u8>>, of_these: &[Arrived], all: &[Arrived]) -> Verdict {
    if let Some(evil) = all.iter().find(|one| mail::subject(&one.content) == "evil") {
        return Verdict::Fail(format!("what was hidden came out, for {}", evil.recipient));
    }
    for (subject, body) in accepted {
        let mut same = of_these
            .iter()
            .filter(|one| mail::subject(&one.content) == *subject);
        match (same.next(), same.count()) {
            (None, _) => return Verdict::Fail(format!("{subject} did not arrive")),
            (Some(one), 0) if mail::body(&one.content) == body => {}
            (Some(one), 0) => {
                let body = mail::shown(mail::body(&one.content));
                return Verdict::Fail(format!("{subject} changed: {body}"));
            }
            (_, more) => return Verdict::Fail(format!("{subject} arrived {} times", more + 1)),
        }
    }
    Verdict::Yes
}

fn look_alikes() -> Vec<String> {
    let mut found = Vec::new();
    for before in BEFORE {
        for dots in DOTS {
            for after in AFTER {
                found.push(format!("{before}{dots}{after}"));
            }
        }
    }
    found
}

/// A message with a look-alike, behind which another message hides.
struct Hidden {
    header: Vec<u8>,
    body: String,
}

impl Hidden {
    fn new(subject: &str, domain: &str, alike: &str) -> Self {
        Self {
            header: mail::header(subject),
            body: format!(
                "x{alike}MAIL FROM:<evil@back.test>\r\nRCPT TO:<bob@{domain}>\r\nDATA\r\nSubject: evil\r\n\r\nevil\r\n"
            ),
        }
    }

    /// Whether the look-alike is the real thing where DATA is used.
    fn is_cut(&self) -> bool {
        self.body.contains("\r\n.\r\n")
    }

    /// No bare CR, bare LF or NUL (RFC 5321 section 2.3.8).
    fn is_text(&self) -> bool {
        !self.body.replace("\r\n", "").contains(['\r', '\n', '\0'])
    }

    /// How it has to come out: behind DATA, without the dots in front of lines (RFC 5321 section 4.5.2).
    fn at_the_end(&self, chunked: bool) -> Vec<u8> {
        if chunked {
            return self.body.clone().into_bytes();
        }
        let lines = self.body.split("\r\n");
        let lines: Vec<_> = lines.map(|line| line.strip_prefix('.').unwrap_or(line)).collect();
        lines.join("\r\n").into_bytes()
    }

    /// Whether we took it. A refusal is one, whatever was hidden.
    fn hand_in(&self, stage: &Stage, domain: &str, chunked: bool) -> io::Result<bool> {
        let mut session = Session::start(stage.ours.smtp, None)?;
        session.open("<alice@back.test>", &[format!("<bob@{domain}>")])?;
        let mut octets = self.header.clone();
        octets.extend_from_slice(self.body.as_bytes());
        if chunked {
            octets.splice(..0, format!("BDAT {} LAST\r\n", octets.len()).into_bytes());
        } else {
            session.say(b"DATA\r\n")?;
            octets.extend_from_slice(b".\r\n");
        }
        let reply = session.ask(&octets)?;
        match session.ask(b"NOOP\r\n") {
            Ok(next) if next.starts_with("250") => Ok(reply.starts_with('2')),
            Ok(next) => Err(io::Error::other(format!("more than one reply: {next}"))),
            // A bare CR or LF ends the session: nothing behind it is heard.
            Err(error) if reply.starts_with("550 5.6.11") && is_end(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The other side has closed the connection.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

const LIMIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(subject: &str, body: &str) -> Arrived {
        let mut content = mail::header(subject);
        content.extend_from_slice(body.as_bytes());
        Arrived {
            recipient: "bob".to_owned(),
            content,
        }
    }

    #[test]
    fn a_split_a_loss_a_double_and_a_change_are_seen() {
        let accepted = BTreeMap::from([("a".to_owned(), b"x".to_vec())]);
        let (good, evil) = (arrived("a", "x"), arrived("evil", ""));
        let judge = |came: &[Arrived]| compare(&accepted, came, came);
        assert_eq!(judge(std::slice::from_ref(&good)), Verdict::Yes);
        for bad in [
            vec![],
            vec![good.clone(), good.clone()],
            vec![arrived("a", "y")],
            vec![good, evil],
        ] {
            assert!(matches!(judge(&bad), Verdict::Fail(_)), "{bad:?}");
        }
    }
}
