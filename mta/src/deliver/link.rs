//! A connection to a next hop that speaks: socket and protocol machine joined, with every wait bounded.
//!
//! ```text
//!   open ─► connect ─► greeting, EHLO ─► [STARTTLS] ─► ready ─► transactions (transaction.rs) ─► pool or quit
//!             └── a handshake that fails where TLS is opportunistic: once more, in the clear (RFC 7435)
//! ```

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use postroad_config::Rewriting;
use postroad_smtp::By;
use postroad_smtp::client::{Config, Connection, Error, Event, Failure, PeerReply, Stage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::connect::{self, NoTls, Stream};
use super::control::Passing;
use super::demand::{self, Lack};
use super::hosts::Server;
use super::lanes::Lane;
use super::login::Key;
use super::networks::may_be_next_hop;
use super::patience::Patience;
use super::plan::Protocol;
use super::protection::{By as Asked, Need, Protection};
use super::reply;
use super::setback::Setback;
use super::tls::ClientTls;
use super::tls_fault::TlsFault;
use super::witness::{Noted, Witness};
use crate::logins::fault::NoLogin;
use crate::logins::identity;
use crate::outcome::{Hop, Status, Verdict};
use crate::queue::window::Feedback;
use crate::seen::Seen;

/// Whom to talk to, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) server: &'a Server,
    pub(super) address: SocketAddr,
    /// How TLS is used.
    pub(super) tls: &'a Protection,
    /// The message has REQUIRETLS, and the server is told so.
    pub(super) require_tls: bool,
    pub(super) hostname: &'a str,
    /// What to log in with.
    pub(super) login: Option<Key<'a>>,
    /// Most recipients of a transaction, by the route's own limit.
    pub(super) recipients: Option<u32>,
    /// Most messages of a connection, by the route's own limit.
    pub(super) messages: Option<u32>,
    /// TLS comes first (RFC 8314).
    pub(super) implicit_tls: bool,
    /// Which header fields it gets.
    pub(super) passing: Passing,
    /// What the policy changes of the message.
    pub(super) rewrite: Option<&'a Rewriting>,
    /// The route that may rest as a whole, where it is one.
    pub(super) lane: Option<Lane<'a>>,
    pub(super) patience: Patience,
    /// What is seen on the way is noted there.
    pub(super) seen: Option<&'a Seen>,
    /// Who vouches for its hosts in place of the public authorities; PEM.
    pub(super) authorities: Option<&'a str>,
    /// What is seen of its TLS, where that is reported.
    pub(super) witness: Option<&'a Witness>,
}

/// A connection that speaks.
pub(super) struct Link {
    stream: Stream,
    connection: Connection,
    /// Who is at the other end.
    pub(super) hop: Hop,
    /// What it speaks.
    pub(super) protocol: Protocol,
    /// Recipients that it takes in one transaction: what it says, or what it was seen to take.
    pub(super) most_recipients: usize,
    /// Messages that it is used for at most.
    most_messages: u32,
    pub(super) patience: Patience,
}

/// Why a connection is of no use (any more).
#[derive(Debug)]
pub(super) enum Trouble {
    /// There is none.
    Connect(String),
    /// It stood still or broke.
    Lost(Loss),
    /// The dialogue failed.
    Failed(Failure),
    /// No TLS, where the route or the message demands it.
    Tls(NoTls),
    /// Nobody is logged in.
    Login(NoLogin),
    /// It does not promise what the message needs.
    Lacks(Lack),
    /// It is ourselves.
    Ourselves,
    /// The message cannot be read.
    Spool(io::Error),
    /// The attempt was told to end.
    Stopped,
}

/// A connection that stood still or broke.
#[derive(Debug)]
pub(super) struct Loss {
    reason: String,
    stage: Stage,
}

