//! What pods tell each other of routes: a quota or a rate that a provider counts for the account holds for all of them.
//!
//! ```text
//!   rest(route) ──────► listen ─► the other pods (`access/routes.rs`) ─► adopt: the route rests there as well
//!   a message is taken ─► listen ─► the other pods ─► it is used again there
//! ```
//!
//! What is about this pod alone, such as a route that cannot be reached from here or a relay that does not know our address, is not
//! told. A pod that was away, or starts, hears of it soon: what still holds is told again and again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{Lanes, Reason, Rest};

/// What one pod tells the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct News {
    /// Of its configuration: a route of another one may be another route.
    pub generation: u64,
    /// Routes that are used again.
    pub resumed: Vec<String>,
    /// Routes that rest, and why.
    pub rests: BTreeMap<String, Rest>,
}

impl News {
    /// There is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.resumed.is_empty() && self.rests.is_empty()
    }
}

impl Reason {
    /// Whether the provider counts it for the account, whoever asks.
    const fn is_of_the_account(self) -> bool {
        matches!(self, Self::Throttle | Self::Quota)
    }
}

impl Lanes {
    /// Whoever tells the others listens here: what comes is a route that is used again, or nothing where one rests.
    pub fn listen(&self) -> mpsc::Receiver<Option<String>> {
        let (told, news) = mpsc::channel(MOST_WAITING);
        *super::locked(&self.0.told) = Some(told);
        news
    }

    /// What this pod has found out by itself and still holds.
    pub fn found(&self, now: u64) -> BTreeMap<String, Rest> {
        let rests = self.rests();
        let own = rests
            .iter()
            .filter(|(_, rest)| rest.reason.is_of_the_account() && !rest.elsewhere && rest.until > now);
        own.take(MOST_TOLD)
            .map(|(route, rest)| (route.clone(), rest.clone()))
            .collect()
    }

    /// Another pod tells this.
    pub fn adopt(&self, news: News, now: u64) {
        for route in &news.resumed {
            let is_over = |rest: &Rest| rest.reason.is_of_the_account();
            if self.rests().get(route).is_some_and(is_over) {
                self.end(route, "another pod says that a message was taken");
                self.0.woken.notify_one();
            }
        }
        for (route, rest) in news.rests.into_iter().take(MOST_TOLD) {
            self.adopt_rest(route, &rest, now);
        }
    }

    /// Comes back when routes are used again by the word of another pod.
    pub async fn woken(&self) {
        self.0.woken.notified().await;
    }

    fn adopt_rest(&self, route: String, rest: &Rest, now: u64) {
        let until = rest.until.min(now.saturating_add(LONGEST));
        let mut rests = self.rests();
        let known = rests
            .get(&route)
            .is_some_and(|known| known.until >= until && known.reason != Reason::Sender);
        if !rest.reason.is_of_the_account() || until <= now || known {
            return;
        }
        let rest = Rest {
            until,
            elsewhere: true,
            reply: super::shortened(&rest.reply),
            ..rest.clone()
        };
        let reason = rest.reason;
        tracing::warn!(
            event = "route-rests",
            route,
            reason = reason.name(),
            until,
            reply = crate::log::clean(&rest.reply),
            "a route rests by the word of another pod"
        );
        rests.insert(route, rest);
        drop(rests);
        if reason.is_lasting() {
            self.save();
        }
    }

    /// Something is to be told; should too much wait, what holds is told again anyway.
    pub(super) fn tell(&self, reason: Reason, resumed: Option<&str>) {
        if reason.is_of_the_account()
            && let Some(told) = &*super::locked(&self.0.told)
        {
            let _ = told.try_send(resumed.map(str::to_owned));
        }
    }
}

const MOST_WAITING: usize = 64;
/// Routes of one telling.
const MOST_TOLD: usize = 64;
/// Nobody rests for longer by the word of another, in milliseconds.
const LONGEST: u64 = 2 * 86_400_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn resting(lanes: &Lanes, now: u64) -> Vec<(String, String, u64)> {
        let view = lanes.view(now).into_iter();
        view.map(|state| (state.route, state.reason, state.until))
            .collect()
    }

    fn told(from: &Lanes, to: &Lanes, resumed: &[&str], now: u64) {
        let news = News {
            generation: 0,
            resumed: resumed.iter().map(ToString::to_string).collect(),
            rests: from.found(now),
        };
        let text = serde_json::to_string(&news).unwrap();
        to.adopt(serde_json::from_str(&text).unwrap(), now);
    }

    #[test]
    fn what_an_account_may_not_send_any_more_is_known_to_all_and_what_is_of_one_pod_is_not() {
        let (one, two, three) = (Lanes::default(), Lanes::default(), Lanes::default());
        let mut news = one.listen();
        one.rest("p#0", Reason::Quota, HOUR, "454 quota", 1_000);
        one.rest("p#1", Reason::Throttle, Duration::from_secs(5), "454 rate", 1_000);
        one.rest("p#2", Reason::Configuration, HOUR, "550 relay denied", 1_000);
        one.rest("p#3", Reason::Unreachable, HOUR, "no", 1_000);
        assert_eq!((news.try_recv(), news.try_recv()), (Ok(None), Ok(None)));
        assert!(news.try_recv().is_err());
        told(&one, &two, &[], 2_000);
        let want = [
            ("p#0".to_owned(), "Quota".to_owned(), 3_601_000),
            ("p#1".to_owned(), "Throttle".to_owned(), 6_000),
        ];
        assert_eq!(resting(&two, 2_000), want);
        // Nobody spreads what it was told: whoever found it out does.
        told(&two, &three, &[], 2_000);
        assert!(resting(&three, 2_000).is_empty());
        assert!(two.found(2_000).is_empty());
    }

    #[tokio::test]
    async fn a_message_that_is_taken_anywhere_ends_the_rest_everywhere() {
        let (one, two) = (Lanes::default(), Lanes::default());
        one.rest("p#0", Reason::Quota, HOUR, "454 quota", 1_000);
        told(&one, &two, &[], 1_000);
        two.rest("p#1", Reason::Configuration, HOUR, "535 no", 1_000);
        let mut news = two.listen();
        // One that was under way does not end it.
        two.went_well("p#0", 1_500);
        assert!(news.try_recv().is_err() && resting(&two, 1_500).len() == 2);
        two.went_well("p#0", 1_000 + 3_600_000);
        assert_eq!(news.try_recv(), Ok(Some("p#0".to_owned())));
        told(&two, &one, &["p#0"], 2_000);
        one.woken().await;
        assert!(resting(&one, 2_000).is_empty());
        told(&one, &two, &["p#1"], 2_000);
        assert_eq!(resting(&two, 2_000).len(), 1, "its own fault is its own");
    }

    #[test]
    fn nobody_is_made_to_rest_for_ever() {
        let (one, two) = (Lanes::default(), Lanes::default());
        one.rest("p#0", Reason::Quota, 9_000 * HOUR, "454", 0);
        told(&one, &two, &[], 0);
        assert_eq!(resting(&two, 1)[0].2, LONGEST);
        two.adopt(News::default(), 1);
        assert!(News::default().is_empty());
    }
}
