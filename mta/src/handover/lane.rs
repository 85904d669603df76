//! One source, one target, one connection: what is due is sent with the next offers, the answers are made durable.
//!
//! ```text
//!   due (Freed, Release, Query) + offers with bodies ─► one request ─► answers ─► spool ─► due of the next request
//! ```
//!
//! Small bodies are read in one go, off the reactor; a large one is read and sent in pieces, four of them in memory.

use std::borrow::BorrowMut;
use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use postroad_spool::handover::{ToSource, ToTarget};
use postroad_spool::{Body, EntryId, Spool, SpoolUuid};
use tokio::sync::mpsc;

use super::client::Peer;
use super::source::RoundError;
use super::wire::{Frame, Offered};
use super::{Inner, Step};
use crate::metrics::Side;

/// A conversation with one target.
pub(super) struct Lane<P> {
    inner: Arc<Inner>,
    peer: P,
    /// The target's spool.
    pub spool: SpoolUuid,
    due: Vec<ToTarget>,
    /// Whether the target takes more offers.
    pub accepting: bool,
    /// Entries that the target took over, for good.
    pub freed: u64,
}

impl Lane<Peer> {
    /// A lane that keeps its connection.
    pub(super) fn new(inner: Arc<Inner>, peer: Peer, spool: SpoolUuid) -> Self {
        Self {
            inner,
            peer,
            spool,
            due: Vec::new(),
            accepting: true,
            freed: 0,
        }
    }
}

impl<'a> Lane<&'a mut Peer> {
    /// A lane over a connection that is used again later.
    pub(super) fn over(inner: Arc<Inner>, peer: &'a mut Peer, spool: SpoolUuid) -> Self {
        Self {
            inner,
            peer,
            spool,
            due: Vec::new(),
            accepting: true,
            freed: 0,
        }
    }
}

impl<P: BorrowMut<Peer>> Lane<P> {
    /// To be sent with the next request.
    pub(super) fn due(&mut self, messages: impl IntoIterator<Item = ToTarget>) {
        self.due.extend(messages);
    }

    /// Exchanges until nothing is due.
    pub(super) async fn drain(&mut self) -> Result<(), RoundError> {
        while !self.due.is_empty() {
            self.exchange(&[], &mut HashSet::new()).await?;
        }
        Ok(())
    }

    /// Sends what is due and these offers, and makes the answers durable. Entries that cannot be read are added to
    /// `unreadable`; their offers are taken back by the next round.
    pub(super) async fn exchange(
        &mut self,
        offers: &[ToTarget],
        unreadable: &mut HashSet<EntryId>,
    ) -> Result<(), RoundError> {
        let count = self.due.len().min(MOST_DUE);
        let now: Vec<ToTarget> = self.due.drain(..count).collect();
        let mut head = Vec::new();
        for message in &now {
            Frame::ToTarget(*message).encode(&mut head);
        }
        let entries: Vec<_> = offers.iter().map(ToTarget::transfer).collect();
        let (send, body) = mpsc::channel(PIECES);
        let feeder = Feeder {
            spool: self.inner.spool.clone(),
            send,
            unreadable,
        };
        let feed = feeder.feed(head, entries, self.inner.timing.patience);
        let reply = self
            .peer
            .borrow_mut()
            .exchange("/v1/handover/exchange", body, feed)
            .await?;
        self.inner.pass(Step::Answered)?;
        self.accepting = reply.accepting;
        let messages = reply.frames.into_iter().filter_map(|frame| match frame {
            Frame::ToSource(message) => Some(message),
            _ => None,
        });
        self.apply(messages.collect()).await
    }

    async fn apply(&mut self, messages: Vec<ToSource>) -> Result<(), RoundError> {
        let steps: Vec<_> = messages
            .into_iter()
            .map(|message| self.inner.spool.answered(self.spool, message))
            .collect();
        let (mut back, mut freed) = (Vec::new(), 0);
        let mut failed = None;
        for step in join_all(steps).await {
            match step {
                Ok(answered) => {
                    self.due.extend(answered.send);
                    back.extend(answered.taken_back);
                    freed += u64::from(answered.freed.is_some());
                }
                Err(error) => failed = Some(error),
            }
        }
        self.freed += freed;
        self.inner.metrics.hand_over(Side::Source, freed);
        if !back.is_empty() {
            self.inner.schedule.give_back(back);
        }
        if let Some(error) = failed {
            return Err(error.into());
        }
        self.inner.pass(Step::Given)?;
        Ok(())
    }
}

