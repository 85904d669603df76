//! A milter that follows a script, of our own: it says what the test wants, at any stage, good or broken.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

/// What it does about one command.
#[derive(Clone, Debug)]
pub enum Act {
    /// Says these octets.
    Say(Vec<u8>),
    /// Says them one by one, with that pause between.
    Drip(Vec<u8>, Duration),
    /// Says them again and again, for ever.
    Flood(Vec<u8>),
    /// Says them and hangs up.
    Leave(Vec<u8>),
    /// Says nothing.
    Nothing,
}

/// Commands that it heard, macros included, in order.
pub type Heard = Arc<Mutex<Vec<(u8, Vec<u8>)>>>;

pub struct Milter {
    pub address: SocketAddr,
    heard: Heard,
}

type Script = Arc<dyn Fn(u8) -> Act + Send + Sync>;

impl Milter {
    /// Serves until the test ends.
    pub async fn serve(script: impl Fn(u8) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, script): (Heard, Script) = (Heard::default(), Arc::new(script));
        let all = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(talk(stream, Arc::clone(&script), Arc::clone(&all)));
            }
        });
        Self { address, heard }
    }

    /// The same on a Unix socket.
    pub fn serve_at(path: &std::path::Path, script: impl Fn(u8) -> Act + Send + Sync + 'static) -> Heard {
        let listener = UnixListener::bind(path).unwrap();
        let (heard, script): (Heard, Script) = (Heard::default(), Arc::new(script));
        let all = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(talk(stream, Arc::clone(&script), Arc::clone(&all)));
            }
        });
        heard
    }

    /// `filters` of the settings, with this one.
    pub fn section(&self, more: &str) -> String {
        section(
            &format!("{{milter: {{host: 127.0.0.1, port: {}}}}}", self.address.port()),
            more,
        )
    }

    /// What it heard, macros left out.
    pub fn heard(&self) -> Vec<(u8, Vec<u8>)> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        heard
            .into_iter()
            .filter(|(command, _)| *command != b'D')
            .collect()
    }

    /// The letters of what it heard.
    pub fn letters(&self) -> String {
        self.heard()
            .iter()
            .map(|(command, _)| char::from(*command))
            .collect()
    }
}

pub fn section(service: &str, more: &str) -> String {
    format!("filters: [{{name: scripted, service: {service}{more}}}]\n")
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: Script, heard: Heard) {
    loop {
        let Ok(length) = stream.read_u32().await else {
            return;
        };
        let mut packet = vec![0; usize::try_from(length).unwrap()];
        if stream.read_exact(&mut packet).await.is_err() {
            return;
        }
        let command = packet.remove(0);
        heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((command, packet));
        let said = match command {
            b'D' | b'A' => continue,
            b'Q' => return,
            command => script(command),
        };
        let done = match said {
            Act::Nothing => Ok(()),
            Act::Say(octets) => stream.write_all(&octets).await,
            Act::Leave(octets) => {
                let _ = stream.write_all(&octets).await;
                let _ = stream.shutdown().await;
                return;
            }
            Act::Drip(octets, pause) => {
                for octet in octets {
                    tokio::time::sleep(pause).await;
                    if stream.write_all(&[octet]).await.is_err() {
                        return;
                    }
                }
                Ok(())
            }
            Act::Flood(octets) => {
                while stream.write_all(&octets).await.is_ok() {}
                return;
            }
        };
        if done.is_err() {
            return;
        }
    }
}

/// One packet.
pub fn packet(command: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(1 + data.len()).unwrap();
    [&length.to_be_bytes()[..], &[command], data].concat()
}

/// Options: all changes, no step left out, the rest of a body may be skipped.
pub fn options() -> Vec<u8> {
    packet(b'O', &[6_u32, 0x1ff, 0x400].map(u32::to_be_bytes).concat())
}

/// Goes on with everything, but does this about that command.
pub fn but(at: u8, act: Act) -> impl Fn(u8) -> Act + Send + Sync + 'static {
    move |command| match command {
        command if command == at => act.clone(),
        b'O' => Act::Say(options()),
        _ => Act::Say(packet(b'c', &[])),
    }
}

/// What it does about one command, which may be another one for the next message.
#[derive(Clone, Debug)]
pub struct Shifting(Arc<Mutex<(u8, Act)>>);

impl Shifting {
    pub async fn milter() -> (Self, Milter) {
        let shifting = Self(Arc::new(Mutex::new((b'?', Act::Nothing))));
        let now = shifting.clone();
        let milter = Milter::serve(move |command| {
            let (at, act) = now.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            but(at, act)(command)
        });
        (shifting, milter.await)
    }

    pub fn to(&self, at: u8, act: Act) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (at, act);
    }
}

/// Makes these changes at the end of each message, and lets it go on.
pub fn changing(changes: &[Vec<u8>]) -> impl Fn(u8) -> Act + Send + Sync + 'static {
    let mut said = changes.concat();
    said.extend(packet(b'c', &[]));
    but(b'E', Act::Say(said))
}
