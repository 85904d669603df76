//! Dialogues that were written for another server (chasquid): the class of each reply must be the same here.
//!
//! Reads `$POSTROAD_SUITES/smtp-dialogs/chasquid/*.cmy` (see `docs/suites.md`). Without the variable its cases count as
//! skipped, visibly. The listener is set up alike: 1 MiB, one user, one domain that takes mail.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test file")]

use std::path::Path;

use libtest_mimic::{Arguments, Failed, Trial};
use postroad_smtp::Reply;
use postroad_smtp::sasl::Mechanism;
use postroad_smtp::server::{Config, Event, Role, Session, Tls};

/// Number of dialogues.
const CASES: usize = 17;

/// Lines whose reply class differs here, and why the standard allows it.
const OTHERWISE: [(&str, &str, char); 1] = [
    // RFC 5321 section 3.3 and 6.4: a server need not judge header fields; this one takes a line without a colon.
    ("bad_data", "554 5.6.0 Error parsing message", '2'),
];

fn main() {
    let arguments = Arguments::from_args();
    let trials = match std::env::var("POSTROAD_SUITES") {
        Ok(root) if !root.is_empty() => read_suite(&Path::new(&root).join("smtp-dialogs/chasquid")),
        _ => {
            println!("skipped: smtp-dialogs/chasquid {CASES} cases (POSTROAD_SUITES is not set)");
            (1..=CASES)
                .map(|number| {
                    Trial::test(format!("chasquid case {number}"), || Ok(())).with_ignored_flag(true)
                })
                .collect()
        }
    };
    assert_eq!(trials.len(), CASES, "the suite was not read whole");
    libtest_mimic::run(&arguments, trials).exit();
}

fn read_suite(folder: &Path) -> Vec<Trial> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "cmy"));
    paths.sort();
    let trial = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let script = std::fs::read_to_string(&path).unwrap();
        Trial::test(format!("chasquid {name}"), move || play(&name, &script))
    };
    paths.into_iter().map(trial).collect()
}

fn play(name: &str, script: &str) -> Result<(), Failed> {
    let mut server = None;
    for line in script.lines() {
        let Some(action) = line.strip_prefix("c ") else {
            continue;
        };
        let (verb, argument) = action.split_once(' ').unwrap_or((action, ""));
        match verb {
            "tcp_connect" => server = Some(Server::new(Role::Transfer, Tls::Unavailable)),
            "tls_connect" => server = Some(Server::new(Role::Submission, Tls::Active)),
            "close" => server = None,
            "->" => server.as_mut().unwrap().say(format!("{argument}\r\n").as_bytes()),
            "~>" => server.as_mut().unwrap().say(&evaluate(argument)),
            "<-" | "<~" | "<..." => {
                let reply = server
                    .as_mut()
                    .unwrap()
                    .reply()
                    .ok_or(format!("no reply for {argument}"))?;
                let other = OTHERWISE
                    .iter()
                    .find(|(file, wanted, _)| *file == name && *wanted == argument);
                let wanted = other.map_or(argument.chars().next(), |(.., class)| Some(*class));
                if reply.chars().next() != wanted {
                    return Err(format!("wanted {argument}, got {reply}").into());
                }
            }
            other => return Err(format!("unknown action {other}").into()),
        }
    }
    Ok(())
}

/// A server that takes all mail for anybody, and knows one user.
struct Server {
    session: Session,
    replies: String,
}

impl Server {
    fn new(role: Role, tls: Tls) -> Self {
        let session = Session::new(Config {
            role,
            tls,
            size_limit: 1 << 20,
            messages_limit: 1_000,
            stand_in: false,
            mechanisms: vec![Mechanism::Plain, Mechanism::Login],
            ..Config::transfer("testserver")
        });
        let mut server = Self {
            session,
            replies: String::new(),
        };
        server.say(b"");
        server
    }

    fn say(&mut self, octets: &[u8]) {
        self.session.feed(octets);
        loop {
            match self.session.poll() {
                Event::Mail(_) | Event::Rcpt(_) | Event::BodyBegin | Event::BodyEnd(_) => {
                    self.session.answer(Reply::ok("2.0.0", "ok"));
                }
                Event::CheckPassword { user, password } => {
                    let known = user == "user@testserver" && password == "secretpassword";
                    self.session.password_checked(&user, Some(known));
                }
                Event::NeedInput | Event::Close => break,
                _ => {}
            }
        }
        self.replies += &String::from_utf8(self.session.take_output()).unwrap();
    }

    /// The last line of the next reply.
    fn reply(&mut self) -> Option<String> {
        loop {
            let (line, rest) = self.replies.split_once("\r\n")?;
            let (line, rest) = (line.to_owned(), rest.to_owned());
            self.replies = rest;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Some(line);
            }
        }
    }
}

/// Strings, `+`, `*` and brackets, as the scripts use them.
fn evaluate(text: &str) -> Vec<u8> {
    let mut rest = text.trim();
    let value = sum(&mut rest);
    assert!(rest.is_empty(), "{text}");
    value
}

fn sum(rest: &mut &str) -> Vec<u8> {
    let mut value = product(rest);
    while let Some(after) = rest.strip_prefix('+') {
        *rest = after.trim_start();
        value.extend(product(rest));
    }
    value
}

fn product(rest: &mut &str) -> Vec<u8> {
    let value = atom(rest);
    let Some(after) = rest.strip_prefix('*') else {
        return value;
    };
    let after = after.trim_start();
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    *rest = after[end..].trim_start();
    value.repeat(after[..end].parse().unwrap())
}

fn atom(rest: &mut &str) -> Vec<u8> {
    let value = if let Some(after) = rest.strip_prefix('(') {
        *rest = after.trim_start();
        let value = sum(rest);
        *rest = rest.strip_prefix(')').unwrap();
        value
    } else {
        let (literal, after) = rest.strip_prefix('\'').unwrap().split_once('\'').unwrap();
        *rest = after;
        literal.replace("\\r", "\r").replace("\\n", "\n").into_bytes()
    };
    *rest = rest.trim_start();
    value
}
