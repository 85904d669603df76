//! Where mail ends: a server with 8BITMIME and SMTPUTF8, without DSN and TLS, that keeps what it gets.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::inbox::{Arrived, Inbox};

/// The server. It ends with the process.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    pub(super) address: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Sink {
    pub(super) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let sink = Self {
            address: listener.local_addr()?,
            arrived: Arc::default(),
        };
        let server = sink.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || drop(server.serve(&stream)));
            }
        });
        Ok(sink)
    }

    /// All that came so far.
    pub(super) fn all(&self) -> Vec<Arrived> {
        self.arrived
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for a message that fits.
    pub(super) fn wait(&self, limit: Duration, fits: impl Fn(&Arrived) -> bool) -> Option<Arrived> {
        Inbox::Sink(self.clone()).wait(limit, fits)
    }

    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        let mut reader = BufReader::new(stream);
        let mut writer = stream;
        writer.write_all(b"220 sink.test ESMTP\r\n")?;
        let mut recipients = Vec::new();
        loop {
            let mut line = Vec::new();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let verb: String = line.chars().take(4).collect::<String>().to_ascii_uppercase();
            let reply: &[u8] = match verb.as_str() {
                "EHLO" => b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
                "MAIL" | "RSET" => {
                    recipients.clear();
                    b"250 2.1.0 ok\r\n"
                }
                "RCPT" => {
                    recipients.push(path(&line).to_owned());
                    b"250 2.1.5 ok\r\n"
                }
                "DATA" => {
                    writer.write_all(b"354 go on\r\n")?;
                    let content = data(&mut reader)?;
                    self.take(&recipients, &content);
                    b"250 2.0.0 taken\r\n"
                }
                "QUIT" => return writer.write_all(b"221 2.0.0 bye\r\n"),
                _ => b"250 2.0.0 ok\r\n",
            };
            writer.write_all(reply)?;
        }
    }

    fn take(&self, recipients: &[String], content: &[u8]) {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.extend(recipients.iter().map(|recipient| Arrived {
            recipient: recipient.clone(),
            content: content.to_vec(),
        }));
    }
}

fn path(line: &str) -> &str {
    let inner = line.split_once('<').map_or(line, |(_, rest)| rest);
    inner.split_once('>').map_or(inner, |(path, _)| path)
}

/// Up to the lone dot, unstuffed (RFC 5321 section 4.5.2).
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
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
