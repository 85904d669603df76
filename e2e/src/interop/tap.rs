//! A listener between two servers that passes all octets on and writes them down.
//!
//! It may hide extensions: the server's reply to EHLO then reaches the client with the first letter of the keyword
//! changed, so that a peer without a setting for it is seen without the extension. Assumes that the keyword is not part
//! of anything else the server says.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use super::mail;

/// The tap. It ends with the process.
#[derive(Clone, Debug)]
pub(super) struct Tap {
    pub(super) address: SocketAddr,
    said: Arc<Mutex<Said>>,
}

#[derive(Debug, Default)]
struct Said {
    client: Vec<Vec<u8>>,
    server: Vec<u8>,
}

impl Tap {
    /// In front of that server.
    pub(super) fn start(to: SocketAddr) -> io::Result<Self> {
        Self::hiding(to, &[])
    }

    /// In front of that server, whose extensions of these keywords are hidden.
    pub(super) fn hiding(to: SocketAddr, keywords: &'static [&'static str]) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let tap = Self {
            address: listener.local_addr()?,
            said: Arc::default(),
        };
        let said = tap.said.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(to) else {
                    continue;
                };
                let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else {
                    continue;
                };
                let (ours, theirs) = (said.clone(), said.clone());
                std::thread::spawn(move || {
                    pass(client, server, |octets| {
                        lock(&ours).client.push(octets.clone());
                    });
                });
                std::thread::spawn(move || {
                    let mut veils: Vec<_> = keywords.iter().map(|keyword| Veil::new(keyword)).collect();
                    pass(server_too, client_too, |octets| {
                        for veil in &mut veils {
                            veil.draw(octets);
                        }
                        lock(&theirs).server.extend_from_slice(octets);
                    });
                });
            }
        });
        Ok(tap)
    }

    /// Whether the client said this, in any case.
    pub(super) fn client_said(&self, word: &str) -> bool {
        lock(&self.said).client.iter().any(|piece| contains(piece, word))
    }

    /// Whether the server offered this extension.
    pub(super) fn server_offers(&self, keyword: &str) -> bool {
        mail::offers(&String::from_utf8_lossy(&lock(&self.said).server), keyword)
    }

    /// Whether the client sent all of this in one piece, as it does where it pipelines.
    pub(super) fn client_said_at_once(&self, words: &[&str]) -> bool {
        let all = |piece: &Vec<u8>| words.iter().all(|word| contains(piece, word));
        lock(&self.said).client.iter().any(all)
    }
}

/// Changes the first letter of a keyword, wherever it is cut.
#[derive(Debug)]
struct Veil {
    keyword: &'static [u8],
    /// The end of what came that may be the head of the keyword.
    kept: Vec<u8>,
}

impl Veil {
    fn new(keyword: &'static str) -> Self {
        Self {
            keyword: keyword.as_bytes(),
            kept: Vec::new(),
        }
    }

    /// Puts in front what was kept, changes, and keeps back what may be a head: never the end of a line, so that a reply
    /// is whole at once.
    fn draw(&mut self, octets: &mut Vec<u8>) {
        octets.splice(..0, self.kept.drain(..));
        let length = self.keyword.len();
        while let Some(at) = octets.windows(length).position(|piece| piece == self.keyword) {
            octets.splice(at..=at, [HIDDEN]);
        }
        let head = (1..length).rev().find(|head| {
            let (front, _) = self.keyword.split_at(*head);
            octets.ends_with(front)
        });
        self.kept = octets.split_off(octets.len() - head.unwrap_or_default());
    }
}

fn lock(said: &Arc<Mutex<Said>>) -> std::sync::MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

fn contains(octets: &[u8], word: &str) -> bool {
    let text = String::from_utf8_lossy(octets).to_ascii_uppercase();
    text.contains(&word.to_ascii_uppercase())
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut tell: impl FnMut(&mut Vec<u8>)) {
    let mut block = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut block) {
        let mut octets = block.get(..read).unwrap_or_default().to_vec();
        tell(&mut octets);
        if to.write_all(&octets).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

const HIDDEN: u8 = b'X';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyword_is_hidden_wherever_it_is_cut() {
        let reply = b"250-a\r\n250-CHUNKING\r\n250 CHUCK\r\n";
        for cut in 0..reply.len() {
            let mut veil = Veil::new("CHUNKING");
            let (mut front, mut back) = (reply[..cut].to_vec(), reply[cut..].to_vec());
            veil.draw(&mut front);
            veil.draw(&mut back);
            front.extend(back);
            assert_eq!(front, b"250-a\r\n250-XHUNKING\r\n250 CHUCK\r\n", "{cut}");
        }
    }
}
