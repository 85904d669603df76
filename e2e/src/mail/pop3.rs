//! A small POP3 client (RFC 1939): log in and retrieve every message with all its octets.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::kubectl::{Failure, Outcome};

/// A session that is logged in.
#[derive(Debug)]
pub struct Pop3 {
    stream: BufReader<TcpStream>,
}

impl Pop3 {
    /// Connects to a port of this computer and logs in.
    pub fn login(port: u16, user: &str, password: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let mut session = Self {
            stream: BufReader::new(stream),
        };
        session.answer()?;
        session.command(&format!("USER {user}"))?;
        session.command(&format!("PASS {password}"))?;
        Ok(session)
    }

    /// Every message of the mailbox.
    pub fn messages(&mut self) -> Outcome<Vec<Vec<u8>>> {
        let stat = self.command("STAT")?;
        let count = stat
            .split(' ')
            .next()
            .and_then(|count| count.parse::<u32>().ok())
            .unwrap_or(0);
        (1..=count)
            .map(|number| {
                self.command(&format!("RETR {number}"))?;
                self.lines()
            })
            .collect()
    }

    fn command(&mut self, command: &str) -> Outcome<String> {
        self.stream
            .get_mut()
            .write_all(format!("{command}\r\n").as_bytes())?;
        self.answer()
    }

    fn answer(&mut self) -> Outcome<String> {
        let line = String::from_utf8_lossy(&self.line()?).trim_end().to_owned();
        match line.strip_prefix("+OK") {
            Some(rest) => Ok(rest.trim_start().to_owned()),
            None => Err(Failure::wrong(format!("POP3: {line}"))),
        }
    }

    /// Lines up to the one with a single dot, unstuffed.
    fn lines(&mut self) -> Outcome<Vec<u8>> {
        let mut octets = Vec::new();
        loop {
            let line = self.line()?;
            match line.strip_prefix(b".") {
                Some(b"\r\n") => return Ok(octets),
                Some(rest) => octets.extend_from_slice(rest),
                None => octets.extend_from_slice(&line),
            }
        }
    }

    fn line(&mut self) -> Outcome<Vec<u8>> {
        let mut line = Vec::new();
        if self.stream.read_until(b'\n', &mut line)? == 0 {
            return Err(Failure::wrong("the POP3 server closed the connection"));
        }
        Ok(line)
    }
}

const TIMEOUT: Duration = Duration::from_mins(1);
