//! Strangers wait for the greeting (`limits.greetingDelay`), and whoever talks before it is turned away: RFC 5321 section
//! 3.1 lets the server speak first, and programs that send what they have without listening are no mail servers.
//!
//! Nothing that came is read: the look is at whether there is something.

use std::io;
use std::time::Duration;

use postroad_config::TlsMode;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::driver::Driver;
use crate::metrics::Refused;
use crate::net::Rank;

impl Driver {
    /// Whether the client talks before it is greeted. Waits where it has to wait.
    pub(super) async fn talks_early(&self, stream: &TcpStream) -> bool {
        let delay = self.settings.set.file.limits.greeting_delay.get();
        let rank = Rank::of(&self.settings, self.port.role, self.client.ip());
        // With implicit TLS the client speaks first, by the handshake.
        if delay.is_zero() || rank != Rank::Stranger || self.port.tls == TlsMode::Implicit {
            return false;
        }
        tokio::select! {
            () = self.shared.lifecycle.sessions().cancelled() => false,
            talks = timeout(delay, says_something(stream)) => talks.unwrap_or(false),
        }
    }

    pub(super) async fn turn_away(&self, mut stream: TcpStream) {
        self.shared.refused(Refused::Protocol);
        tracing::info!(
            event = "refused",
            port = self.port.name,
            client = %self.client.ip(),
            command = "CONNECT",
            code = 554,
            reason = TEXT,
            "refused"
        );
        let line = format!("554 5.5.1 {} {TEXT}\r\n", self.settings.hostname());
        let say = async {
            stream.write_all(line.as_bytes()).await?;
            stream.shutdown().await?;
            drain(&stream).await
        };
        // A client that is gone already needs no answer.
        let _ = timeout(LAST_WORD, say).await;
    }
}

/// Ends when there are octets to read; never where the client hung up, which the session finds out.
async fn says_something(stream: &TcpStream) -> bool {
    let mut octet = [0];
    match stream.peek(&mut octet).await {
        Ok(count) => count > 0,
        Err(_) => false,
    }
}

/// Throws away what came, as a connection that is closed with octets unread takes the reply with it.
async fn drain(stream: &TcpStream) -> io::Result<()> {
    let mut octets = [0; 4 << 10];
    for _ in 0..MOST_DRAINED {
        stream.readable().await?;
        match stream.try_read(&mut octets) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

const TEXT: &str = "The client spoke before the greeting";
const LAST_WORD: Duration = Duration::from_secs(2);
/// Pieces.
const MOST_DRAINED: usize = 16;
