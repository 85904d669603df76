//! An SMTP client that knows only what the load needs. Any reply but the expected one is an error: refused mail is never
//! counted.

use std::time::Duration;

use postroad_e2e::kubectl::{Failure, Outcome};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use super::entrance::{Reader, Writer};

/// The half that hears replies.
#[derive(Debug)]
pub struct Replies<R>(BufReader<R>);

/// Longest wait for a reply.
const PATIENCE: Duration = Duration::from_mins(2);

impl<R: AsyncRead + Unpin> Replies<R> {
    /// Replies from a stream.
    pub fn new(from: R) -> Self {
        Self(BufReader::new(from))
    }

    /// The next reply's text, if it has that code.
    pub async fn expect(&mut self, code: &str) -> Outcome<String> {
        let mut text = String::new();
        loop {
            let start = text.len();
            let read = timeout(PATIENCE, self.0.read_line(&mut text)).await;
            let read = read.map_err(|_| Failure::wrong(format!("no reply within {PATIENCE:?}")))??;
            let line = &text[start..];
            if read == 0 || !line.starts_with(code) {
                return Err(Failure::wrong(format!("wanted {code}, got `{}`", line.trim())));
            }
            // RFC 5321 section 4.2.1: a hyphen after the code says that the reply goes on.
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(text);
            }
        }
    }
}

/// One session, greeted, and logged in where the server is to know who it is.
pub struct Session {
    /// To write to.
    pub out: Writer,
    /// To hear from.
    pub replies: Replies<Reader>,
    /// Whether the server takes BDAT (RFC 3030).
    pub chunking: bool,
    /// Whether it takes several commands in one flight (RFC 2920).
    pub pipelining: bool,
}

impl Session {
    /// What the server offered in reply to EHLO tells how it is spoken to.
    pub fn new(out: Writer, replies: Replies<Reader>, offered: &str) -> Self {
        Self {
            out,
            replies,
            chunking: offers(offered, "CHUNKING"),
            pipelining: offers(offered, "PIPELINING"),
        }
    }
}

/// Reads the banner, says EHLO, gives what is offered.
pub async fn greet<R: AsyncRead + Unpin>(
    replies: &mut Replies<R>,
    out: &mut (impl AsyncWrite + Unpin),
) -> Outcome<String> {
    replies.expect("220").await?;
    out.write_all(b"EHLO source.example\r\n").await?;
    replies.expect("250").await
}

fn offers(ehlo: &str, keyword: &str) -> bool {
    ehlo.lines()
        .filter_map(|line| line.get(4..)?.split_whitespace().next())
        .any(|word| word.eq_ignore_ascii_case(keyword))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_expected_reply_is_taken() {
        let text = b"250-a\r\n250-CHUNKING\r\n250 c\r\n451 4.3.0 later\r\n".as_slice();
        let mut replies = Replies::new(text);
        let ehlo = replies.expect("250").await.unwrap();
        assert!(offers(&ehlo, "chunking") && !offers(&ehlo, "DSN"));
        let error = replies.expect("250").await.unwrap_err().to_string();
        assert!(error.contains("451 4.3.0 later"), "{error}");
        assert!(replies.expect("250").await.is_err(), "the end is no reply");
    }
}
