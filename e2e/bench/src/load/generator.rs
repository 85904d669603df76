//! Our own generator: sessions that stay open, each with several messages in flight.
//!
//!   BDAT (RFC 3030)  MAIL RCPT BDAT-LAST of up to `window` messages are on their way before a reply is waited for
//!   DATA             the server lacks CHUNKING: the end of one message and MAIL RCPT DATA of the next share a flight,
//!                    as RFC 2920 section 3.1 allows; DATA's 354 is waited for
//!   neither          the server lacks PIPELINING too: each reply is waited for
//!
//! With a pace, a message has a time at which it is due; its latency counts from then, even if its session was still
//! busy: a server that stalls is not asked less often.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use postroad_e2e::kubectl::{Failure, Outcome};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::body::Template;
use super::client::{Replies, Session};
use super::entrance::{Entrance, Reader, Writer};

/// A load.
#[derive(Clone, Debug)]
pub struct Load {
    /// The server.
    pub to: SocketAddr,
    /// Sessions at once.
    pub sessions: usize,
    /// Messages in flight in each.
    pub window: usize,
    /// Numbers of the messages.
    pub numbers: std::ops::Range<u64>,
    /// Domain of the recipients, `uNUMBER@domain`.
    pub domain: &'static str,
    /// What is sent.
    pub template: Template,
    /// Messages per second, if not as fast as they go.
    pub pace: Option<f64>,
    /// How the sessions come in.
    pub entrance: Entrance,
}

/// What a load gave.
#[derive(Clone, Debug)]
pub struct Given {
    /// From the first connection's command to the last reply.
    pub took: Duration,
    /// Each message.
    pub sent: Vec<Sent>,
}

/// A message that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Its number.
    pub number: u64,
    /// When it was sent, or due if its session was late.
    pub begun: Instant,
    /// From then to its 250.
    pub took: Duration,
}

impl Sent {
    fn now(number: u64, begun: Instant) -> Self {
        Self {
            number,
            begun,
            took: begun.elapsed(),
        }
    }
}

struct Shared {
    load: Load,
    next: AtomicU64,
    start: Instant,
}

impl Shared {
    /// The next message, and when it is due.
    fn take(&self) -> Option<(u64, Instant)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.load.numbers.end).then(|| (number, self.due(number - self.load.numbers.start)))
    }

    fn due(&self, index: u64) -> Instant {
        match self.load.pace {
            None => Instant::now(),
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            Some(pace) => self.start + Duration::from_secs_f64(index as f64 / pace),
        }
    }

    fn envelope(&self, number: u64, out: &mut Vec<u8>) {
        let domain = self.load.domain;
        out.extend_from_slice(b"MAIL FROM:<bench@source.example>\r\n");
        out.extend_from_slice(format!("RCPT TO:<u{number}@{domain}>\r\n").as_bytes());
    }
}

/// Runs a load to its end. The first reply that is not as it should be ends it with an error.
pub async fn run(load: Load) -> Outcome<Given> {
    let mut sessions = Vec::new();
    for _ in 0..load.sessions {
        sessions.push(load.entrance.open(load.to).await?);
    }
    let start = Instant::now();
    let next = AtomicU64::new(load.numbers.start);
    let shared = Arc::new(Shared { load, next, start });
    let mut tasks = JoinSet::new();
    for session in sessions {
        let shared = shared.clone();
        tasks.spawn(async move {
            match (session.chunking, session.pipelining) {
                (true, true) => chunks(session, shared).await,
                (false, true) => dots(session, &shared).await,
                (_, false) => in_turn(session, &shared).await,
            }
        });
    }
    let mut sent = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        sent.extend(ended.map_err(|error| Failure::wrong(error.to_string()))??);
    }
    Ok(Given {
        took: start.elapsed(),
        sent,
    })
}

/// Flights of BDAT.
async fn chunks(session: Session, shared: Arc<Shared>) -> Outcome<Vec<Sent>> {
    let Session { mut out, replies, .. } = session;
    let room = Arc::new(Semaphore::new(shared.load.window));
    let (sent, waiting) = mpsc::unbounded_channel();
    let hearing = tokio::spawn(hear(replies, waiting, room.clone()));
    let mut flight = Vec::new();
    loop {
        let permit = if let Ok(permit) = room.clone().try_acquire_owned() {
            permit
        } else {
            send(&mut out, &flight).await?;
            flight.clear();
            let Ok(permit) = room.clone().acquire_owned().await else {
                break; // the hearing half met an error, which is told below
            };
            permit
        };
        let Some((number, due)) = shared.take() else { break };
        if due > Instant::now() {
            send(&mut out, &flight).await?;
            flight.clear();
            tokio::time::sleep_until(due.into()).await;
        }
        shared.envelope(number, &mut flight);
        let size = shared.load.template.len();
        flight.extend_from_slice(format!("BDAT {size} LAST\r\n").as_bytes());
        shared.load.template.write(number, &mut flight);
        permit.forget(); // the hearing half gives it back
        let _ = sent.send((number, begun(due, shared.load.pace)));
        if flight.len() >= FLIGHT {
            send(&mut out, &flight).await?;
            flight.clear();
        }
    }
    let _ = send(&mut out, &flight).await; // an error is told by the hearing half
    drop(sent);
    let heard = hearing.await.map_err(|error| Failure::wrong(error.to_string()))?;
    let _ = send(&mut out, b"QUIT\r\n").await;
    heard
}

