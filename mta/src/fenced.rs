//! A pod that a person has fenced off (`peers.fenced`): its process is there and does nothing, so that its volume can be looked at,
//! or copied, as it is.
//!
//! ```text
//!   start ─► named? ─► health alone is served, the spool is not opened ─► named no more ─► the start goes on
//!   serving ─► named ─► ends in order, as when it is asked to stop; whoever starts it again starts it as above
//! ```
//!
//! Assumes: in a StatefulSet the host name is the name of the pod.

use std::path::Path;
use std::time::Duration;

use postroad_config::Peers;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, AdminError};
use crate::handover::host_name;
use crate::reload;
use crate::settings::{Live, Settings};

/// How often a fenced process looks whether it still is.
const LOOK: Duration = Duration::from_secs(1);
/// What `/readyz` says meanwhile.
pub const REASON: &str = "it is fenced off (peers.fenced): its spool is not opened";

/// Waits while the configuration fences this pod off. Gives the settings to start with.
pub async fn wait(path: &Path, mut settings: Settings) -> Result<Settings, AdminError> {
    let host = host_name();
    if !is_fenced(&settings.set.file.peers, &host) {
        return Ok(settings);
    }
    tracing::warn!(pod = host, "{REASON}");
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    if let Some(address) = settings.set.file.admin.health {
        admin::idle(address, REASON, &tracker, &stop).await?;
    }
    while is_fenced(&settings.set.file.peers, &host) {
        tokio::time::sleep(LOOK).await;
        // What cannot be used now says nothing of the fence.
        if let Ok(next) = reload::first(path).await {
            settings = next;
        }
    }
    tracing::info!(pod = host, "it is fenced off no more");
    // The port is bound anew by the start that goes on.
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    Ok(settings)
}

/// Ends when a configuration in use fences this pod off.
pub async fn ordered(live: Live) {
    let host = host_name();
    let mut changed = live.changed();
    while !is_fenced(&live.current().set.file.peers, &host) {
        if changed.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
    tracing::warn!(pod = host, "fenced off (peers.fenced)");
}

/// Whether `peers.fenced` names this pod.
fn is_fenced(peers: &Peers, host: &str) -> bool {
    peers.fenced.iter().any(|name| name == host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_fenced_off_by_its_whole_name() {
        let peers = Peers {
            fenced: vec!["edge-1".into()],
            ..Peers::default()
        };
        assert!(is_fenced(&peers, "edge-1"));
        assert!(!is_fenced(&peers, "edge-11") && !is_fenced(&peers, ""));
        assert!(!is_fenced(&Peers::default(), ""));
    }
}