impl Link {
    /// Connects and says hello.
    pub(super) async fn open(target: &Target<'_>, tls: &ClientTls) -> Result<Self, Trouble> {
        match Self::greet(target, tls, target.tls.need != Need::Clear).await {
            Err(Trouble::Tls(no)) if target.tls.need == Need::Offered && !target.implicit_tls => {
                tracing::info!(
                    event = "tls_failed",
                    host = crate::log::clean(&target.server.host),
                    address = %target.address.ip(),
                    reason = crate::log::clean(&no.reason),
                    "TLS failed; going on in the clear, as the route allows"
                );
                target.note(|noted| noted.flaw = Some(no));
                Self::greet(target, tls, false).await
            }
            other => other,
        }
    }

    async fn greet(target: &Target<'_>, tls: &ClientTls, use_tls: bool) -> Result<Self, Trouble> {
        let stream = match connect::connect(target.address, target.patience.connect).await {
            Ok(stream) => stream,
            Err(no) => {
                if no.timed_out
                    && let Some(seen) = target.seen
                {
                    seen.timed_out(&target.server.host, target.address);
                }
                return Err(Trouble::Connect(no.reason));
            }
        };
        if let Some(seen) = target.seen {
            seen.connected(target.address);
        }
        // A private one says nothing to others.
        let ours = stream.local_addr().ok().map(|ours| ours.ip().to_canonical());
        target.note(|noted| noted.ours = ours.filter(|ours| may_be_next_hop(*ours, &[])));
        let protocol = target.server.protocol;
        let config = match protocol {
            Protocol::Smtp => Config::smtp(target.hostname),
            Protocol::Lmtp => Config::lmtp(target.hostname),
        };
        let mut link = Self {
            stream: Stream::Plain(stream),
            connection: Connection::new(config),
            hop: target.hop(),
            protocol,
            most_recipients: USUAL_RECIPIENTS,
            most_messages: target.messages.unwrap_or(MOST_TRANSACTIONS),
            patience: target.patience,
        };
        if target.implicit_tls {
            link = link.inside_tls(target, tls).await?;
            link.connection.tls_from_start();
        }
        let is_own = |link: &Self| {
            target.server.public && link.connection.peer().eq_ignore_ascii_case(target.hostname)
        };
        let demanded = target.tls.need.is_strict();
        let mut refused = None;
        loop {
            let event = link.next(link.patience.greeting).await?;
            if event == Event::Ready {
                link.introduced(target);
            }
            match event {
                // Nobody else has our name: the mail would go round and round (RFC 5321 section 5.1).
                Event::Ready if is_own(&link) => {
                    tokio::spawn(link.quit());
                    return Err(Trouble::Ourselves);
                }
                Event::Ready if link.connection.is_tls() || !use_tls => return Ok(link.ready(target)),
                Event::Ready if refused.is_none() && link.connection.start_tls() => {}
                Event::Ready if demanded => {
                    tokio::spawn(link.quit());
                    return Err(Trouble::Tls(refused.unwrap_or_else(not_offered)));
                }
                Event::Ready => {
                    target.note(|noted| noted.flaw = Some(refused.unwrap_or_else(not_offered)));
                    return Ok(link.ready(target));
                }
                Event::TlsRefused(reply) => {
                    refused = Some(NoTls {
                        reason: format!("STARTTLS was refused: {reply}"),
                        lasting: reply.code() >= 500,
                        fault: TlsFault::Refused,
                    });
                }
                Event::StartTls => link = link.secure(target, tls).await?,
                Event::NeedInput
                | Event::NeedBody
                | Event::Sent(_)
                | Event::LoggedIn
                | Event::LoginRefused(_)
                | Event::Failed(_)
                | Event::Closed => {
                    return Err(link.lost("the connection ended"));
                }
            }
        }
    }

    /// The peer has said who it is.
    fn introduced(&self, target: &Target<'_>) {
        let printed = self.connection.our_address();
        target.note(|noted| {
            self.connection.peer().clone_into(&mut noted.helo);
            noted.ours = printed.or(noted.ours);
        });
    }

