//! The octets of a message on their way from the spool to a next hop: read off the reactor, never held whole.
//!
//! ```text
//!   spool ─► blocking thread ─► prefix, then pieces of the body ─► channel of two pieces ─► connection
//! ```

use std::io::{self, Read};

use postroad_spool::{EntryId, Spool};
use tokio::sync::mpsc;

/// Pieces of a message, in order; ends after the last, or with an error.
pub type Pieces = mpsc::Receiver<io::Result<Vec<u8>>>;

/// Starts to read a message from its first octet. Dropping the receiver ends the reading.
pub fn read(spool: Spool, entry: EntryId) -> Pieces {
    let (to, pieces) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = pump(&spool, entry, &to) {
            // Nobody is left to be told when the receiver is gone.
            let _ = to.blocking_send(Err(error));
        }
    });
    pieces
}

fn pump(spool: &Spool, entry: EntryId, to: &mpsc::Sender<io::Result<Vec<u8>>>) -> io::Result<()> {
    let mut message = spool.read(entry).map_err(io::Error::other)?;
    let mut piece = std::mem::take(&mut message.item.prefix);
    loop {
        let start = piece.len();
        piece.resize(start + PIECE, 0);
        let read = loop {
            match message.body.read(&mut piece[start..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    spool.found_damaged(entry);
                    return Err(error);
                }
                Ok(read) => break read,
            }
        };
        piece.truncate(start + read);
        let last = read == 0;
        if !piece.is_empty() && to.blocking_send(Ok(std::mem::take(&mut piece))).is_err() {
            return Ok(());
        }
        if last {
            return Ok(());
        }
    }
}

/// What a next hop without an extension would have to cope with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Octets above 127 in the header section.
    pub header_utf8: bool,
    /// Octets above 127 anywhere.
    pub eight_bit: bool,
}

/// Sees what a message holds, piece by piece.
#[derive(Debug)]
struct Inspection {
    contents: Contents,
    in_header: bool,
    line_is_empty: bool,
}

impl Inspection {
    fn new() -> Self {
        Self {
            contents: Contents::default(),
            in_header: true,
            line_is_empty: false,
        }
    }

    fn see(&mut self, piece: &[u8]) {
        for octet in piece {
            if self.in_header {
                match octet {
                    b'\n' if self.line_is_empty => self.in_header = false,
                    b'\n' => self.line_is_empty = true,
                    b'\r' => {}
                    _ => self.line_is_empty = false,
                }
            }
            self.contents.eight_bit |= *octet > 127;
            self.contents.header_utf8 |= self.in_header && *octet > 127;
        }
    }

    /// What follows changes nothing.
    fn is_done(&self) -> bool {
        self.contents.eight_bit && !self.in_header
    }
}

impl Contents {
    /// What a whole message holds.
    pub fn of(message: &[u8]) -> Self {
        let mut inspection = Inspection::new();
        inspection.see(message);
        inspection.contents
    }
}

/// Reads the message once to see what it holds. Only needed when a next hop lacks an extension.
pub async fn inspect(spool: Spool, entry: EntryId) -> io::Result<Contents> {
    let mut pieces = read(spool, entry);
    let mut inspection = Inspection::new();
    while let Some(piece) = pieces.recv().await {
        inspection.see(&piece?);
        if inspection.is_done() {
            break;
        }
    }
    Ok(inspection.contents)
}

/// Prefix and header section, as far as they go within a bound; what follows may be there too.
pub async fn header(spool: Spool, entry: EntryId) -> io::Result<Vec<u8>> {
    let mut pieces = read(spool, entry);
    let mut header = vec![];
    while let Some(piece) = pieces.recv().await {
        header.extend(piece?);
        if header.len() >= LONGEST_HEADER || memchr::memmem::find(&header, b"\r\n\r\n").is_some() {
            break;
        }
    }
    Ok(header)
}

/// Octets of a header that are looked at, and of prefix before it.
const LONGEST_HEADER: usize = 1 << 20;
const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use postroad_spool::{Envelope, Options, Recipient};

    async fn stored(prefix: &[u8], body: &[u8]) -> (tempfile::TempDir, Spool, EntryId) {
        let dir = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(dir.path(), &Options::default()).unwrap();
        let mut incoming = spool.begin();
        incoming.write(body).unwrap();
        let envelope = Envelope {
            recipients: vec![Recipient::default()],
            ..Envelope::default()
        };
        let entry = incoming.commit(envelope, prefix.to_vec()).await.unwrap();
        (dir, spool, entry)
    }

    #[tokio::test]
    async fn a_message_comes_out_as_prefix_and_body() {
        let body = vec![b'x'; 200_000];
        let (_dir, spool, entry) = stored(b"Received: y\r\n", &body).await;
        let mut pieces = read(spool, entry);
        let mut all = vec![];
        while let Some(piece) = pieces.recv().await {
            all.extend(piece.unwrap());
        }
        assert!(all.starts_with(b"Received: y\r\nxx") && all.len() == 200_013);
    }

    #[tokio::test]
    async fn a_header_is_read_to_its_end_and_not_the_whole_message() {
        let field = format!("A: {}\r\n", "x".repeat(900)).repeat(100);
        let body = format!("{field}Z: last\r\n\r\n{}", "y".repeat(3 << 20));
        let (_dir, spool, entry) = stored(b"Received: y\r\n", body.as_bytes()).await;
        let header = header(spool, entry).await.unwrap();
        let found = |text: &str| memchr::memmem::find(&header, text.as_bytes()).is_some();
        assert!(found("Received: y") && found("Z: last\r\n\r\n") && header.len() < 1 << 20);
    }

    #[tokio::test]
    async fn header_and_body_are_told_apart() {
        for (body, header_utf8, eight_bit) in [
            (&b"A: b\r\n\r\nplain\r\n"[..], false, false),
            (b"A: b\r\n\r\n\xc3\xa9\r\n", false, true),
            (b"A: \xc3\xa9\r\n\r\nplain\r\n", true, true),
        ] {
            let (_dir, spool, entry) = stored(b"", body).await;
            let want = Contents {
                header_utf8,
                eight_bit,
            };
            assert_eq!(inspect(spool, entry).await.unwrap(), want);
            assert_eq!(Contents::of(body), want);
        }
    }
}
