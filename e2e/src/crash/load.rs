//! The client: sends numbered mails and writes down which of them were confirmed.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::sink::Sink;

/// What becomes of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The sink takes it.
    Taken,
    /// The sink refuses its recipient for good: its sender has to be told.
    Refused,
}

impl Kind {
    /// By the recipient's address; of a sender's address nothing.
    pub(super) fn of(path: &str) -> Option<Self> {
        match path.as_bytes().first() {
            Some(b't') => Some(Self::Taken),
            Some(b'f') => Some(Self::Refused),
            _ => None,
        }
    }

    /// Every seventh is refused.
    pub(super) const fn of_number(number: u64) -> Self {
        if number % 7 == 3 {
            Self::Refused
        } else {
            Self::Taken
        }
    }
}

/// The number in an address of ours.
pub(super) fn number_of(path: &str) -> Option<u64> {
    path.strip_suffix("@sink.test")?.get(1..)?.parse().ok()
}

/// Octets of the body: most are small, every eleventh goes to a file of its own.
const fn size(number: u64) -> usize {
    if number % 11 == 5 { 300_000 } else { 2_000 }
}

/// Header and body of a mail: the same for the same number.
fn content(number: u64, size: usize) -> Vec<u8> {
    let mut text = format!("Subject: crash {number}\r\nX-Size: {size}\r\n\r\n").into_bytes();
    let end = text.len() + size;
    let mut line = 0_u64;
    while text.len() < end {
        text.extend_from_slice(
            format!("{number:010} {line:08} {:->55}\r\n", line.wrapping_mul(number)).as_bytes(),
        );
        line += 1;
    }
    text
}

/// Whether this is the mail of that number to its last octet, below what was put on top of it.
pub(super) fn is_whole(number: u64, arrived: &[u8]) -> bool {
    let field = b"\r\nX-Size: ";
    let Some(at) = arrived.windows(field.len()).position(|window| window == field) else {
        return false;
    };
    let digits = arrived[at + field.len()..]
        .iter()
        .take_while(|octet| octet.is_ascii_digit());
    let size = digits.fold(0_usize, |sum, digit| {
        sum.saturating_mul(10) + usize::from(digit - b'0')
    });
    size < 1 << 30 && arrived.ends_with(&content(number, size))
}

/// What was sent, and what was confirmed.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    next: Arc<AtomicU64>,
    confirmed: Arc<Mutex<BTreeSet<u64>>>,
    /// Replies of class 4 after the end of data, to MAIL, or instead of everything (421): the server said that it cannot now.
    pub(super) deferred: Arc<AtomicU64>,
    /// Replies that nothing here deserves, such as "never" for a disk that is full.
    odd: Arc<Mutex<BTreeSet<u16>>>,
}

impl Ledger {
    /// Mails that were confirmed.
    pub(super) fn acknowledged(&self) -> u64 {
        self.confirmed().len() as u64
    }

