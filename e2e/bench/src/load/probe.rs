//! A next hop for one message: it gives what came, so that a test sees that a server did the work that it is measured by.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use postroad_e2e::kubectl::{Failure, Outcome};

/// The domain whose mail comes here.
pub const PROBED: &str = "probe.example";

/// Listens for the rest of the run; it costs nothing while nobody comes.
#[derive(Debug)]
pub struct Probe {
    /// Where it listens.
    pub address: SocketAddr,
    came: Receiver<String>,
}

impl Probe {
    /// Listens at a free port.
    pub fn start() -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (give, came) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let give = give.clone();
                // A session that breaks off delivers nothing, which the test waits for in vain.
                std::thread::spawn(move || serve(stream, &give));
            }
        });
        Ok(Self { address, came })
    }

    /// The next message that comes.
    pub fn message(&self, limit: Duration) -> Outcome<String> {
        self.came.recv_timeout(limit).map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                Failure::wrong(format!("the probe did not come through within {limit:?}"))
            }
            RecvTimeoutError::Disconnected => Failure::wrong("nobody hears the probe"),
        })
    }
}

/// One session by DATA.
fn serve(mut stream: TcpStream, give: &Sender<String>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).split(b'\n');
    stream.write_all(b"220 probe.example ESMTP\r\n")?;
    while let Some(line) = lines.next().transpose()? {
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let reply: &[u8] = match verb.as_slice() {
            b"DATA" => {
                stream.write_all(b"354 go on\r\n")?;
                let mut text = Vec::new();
                for line in lines.by_ref() {
                    let line = line?;
                    if line == b".\r" {
                        break;
                    }
                    text.extend_from_slice(&line);
                    text.push(b'\n');
                }
                let _ = give.send(String::from_utf8_lossy(&text).into_owned());
                b"250 2.0.0 taken\r\n"
            }
            b"QUIT" => return stream.write_all(b"221 2.0.0 bye\r\n"),
            _ => b"250 2.0.0 ok\r\n",
        };
        stream.write_all(reply)?;
    }
    Ok(())
}
