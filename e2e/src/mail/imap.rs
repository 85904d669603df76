//! A small IMAP client (RFC 3501): log in, fetch every message of a folder with all its octets, delete them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::kubectl::{Failure, Outcome};

/// A session that is logged in.
#[derive(Debug)]
pub struct Imap {
    stream: BufReader<TcpStream>,
    tag: u32,
}

impl Imap {
    /// Connects to a port of this computer and logs in.
    pub fn login(port: u16, user: &str, password: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let mut session = Self {
            stream: BufReader::new(stream),
            tag: 0,
        };
        let greeting = session.line()?;
        if !greeting.starts_with("* OK") {
            return Err(Failure::wrong(format!("IMAP greeting: {greeting}")));
        }
        session.command(&format!("LOGIN \"{user}\" \"{password}\""))?;
        Ok(session)
    }

    /// Every message of the folder, oldest first.
    pub fn messages(&mut self, folder: &str) -> Outcome<Vec<Vec<u8>>> {
        let selected = self.command(&format!("SELECT \"{folder}\""))?;
        let empty = selected.iter().any(|(line, _)| line == "* 0 EXISTS");
        if empty {
            return Ok(Vec::new());
        }
        let lines = self.command("FETCH 1:* (BODY.PEEK[])")?;
        Ok(lines
            .into_iter()
            .filter(|(line, _)| line.contains("FETCH"))
            .filter_map(|(_, literal)| literal)
            .collect())
    }

    /// Sends a command and gives its untagged answers, each with its literal if it has one.
    fn command(&mut self, command: &str) -> Outcome<Vec<(String, Option<Vec<u8>>)>> {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        self.stream
            .get_mut()
            .write_all(format!("{tag} {command}\r\n").as_bytes())?;
        let mut answers = Vec::new();
        loop {
            let line = self.line()?;
            if let Some(result) = line.strip_prefix(&format!("{tag} ")) {
                if result.starts_with("OK") {
                    return Ok(answers);
                }
                return Err(Failure::wrong(format!("IMAP: {result}")));
            }
            let literal = self.literal(&line)?;
            answers.push((line, literal));
        }
    }

    /// The octets that a line announces with `{N}` at its end, and the rest of the line behind them.
    fn literal(&mut self, line: &str) -> Outcome<Option<Vec<u8>>> {
        let size = line
            .strip_suffix('}')
            .and_then(|rest| rest.rsplit_once('{'))
            .and_then(|(_, size)| size.parse().ok());
        let Some(size) = size else { return Ok(None) };
        let mut octets = vec![0; size];
        self.stream.read_exact(&mut octets)?;
        self.line()?;
        Ok(Some(octets))
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = Vec::new();
        if self.stream.read_until(b'\n', &mut line)? == 0 {
            return Err(Failure::wrong("the IMAP server closed the connection"));
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

const TIMEOUT: Duration = Duration::from_mins(1);
