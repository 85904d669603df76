//! Phases of the process, and who ends when.
//!
//! ```text
//!   Starting ─► Serving ─► Leaving (unready, ports still open for a moment) ─► Closing (421) ─► Stopped
//!                             ▲ SIGTERM
//! ```
//!
//! A seal is no phase: it belongs to the spool and outlives the process. Whoever asks "are new sessions served?"
//! asks [`Lifecycle::phase`] and the spool.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How far the process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not serving yet; the text says what is waited for.
    Starting(String),
    /// Ports are open.
    Serving,
    /// Asked to stop: unready, new sessions are still served while load balancers take note.
    Leaving,
    /// New sessions get 421, open ones after their transaction.
    Closing,
}

/// The phase and the signals that follow from it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    phase: watch::Sender<Phase>,
    sessions: CancellationToken,
    cut: CancellationToken,
    background: CancellationToken,
}

impl Lifecycle {
    /// A process that has just started.
    pub fn new() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Starting("the process has just started".into())),
            sessions: CancellationToken::new(),
            cut: CancellationToken::new(),
            background: CancellationToken::new(),
        }
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Follows the phase.
    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Goes to a phase. Going back from `Closing` has no effect.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let change = *current != phase && *current != Phase::Closing;
            if change {
                *current = phase;
            }
            change
        });
        if self.phase() == Phase::Closing {
            self.sessions.cancel();
        }
    }

    /// Why no new session is served by the process as such; empty while it serves. The spool may add reasons.
    pub fn not_serving(&self) -> String {
        match self.phase() {
            Phase::Starting(reason) => reason,
            Phase::Serving => String::new(),
            Phase::Leaving | Phase::Closing => "the process was asked to stop".into(),
        }
    }

    /// Cancelled when sessions shall end after their transaction.
    pub fn sessions(&self) -> &CancellationToken {
        &self.sessions
    }

    /// Cancelled when sessions shall end at once, even in the middle of a transaction.
    pub fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    /// Cancelled when sessions are gone and everything else (queue, admin, watchers) shall end.
    pub fn background(&self) -> &CancellationToken {
        &self.background
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

/// How long a stop may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// New sessions are served for this long after the signal, as clients still find us.
    pub leave: Duration,
    /// Sessions that are still open this long after the signal get 421 in the middle of whatever they do.
    pub sessions: Duration,
}

impl Patience {
    /// Of a process that others may still send new sessions to when it is asked to stop, as its end is made known: a pod, which
    /// its Service forgets within seconds. Elsewhere nobody forwards sessions, and one that finds no port comes back.
    pub fn of(is_pod: bool) -> Self {
        let leave = if is_pod { LEAVE } else { Duration::ZERO };
        Self {
            leave,
            ..Self::default()
        }
    }

    /// Of this process. Kubernetes gives every container this variable.
    pub fn of_this_process() -> Self {
        Self::of(std::env::var_os("KUBERNETES_SERVICE_HOST").is_some())
    }
}

impl Default for Patience {
    /// Fits a grace period of 120 seconds.
    fn default() -> Self {
        Self {
            leave: LEAVE,
            sessions: Duration::from_secs(110),
        }
    }
}

const LEAVE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pod_waits_for_clients_that_have_not_heard_of_its_end() {
        let patience = [false, true].map(Patience::of);
        assert_eq!(patience.map(|of| of.leave), [Duration::ZERO, LEAVE]);
        assert_eq!(patience[0].sessions, patience[1].sessions);
    }

    #[test]
    fn a_process_that_closes_never_serves_again() {
        let life = Lifecycle::new();
        assert!(!life.not_serving().is_empty());
        life.enter(Phase::Serving);
        assert!(life.not_serving().is_empty());
        life.enter(Phase::Closing);
        assert!(life.sessions().is_cancelled() && !life.background().is_cancelled());
        life.enter(Phase::Serving);
        assert_eq!(life.phase(), Phase::Closing);
    }
}
