//! Routes at whose hosts mail found TLS that somebody has to mend: told from the first such mail on, without waiting for a test.
//!
//! ```text
//!   no TLS as the route wants it ─► insecure ─► told in the state of the pod ─► the operator says so, and has it tested
//!   a message is taken, a test goes well, or the route is configured anew ─► over
//! ```
//!
//! It holds nothing up by itself: the mail waits by its own schedule, or goes the next route. Of this pod alone, and of the moment:
//! after a restart the next mail finds it out again.

use std::collections::BTreeMap;
use std::sync::MutexGuard;

use postroad_config::admin::{RouteState, TLS_FAILED};

use super::{Lane, Lanes, SHOWN_FOR};

/// By name of the route.
pub(super) type Insecure = BTreeMap<String, Found>;

/// What mail found.
#[derive(Debug)]
pub(super) struct Found {
    /// The first time, in milliseconds since 1970.
    since: u64,
    /// The last time.
    last: u64,
    why: String,
}

impl Lane<'_> {
    /// The TLS of a host of it is not as the route wants it, until somebody mends it.
    pub(in crate::deliver) fn is_insecure(self, why: &str, now: u64) {
        let why = super::shortened(why);
        let mut known = self.lanes.insecure();
        if let Some(found) = known.get_mut(self.name) {
            (found.last, found.why) = (now, why);
            return;
        }
        tracing::warn!(
            event = "route-insecure",
            route = self.name,
            reason = crate::log::clean(&why),
            "the TLS of a route's host is not as the route wants it"
        );
        let found = Found {
            since: now,
            last: now,
            why,
        };
        known.insert(self.name.to_owned(), found);
    }
}

impl Lanes {
    /// The routes. One of which mail says nothing any more is told no longer than a while.
    pub(super) fn insecure_routes(&self, now: u64) -> Vec<RouteState> {
        let known = self.insecure();
        let shown = known
            .iter()
            .filter(|(_, found)| found.last.saturating_add(SHOWN_FOR) > now);
        shown
            .map(|(route, found)| RouteState {
                route: route.clone(),
                reason: TLS_FAILED.to_owned(),
                since: found.since,
                until: 0,
                reply: found.why.clone(),
            })
            .collect()
    }

    /// Its TLS was seen to be right, or is not asked for any more. True: it was wrong.
    pub(super) fn is_secure(&self, route: &str) -> bool {
        let was = self.insecure().remove(route).is_some();
        if was {
            tracing::info!(
                event = "route-secure",
                route,
                "the TLS of a route is as it is wanted again"
            );
        }
        was
    }

    pub(super) fn insecure(&self) -> MutexGuard<'_, Insecure> {
        super::locked(&self.0.insecure)
    }
}

#[cfg(test)]
mod tests {
    use postroad_config::provider::Provider;
    use postroad_smtp::client::{PeerReply, Stage};

    use super::*;

    fn lane(lanes: &Lanes) -> Lane<'_> {
        Lane {
            lanes,
            name: "mail/p#0",
            provider: Some(Provider::Postfix),
            is_certified: false,
        }
    }

    fn told(lanes: &Lanes, now: u64) -> Vec<(String, u64, u64, String)> {
        let view = lanes.view(now).into_iter();
        view.map(|state| (state.reason, state.since, state.until, state.reply))
            .collect()
    }

    #[test]
    fn a_route_whose_tls_is_wrong_is_told_and_goes_on() {
        let lanes = Lanes::default();
        lane(&lanes).is_insecure("no TLS with a", 1_000);
        lane(&lanes).is_insecure("no TLS with b", 5_000);
        assert_eq!(
            told(&lanes, 5_001),
            [("TlsFailed".into(), 1_000, 0, "no TLS with b".into())]
        );
        assert_eq!(lane(&lanes).resting(5_001), None);
        assert!(
            told(&lanes, 5_000 + SHOWN_FOR).is_empty(),
            "nobody says so any more"
        );
    }

    #[test]
    fn it_is_over_when_a_message_is_taken_or_a_test_goes_well() {
        let lanes = Lanes::default();
        lane(&lanes).is_insecure("no TLS", 1_000);
        let taken = PeerReply::made(250, (2, 0, 0), "OK");
        lane(&lanes).judge(Stage::Rcpt, &taken, 1_500);
        assert_eq!(told(&lanes, 2_000).len(), 1, "that is no message yet");
        lane(&lanes).judge(Stage::End, &taken, 2_000);
        assert!(told(&lanes, 2_000).is_empty());
        lane(&lanes).is_insecure("no TLS", 3_000);
        lanes.is_well("mail/p", "mail/p#0");
        assert!(told(&lanes, 3_000).is_empty());
    }
}
