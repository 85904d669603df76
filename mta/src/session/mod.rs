//! One SMTP session: drives the state machine of postroad-smtp over a stream.

mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use postroad_config::Port;
use tokio::net::TcpStream;

use crate::accept::Intake;
use crate::auth::Authenticator;
use crate::lifecycle::Lifecycle;
use crate::metrics::{ByClass, Metrics, Refused};
use crate::settings::Live;

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
    /// Counts.
    pub metrics: Arc<Metrics>,
}

impl Shared {
    /// Counts a refusal.
    pub(crate) fn refused(&self, class: Refused) {
        self.metrics.refused.get_or_create(&ByClass { class }).inc();
    }
}

/// Serves one connection until it ends.
pub async fn serve(shared: Shared, port: Port, stream: TcpStream, client: SocketAddr) {
    let _ = (shared, port, stream, client, wire::Wire::Plain);
}