/// Puts a request's body into its channel.
struct Feeder<'a> {
    spool: Spool,
    send: mpsc::Sender<std::io::Result<Bytes>>,
    unreadable: &'a mut HashSet<EntryId>,
}

impl Feeder<'_> {
    async fn feed(
        self,
        head: Vec<u8>,
        offers: Vec<postroad_spool::handover::TransferId>,
        patience: std::time::Duration,
    ) {
        let Self {
            spool,
            send,
            unreadable,
        } = self;
        let reading = tokio::task::spawn_blocking(move || gather(&spool, head, &offers)).await;
        let Ok(gathered) = reading else { return };
        unreadable.extend(gathered.unreadable);
        // A receiver that is gone, or takes nothing for too long, ends the request: its stream has no End.
        for piece in gathered.pieces {
            if send.send_timeout(Ok(piece), patience).await.is_err() {
                return;
            }
        }
        if let Some((entry, body)) = gathered.large
            && stream(body, &send, patience).await.is_err()
        {
            unreadable.insert(entry);
            let _ = send
                .send_timeout(
                    Err(std::io::Error::from(std::io::ErrorKind::InvalidData)),
                    patience,
                )
                .await;
            return;
        }
        let mut end = Vec::new();
        Frame::End { accepting: true }.encode(&mut end);
        let _ = send.send_timeout(Ok(Bytes::from(end)), patience).await;
    }
}

#[derive(Default)]
struct Gathered {
    pieces: Vec<Bytes>,
    large: Option<(EntryId, Body)>,
    unreadable: Vec<EntryId>,
}

/// Reads a batch. A body too large for a batch is the last of its request: it is alone in its batch.
fn gather(spool: &Spool, head: Vec<u8>, offers: &[postroad_spool::handover::TransferId]) -> Gathered {
    let mut gathered = Gathered::default();
    let mut octets = head;
    for transfer in offers {
        // What the volume has lost is no mail any more: its sender is told here.
        let read = spool.read(transfer.entry).ok();
        let Some(mut message) = read.filter(|message| !message.body.is_lost()) else {
            gathered.unreadable.push(transfer.entry);
            continue;
        };
        let length = message.body.len();
        let offered = Offered {
            transfer: *transfer,
            item: message.item,
            body: length,
        };
        let start = octets.len();
        Frame::Offered(Box::new(offered)).encode(&mut octets);
        if length > LARGE {
            gathered.large = Some((transfer.entry, message.body));
            break;
        }
        if message.body.read_to_end(&mut octets).is_err() {
            octets.truncate(start);
            gathered.unreadable.push(transfer.entry);
        }
    }
    let mut octets = Bytes::from(octets);
    while !octets.is_empty() {
        gathered.pieces.push(octets.split_to(octets.len().min(PIECE)));
    }
    gathered
}

/// Sends a large body piece by piece. Errors: it cannot be read, or is shorter than it says.
async fn stream(
    mut body: Body,
    send: &mpsc::Sender<std::io::Result<Bytes>>,
    patience: std::time::Duration,
) -> std::io::Result<()> {
    let mut left = body.len();
    while left > 0 {
        let read = move || {
            let mut piece = vec![0; usize::try_from(left).unwrap_or(PIECE).min(PIECE)];
            let count = body.read(&mut piece)?;
            piece.truncate(count);
            Ok::<_, std::io::Error>((body, piece))
        };
        let (rest, piece) = tokio::task::spawn_blocking(read)
            .await
            .map_err(std::io::Error::other)??;
        if piece.is_empty() {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
        }
        body = rest;
        left -= piece.len() as u64;
        if send.send_timeout(Ok(Bytes::from(piece)), patience).await.is_err() {
            // The other side is gone: no fault of the body.
            return Ok(());
        }
    }
    Ok(())
}

/// Most messages of one request.
const MOST_DUE: usize = 1_024;
/// Bodies above this are sent in pieces.
const LARGE: u64 = 4 << 20;
const PIECE: usize = 256 << 10;
const PIECES: usize = 4;
