//! A sink that takes everything and counts it: SMTP with PIPELINING and CHUNKING, in this process.
//!
//! It scans for the end of data in blocks and writes its replies only when it has read all that came, so that it is not
//! what limits a relay.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use memchr::memmem;
use postroad_e2e::kubectl::{Failure, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// What came.
#[derive(Debug, Default)]
pub struct Taken {
    /// Messages.
    pub messages: u64,
    /// When the message of a number (`uNUMBER@…`) came first, and how often it came.
    pub numbers: HashMap<u64, (Instant, u32)>,
}

/// A sink that listens until this is dropped.
#[derive(Debug)]
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    taken: Arc<Mutex<Taken>>,
    task: JoinHandle<()>,
}

impl Sink {
    /// Listens at that address.
    pub fn start(runtime: &Handle, address: SocketAddr) -> Outcome<Self> {
        let listener = runtime.block_on(TcpListener::bind(address))?;
        let address = listener.local_addr()?;
        let taken = Arc::new(Mutex::new(Taken::default()));
        let shared = taken.clone();
        let task = runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let taken = shared.clone();
                // A peer that goes in mid-session is its own affair: only whole messages count.
                tokio::spawn(async move { serve(stream, &taken).await });
            }
        });
        Ok(Self { address, taken, task })
    }

    /// What came so far.
    pub fn taken(&self) -> MutexGuard<'_, Taken> {
        lock(&self.taken)
    }

    /// Waits until so many messages came, for as long as the limit.
    pub fn wait_for(&self, messages: u64, limit: Duration) -> Outcome {
        let begun = Instant::now();
        loop {
            let came = self.taken().messages;
            if came >= messages {
                return Ok(());
            }
            if begun.elapsed() > limit {
                return Err(Failure::wrong(format!(
                    "{came} of {messages} messages came within {limit:?}"
                )));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut stream: TcpStream, taken: &Mutex<Taken>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut session = Dialogue::default();
    let mut replies = b"220 sink.example ESMTP\r\n".to_vec();
    let mut input = Vec::with_capacity(BLOCK);
    loop {
        stream.write_all(&replies).await?;
        replies.clear();
        if session.ended || stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        let used = session.hear(&input, &mut replies, taken);
        input.drain(..used);
    }
}

const BLOCK: usize = 256 << 10;
const EHLO: &[u8] =
    b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-SIZE 104857600\r\n\
    250-CHUNKING\r\n250 ENHANCEDSTATUSCODES\r\n";

/// Where a session stands.
#[derive(Debug, Default)]
struct Dialogue {
    numbers: Vec<u64>,
    data: bool,
    chunk: usize,
    last: bool,
    ended: bool,
}

impl Dialogue {
    /// Takes what it can of the input; gives how much that was.
    fn hear(&mut self, input: &[u8], replies: &mut Vec<u8>, taken: &Mutex<Taken>) -> usize {
        let mut at = 0;
        while !self.ended {
            let rest = &input[at..];
            let Some(used) = self.step(rest, replies, taken) else {
                break;
            };
            at += used;
        }
        at + self.skip(&input[at..])
    }

    /// One command, or the end of a message. `None` = more octets are needed.
    fn step(&mut self, rest: &[u8], replies: &mut Vec<u8>, taken: &Mutex<Taken>) -> Option<usize> {
        if self.chunk > 0 {
            if rest.len() < self.chunk {
                return None;
            }
            let used = std::mem::take(&mut self.chunk);
            self.chunk_ended(replies, taken);
            return Some(used);
        }
        if self.data {
            let end = memmem::find(rest, b"\r\n.\r\n")?;
            self.data = false;
            self.message(replies, taken);
            return Some(end + 5);
        }
        let end = memmem::find(rest, b"\r\n")?;
        self.command(&rest[..end], replies, taken);
        Some(end + 2)
    }

    /// Octets of a body that need not be kept until its end is there.
    fn skip(&mut self, rest: &[u8]) -> usize {
        if self.chunk > 0 {
            let used = rest.len().min(self.chunk - 1);
            self.chunk -= used;
            return used;
        }
        if self.data {
            rest.len().saturating_sub(4)
        } else {
            0
        }
    }

    fn command(&mut self, line: &[u8], replies: &mut Vec<u8>, taken: &Mutex<Taken>) {
        let verb: Vec<_> = line.iter().take(4).map(u8::to_ascii_uppercase).collect();
        match verb.as_slice() {
            b"EHLO" | b"HELO" => replies.extend_from_slice(EHLO),
            b"MAIL" | b"RSET" => {
                self.numbers.clear();
                replies.extend_from_slice(b"250 2.0.0 ok\r\n");
            }
            b"RCPT" => {
                self.numbers.extend(number(line));
                replies.extend_from_slice(b"250 2.1.5 ok\r\n");
            }
            b"DATA" => {
                self.data = true;
                replies.extend_from_slice(b"354 go on\r\n");
            }
            b"BDAT" => self.chunk_begins(line, replies, taken),
            b"NOOP" => replies.extend_from_slice(b"250 2.0.0 ok\r\n"),
            b"QUIT" => {
                self.ended = true;
                replies.extend_from_slice(b"221 2.0.0 bye\r\n");
            }
            _ => replies.extend_from_slice(b"500 5.5.1 what?\r\n"),
        }
    }

    fn chunk_begins(&mut self, line: &[u8], replies: &mut Vec<u8>, taken: &Mutex<Taken>) {
        let text = String::from_utf8_lossy(line);
        let mut words = text.split_whitespace().skip(1);
        self.chunk = words.next().and_then(|size| size.parse().ok()).unwrap_or(0);
        self.last = words.next().is_some();
        if self.chunk == 0 {
            self.chunk_ended(replies, taken);
        }
    }

    fn chunk_ended(&mut self, replies: &mut Vec<u8>, taken: &Mutex<Taken>) {
        if self.last {
            self.message(replies, taken);
        } else {
            replies.extend_from_slice(b"250 2.0.0 ok\r\n");
        }
    }

    fn message(&mut self, replies: &mut Vec<u8>, taken: &Mutex<Taken>) {
        let mut taken = lock(taken);
        taken.messages += 1;
        for number in self.numbers.drain(..) {
            taken.numbers.entry(number).or_insert((Instant::now(), 0)).1 += 1;
        }
        replies.extend_from_slice(b"250 2.0.0 taken\r\n");
    }
}

/// The number in `RCPT TO:<uNUMBER@…`.
fn number(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    let (_, path) = text.split_once("<u")?;
    path.split_once('@')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(dialogue: &str, split: usize) -> (String, u64, Vec<u64>) {
        let taken = Mutex::new(Taken::default());
        let (mut session, mut replies, mut input) = (Dialogue::default(), Vec::new(), Vec::new());
        for piece in dialogue.as_bytes().chunks(split) {
            input.extend_from_slice(piece);
            let used = session.hear(&input, &mut replies, &taken);
            input.drain(..used);
        }
        assert!(input.is_empty(), "{}", String::from_utf8_lossy(&input));
        let taken = taken.into_inner().unwrap();
        let mut numbers: Vec<_> = taken.numbers.into_keys().collect();
        numbers.sort_unstable();
        let codes = String::from_utf8(replies).unwrap();
        let codes = codes.lines().map(|line| &line[..3]).collect::<Vec<_>>().join(" ");
        (codes, taken.messages, numbers)
    }

    #[test]
    fn messages_by_data_and_bdat_are_counted_however_the_octets_come() {
        let dialogue = "MAIL FROM:<a@b>\r\nRCPT TO:<u7@c>\r\nDATA\r\nhello\r\n..\r\n.\r\n\
            MAIL FROM:<a@b>\r\nRCPT TO:<u8@c>\r\nBDAT 5\r\n12\r\n.BDAT 7 LAST\r\n\r\n.\r\n34\
            MAIL FROM:<a@b>\r\nRCPT TO:<u9@c>\r\nBDAT 3\r\nabcBDAT 0 LAST\r\nQUIT\r\n";
        for split in [1, 2, 3, 7, 1_000] {
            let (codes, messages, numbers) = play(dialogue, split);
            assert_eq!(codes, "250 250 354 250 250 250 250 250 250 250 250 250 221");
            assert_eq!((messages, numbers.as_slice()), (3, [7, 8, 9].as_slice()));
        }
    }
}
