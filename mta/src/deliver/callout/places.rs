//! Dialogues at once with one host, and whether it is left alone: what a host does is felt by its own recipients only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postroad_config::Deliver;
use tokio::sync::Semaphore;

/// The hosts of the configuration that were asked.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<HashMap<Deliver, Arc<Place>>>);

/// One host.
#[derive(Debug)]
pub(super) struct Place {
    /// For dialogues about recipients.
    pub(super) dialogues: Semaphore,
    /// For dialogues about promises.
    pub(super) promises: Semaphore,
    /// When it was found not to answer.
    silent: Mutex<Option<Instant>>,
}

impl Places {
    pub(super) fn of(&self, host: &Deliver) -> Arc<Place> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(host) {
            return Arc::clone(place);
        }
        // Hosts of former settings are not kept for ever.
        if places.len() >= MOST_PLACES {
            places.retain(|_, place| Arc::strong_count(place) > 1);
        }
        let place = Arc::new(Place {
            dialogues: Semaphore::new(MOST_DIALOGUES),
            promises: Semaphore::new(MOST_PROMISES),
            silent: Mutex::default(),
        });
        places.insert(host.clone(), Arc::clone(&place));
        place
    }
}

impl Place {
    /// It did not answer a moment ago: each try may take all the patience there is, and a client waits for it.
    pub(super) fn is_silent(&self) -> bool {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.is_some_and(|since| since.elapsed() < LEFT_ALONE)
    }

    /// Whether it answers.
    pub(super) fn found(&self, answers: bool) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        *silent = (!answers).then(Instant::now);
    }
}

/// Dialogues at once with one host, about recipients and about promises; more wait.
const MOST_DIALOGUES: usize = 8;
const MOST_PROMISES: usize = 2;
/// How long a host that does not answer is left alone.
pub(super) const LEFT_ALONE: Duration = Duration::from_secs(10);
const MOST_PLACES: usize = 4_096;