/// TLS keeps what it was given until it is flushed.
async fn send(out: &mut Writer, octets: &[u8]) -> std::io::Result<()> {
    out.write_all(octets).await?;
    out.flush().await
}

/// From when a message's latency counts. A timer is late by up to a millisecond, which is not the server's; a session
/// that was busy is.
fn begun(due: Instant, pace: Option<f64>) -> Instant {
    let now = Instant::now();
    if pace.is_some() && now.duration_since(due) > TIMER {
        due
    } else {
        now
    }
}

async fn hear(
    mut replies: Replies<Reader>,
    mut waiting: mpsc::UnboundedReceiver<(u64, Instant)>,
    room: Arc<Semaphore>,
) -> Outcome<Vec<Sent>> {
    let mut acknowledged = Vec::new();
    while let Some((number, begun)) = waiting.recv().await {
        for _ in ["MAIL", "RCPT", "BDAT"] {
            if let Err(error) = replies.expect("250").await {
                room.close();
                return Err(error);
            }
        }
        acknowledged.push(Sent::now(number, begun));
        room.add_permits(1);
    }
    Ok(acknowledged)
}

/// Messages by DATA, the envelope of the next in the flight of the last.
async fn dots(session: Session, shared: &Shared) -> Outcome<Vec<Sent>> {
    let Session {
        mut out, mut replies, ..
    } = session;
    let mut acknowledged = Vec::new();
    let mut flight = Vec::new();
    let mut begun_before = None;
    loop {
        let next = shared.take();
        if let Some((number, due)) = next {
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
            }
            shared.envelope(number, &mut flight);
            flight.extend_from_slice(b"DATA\r\n");
        }
        let begun = next.map(|(number, due)| (number, begun(due, shared.load.pace)));
        send(&mut out, &flight).await?;
        flight.clear();
        if let Some((number, begun)) = begun_before.take() {
            replies.expect("250").await?;
            acknowledged.push(Sent::now(number, begun));
        }
        let Some((number, _)) = next else { break };
        for code in ["250", "250", "354"] {
            replies.expect(code).await?;
        }
        shared.load.template.write(number, &mut flight);
        flight.extend_from_slice(b".\r\n");
        begun_before = begun;
        if shared.load.pace.is_some() {
            send(&mut out, &flight).await?;
            flight.clear();
            replies.expect("250").await?;
            acknowledged.extend(
                begun_before
                    .take()
                    .map(|(number, begun)| Sent::now(number, begun)),
            );
        }
    }
    let _ = send(&mut out, b"QUIT\r\n").await;
    Ok(acknowledged)
}

/// Messages by DATA, one command at a time.
async fn in_turn(session: Session, shared: &Shared) -> Outcome<Vec<Sent>> {
    let Session {
        mut out, mut replies, ..
    } = session;
    let mut acknowledged = Vec::new();
    let mut piece = Vec::new();
    while let Some((number, due)) = shared.take() {
        tokio::time::sleep_until(due.into()).await;
        let begun = begun(due, shared.load.pace);
        shared.envelope(number, &mut piece);
        piece.extend_from_slice(b"DATA\r\n");
        for (command, code) in piece
            .split_inclusive(|octet| *octet == b'\n')
            .zip(["250", "250", "354"])
        {
            send(&mut out, command).await?;
            replies.expect(code).await?;
        }
        piece.clear();
        shared.load.template.write(number, &mut piece);
        piece.extend_from_slice(b".\r\n");
        send(&mut out, &piece).await?;
        piece.clear();
        replies.expect("250").await?;
        acknowledged.push(Sent::now(number, begun));
    }
    let _ = send(&mut out, b"QUIT\r\n").await;
    Ok(acknowledged)
}

/// A flight is sent when it has so many octets, whatever else could join it.
const FLIGHT: usize = 64 << 10;
const TIMER: Duration = Duration::from_millis(2);
