//! A listener between two servers that passes all octets on and writes them down.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

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
                    pass(client, server, |octets| lock(&ours).client.push(octets.to_vec()));
                });
                std::thread::spawn(move || {
                    pass(server_too, client_too, |octets| {
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

    /// Whether the server said this, in any case.
    pub(super) fn server_said(&self, word: &str) -> bool {
        contains(&lock(&self.said).server, word)
    }

    /// Whether the client sent MAIL and RCPT in one piece.
    pub(super) fn client_pipelined(&self) -> bool {
        lock(&self.said)
            .client
            .iter()
            .any(|piece| contains(piece, "MAIL FROM") && contains(piece, "\nRCPT TO"))
    }
}

fn lock(said: &Arc<Mutex<Said>>) -> std::sync::MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

fn contains(octets: &[u8], word: &str) -> bool {
    let text = String::from_utf8_lossy(octets).to_ascii_uppercase();
    text.contains(&word.to_ascii_uppercase())
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut tell: impl FnMut(&[u8])) {
    let mut block = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut block) {
        let octets = block.get(..read).unwrap_or_default();
        tell(octets);
        if to.write_all(octets).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
