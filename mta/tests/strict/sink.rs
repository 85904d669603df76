//! A strict next hop: keeps every octet that it was sent, ends a message at CR LF . CR LF and nowhere else.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use crate::wire::PATIENCE;

/// A message as it came, dots taken off.
#[derive(Clone, Debug)]
pub struct Taken {
    pub mail: String,
    pub rcpt: Vec<String>,
    pub body: Vec<u8>,
}

impl Taken {
    /// The message without the trace fields that relays put on top: from the first line that is no part of one.
    pub fn original(&self) -> &[u8] {
        let mut rest = self.body.as_slice();
        loop {
            let traced = rest.starts_with(b"Received: ") || rest.starts_with(b"Return-Path: ");
            if !traced {
                return rest;
            }
            // A field ends where the next line does not begin with white space.
            loop {
                let end = rest
                    .iter()
                    .position(|octet| *octet == b'\n')
                    .map_or(rest.len(), |at| at + 1);
                rest = &rest[end..];
                if !rest.starts_with(b" ") && !rest.starts_with(b"\t") {
                    break;
                }
            }
        }
    }
}

#[derive(Default)]
struct Seen {
    taken: Vec<Taken>,
    wire: Vec<u8>,
    trouble: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub lmtp: bool,
    pub chunking: bool,
}

pub struct Sink {
    pub address: SocketAddr,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Sink {
    pub fn start(kind: Kind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<(Mutex<Seen>, Condvar)>::default();
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), seen) = (stream, Arc::clone(&shared)) else {
                    return;
                };
                std::thread::spawn(move || drop(serve(stream, kind, &seen)));
            }
        });
        Self { address, seen }
    }

    pub fn lmtp() -> Self {
        Self::start(Kind {
            lmtp: true,
            chunking: false,
        })
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.seen.0.lock().unwrap().taken.clone()
    }

    /// Waits until that many messages came.
    pub fn wait_for(&self, messages: usize) -> Vec<Taken> {
        let (seen, changed) = &*self.seen;
        let (seen, _) = changed
            .wait_timeout_while(seen.lock().unwrap(), PATIENCE, |seen| seen.taken.len() < messages)
            .unwrap();
        assert!(
            seen.taken.len() >= messages,
            "{} of {messages} messages came",
            seen.taken.len()
        );
        seen.taken.clone()
    }

    /// No octet was sent that SMTP does not allow: no CR or LF alone, no NUL, nothing out of order.
    pub fn judge_wire(&self) {
        let seen = self.seen.0.lock().unwrap();
        assert_eq!(seen.trouble, Vec::<String>::new());
        let mut before = 0;
        for (at, octet) in seen.wire.iter().enumerate() {
            let next = seen.wire.get(at + 1).copied().unwrap_or(b'\n');
            let sound = match *octet {
                0 => false,
                b'\n' => before == b'\r',
                b'\r' => next == b'\n',
                _ => true,
            };
            let around = &seen.wire[at.saturating_sub(20)..(at + 20).min(seen.wire.len())];
            assert!(
                sound,
                "octet {octet} at {at}: {:?}",
                String::from_utf8_lossy(around)
            );
            before = *octet;
        }
    }
}

/// Reads and keeps what it reads.
struct Tap<'a> {
    stream: BufReader<TcpStream>,
    seen: &'a (Mutex<Seen>, Condvar),
}

impl Tap<'_> {
    fn line(&mut self) -> std::io::Result<Vec<u8>> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if self.stream.read_until(b'\n', &mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.keep(&line);
        Ok(line)
    }

    fn exactly(&mut self, octets: usize) -> std::io::Result<Vec<u8>> {
        let mut read = vec![0; octets];
        self.stream.read_exact(&mut read)?;
        self.keep(&read);
        Ok(read)
    }

    fn say(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.get_mut().write_all(format!("{text}\r\n").as_bytes())
    }

    fn keep(&self, octets: &[u8]) {
        self.seen.0.lock().unwrap().wire.extend_from_slice(octets);
    }

    fn took(&self, taken: Taken) {
        self.seen.0.lock().unwrap().taken.push(taken);
        self.seen.1.notify_all();
    }

    fn complain(&self, text: String) {
        self.seen.0.lock().unwrap().trouble.push(text);
    }
}

fn serve(stream: TcpStream, kind: Kind, seen: &(Mutex<Seen>, Condvar)) -> std::io::Result<()> {
    let mut tap = Tap {
        stream: BufReader::new(stream),
        seen,
    };
    tap.say("220 sink.example ESMTP")?;
    let (mut mail, mut rcpt, mut body) = (None::<String>, Vec::new(), Vec::new());
    loop {
        let line = tap.line()?;
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        let mut words: VecDeque<&str> = text.split(' ').collect();
        let verb = words.pop_front().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" | "LHLO" if kind.lmtp == (verb == "LHLO") => {
                let chunking = if kind.chunking { "250-CHUNKING\r\n" } else { "" };
                tap.say(&format!(
                    "250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n{chunking}250 DSN"
                ))?;
            }
            "MAIL" if mail.is_none() => {
                mail = Some(text);
                tap.say("250 2.1.0 ok")?;
            }
            "RCPT" if mail.is_some() => {
                rcpt.push(text);
                tap.say("250 2.1.5 ok")?;
            }
            "DATA" if !rcpt.is_empty() && body.is_empty() => {
                tap.say("354 go on")?;
                loop {
                    let line = tap.line()?;
                    if line == b".\r\n" {
                        break;
                    }
                    body.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
                }
                take(&mut tap, kind, &mut mail, &mut rcpt, &mut body)?;
            }
            "BDAT" if kind.chunking && !rcpt.is_empty() => {
                let octets = words
                    .pop_front()
                    .and_then(|word| word.parse().ok())
                    .unwrap_or_default();
                body.extend(tap.exactly(octets)?);
                if words.pop_front() == Some("LAST") {
                    take(&mut tap, kind, &mut mail, &mut rcpt, &mut body)?;
                } else {
                    tap.say("250 2.0.0 chunk")?;
                }
            }
            "RSET" => {
                (mail, rcpt, body) = (None, Vec::new(), Vec::new());
                tap.say("250 2.0.0 ok")?;
            }
            "NOOP" => tap.say("250 2.0.0 ok")?,
            "QUIT" => return tap.say("221 2.0.0 bye"),
            _ => {
                tap.complain(text);
                tap.say("503 5.5.1 not now")?;
            }
        }
    }
}

fn take(
    tap: &mut Tap<'_>,
    kind: Kind,
    mail: &mut Option<String>,
    rcpt: &mut Vec<String>,
    body: &mut Vec<u8>,
) -> std::io::Result<()> {
    let taken = Taken {
        mail: mail.take().unwrap_or_default(),
        rcpt: std::mem::take(rcpt),
        body: std::mem::take(body),
    };
    let replies = if kind.lmtp { taken.rcpt.len() } else { 1 };
    tap.took(taken);
    for _ in 0..replies {
        tap.say("250 2.0.0 taken")?;
    }
    Ok(())
}
