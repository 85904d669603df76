//! A pod that leaves is sealed before it can take anything: the configuration names it, so that one whose volume waited
//! without a pod comes back for its hand-over alone, and is never part of the service in between.
//!
//! Assumes: in a StatefulSet the host name is the name of the pod.

use std::sync::Arc;

use postroad_config::Peers;
use postroad_spool::{CommitError, Spool};

use super::Inner;

/// Seals the spool where the configuration says that this pod leaves. Before any port is open.
pub async fn seal_if_leaving(spool: &Spool, peers: &Peers) -> Result<(), CommitError> {
    if leaves(peers, &host_name(), &spool.uuid().to_string()) && !spool.seal_state().sealed {
        let seal = spool.seal().await?;
        tracing::info!(number = seal.number, "this pod leaves: sealed before it served");
    }
    Ok(())
}

/// The same while the pod runs; its targets are told by the operator.
pub(super) async fn follow(inner: &Arc<Inner>) {
    let settings = inner.live.current();
    match seal_if_leaving(&inner.spool, &settings.set.file.peers).await {
        Ok(()) => {
            let sealed = inner.spool.seal_state().sealed;
            if inner.sealed.send_replace(sealed) != sealed {
                inner.wake.notify_one();
            }
        }
        Err(error) => tracing::error!(%error, "this pod leaves, and its spool cannot be sealed"),
    }
}

/// Whether `peers.sealed` names this pod.
fn leaves(peers: &Peers, host: &str, spool: &str) -> bool {
    peers.sealed.iter().any(|name| name == host || name == spool)
}

/// Empty where the system does not tell: then only the spool's UUID is a name.
pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_leaves_by_its_whole_host_name_or_its_spool() {
        let peers = |name: &str| Peers {
            sealed: vec!["edge-7".into(), name.into()],
            ..Peers::default()
        };
        let spool = "01020304-0506-4708-890a-0b0c0d0e0f10";
        for (name, host, expected) in [
            ("edge-2", "edge-2", true),
            (spool, "edge-2", true),
            ("edge-2", "edge-21", false),
            ("edge-21", "edge-2", false),
            ("", "edge-2", false),
        ] {
            assert_eq!(leaves(&peers(name), host, spool), expected, "{name} {host}");
        }
        assert!(!leaves(&Peers::default(), "", spool));
    }

    #[test]
    fn the_host_has_a_name() {
        assert!(!host_name().is_empty() && !host_name().contains(char::is_whitespace));
    }
}
