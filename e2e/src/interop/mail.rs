//! The messages, and a client that hands them in.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One message to hand in.
#[derive(Clone, Debug)]
pub(super) struct Mail {
    /// With parameters: `<a@b> BODY=8BITMIME`.
    pub(super) from: String,
    /// With parameters.
    pub(super) to: String,
    pub(super) subject: String,
    pub(super) body: Vec<u8>,
}

impl Mail {
    pub(super) fn new(subject: &str, to: &str) -> Self {
        Self {
            from: "<alice@back.test>".to_owned(),
            to: format!("<{to}>"),
            subject: subject.to_owned(),
            // A line of a dot, one that begins with dots, and white space at the end of a line.
            body: b"hello\r\n.\r\n..two\r\nspace \r\n\r\nend\r\n".to_vec(),
        }
    }

    fn content(&self) -> Vec<u8> {
        let mut content = format!(
            "From: <alice@back.test>\r\nTo: undisclosed:;\r\nSubject: {}\r\n\
             Date: Mon, 21 Sep 2026 10:00:00 +0000\r\nMessage-ID: <{}@back.test>\r\n\
             MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
            self.subject,
            self.subject.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
        )
        .into_bytes();
        content.extend_from_slice(&self.body);
        content
    }

    /// Hands it in, one command after the other.
    pub(super) fn send(&self, to: SocketAddr) -> io::Result<()> {
        let stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut reader = BufReader::new(&stream);
        let mut say = |line: &[u8]| -> io::Result<()> {
            (&stream).write_all(line)?;
            reply(&mut reader).map_err(|error| {
                let line = String::from_utf8_lossy(line);
                io::Error::other(format!("{}: {error}", line.lines().next().unwrap_or_default()))
            })
        };
        say(b"")?;
        say(b"EHLO client.test\r\n")?;
        say(format!("MAIL FROM:{}\r\n", self.from).as_bytes())?;
        say(format!("RCPT TO:{}\r\n", self.to).as_bytes())?;
        say(b"DATA\r\n")?;
        let mut stuffed = Vec::new();
        for line in self.content().split_inclusive(|octet| *octet == b'\n') {
            if line.starts_with(b".") {
                stuffed.push(b'.');
            }
            stuffed.extend_from_slice(line);
        }
        stuffed.extend_from_slice(b".\r\n");
        say(&stuffed)?;
        say(b"QUIT\r\n")
    }
}

fn reply(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return if line.starts_with(['2', '3']) {
                Ok(())
            } else {
                Err(io::Error::other(line.trim_end().to_owned()))
            };
        }
    }
}

/// What is behind the header.
pub(super) fn body(content: &[u8]) -> &[u8] {
    let end = content.windows(4).position(|four| four == b"\r\n\r\n");
    end.and_then(|at| content.get(at + 4..)).unwrap_or_default()
}

/// Whether the message has that subject.
pub(super) fn has_subject(content: &[u8], subject: &str) -> bool {
    let text = String::from_utf8_lossy(content);
    text.lines().any(|line| line == format!("Subject: {subject}"))
}
