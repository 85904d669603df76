//! Limits of the ways that are taken when an earlier one cannot be: no schedule waits for them, so that they are asked at
//! the moment of use. A way that is at its limit is passed over, and the message comes back later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use postroad_config::RouteLimits;

use crate::queue::rate::{Limiter, Load};

/// What the spare ways have in use.
#[derive(Clone, Debug, Default)]
pub(super) struct Spare(Arc<Mutex<HashMap<String, Use>>>);

#[derive(Debug)]
struct Use {
    limiter: Limiter,
    running: u32,
}

/// One message on a spare way; it counts until this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    spare: Spare,
    route: String,
}

impl Spare {
    /// Takes the way for so much, unless its limits are reached. More recipients than its rate lets leave at once leave all the
    /// same, and are waited for afterwards.
    pub(super) fn take(&self, route: String, limits: &RouteLimits, load: Load, now: u64) -> Option<Taken> {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let way = uses.entry(route.clone()).or_insert_with(|| Use {
            limiter: Limiter::new(&limits.messages, &limits.recipients),
            running: 0,
        });
        if !way.limiter.is_for(&limits.messages, &limits.recipients) {
            way.limiter = Limiter::new(&limits.messages, &limits.recipients);
        }
        let full = limits.connections.is_some_and(|most| way.running >= most);
        if full || way.limiter.next_at() > now {
            return None;
        }
        way.limiter.take(now, load);
        way.running += 1;
        Some(Taken {
            spare: self.clone(),
            route,
        })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut uses = self.spare.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(way) = uses.get_mut(&self.route) {
            way.running = way.running.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use postroad_config::{Period, Rate};

    use super::*;

    #[test]
    fn rates_and_connections_hold_and_a_message_that_ended_makes_room() {
        let limits = RouteLimits {
            messages: vec![Rate {
                count: 2,
                per: Period::from_secs(2),
            }],
            connections: Some(1),
            ..RouteLimits::default()
        };
        let spare = Spare::default();
        let load = Load {
            messages: 1,
            recipients: 1,
        };
        let take = |now| spare.take("p#1".into(), &limits, load, now);
        let first = take(0);
        assert!(first.is_some() && take(5_000).is_none(), "one connection at once");
        drop(first);
        assert!(take(500).is_none(), "the rate");
        assert!(take(1_000).is_some());
    }
}
