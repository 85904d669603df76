//! A line of SMTP at a time, spelled as the tricks want it: the client of deliveries writes no path that is wrong.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream};

/// A reply, all its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    lines: Vec<String>,
}

impl Reply {
    pub(super) fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether an extension is named (RFC 5321 section 4.1.1.1).
    pub(super) fn has(&self, keyword: &str) -> bool {
        let words = self
            .lines
            .iter()
            .filter_map(|line| line.split_whitespace().next());
        words.into_iter().any(|word| word.eq_ignore_ascii_case(keyword))
    }

    /// A little of it, for a sentence.
    pub(super) fn text(&self) -> String {
        self.lines.join(" ").chars().take(200).collect()
    }
}

/// A session under way.
pub(super) struct Dialogue<S>(BufStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Dialogue<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(BufStream::new(stream))
    }

    /// What is read beyond the last reply is dropped: a peer has nothing to say there.
    pub(super) fn into_stream(self) -> S {
        self.0.into_inner()
    }

    /// Says a line and takes the reply.
    pub(super) async fn say(&mut self, line: &str) -> Result<Reply, String> {
        let write = async {
            self.0.write_all(format!("{line}\r\n").as_bytes()).await?;
            self.0.flush().await
        };
        match tokio::time::timeout(WAIT, write).await {
            Ok(Ok(())) => self.reply().await,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it takes no command".to_owned()),
        }
    }

    /// Takes a reply, bounded in time, in lines and in their length.
    pub(super) async fn reply(&mut self) -> Result<Reply, String> {
        match tokio::time::timeout(WAIT, self.lines()).await {
            Ok(reply) => reply,
            Err(_) => Err("it does not answer".to_owned()),
        }
    }

    async fn lines(&mut self) -> Result<Reply, String> {
        let mut lines = Vec::new();
        for _ in 0..MOST_LINES {
            let mut line = Vec::new();
            let mut bounded = (&mut self.0).take(LONGEST);
            let read = bounded.read_until(b'\n', &mut line).await;
            read.map_err(|error| error.to_string())?;
            if line.last() != Some(&b'\n') {
                return Err("it hung up".to_owned());
            }
            let (code, is_last, text) = parse(&line).ok_or("it sent something that is no reply")?;
            lines.push(text);
            if is_last {
                return Ok(Reply { code, lines });
            }
        }
        Err("its reply does not end".to_owned())
    }
}

/// Code, whether it is the last line, and text (RFC 5321 section 4.2).
fn parse(line: &[u8]) -> Option<(u16, bool, String)> {
    let text = std::str::from_utf8(line).ok()?.trim_end();
    let code: u16 = text.get(..3)?.parse().ok()?;
    let is_last = match text.as_bytes().get(3) {
        None | Some(b' ') => true,
        Some(b'-') => false,
        Some(_) => return None,
    };
    let rest = text.get(4..).unwrap_or_default();
    Some((code, is_last, rest.chars().filter(|c| !c.is_control()).collect()))
}

const WAIT: Duration = Duration::from_secs(5);
const MOST_LINES: usize = 64;
const LONGEST: u64 = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(octets: &'static [u8]) -> Result<Reply, String> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        theirs.write_all(octets).await.unwrap();
        drop(theirs);
        Dialogue::new(ours).reply().await
    }

    #[tokio::test]
    async fn a_reply_is_read_to_its_last_line() {
        let reply = read(b"250-mx.example hello\r\n250-SIZE 5\r\n250 starttls\r\n")
            .await
            .unwrap();
        assert_eq!((reply.code, reply.lines.len()), (250, 3));
        assert!(reply.has("STARTTLS") && reply.has("size") && !reply.has("hello"));
        assert_eq!(read(b"550\r\n").await.unwrap().code, 550);
    }

    #[tokio::test]
    async fn what_is_no_reply_is_an_error() {
        for octets in [
            b"".as_slice(),
            b"250-and then nothing\r\n",
            b"25",
            b"hello\r\n",
            b"250x\r\n",
            b"2\xc3\xa40 \r\n",
            b"250 no end",
        ] {
            assert!(read(octets).await.is_err(), "{octets:?}");
        }
        let endless: &'static [u8] = b"250-x\r\n".repeat(1_000).leak();
        assert_eq!(read(endless).await.unwrap_err(), "its reply does not end");
    }
}
