//! A connection to a next hop that speaks: socket and protocol machine joined, with every wait bounded.
//!
//! ```text
//!   open ─► connect ─► greeting, EHLO ─► [STARTTLS] ─► ready ─► transactions (transaction.rs) ─► pool or quit
//!             └── a handshake that fails where TLS is opportunistic: once more, in the clear (RFC 7435)
//! ```

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use postroad_config::TlsMode;
use postroad_smtp::client::{ClientConfig, ClientEvent, ClientReply, Connection, ProtocolError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::connect::{self, Stream};
use super::hosts::Server;
use super::plan::Protocol;
use super::reply;
use super::setback::Setback;
use super::tls::ClientTls;
use crate::outcome::{Hop, Outcome, Source, Status, Verdict};
use crate::queue::window::Feedback;

/// Whom to talk to, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) server: &'a Server,
    pub(super) address: SocketAddr,
    pub(super) tls: TlsMode,
    pub(super) hostname: &'a str,
}

/// A connection that speaks.
pub(super) struct Link {
    stream: Stream,
    connection: Connection,
    /// Who is at the other end.
    pub(super) hop: Hop,
    /// What it speaks.
    pub(super) protocol: Protocol,
    transactions: u32,
}

/// Why a connection is of no use (any more).
#[derive(Debug)]
pub(super) enum Trouble {
    /// There is none.
    Connect(String),
    /// It ended or stood still. `open`: after the end of the data, so the peer may have the message.
    Lost { reason: String, open: bool },
    /// The peer does not serve us.
    Refused(ClientReply),
    /// The peer broke the protocol.
    Protocol(ProtocolError),
    /// The handshake failed, or the certificate is not good enough.
    Tls(String),
    /// The message cannot be read.
    Spool(io::Error),
    /// The attempt was told to end.
    Stopped,
}

impl Link {
    /// Connects and says hello.
    pub(super) async fn open(target: &Target<'_>, tls: &ClientTls) -> Result<Self, Trouble> {
        match Self::greet(target, tls, target.tls != TlsMode::Disabled).await {
            Err(Trouble::Tls(reason)) if target.tls == TlsMode::Opportunistic => {
                tracing::info!(
                    event = "tls_failed",
                    host = crate::log::clean(&target.server.host),
                    address = %target.address.ip(),
                    reason = crate::log::clean(&reason),
                    "TLS failed; going on in the clear, as the route allows"
                );
                Self::greet(target, tls, false).await
            }
            other => other,
        }
    }

    async fn greet(target: &Target<'_>, tls: &ClientTls, use_tls: bool) -> Result<Self, Trouble> {
        let stream = connect::connect(target.address).await.map_err(Trouble::Connect)?;
        let protocol = target.server.protocol;
        let mut link = Self {
            stream: Stream::Plain(stream),
            connection: Connection::new(ClientConfig {
                hostname: target.hostname.to_owned(),
                lmtp: protocol == Protocol::Lmtp,
                use_tls,
                require_tls: matches!(target.tls, TlsMode::Encrypted | TlsMode::Verified),
            }),
            hop: target.hop(),
            protocol,
            transactions: 0,
        };
        loop {
            match link.next(GREETING).await? {
                ClientEvent::Ready => return Ok(link),
                ClientEvent::StartTls => link = link.secure(target, tls).await?,
                ClientEvent::Refused(reply) => {
                    tokio::spawn(link.close());
                    return Err(Trouble::Refused(reply));
                }
                ClientEvent::Close | ClientEvent::NeedInput | ClientEvent::NeedBody | ClientEvent::Done(_) => {
                    return Err(link.lost("the connection ended"));
                }
            }
        }
    }

    async fn secure(self, target: &Target<'_>, tls: &ClientTls) -> Result<Self, Trouble> {
        let Stream::Plain(stream) = self.stream else {
            return Err(Trouble::Tls("TLS is in use already".to_owned()));
        };
        let config = tls.config(target.tls == TlsMode::Verified);
        let stream = connect::handshake(stream, &target.server.host, config)
            .await
            .map_err(Trouble::Tls)?;
        let mut link = Self { stream, ..self };
        link.connection.tls_started().map_err(Trouble::Protocol)?;
        Ok(link)
    }

    /// The protocol machine, to ask and to tell.
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The next event that is not a wait for octets. `idle`: longest silence of the peer.
    pub(super) async fn next(&mut self, idle: Duration) -> Result<ClientEvent, Trouble> {
        let end = Instant::now() + LONGEST_EVENT.max(idle);
        let mut octets = [0; 4_096];
        loop {
            let event = self.connection.poll().map_err(Trouble::Protocol)?;
            self.flush().await?;
            if event != ClientEvent::NeedInput {
                return Ok(event);
            }
            let until = end.min(Instant::now() + idle);
            match timeout_at(until, self.stream.read(&mut octets)).await {
                Ok(Ok(0)) => return Err(self.lost("the peer closed the connection")),
                Ok(Ok(read)) => self.connection.feed(&octets[..read]),
                Ok(Err(error)) => return Err(self.lost(&error.kind().to_string())),
                Err(_) => return Err(self.lost("the peer did not answer in time")),
            }
        }
    }