    /// What the peer says of itself holds from now on.
    fn ready(mut self, target: &Target<'_>) -> Self {
        // Some print their own.
        let printed = self
            .connection
            .our_address()
            .filter(|printed| *printed != target.address.ip().to_canonical());
        if let (Some(seen), Some(address)) = (target.seen, printed) {
            seen.addressed_as(&target.server.host, address);
        }
        // RFC 9422 section 4.2.
        let limit = self.connection.capabilities().recipients_limit;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        self.most_recipients = limit.unwrap_or(USUAL_RECIPIENTS).min(MOST_RECIPIENTS);
        self
    }

    async fn secure(self, target: &Target<'_>, tls: &ClientTls) -> Result<Self, Trouble> {
        let mut link = self.inside_tls(target, tls).await?;
        link.connection.tls_started();
        Ok(link)
    }

    async fn inside_tls(self, target: &Target<'_>, tls: &ClientTls) -> Result<Self, Trouble> {
        let Stream::Plain(stream) = self.stream else {
            return Err(Trouble::Tls(NoTls {
                reason: "TLS is in use already".to_owned(),
                lasting: false,
                fault: TlsFault::Handshake,
            }));
        };
        let (name, config) = tls.config(&target.server.host, &target.tls.need);
        let credentials = target.login.map(|key| key.credentials);
        let config = identity::presented(config, credentials).map_err(Trouble::Login)?;
        let stream = connect::handshake(stream, name, config, self.patience.handshake)
            .await
            .map_err(Trouble::Tls)?;
        if target.tls.by == Asked::MtaStsTesting {
            // What a policy that is tried out finds wrong is reported, and nothing else (RFC 8461 section 5).
            target.note(|noted| {
                noted.flaw = tls.flaw(&target.server.host, stream.certificates(), target.authorities);
            });
        }
        let mut link = Self { stream, ..self };
        link.hop.tls = link.stream.protection().map(Into::into);
        Ok(link)
    }

    /// Whether the server promises what a message needs.
    pub(super) fn promises(&self, target: &Target<'_>, by: Option<By>) -> Result<(), Trouble> {
        let peer = self.connection.capabilities();
        demand::lack(peer, self.protocol, target.require_tls, by)
            .map_or(Ok(()), |lack| Err(Trouble::Lacks(lack)))
    }