    /// Replies that nothing here deserves.
    pub(super) fn odd(&self) -> BTreeSet<u16> {
        self.odd.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those that were confirmed and are nowhere.
    pub(super) fn missing(&self, sink: &Sink) -> Vec<u64> {
        self.confirmed()
            .iter()
            .copied()
            .filter(|number| !sink.has(*number))
            .collect()
    }

    fn confirmed(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends up to so many mails over one connection, until told to stop. Errors: the connection broke.
    pub(super) fn send(&self, to: SocketAddr, mails: u64, stop: &AtomicBool) -> io::Result<()> {
        self.send_sized(to, mails, None, stop)
    }

    /// The same with bodies of one size.
    pub(super) fn send_sized(
        &self,
        to: SocketAddr,
        mails: u64,
        octets: Option<usize>,
        stop: &AtomicBool,
    ) -> io::Result<()> {
        self.send_over(to, mails, octets, stop).inspect_err(|error| {
            if error.kind() == LEAVING {
                self.deferred.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    fn send_over(
        &self,
        to: SocketAddr,
        mails: u64,
        octets: Option<usize>,
        stop: &AtomicBool,
    ) -> io::Result<()> {
        let mut client = Client::connect(to)?;
        for _ in 0..mails {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
            let body = content(number, octets.unwrap_or_else(|| size(number)));
            match client.mail(number, &body)? {
                250..=259 => {
                    self.confirmed().insert(number);
                }
                400..=499 => {
                    self.deferred.fetch_add(1, Ordering::Relaxed);
                }
                other => {
                    self.odd
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(other);
                    return Err(io::Error::other(format!("an odd reply: {other}")));
                }
            }
        }
        client.say("QUIT").map(drop)
    }

    /// Sends over several connections at once until told to stop, connecting again where one breaks.
    pub(super) fn storm(
        &self,
        to: SocketAddr,
        connections: usize,
        stop: &Arc<AtomicBool>,
    ) -> Vec<std::thread::JoinHandle<()>> {
        self.storm_sized(to, connections, None, stop)
    }

    /// The same with bodies of one size.
    pub(super) fn storm_sized(
        &self,
        to: SocketAddr,
        connections: usize,
        octets: Option<usize>,
        stop: &Arc<AtomicBool>,
    ) -> Vec<std::thread::JoinHandle<()>> {
        let one = || {
            let (ledger, stop) = (self.clone(), Arc::clone(stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if ledger.send_sized(to, u64::MAX, octets, &stop).is_err() {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            })
        };
        (0..connections).map(|_| one()).collect()
    }
}

struct Client {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Client {
    fn connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            reader: BufReader::new(stream.try_clone()?),
            writer: stream,
        };
        match client.reply()? {
            220 => {}
            other => return Err(io::Error::other(format!("greeted with {other}"))),
        }
        client.say("EHLO client.test")?;
        Ok(client)
    }

    /// One transaction; gives the reply that decides.
    fn mail(&mut self, number: u64, content: &[u8]) -> io::Result<u16> {
        let kind = if Kind::of_number(number) == Kind::Refused {
            'f'
        } else {
            't'
        };
        let steps = [
            format!("MAIL FROM:<s{number}@sink.test>"),
            format!("RCPT TO:<{kind}{number}@sink.test>"),
            "DATA".to_owned(),
        ];
        for step in steps {
            let code = self.say(&step)?;
            if code >= 400 {
                self.say("RSET")?;
                return Ok(code);
            }
        }
        self.writer.write_all(content)?;
        self.writer.write_all(b".\r\n")?;
        self.reply()
    }

    fn say(&mut self, line: &str) -> io::Result<u16> {
        self.writer.write_all(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<u16> {
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 || !line.ends_with('\n') {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let code = line.get(..3).and_then(|digits| digits.parse().ok());
            let code: u16 = code.ok_or(io::ErrorKind::InvalidData)?;
            if line.as_bytes().get(3) != Some(&b'-') {
                if code == 421 {
                    return Err(io::Error::new(LEAVING, "421"));
                }
                return Ok(code);
            }
        }
    }
}

/// The server ended the session by itself (421).
const LEAVING: io::ErrorKind = io::ErrorKind::ResourceBusy;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_was_cut_or_changed_is_not_whole() {
        let mail = content(12, 5_000);
        let on_top = [b"Received: x\r\n".as_slice(), &mail].concat();
        assert!(is_whole(12, &on_top));
        assert!(!is_whole(13, &on_top));
        assert!(!is_whole(12, &on_top[..on_top.len() - 1]));
        let mut changed = on_top.clone();
        changed[200] ^= 1;
        assert!(!is_whole(12, &changed));
    }

    #[test]
    fn addresses_tell_number_and_kind() {
        assert_eq!(
            (number_of("t17@sink.test"), Kind::of("t17@sink.test")),
            (Some(17), Some(Kind::Taken))
        );
        assert_eq!(
            (number_of("s3@sink.test"), Kind::of("s3@sink.test")),
            (Some(3), None)
        );
        assert_eq!(number_of("x@elsewhere.test"), None);
    }
}
