//! Where the mail goes: a strict SMTP server that keeps count of what arrived, and looks at every octet of it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::load::{self, Kind};

/// The sink. It ends with the process.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    address: SocketAddr,
    open: Arc<AtomicBool>,
    /// Connections that were told "later".
    turned_away: Arc<AtomicU64>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    delivered: BTreeMap<u64, u64>,
    returned: BTreeMap<u64, u64>,
    broken: Vec<String>,
}

impl Sink {
    /// Starts one that takes mail.
    pub(super) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let sink = Self {
            address: listener.local_addr()?,
            open: Arc::new(AtomicBool::new(true)),
            turned_away: Arc::default(),
            seen: Arc::default(),
        };
        let server = sink.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sink = server.clone();
                // A connection that breaks off leaves nothing behind.
                std::thread::spawn(move || drop(sink.serve(&stream)));
            }
        });
        Ok(sink)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }

    /// Says "later" to new connections.
    pub(super) fn close(&self) {
        self.open.store(false, Ordering::Relaxed);
    }

    /// Whether a mail arrived, or its sender was told that it cannot.
    pub(super) fn has(&self, number: u64) -> bool {
        let seen = self.seen();
        seen.delivered.contains_key(&number) || seen.returned.contains_key(&number)
    }

    /// Deliveries and returns more than one.
    pub(super) fn duplicates(&self) -> u64 {
        let seen = self.seen();
        let counts = seen.delivered.values().chain(seen.returned.values());
        counts.map(|count| count - 1).sum()
    }

    /// Connections so far that were told "later".
    pub(super) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// Mails that were given up though their recipient is taken here.
    pub(super) fn returned_by_mistake(&self) -> Vec<u64> {
        let taken = |number: &u64| Kind::of_number(*number) == Kind::Taken;
        self.seen().returned.keys().copied().filter(taken).collect()
    }

    /// What arrived and was not what was sent.
    pub(super) fn broken(&self) -> Vec<String> {
        self.seen().broken.clone()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        stream.set_nodelay(true)?;
        let mut reader = BufReader::with_capacity(64 << 10, stream);
        let mut writer = stream;
        if !self.open.load(Ordering::Relaxed) {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
            return writer.write_all(b"421 4.3.2 later\r\n");
        }
        writer.write_all(b"220 sink.test ESMTP\r\n")?;
        let (mut from, mut to) = (String::new(), Vec::new());
        loop {
            let mut line = Vec::new();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let upper = line.to_ascii_uppercase();
            let reply: &[u8] = if upper.starts_with("EHLO") {
                b"250-sink.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
            } else if upper.starts_with("MAIL") {
                from = path(&line);
                to.clear();
                b"250 2.1.0 ok\r\n"
            } else if upper.starts_with("RCPT") {
                let path = path(&line);
                if Kind::of(&path) == Some(Kind::Refused) {
                    b"550 5.1.1 nobody here\r\n"
                } else {
                    to.push(path);
                    b"250 2.1.5 ok\r\n"
                }
            } else if upper == "DATA" {
                if to.is_empty() {
                    b"503 5.5.1 nobody\r\n"
                } else {
                    writer.write_all(b"354 go on\r\n")?;
                    let content = data(&mut reader)?;
                    self.take(&from, &to, &content);
                    b"250 2.0.0 taken\r\n"
                }
            } else if upper == "QUIT" {
                return writer.write_all(b"221 2.0.0 bye\r\n");
            } else {
                b"250 2.0.0 ok\r\n"
            };
            writer.write_all(reply)?;
        }
    }

    fn take(&self, from: &str, to: &[String], content: &[u8]) {
        let mut seen = self.seen();
        for path in to {
            let Some(number) = load::number_of(path) else {
                seen.broken.push(format!("a recipient that nobody wrote: {path}"));
                continue;
            };
            if from.is_empty() {
                *seen.returned.entry(number).or_default() += 1;
            } else if load::is_whole(number, content) {
                *seen.delivered.entry(number).or_default() += 1;
            } else {
                let octets = content.len();
                seen.broken.push(format!(
                    "mail {number} arrived with {octets} octets that were not sent"
                ));
            }
        }
    }
}

/// The path between angle brackets.
fn path(line: &str) -> String {
    let start = line.find('<').map_or(0, |at| at + 1);
    let end = line.find('>').unwrap_or(line.len()).max(start);
    line[start..end].to_owned()
}

/// Up to CRLF `.` CRLF, dots unstuffed. An end of the stream before that is an error: nothing was delivered.
fn data(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(content);
        }
        let stuffed = line.starts_with(b".");
        content.extend_from_slice(&line[usize::from(stuffed)..]);
    }
}