    /// The protocol machine, to ask and to tell.
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The next event that is not a wait for octets, nor a failure. `idle`: longest silence of the peer.
    pub(super) async fn next(&mut self, idle: Duration) -> Result<Event, Trouble> {
        let end = Instant::now() + self.patience.longest.max(idle);
        let mut octets = [0; 4_096];
        loop {
            let event = self.connection.poll();
            if event == Event::NeedBody && self.connection.output() < MOST_OUTPUT {
                // It leaves with the body, in one flight.
                return Ok(event);
            }
            let written = self.flush().await;
            match event {
                Event::Failed(failure) => return Err(Trouble::Failed(failure)),
                Event::NeedInput => written?,
                event => {
                    written?;
                    return Ok(event);
                }
            }
            let until = end.min(Instant::now() + idle);
            match timeout_at(until, self.stream.read(&mut octets)).await {
                Ok(Ok(0) | Err(_)) => self.connection.closed(),
                Ok(Ok(read)) => self.connection.feed(&octets[..read]),
                Err(_) => return Err(self.silent("the peer did not answer in time")),
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
        match timeout(self.patience.block, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => {
                // What the peer said before it closed may still be there to be read.
                self.drain().await;
                self.connection.closed();
                Err(self.failure("the peer closed the connection"))
            }
            Err(_) => Err(self.silent("the peer took no data in time")),
        }
    }

    /// Reads what is there, without waiting for more.
    async fn drain(&mut self) {
        let mut octets = [0; 4_096];
        for _ in 0..MOST_DRAINED {
            match timeout(DRAIN, self.stream.read(&mut octets)).await {
                Ok(Ok(read @ 1..)) => self.connection.feed(&octets[..read]),
                _ => return,
            }
        }
    }

    /// The peer fell silent: what the dialogue knows of recipients by then is kept.
    pub(super) fn silent(&mut self, reason: &str) -> Trouble {
        let loss = self.loss(reason);
        self.connection.closed();
        match self.failure(reason) {
            Trouble::Failed(failure) if !failure.outcomes.is_empty() => Trouble::Failed(failure),
            _ => Trouble::Lost(loss),
        }
    }

    fn failure(&mut self, reason: &str) -> Trouble {
        loop {
            match self.connection.poll() {
                Event::Failed(failure) => return Trouble::Failed(failure),
                Event::Sent(_) => {}
                _ => return self.lost(reason),
            }
        }
    }

    /// The connection is lost, for this reason.
    pub(super) fn lost(&self, reason: &str) -> Trouble {
        Trouble::Lost(self.loss(reason))
    }

    fn loss(&self, reason: &str) -> Loss {
        Loss {
            reason: reason.to_owned(),
            stage: self.connection.stage(),
        }
    }

    /// It was used for enough messages (RFC 9422: perhaps the peer says how many those are).
    pub(super) fn is_worn(&self) -> bool {
        let limit = self.connection.capabilities().transactions_limit;
        self.connection.transactions() >= limit.unwrap_or(self.most_messages).min(self.most_messages)
    }

    /// Ends the connection in good manners.
    pub(super) async fn quit(mut self) {
        self.connection.quit();
        let farewell = async {
            while self
                .next(FAREWELL)
                .await
                .is_ok_and(|event| event != Event::Closed)
            {}
        };
        // Nothing depends on it.
        let _ = timeout(FAREWELL, farewell).await;
        let _ = timeout(FAREWELL, self.stream.shutdown()).await;
    }
}

impl Trouble {
    /// The peer cannot have taken anything of what is undecided: another server may be tried.
    pub(super) fn is_repeatable(&self) -> bool {
        match self {
            Self::Failed(failure) => {
                !failure.uncertain && !matches!(failure.error, Error::Body(_) | Error::Length)
            }
            Self::Lost(loss) => loss.stage != Stage::End,
            Self::Spool(_) | Self::Stopped => false,
            Self::Connect(_) | Self::Tls(_) | Self::Login(_) | Self::Lacks(_) | Self::Ourselves => true,
        }
    }

    /// The peer had the whole message and its reply did not come: it may have taken it.
    pub(super) fn is_doubtful(&self) -> bool {
        match self {
            Self::Failed(failure) => failure.uncertain,
            Self::Lost(loss) => loss.stage == Stage::End,
            _ => false,
        }
    }

    /// The volume does not give back what was accepted: no other server and no later time helps.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Self::Spool(error) if error.kind() == io::ErrorKind::InvalidData)
    }

    /// The reply by which the peer ended the dialogue.
    pub(super) fn refusal(&self) -> Option<(Stage, &PeerReply)> {
        match self {
            Self::Failed(Failure {
                error: Error::Refused(reply),
                stage,
                ..
            }) => Some((*stage, reply)),
            Self::Login(no) => no.reply.as_ref().map(|reply| (Stage::Auth, reply)),
            _ => None,
        }
    }

    /// The TLS of a host that the configuration names is wrong: host, route or clock are to be mended.
    pub(super) fn is_of_the_routes_tls(&self, target: &Target<'_>) -> bool {
        let is_named = target.lane.is_some() && !target.require_tls;
        matches!(self, Self::Tls(no) if is_named && no.needs_mending())
    }

    /// What it means for recipients without a verdict.
    pub(super) fn setback(self, target: &Target<'_>) -> Setback {
        let hop = target.hop();
        let whom = format!("{} ({})", hop.host, target.address);
        let is_insecure = self.is_of_the_routes_tls(target);
        let is_damage = self.is_damage();
        let setback = match self {
            Self::Connect(reason) => {
                Setback::dead(Status::new(4, 4, 1), format!("no connection to {whom}: {reason}"))
            }
            Self::Lost(loss) => {
                let reason = format!(
                    "the connection to {whom} was lost at {}: {}",
                    loss.stage.name(),
                    loss.reason
                );
                Setback::dead(Status::new(4, 4, 2), reason)
            }
            Self::Failed(Failure {
                error: Error::Refused(reply),
                stage,
                ..
            }) => return refused(&reply, stage, &hop),
            Self::Failed(Failure {
                error: Error::Body(fault),
                ..
            }) => Setback::never(Status::new(5, 6, 0), Error::Body(fault).to_string()),
            Self::Failed(Failure {
                error: Error::Length, ..
            }) => Setback::ours(Error::Length.to_string()),
            Self::Failed(failure) => {
                let doubt = if failure.uncertain {
                    "; it may have the message"
                } else {
                    ""
                };
                let reason = format!("{whom} at {}: {}{doubt}", failure.stage.name(), failure.error);
                Setback::dead(Status::new(4, 4, 2), reason)
            }
            Self::Tls(no) if target.require_tls => Setback::unprotected(&whom, &no),
            Self::Tls(no) => {
                let setback = Setback::no_tls(&whom, &no, target.tls.by);
                // Nobody's mail is returned for it.
                if is_insecure {
                    setback.until_mended()
                } else {
                    setback
                }
            }
            Self::Login(no) => Setback::not_logged_in(&whom, &no),
            Self::Lacks(lack) => Setback::lacks(&whom, lack),
            // RFC 3463 section 3.5, X.4.6.
            Self::Ourselves => Setback::never(
                Status::new(5, 4, 6),
                format!("{whom} is this server, which does not receive for the domain: a loop"),
            ),
            Self::Spool(_) if is_damage => Setback::lost(),
            Self::Spool(error) => Setback::ours(format!("the message cannot be read: {}", error.kind())),
            Self::Stopped => Setback::ours("the attempt was ended"),
        };
        setback.at(hop)
    }
}

impl Target<'_> {
    fn note(&self, note: impl FnOnce(&mut Noted)) {
        if let Some(witness) = self.witness {
            witness.note(note);
        }
    }
}

