//! The taking side, and the source's ear: two verbs of the admin API, for bearers with the role `Peer`.
//!
//! ```text
//!   POST /v1/handover/exchange   source ─► us    hold offers, release, forget; all of a request with one sync
//!   POST /v1/handover/ask        target ─► us    does your offer stand?
//! ```
//!
//! What is answered is durable. A body is stored as it comes, in pieces; a stream that breaks leaves nothing behind.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::future::join_all;
use postroad_spool::handover::{ToSource, ToTarget, TransferId};
use postroad_spool::{CommitError, Completion, HandoverError, Incoming, Requested, SpoolUuid};

use super::client::{ADMIN_ADDRESS, POD, SPOOL};
use super::stream::{Frames, StreamError};
use super::wire::{Frame, Offered, WireError};
use super::{Ended, Handover, Inner, Step, origins};
use crate::admin::{Client, refuse};
use crate::metrics::Side;

/// The verbs. The caller puts the check of tokens in front.
pub fn router(handover: &Handover) -> Router {
    Router::new()
        .route("/v1/handover/exchange", post(exchange))
        .route("/v1/handover/ask", post(ask))
        .with_state(handover.clone())
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the header {0} is missing or unreadable")]
    Header(&'static str),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the transfer is of the spool {0}, this is another one")]
    NotMine(SpoolUuid),
    #[error("the spool cannot store: {0}")]
    Spool(#[from] HandoverError),
    #[error(transparent)]
    Ended(#[from] Ended),
}

impl From<WireError> for Refused {
    fn from(error: WireError) -> Self {
        Self::Stream(error.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Header(_) | Self::Stream(_) => StatusCode::BAD_REQUEST,
            Self::NotMine(_) => StatusCode::CONFLICT,
            Self::Spool(_) | Self::Ended(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        refuse(status, &self)
    }
}

async fn exchange(
    State(Handover(inner)): State<Handover>,
    Extension(Client(client)): Extension<Client>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let source = match sender(&inner, &headers, client) {
        Ok(source) => source,
        Err(refused) => return refused.into_response(),
    };
    let pod = headers.get(POD).and_then(|value| value.to_str().ok());
    let pod = pod.unwrap_or_default().to_owned();
    to_its_end(async move { taken(&inner, (source, &pod), body).await }).await
}

async fn ask(
    State(Handover(inner)): State<Handover>,
    Extension(Client(client)): Extension<Client>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let target = match sender(&inner, &headers, client) {
        Ok(target) => target,
        Err(refused) => return refused.into_response(),
    };
    to_its_end(async move { answered(&inner, target, body).await }).await
}

/// A request whose connection breaks is dropped in the middle, by then with durable steps that the queue has to be told of:
/// so it runs in a task of its own.
async fn to_its_end(work: impl Future<Output = Result<Response, Refused>> + Send + 'static) -> Response {
    let done = tokio::spawn(work).await;
    done.unwrap_or(Err(Refused::Ended(Ended)))
        .unwrap_or_else(IntoResponse::into_response)
}

/// Who sends, by its headers; where it listens is kept.
fn sender(inner: &Inner, headers: &HeaderMap, client: SocketAddr) -> Result<SpoolUuid, Refused> {
    let text = |name: &'static str| headers.get(name).and_then(|value| value.to_str().ok());
    let spool = text(SPOOL)
        .and_then(|text| text.parse().ok())
        .ok_or(Refused::Header(SPOOL))?;
    if let Some(address) = text(ADMIN_ADDRESS).and_then(|text| text.parse::<SocketAddr>().ok()) {
        inner.see(spool, reachable(address, client.ip()));
    }
    Ok(spool)
}

/// An endpoint that listens on every address is reached where the connection came from.
fn reachable(address: SocketAddr, client: IpAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(client.to_canonical(), address.port())
    } else {
        address
    }
}

/// Steps of one request, under way together.
struct Taking<'a> {
    inner: &'a Arc<Inner>,
    source: SpoolUuid,
    /// Its host name, for the log; empty where it did not say.
    pod: &'a str,
    requested: Vec<(TransferId, Completion<Requested, HandoverError>)>,
    held: Vec<(TransferId, Completion<ToSource, HandoverError>)>,
    answers: Vec<ToSource>,
    accepting: bool,
    greeting: bool,
}

async fn taken(
    inner: &Arc<Inner>,
    (source, pod): (SpoolUuid, &str),
    body: Body,
) -> Result<Response, Refused> {
    inner.pass(Step::Received)?;
    let spool = inner.spool.clone();
    let full = tokio::task::spawn_blocking(move || spool.usage().above_high_water)
        .await
        .unwrap_or(true);
    let mut taking = Taking {
        inner,
        source,
        pod,
        requested: Vec::new(),
        held: Vec::new(),
        answers: Vec::new(),
        accepting: !full && !inner.spool.seal_state().sealed,
        greeting: true,
    };
    let mut frames = Frames::new(body, inner.timing.patience);
    let read = taking.read(&mut frames).await;
    // What was begun is finished, whatever became of the stream.
    let finished = taking.finish().await;
    read?;
    finished?;
    inner.pass(Step::Stored)?;
    taking.ask_back();
    let mut reply = Vec::new();
    for answer in &taking.answers {
        Frame::ToSource(*answer).encode(&mut reply);
    }
    Frame::End {
        accepting: taking.accepting,
    }
    .encode(&mut reply);
    Ok(reply.into_response())
}

impl Taking<'_> {
    async fn read(&mut self, frames: &mut Frames<Body>) -> Result<(), Refused> {
        loop {
            match frames.next().await? {
                Frame::End { .. } => return Ok(()),
                Frame::ToTarget(message) if message.transfer().source == self.source => {
                    let step = self.inner.spool.requested(message);
                    self.requested.push((message.transfer(), step));
                }
                Frame::Offered(offered) if offered.transfer.source == self.source => {
                    self.take(*offered, frames).await?;
                }
                _ => return Err(WireError("a frame that does not belong here").into()),
            }
            self.greeting = false;
            if self.requested.len() + self.held.len() > MOST_FRAMES {
                return Err(WireError("a request is too long").into());
            }
        }
    }

    /// Stores one offered entry as it comes. Where it cannot be taken its body is passed over.
    async fn take(&mut self, offered: Offered, frames: &mut Frames<Body>) -> Result<(), Refused> {
        let mut incoming = self.accepting.then(|| self.inner.spool.begin());
        let mut left = offered.body;
        while left > 0 {
            let octets = frames.octets(left).await?;
            left -= octets.len() as u64;
            incoming = match incoming {
                None => None,
                Some(mut incoming) if !incoming.blocks(octets.len()) => {
                    incoming.write(&octets).ok().map(|()| incoming)
                }
                Some(incoming) => off_reactor(incoming, move |mut incoming| {
                    incoming.write(&octets).ok().map(|()| incoming)
                })
                .await
                .flatten(),
            };
        }
        let Some(incoming) = incoming else {
            self.accepting = false;
            self.answers.push(ToSource::Unknown(offered.transfer));
            return Ok(());
        };
        let Offered { transfer, item, .. } = offered;
        let held = if incoming.blocks(0) {
            off_reactor(incoming, move |incoming| incoming.hold(transfer, item)).await
        } else {
            Some(incoming.hold(transfer, item))
        };
        match held {
            Some(held) => self.held.push((transfer, held)),
            None => self.answers.push(ToSource::Unknown(transfer)),
        }
        Ok(())
    }

    /// Waits until everything is durable, and gathers the answers.
    async fn finish(&mut self) -> Result<(), Refused> {
        let (mut released, mut brought) = (Vec::new(), Vec::new());
        let mut failed = None;
        let (transfers, steps): (Vec<_>, Vec<_>) = std::mem::take(&mut self.requested).into_iter().unzip();
        for (transfer, requested) in transfers.into_iter().zip(join_all(steps).await) {
            match requested {
                Ok(requested) => {
                    released.extend(requested.released);
                    brought.extend(requested.released.map(|entry| (transfer, entry)));
                    self.answers.extend(requested.send);
                }
                Err(error) => failed = Some(error),
            }
        }
        if !released.is_empty() {
            self.inner.metrics.hand_over(Side::Target, released.len() as u64);
            origins::tell(self.pod, &brought);
            self.inner.schedule.accepted(released);
        }
        for (transfer, held) in std::mem::take(&mut self.held) {
            match held.await {
                Ok(answer) => self.answers.push(answer),
                Err(HandoverError::Commit(error @ (CommitError::ReadOnly(_) | CommitError::Closed))) => {
                    failed = Some(error.into());
                }
                Err(_) => {
                    self.accepting = false;
                    self.answers.push(ToSource::Unknown(transfer));
                }
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// A source that only greets is asked about everything that waits for it.
    fn ask_back(&mut self) {
        if self.greeting {
            let holds = self.inner.spool.holds();
            let waiting = holds.iter().filter(|hold| hold.transfer.source == self.source);
            self.answers
                .extend(waiting.take(MOST_QUESTIONS).map(|hold| hold.ask));
        }
    }
}

/// Runs something that blocks; `None` where its thread failed.
async fn off_reactor<T: Send + 'static>(
    incoming: Incoming,
    run: impl FnOnce(Incoming) -> T + Send + 'static,
) -> Option<T> {
    tokio::task::spawn_blocking(move || run(incoming)).await.ok()
}

/// Source: a target asks, or answers what we said to its question.
async fn answered(inner: &Arc<Inner>, target: SpoolUuid, body: Body) -> Result<Response, Refused> {
    inner.pass(Step::Received)?;
    let mut frames = Frames::new(body, inner.timing.patience);
    let mut steps = Vec::new();
    loop {
        match frames.next().await? {
            Frame::End { .. } => break,
            Frame::ToSource(message) if steps.len() < MOST_FRAMES => {
                let source = message.transfer().source;
                if source != inner.spool.uuid() {
                    return Err(Refused::NotMine(source));
                }
                steps.push(message);
            }
            _ => return Err(WireError("a frame that does not belong here").into()),
        }
    }
    let steps: Vec<_> = steps
        .into_iter()
        .map(|message| inner.spool.answered(target, message))
        .collect();
    let mut messages: Vec<ToTarget> = Vec::new();
    let (mut back, mut freed) = (Vec::new(), 0);
    let mut failed = None;
    for step in join_all(steps).await {
        match step {
            Ok(step) => {
                messages.extend(step.send);
                back.extend(step.taken_back);
                freed += u64::from(step.freed.is_some());
            }
            Err(error) => failed = Some(error),
        }
    }
    inner.metrics.hand_over(Side::Source, freed);
    if !back.is_empty() {
        inner.schedule.give_back(back);
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    inner.pass(Step::Given)?;
    let mut reply = Vec::new();
    for message in messages {
        Frame::ToTarget(message).encode(&mut reply);
    }
    Frame::End { accepting: true }.encode(&mut reply);
    Ok(reply.into_response())
}

const MOST_FRAMES: usize = 4_096;
const MOST_QUESTIONS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_on_every_address_is_reached_where_it_connects_from() {
        let client: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        let everywhere = reachable("[::]:8443".parse().unwrap(), client);
        assert_eq!(everywhere, "192.0.2.7:8443".parse().unwrap());
        let one = "192.0.2.9:8443".parse().unwrap();
        assert_eq!(reachable(one, client), one);
    }
}
