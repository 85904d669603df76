//! The messages, and a client that hands them in.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// One message to hand in.
#[derive(Clone, Debug)]
pub(super) struct Mail {
    /// With parameters: `<a@b> BODY=8BITMIME`.
    pub(super) from: String,
    /// Each with parameters.
    pub(super) to: Vec<String>,
    pub(super) subject: String,
    pub(super) body: Vec<u8>,
}

/// Name and password of a user, in the clear: all of this is on loopback.
pub(super) type Login<'a> = Option<(&'a str, &'a str)>;

impl Mail {
    pub(super) fn new(subject: &str, to: &[&str]) -> Self {
        Self {
            from: "<alice@back.test>".to_owned(),
            to: to.iter().map(|address| format!("<{address}>")).collect(),
            subject: subject.to_owned(),
            // A line of a dot, one that begins with dots, and white space at the end of a line.
            body: b"hello\r\n.\r\n..two\r\nspace \r\n\r\nend\r\n".to_vec(),
        }
    }

    fn content(&self) -> Vec<u8> {
        let mut content = header(&self.subject);
        content.extend_from_slice(&self.body);
        content
    }

    /// Hands it in, one command after the other.
    pub(super) fn send(&self, to: SocketAddr, login: Login<'_>) -> io::Result<()> {
        let mut session = Session::start(to, login)?;
        session.open(&self.from, &self.to)?;
        session.say(b"DATA\r\n")?;
        session.say(&stuffed(&self.content()))?;
        session.say(b"QUIT\r\n").map(drop)
    }
}

/// Whether this keyword is in a reply to EHLO (RFC 5321 section 4.1.1.1) among these replies: the first word of a line,
/// and not a part of what else is said, such as a queue id.
pub(super) fn offers(replies: &str, keyword: &str) -> bool {
    let mut words = replies.lines().filter_map(|line| {
        let text = line.strip_prefix("250")?.strip_prefix(['-', ' '])?;
        text.split_ascii_whitespace().next()
    });
    words.any(|word| word.eq_ignore_ascii_case(keyword))
}

/// The header section, and the empty line behind it.
pub(super) fn header(subject: &str) -> Vec<u8> {
    let id = subject.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    format!(
        "From: <alice@back.test>\r\nTo: undisclosed:;\r\nSubject: {subject}\r\n\
         Date: Mon, 21 Sep 2026 10:00:00 +0000\r\nMessage-ID: <{id}@back.test>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    )
    .into_bytes()
}

/// A session behind EHLO, and behind AUTH where there is a login.
pub(super) struct Session {
    reader: BufReader<TcpStream>,
    /// The last reply to EHLO.
    pub(super) offered: String,
}

impl Session {
    pub(super) fn start(to: SocketAddr, login: Login<'_>) -> io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_nodelay(true)?;
        let mut session = Self {
            reader: BufReader::new(stream),
            offered: String::new(),
        };
        session.say(b"")?;
        session.offered = session.say(b"EHLO client.test\r\n")?;
        if let Some((name, password)) = login {
            let response = STANDARD.encode(format!("\0{name}\0{password}"));
            session.say(format!("AUTH PLAIN {response}\r\n").as_bytes())?;
            session.offered = session.say(b"EHLO client.test\r\n")?;
        }
        Ok(session)
    }

    /// MAIL and RCPT.
    pub(super) fn open(&mut self, from: &str, to: &[String]) -> io::Result<()> {
        self.say(format!("MAIL FROM:{from}\r\n").as_bytes())?;
        for recipient in to {
            self.say(format!("RCPT TO:{recipient}\r\n").as_bytes())?;
        }
        Ok(())
    }

    /// Sends this and reads one reply. A reply that is not positive is an error.
    pub(super) fn say(&mut self, octets: &[u8]) -> io::Result<String> {
        let reply = self.ask(octets)?;
        if reply.starts_with(['2', '3']) {
            return Ok(reply);
        }
        let line = String::from_utf8_lossy(octets);
        let command = line.lines().next().unwrap_or_default();
        Err(io::Error::other(format!("{command}: {}", reply.trim_end())))
    }

    /// Sends this and reads one reply, whatever it is.
    pub(super) fn ask(&mut self, octets: &[u8]) -> io::Result<String> {
        self.reader.get_mut().write_all(octets)?;
        let mut reply = String::new();
        loop {
            let start = reply.len();
            if self.reader.read_line(&mut reply)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if reply.as_bytes().get(start + 3) != Some(&b'-') {
                return Ok(reply);
            }
        }
    }
}

/// As it goes over the wire behind DATA, with its end (RFC 5321 section 4.5.2).
fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::new();
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed.extend_from_slice(b".\r\n");
    stuffed
}

/// What is behind the header.
pub(super) fn body(content: &[u8]) -> &[u8] {
    let end = content.windows(4).position(|four| four == b"\r\n\r\n");
    end.and_then(|at| content.get(at + 4..)).unwrap_or_default()
}

/// The subject of a message; empty without one.
pub(super) fn subject(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content);
    let line = text.lines().find_map(|line| line.strip_prefix("Subject: "));
    line.unwrap_or_default().to_owned()
}

/// For a report: octets as text, control characters escaped.
pub(super) fn shown(octets: &[u8]) -> String {
    let mut text = String::new();
    let _ = write!(text, "{:?}", String::from_utf8_lossy(octets));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_a_word_at_the_head_of_a_line() {
        let replies = "250-a.test Hello\r\n250-8bitmime\r\n250 SIZE 10\r\n250 2.0.0 <bob> sBDsNIGX Saved\r\n";
        assert!(offers(replies, "8BITMIME") && offers(replies, "SIZE"));
        assert!(!offers(replies, "DSN") && !offers(replies, "Hello"));
    }
}