fn not_offered() -> NoTls {
    NoTls {
        reason: "STARTTLS is not offered".to_owned(),
        lasting: true,
        fault: TlsFault::NotOffered,
    }
}

/// A refusal of the session. RFC 7504: 521 and 556 as a greeting say that the host never takes mail; any other 5yz may be
/// about us or about now, so the mail waits and other servers are tried.
fn refused(reply: &PeerReply, stage: Stage, hop: &Hop) -> Setback {
    if matches!(reply.code(), 521 | 556) && stage == Stage::Greeting {
        return Setback {
            outcome: reply::from_reply(Verdict::Failed, reply, hop),
            feedback: None,
        };
    }
    // Refused at the door, the mail waits for the site; refused amid a session, it keeps its schedule.
    let at_door = matches!(stage, Stage::Greeting | Stage::Hello | Stage::StartTls);
    let feedback = match reply::feedback(reply) {
        Feedback::Busy if !at_door => Feedback::Busy,
        _ => Feedback::Dead,
    };
    Setback {
        outcome: reply::from_reply(Verdict::Deferred, reply, hop),
        feedback: Some(feedback),
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Link({:?}, {} transactions)",
            self.hop,
            self.connection.transactions()
        )
    }
}

const FAREWELL: Duration = Duration::from_secs(5);
/// What may wait to be written while a body is asked for.
const MOST_OUTPUT: usize = 64 << 10;
/// What was sent before the connection broke is read for as long.
const DRAIN: Duration = Duration::from_millis(200);
/// Reads of what was sent before the connection broke.
const MOST_DRAINED: usize = 64;
/// RFC 5321 section 4.5.3.1.8: every server takes 100 recipients.
const USUAL_RECIPIENTS: usize = 100;
/// More are not sent at once even if the peer would take them.
const MOST_RECIPIENTS: usize = 1_000;
/// Messages over one connection.
const MOST_TRANSACTIONS: u32 = 100;
