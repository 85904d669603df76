//! One SMTP session: the state machine of postroad-smtp, driven over a stream.
//!
//! ```text
//!   Wire ─► read ─► Session::feed ─► poll ─► Event ─┬─► envelope  MAIL, RCPT: policy
//!     ▲                                             ├─► letting_in RCPT: lists, names, greylisting, rates
//!     │                                             ├─► verifying MAIL: checks of the sender begin; RCPT, end: verdicts
//!     │                                             ├─► login     AUTH: verifiers, delay after failures
//!     │                                             ├─► filtering end: filters, where there are any
//!     └──── write ◄── take_output ◄── answer ◄──────┴─► accept    DATA, BDAT: into the spool, then 250
//! ```
//!
//! Replies of a pipelined group leave in one write. Nothing is read while replies are unsent.

mod counted;
mod driver;
mod early;
mod envelope;
mod filtering;
mod hold;
mod letting_in;
mod login;
mod pace;
mod patience;
mod standing_in;
mod verifying;
mod wire;

pub use patience::Patience;

use std::net::SocketAddr;
use std::sync::Arc;

use postroad_config::Port;
use tokio::net::TcpStream;

use crate::accept::Intake;
use crate::access::Guard;
use crate::auth::Authenticator;
use crate::deliver::callout::Callout;
use crate::filter::Filters;
use crate::lifecycle::Lifecycle;
use crate::metrics::{ByClass, Metrics, Refused};
use crate::net::{Budget, Pressure};
use crate::reports::Reports;
use crate::settings::Live;
use crate::verify::Verifier;

/// What every session uses. Cheap to clone.
#[derive(Clone)]
pub struct Shared {
    /// The settings.
    pub live: Live,
    /// When to end.
    pub lifecycle: Lifecycle,
    /// Where accepted messages go.
    pub intake: Intake,
    /// Who is who.
    pub auth: Authenticator,
    /// How much room there is.
    pub pressure: Pressure,
    /// What sessions may hold of it.
    pub budget: Budget,
    /// Which recipients the hosts behind us know.
    pub callout: Callout,
    /// Who stands behind a message.
    pub verifier: Verifier,
    /// Who else is asked about a message.
    pub filters: Filters,
    /// Who is let in.
    pub guard: Guard,
    /// What other domains are told of their mail.
    pub reports: Reports,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// How long clients are waited for.
    pub patience: Patience,
}

impl Shared {
    /// Counts a refusal.
    pub(crate) fn refused(&self, class: Refused) {
        self.metrics.refused.get_or_create(&ByClass { class }).inc();
    }
}

/// Serves one connection until it ends.
pub async fn serve(shared: Shared, port: Port, stream: TcpStream, client: SocketAddr) {
    let metrics = Arc::clone(&shared.metrics);
    metrics.sessions_opened.inc();
    metrics.sessions.inc();
    let _counted = Counted(metrics);
    driver::Driver::new(shared, port, client).run(stream).await;
}

/// The same for a connection of our own: neither counted nor logged.
pub async fn uncounted(shared: Shared, port: Port, stream: TcpStream, client: SocketAddr) {
    driver::Driver::new(shared, port, client)
        .run_unlogged(stream)
        .await;
}

struct Counted(Arc<Metrics>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.sessions.dec();
    }
}

#[cfg(test)]
mod tests;
