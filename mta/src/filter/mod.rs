//! Filters that are asked about a message when it is complete and before it is stored: postroad-filter over sockets.
//!
//! ```text
//!   Message, Body ─► Filters::ask ─┬─► milter  a connection for each message: TCP or a Unix socket
//!                                  └─► rspamd  one HTTP request, the message streamed
//!                                            │
//!                                   Heard ◄──┘  the answer, perhaps another body; or Failure: what `onFailure` is for
//! ```
//!
//! A filter gets the time of its settings and no more. Nothing of the body is held but a piece of it; a filter's own octets are
//! bounded by postroad-filter.

mod body;
mod milter;
mod rspamd;

pub use body::{Body, NewBody, Wanted};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postroad_config::{Endpoint, Filter, FilterService};
use postroad_filter::{Answer, Malformed, Message};
use postroad_spool::Spool;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::dns::{Dns, Scope};
use crate::metrics::Metrics;
use crate::metrics::filters::{Kind, Verdict};

/// Asks filters. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Filters {
    dns: Dns,
    metrics: Arc<Metrics>,
}

/// What a filter said.
#[derive(Debug)]
pub struct Heard {
    /// Verdict and changes.
    pub answer: Answer,
    /// The body that it wants in the place of the one it got.
    pub new_body: Option<Wanted>,
    /// What rspamd found.
    pub scan: Option<Scanned>,
}

/// What rspamd found, for the log.
#[derive(Clone, Debug, Default)]
pub struct Scanned {
    /// Its own word for what is to be done.
    pub action: &'static str,
    /// Points of the message.
    pub score: f64,
    /// Points at which it is refused.
    pub required: f64,
    /// What was found, by name.
    pub symbols: String,
}

/// Why a filter could not be asked: one sentence, without a word of the filter's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Its name has no address now.
    #[error("its name has no address: {0}")]
    Name(String),
    /// There is no connection, or it broke.
    #[error("{0}")]
    Connection(String),
    /// It took longer than it may.
    #[error("it takes too long: {0}")]
    Slow(&'static str),
    /// It said what no filter may say.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// rspamd answered with another HTTP status.
    #[error("it answered with HTTP status {0}")]
    Status(u16),
    /// The body that it wants is none that can be taken.
    #[error("the body that it wants {0}")]
    Body(&'static str),
    /// The message could not be read from the spool, or another body not be written.
    #[error("our own storage: {0}")]
    Storage(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Connection(match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "it hung up".to_owned(),
            kind => kind.to_string(),
        })
    }
}

impl Filters {
    /// Names of filters are looked up there.
    pub fn new(dns: Dns, metrics: Arc<Metrics>) -> Self {
        Self { dns, metrics }
    }

    /// Asks one filter about one message. `spool`: where another body would go; `largest`: octets of it at most.
    pub async fn ask(
        &self,
        filter: &Filter,
        message: Message,
        body: &Body,
        spool: &Spool,
        largest: u64,
    ) -> Result<Heard, Failure> {
        let began = Instant::now();
        let until = began + filter.timeouts.total.get();
        let asked = async {
            match &filter.service {
                FilterService::Rspamd(endpoint) => {
                    let stream = self.connect(endpoint, filter).await?;
                    rspamd::ask(stream, endpoint, message, body).await
                }
                FilterService::Milter(endpoint) => {
                    let stream = self.connect(endpoint, filter).await?;
                    let new_body = NewBody::new(spool.clone(), largest);
                    milter::ask(stream, filter.timeouts.reply.get(), message, body, new_body).await
                }
                FilterService::MilterSocket(path) => {
                    let wait = Instant::now() + filter.timeouts.connect.get();
                    let stream = timeout_at(wait, tokio::net::UnixStream::connect(path)).await;
                    let stream = stream.map_err(|_| Failure::Slow("its connection"))??;
                    let new_body = NewBody::new(spool.clone(), largest);
                    milter::ask(stream, filter.timeouts.reply.get(), message, body, new_body).await
                }
            }
        };
        let heard = timeout_at(until, asked)
            .await
            .unwrap_or(Err(Failure::Slow("its verdict")));
        self.count(filter, &heard, began.elapsed());
        heard
    }

    fn count(&self, filter: &Filter, heard: &Result<Heard, Failure>, took: Duration) {
        let kind = match &filter.service {
            FilterService::Rspamd(_) => Kind::Rspamd,
            FilterService::Milter(_) | FilterService::MilterSocket(_) => Kind::Milter,
        };
        let verdict = heard
            .as_ref()
            .map_or(Verdict::Failed, |heard| Verdict::of(&heard.answer));
        self.metrics.filters.count(kind, verdict, took);
    }

    /// A connection to the first of its addresses that gives one.
    async fn connect(&self, endpoint: &Endpoint, filter: &Filter) -> Result<TcpStream, Failure> {
        let until = Instant::now() + filter.timeouts.connect.get();
        let slow = || Failure::Slow("its connection");
        let found = self.dns.addresses(&endpoint.host, Scope::Configured);
        let addresses = timeout_at(until, found).await.map_err(|_| slow())?;
        let addresses = addresses.map_err(|error| Failure::Name(error.to_string()))?;
        let mut last = slow();
        for address in addresses {
            let address = SocketAddr::new(address, endpoint.port);
            match timeout_at(until, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Ok(Err(error)) => last = error.into(),
                Err(_) => return Err(slow()),
            }
        }
        Err(last)
    }
}