    /// Writes what waits. RFC 5321 section 4.5.3.2.5: three minutes for a block of data.
    pub(super) async fn flush(&mut self) -> Result<(), Trouble> {
        let output = self.connection.take_output();
        if output.is_empty() {
            return Ok(());
        }
        let write = async {
            self.stream.write_all(&output).await?;
            self.stream.flush().await
        };
        match timeout(DATA_BLOCK, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.lost(&error.kind().to_string())),
            Err(_) => Err(self.lost("the peer took no data in time")),
        }
    }

    /// The connection is lost, for this reason.
    pub(super) fn lost(&self, reason: &str) -> Trouble {
        Trouble::Lost {
            reason: reason.to_owned(),
            open: self.connection.outcome_open(),
        }
    }

    /// A transaction is over.
    pub(super) fn count(&mut self) {
        self.transactions += 1;
    }

    /// It was used for enough messages.
    pub(super) fn is_worn(&self) -> bool {
        self.transactions >= MOST_TRANSACTIONS
    }

    /// Ends the connection in good manners.
    pub(super) async fn quit(mut self) {
        if self.connection.quit().is_ok() {
            self.close().await;
        }
    }

    /// Writes the QUIT that waits and hears the answer, for a moment.
    async fn close(mut self) {
        let farewell = async { while !matches!(self.next(FAREWELL).await, Ok(ClientEvent::Close) | Err(_)) {} };
        // Nothing depends on it.
        let _ = timeout(FAREWELL, farewell).await;
        let _ = timeout(FAREWELL, self.stream.shutdown()).await;
    }
}

impl Trouble {
    /// The peer cannot have taken anything: another server may be tried.
    pub(super) fn is_repeatable(&self) -> bool {
        !matches!(self, Self::Lost { open: true, .. } | Self::Spool(_) | Self::Stopped)
    }

    /// What it means for recipients without a verdict.
    pub(super) fn setback(self, target: &Target<'_>) -> Setback {
        let hop = target.hop();
        let whom = format!("{} ({})", hop.host, target.address);
        let setback = match self {
            Self::Connect(reason) => Setback::dead(Status::new(4, 4, 1), format!("no connection to {whom}: {reason}")),
            Self::Lost { reason, open: false } => {
                Setback::dead(Status::new(4, 4, 2), format!("the connection to {whom} was lost: {reason}"))
            }
            Self::Lost { reason, open: true } => Setback::dead(
                Status::new(4, 4, 2),
                format!("{whom} did not say whether it took the message: {reason}"),
            ),
            Self::Refused(reply) => return refused(&reply, hop),
            Self::Protocol(ProtocolError::BareEnding) => {
                Setback::never(Status::new(5, 6, 0), ProtocolError::BareEnding.to_string())
            }
            Self::Protocol(error) => Setback::dead(Status::new(4, 5, 0), format!("{whom}: {error}")),
            Self::Tls(reason) => Setback::dead(Status::new(4, 7, 5), format!("no TLS with {whom}: {reason}")),
            Self::Spool(error) => Setback::ours(format!("the message cannot be read: {}", error.kind())),
            Self::Stopped => Setback::ours("the attempt was ended"),
        };
        setback.at(hop)
    }
}

/// A refusal before any transaction. RFC 7504: 521 and 556 say that the host never takes mail; any other 5yz may be about
/// us or about now, so the mail waits and other servers are tried.
fn refused(reply: &ClientReply, hop: Hop) -> Setback {
    let never = matches!(reply.code, 521 | 556);
    let mut outcome = reply::outcome(reply, &hop);
    let feedback = match reply::feedback(reply) {
        Feedback::Busy => Feedback::Busy,
        _ => Feedback::Dead,
    };
    if never {
        outcome.verdict = Verdict::Failed;
    } else {
        outcome.verdict = Verdict::Deferred;
        outcome.status = outcome.status.of_class(4);
    }
    outcome.source = Source::NextHop(reply::line(reply));
    Setback {
        outcome: Outcome {
            hop: Some(hop),
            ..outcome
        },
        feedback: if never { None } else { Some(feedback) },
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link({:?}, {} transactions)", self.hop, self.transactions)
    }
}

// RFC 5321 section 4.5.3.2.
const GREETING: Duration = Duration::from_mins(5);
/// MAIL and RCPT.
pub(super) const ENVELOPE: Duration = Duration::from_mins(5);
/// The end of the data.
pub(super) const END: Duration = Duration::from_mins(10);
const DATA_BLOCK: Duration = Duration::from_mins(3);
/// A peer that sends an octet now and then does not hold an attempt for ever.
const LONGEST_EVENT: Duration = Duration::from_mins(30);
const FAREWELL: Duration = Duration::from_secs(5);
/// Messages over one connection.
const MOST_TRANSACTIONS: u32 = 100;
