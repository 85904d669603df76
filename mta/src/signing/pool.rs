//! Where signatures are made: with RSA, or of a large header, on other threads than those that serve sockets, and no more at once
//! than there are cores.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::message::{NoSignature, Ready};

/// Makes signatures. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Semaphore>);

impl Default for Pool {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Arc::new(Semaphore::new(cores)))
    }
}

impl Pool {
    /// The fields to stand on top of `prefix`. Those who wait are served in turn; each holds a message whose end of data is
    /// not answered yet, so their number is that of the sessions.
    pub async fn sign(&self, ready: Ready, prefix: &str) -> Result<String, NoSignature> {
        let now = now();
        if !ready.is_slow() {
            return ready.sign(prefix, now);
        }
        let turn = Arc::clone(&self.0).acquire_owned().await;
        let turn = turn.map_err(|_| NoSignature::CutShort)?;
        let prefix = prefix.to_owned();
        let work = tokio::task::spawn_blocking(move || {
            let fields = ready.sign(&prefix, now);
            drop(turn);
            fields
        });
        work.await.map_err(|_| NoSignature::CutShort)?
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or(0)
}
