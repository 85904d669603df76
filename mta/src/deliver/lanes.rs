//! Routes that rest: their provider takes nothing more for now, or something about them is not set up right.
//!
//! ```text
//!   reply ─► judge (postroad_config::provider) ─► rest(route, until) ─► attempts pass the route over, or wait
//!                                                   │ a message is taken, or the route is configured anew
//!                                                   └─► over
//! ```
//!
//! A rest that lasts (a quota, a fault of the configuration) is kept in a file beside the spool, so that a restart does not
//! ask again; losing the file costs one message that is refused once more. What is about the account is told to the other pods
//! (`news.rs`); the rest is of this pod alone.

mod insecure;
mod news;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postroad_config::admin::RouteState;
use postroad_config::provider::{Kind, Provider, Reaction, Said, SaidAt, judge, without_addresses};
use postroad_config::{ConfigFile, Policy};
use postroad_smtp::client::{PeerReply, Stage};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};

use super::course::Dead;
use super::holds::Holds;
use super::kept;
use insecure::Insecure;

pub use news::News;

/// The routes. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Lanes(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    rests: Mutex<BTreeMap<String, Rest>>,
    insecure: Mutex<Insecure>,
    holds: Holds,
    /// Whoever tells the other pods.
    told: Mutex<Option<mpsc::Sender<Option<String>>>>,
    /// A route is used again by the word of another pod.
    woken: Notify,
    /// Where they are kept, and whose turn it is to write there.
    file: Mutex<Option<PathBuf>>,
}

/// Why a route rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Reason {
    /// It does not rest: some sender's mail is refused.
    Sender,
    /// It cannot be reached, and there is another route.
    Unreachable,
    /// The same until somebody mends its host, its name or its login.
    Broken,
    Throttle,
    Configuration,
    Quota,
}

/// What is known of a route that something is the matter with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    reason: Reason,
    /// Since when, in milliseconds since 1970.
    since: u64,
    /// Until when it is passed over.
    until: u64,
    /// Rests in a row.
    times: u32,
    /// What the provider said.
    reply: String,
    /// Another pod found it out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    elsewhere: bool,
}

/// A route in use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane<'a> {
    pub(super) lanes: &'a Lanes,
    /// See [`super::plan::Plan::route`].
    pub(super) name: &'a str,
    pub(super) provider: Option<Provider>,
    /// It knows us by the certificate that we show.
    pub(super) is_certified: bool,
}

impl Lane<'_> {
    /// What a reply asks for; none for one that refuses nothing. `Some(until)` beside it: the route rests from now on.
    pub(super) fn judge(self, stage: Stage, reply: &PeerReply, now: u64) -> Option<(Reaction, Option<u64>)> {
        if reply.code() < 400 {
            if stage == Stage::End {
                self.lanes.went_well(self.name, now);
            }
            return None;
        }
        let reaction = self.reaction(stage, reply);
        let until = match reaction {
            Reaction::Throttle(rest) => Some((Reason::Throttle, rest)),
            Reaction::Quota(rest) => Some((Reason::Quota, rest)),
            Reaction::Configuration => Some((Reason::Configuration, AFTER_A_FAULT)),
            Reaction::Sender => {
                self.lanes.note(self.name, &reply.to_string(), now);
                None
            }
            _ => None,
        };
        let until =
            until.map(|(reason, rest)| self.lanes.rest(self.name, reason, rest, &reply.to_string(), now));
        Some((reaction, until))
    }

    /// None of its hosts can be talked to, and there is another way.
    pub(super) fn is_out_of_reach(self, dead: Dead, why: &str, now: u64) {
        let reason = match dead {
            Dead::Away => Reason::Unreachable,
            Dead::Broken => Reason::Broken,
        };
        self.lanes.rest(self.name, reason, OUT_OF_REACH, why, now);
    }

    /// What a refusal asks for.
    pub(super) fn reaction(self, stage: Stage, reply: &PeerReply) -> Reaction {
        let text = reply.text();
        if self.is_certified && denies_relay(stage, reply.code(), &text) {
            return Reaction::Configuration;
        }
        judge(
            self.provider,
            Said {
                at: said_at(stage),
                code: reply.code(),
                status: reply.enhanced().map(|(_, subject, detail)| (subject, detail)),
                text: &text,
            },
        )
    }

    /// Until when the route rests, and why, in words.
    pub(super) fn resting(self, now: u64) -> Option<(u64, Kind, String)> {
        let rests = self.lanes.rests();
        let rest = rests.get(self.name).filter(|rest| rest.until > now)?;
        Some((
            rest.until,
            rest.reason.kind(),
            format!("the route rests: {}", rest.reply),
        ))
    }
}

/// A host that goes by certificates takes everybody in, and says so of one that it does not know to the first recipient.
fn denies_relay(stage: Stage, code: u16, text: &str) -> bool {
    let text = without_addresses(&text.to_ascii_lowercase());
    let denied = ["denied", "not permitted", "unable to relay", "prohibited"];
    code >= 400
        && matches!(stage, Stage::Mail | Stage::Rcpt)
        && text.contains("relay")
        && denied.iter().any(|word| text.contains(word))
}

fn said_at(stage: Stage) -> SaidAt {
    match stage {
        Stage::Mail => SaidAt::Mail,
        Stage::Rcpt => SaidAt::Rcpt,
        Stage::Data | Stage::End => SaidAt::Data,
        _ => SaidAt::Session,
    }
}

impl Reason {
    const fn name(self) -> &'static str {
        match self {
            Self::Unreachable | Self::Broken => "Unreachable",
            _ => self.kind().name(),
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Sender => Kind::Sender,
            Self::Unreachable => Kind::Retry,
            Self::Throttle => Kind::Throttle,
            Self::Configuration | Self::Broken => Kind::Configuration,
            Self::Quota => Kind::Quota,
        }
    }

    /// The longest of its rests; they double up to it.
    fn longest(self, first: Duration) -> Duration {
        match self {
            Self::Throttle => LONGEST_THROTTLE.max(first),
            Self::Configuration => LONGEST_FAULT.max(first),
            Self::Unreachable | Self::Broken => LONGEST_OUT_OF_REACH.max(first),
            // How long is what the provider says; a message then tells whether it is over.
            Self::Quota | Self::Sender => first,
        }
    }

    const fn is_lasting(self) -> bool {
        matches!(self, Self::Configuration | Self::Quota)
    }
}

impl Lanes {
    /// Reads what was kept in the spool's folder, and keeps it there from now on.
    pub fn keep_within(&self, spool: &Path) {
        let path = spool.join(FILE);
        match kept::load::<BTreeMap<String, Rest>>(&path) {
            Ok(kept) => self.rests().extend(kept),
            Err(error) => {
                tracing::error!(%error, "the list of resting routes cannot be read: each is tried again");
            }
        }
        *self.0.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(path);
        self.0.holds.keep_within(spool);
    }

    /// Policies whose mail is on hold.
    pub fn holds(&self) -> &Holds {
        &self.0.holds
    }

    /// What is the matter with routes, by name: `policy#number`, counted from 0. `now`: milliseconds since 1970.
    pub fn view(&self, now: u64) -> Vec<RouteState> {
        let rests = self.rests();
        let shown = rests.iter().filter(|(_, rest)| rest.is_shown(now));
        let shown = shown.map(|(route, rest)| RouteState {
            route: route.clone(),
            reason: rest.reason.name().to_owned(),
            since: rest.since,
            until: rest.until,
            reply: rest.reply.clone(),
        });
        shown.chain(self.insecure_routes(now)).collect()
    }

    /// Routes that are configured anew rest no more, and of those that are gone nothing is kept. True: there were some.
    pub fn follow(&self, before: &ConfigFile, now: &ConfigFile) -> bool {
        if self.rests().is_empty() && self.insecure().is_empty() {
            return false;
        }
        let (before, now) = (routes(before), routes(now));
        let changed = |name: &String| !now.contains_key(name) || before.get(name) != now.get(name);
        let secure: Vec<String> = self
            .insecure()
            .keys()
            .filter(|name| changed(name))
            .cloned()
            .collect();
        let is_secure = secure.iter().filter(|name| self.is_secure(name)).count() > 0;
        let ended: Vec<String> = self
            .rests()
            .keys()
            .filter(|name| changed(name))
            .cloned()
            .collect();
        for name in &ended {
            self.end(name, "the route was configured anew");
        }
        is_secure || !ended.is_empty()
    }

    /// A person wants to know now: the next message to each route is tried.
    pub fn probe(&self, now: u64) {
        for rest in self.rests().values_mut() {
            rest.until = rest.until.min(now);
        }
    }

    /// The hosts of a route were seen to answer and to let us in: it is out of reach no more, and mail of its policy that is on hold is
    /// tried.
    pub(super) fn is_well(&self, policy: &str, route: &str) {
        let is_out = |rest: &Rest| matches!(rest.reason, Reason::Unreachable | Reason::Broken);
        self.is_secure(route);
        let ends = self.rests().get(route).is_some_and(is_out);
        if ends {
            self.end(route, "a test went well");
        }
        if ends || self.holds().holds(policy) {
            self.0.woken.notify_one();
        }
    }

    /// Lets a route rest. Gives until when. Attempts that were under way do not lengthen it.
    fn rest(&self, route: &str, reason: Reason, first: Duration, reply: &str, now: u64) -> u64 {
        let mut rests = self.rests();
        let before = rests.get(route).filter(|rest| rest.reason == reason);
        if let Some(rest) = before.filter(|rest| rest.until > now) {
            return rest.until;
        }
        let times = before.map_or(0, |rest| rest.times.saturating_add(1));
        let since = before.map_or(now, |rest| rest.since);
        let rest = first
            .saturating_mul(1 << times.min(MOST_DOUBLINGS))
            .min(reason.longest(first));
        let until = now.saturating_add(u64::try_from(rest.as_millis()).unwrap_or(u64::MAX));
        rests.insert(
            route.to_owned(),
            Rest {
                reason,
                since,
                until,
                times,
                reply: shortened(reply),
                elsewhere: false,
            },
        );
        drop(rests);
        tracing::warn!(
            event = "route-rests",
            route,
            reason = reason.name(),
            until,
            reply = crate::log::clean(reply),
            "a route rests"
        );
        if reason.is_lasting() {
            self.save();
        }
        self.tell(reason, None);
        until
    }

    /// Some sender is refused there; the route goes on.
    fn note(&self, route: &str, reply: &str, now: u64) {
        let mut rests = self.rests();
        if rests
            .get(route)
            .is_some_and(|rest| rest.reason != Reason::Sender && rest.until > now)
        {
            return;
        }
        let rest = Rest {
            reason: Reason::Sender,
            since: now,
            until: 0,
            times: 0,
            reply: shortened(reply),
            elsewhere: false,
        };
        rests.insert(route.to_owned(), rest);
    }

    /// A message was taken there.
    fn went_well(&self, route: &str, now: u64) {
        self.is_secure(route);
        let is_over = |rest: &Rest| match rest.reason {
            // That others' mail goes does not help the sender who is refused.
            Reason::Sender => false,
            Reason::Unreachable | Reason::Broken => true,
            // Nothing is begun while it rests: this was under way.
            Reason::Throttle | Reason::Configuration | Reason::Quota => rest.until <= now,
        };
        let reason = self
            .rests()
            .get(route)
            .filter(|rest| is_over(rest))
            .map(|rest| rest.reason);
        if let Some(reason) = reason {
            self.end(route, "a message was taken");
            self.tell(reason, Some(route));
        }
    }

    fn end(&self, route: &str, why: &str) {
        let Some(rest) = self.rests().remove(route) else {
            return;
        };
        tracing::info!(
            event = "route-resumes",
            route,
            reason = rest.reason.name(),
            why,
            "a route is used again"
        );
        if rest.reason.is_lasting() {
            self.save();
        }
    }

    fn rests(&self) -> MutexGuard<'_, BTreeMap<String, Rest>> {
        locked(&self.0.rests)
    }

    /// Keeps what lasts, off the reactor. Whoever writes last has seen all.
    fn save(&self) {
        let lanes = self.clone();
        kept::off_the_reactor(move || {
            let file = lanes.0.file.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(path) = file.as_ref() else { return };
            let kept: BTreeMap<String, Rest> = lanes
                .rests()
                .iter()
                .filter(|(_, rest)| rest.reason.is_lasting())
                .map(|(route, rest)| (route.clone(), rest.clone()))
                .collect();
            if let Err(error) = kept::store(path, &kept) {
                tracing::error!(%error, "the list of resting routes cannot be kept: after a restart each is tried again");
            }
        });
    }
}

impl Rest {
    fn is_shown(&self, now: u64) -> bool {
        match self.reason {
            Reason::Sender => self.since.saturating_add(SHOWN_FOR) > now,
            // Whether it is over shows with the next message.
            _ => self.until > now,
        }
    }
}

/// Each route by name.
fn routes(config: &ConfigFile) -> BTreeMap<String, &postroad_config::Route> {
    let named = |policy: &Policy, number: usize| super::plan::route_name(&policy.name, number);
    let policies = config.policies.iter();
    policies
        .flat_map(|policy| {
            let routes = policy.routes.iter().enumerate();
            routes.map(move |(number, route)| (named(policy, number), route))
        })
        .collect()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shortened(reply: &str) -> String {
    crate::dsn::text::one_line(reply, crate::dsn::text::Charset::Unicode, LONGEST_REPLY)
}

const FILE: &str = "resting-routes.json";
/// First rest after a fault of the configuration; a message then tells whether it is mended.
const AFTER_A_FAULT: Duration = Duration::from_mins(5);
/// While another route is there, one that cannot be reached is tried so often, and less and less.
const OUT_OF_REACH: Duration = Duration::from_secs(30);
const LONGEST_OUT_OF_REACH: Duration = Duration::from_mins(10);
const LONGEST_FAULT: Duration = Duration::from_hours(1);
/// What Amazon advises.
const LONGEST_THROTTLE: Duration = Duration::from_mins(20);
const MOST_DOUBLINGS: u32 = 16;
/// How long a refused sender is told of, in milliseconds.
const SHOWN_FOR: u64 = 3_600_000;
const LONGEST_REPLY: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn said(lanes: &Lanes, provider: Provider, stage: Stage, code: u16, text: &str, now: u64) -> Option<u64> {
        let lane = Lane {
            lanes,
            name: "mail/p#0",
            provider: Some(provider),
            is_certified: false,
        };
        let reply = PeerReply::made(code, (0, 0, 0), text);
        lane.judge(stage, &reply, now).and_then(|(_, until)| until)
    }

    fn rests(lanes: &Lanes, now: u64) -> Option<u64> {
        let lane = Lane {
            lanes,
            name: "mail/p#0",
            provider: None,
            is_certified: false,
        };
        lane.resting(now).map(|(until, ..)| until)
    }

    #[test]
    fn a_quota_lets_the_route_rest_and_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let lanes = Lanes::default();
        lanes.keep_within(folder.path());
        let text = "Throttling failure: Daily message quota exceeded";
        assert_eq!(
            said(&lanes, Provider::AmazonSes, Stage::End, 454, text, 1_000),
            Some(1_000 + HOUR)
        );
        // Attempts that were under way say the same a moment later.
        assert_eq!(
            said(&lanes, Provider::AmazonSes, Stage::End, 454, text, 2_000),
            Some(1_000 + HOUR)
        );
        let again = Lanes::default();
        again.keep_within(folder.path());
        assert_eq!(rests(&again, 2_000), Some(1_000 + HOUR));
        assert_eq!(rests(&again, 1_000 + HOUR), None, "then a message is tried");
        assert_eq!(again.view(2_000)[0].reason, "Quota");
        assert!(again.view(2_000)[0].reply.contains("Daily message quota"));
        assert_eq!(
            said(&again, Provider::AmazonSes, Stage::End, 250, "Ok", 1_000 + HOUR),
            None
        );
        let last = Lanes::default();
        last.keep_within(folder.path());
        assert_eq!(rests(&last, 2_000), None, "it is over for good");
    }

    #[test]
    fn a_rate_is_met_with_longer_and_longer_rests() {
        let lanes = Lanes::default();
        let mut now = 0;
        let mut waits = vec![];
        for _ in 0..12 {
            let until = said(
                &lanes,
                Provider::AmazonSes,
                Stage::End,
                454,
                "Maximum sending rate exceeded",
                now,
            );
            waits.push((until.unwrap() - now) / 1_000);
            now = until.unwrap();
        }
        assert_eq!(waits[..4], [5, 10, 20, 40]);
        assert_eq!(waits[11], 1_200);
        said(&lanes, Provider::AmazonSes, Stage::End, 250, "Ok", now);
        let until = said(
            &lanes,
            Provider::AmazonSes,
            Stage::End,
            454,
            "Maximum sending rate exceeded",
            now,
        );
        assert_eq!(until, Some(now + 5_000));
    }

    #[test]
    fn a_host_that_does_not_know_a_certificate_says_so_of_a_recipient() {
        let lanes = Lanes::default();
        for (is_certified, stage, code, text, want) in [
            (true, Stage::Rcpt, 554, "<b@x.example>: Relay access denied", true),
            (true, Stage::Rcpt, 550, "relay not permitted", true),
            (true, Stage::Rcpt, 454, "Relay access denied", true),
            (true, Stage::Rcpt, 550, "no such user", false),
            (true, Stage::Rcpt, 550, "access denied for relay@x.example", false),
            (true, Stage::End, 554, "Relay access denied", false),
            (
                false,
                Stage::Rcpt,
                554,
                "<b@x.example>: Relay access denied",
                false,
            ),
        ] {
            let lane = Lane {
                lanes: &lanes,
                name: "mail/p#0",
                provider: Some(Provider::Postfix),
                is_certified,
            };
            let reaction = lane.reaction(stage, &PeerReply::made(code, (0, 0, 0), text));
            assert_eq!(
                reaction == Reaction::Configuration,
                want,
                "{is_certified} {code} {text}"
            );
        }
    }

    #[test]
    fn a_sender_that_is_refused_does_not_stop_the_others() {
        let lanes = Lanes::default();
        let text = "Message rejected: Email address is not verified.";
        assert_eq!(
            said(&lanes, Provider::AmazonSes, Stage::End, 554, text, 1_000),
            None
        );
        assert_eq!(rests(&lanes, 1_001), None);
        said(&lanes, Provider::AmazonSes, Stage::End, 250, "Ok", 2_000);
        assert_eq!(lanes.view(3_000)[0].reason, "Sender");
        assert!(lanes.view(1_000 + HOUR).is_empty());
    }

    #[test]
    fn a_route_that_is_configured_anew_is_tried_at_once_and_others_rest_on() {
        let config = |port: u16| -> ConfigFile {
            let route =
                |port| format!("{{to: {{smartHosts: [{{host: h.example, port: {port}}}]}}, tls: Verified}}");
            let text = format!(
                "format: 1\nhostname: m.example\nspool: {{directory: /x}}\npolicies:\n  - {{name: mail/p, routes: [{}, {}]}}\n",
                route(port),
                route(25)
            );
            postroad_config::assemble(&text, &BTreeMap::new()).unwrap().file
        };
        let lanes = Lanes::default();
        for route in ["mail/p#0", "mail/p#1", "gone/p#0"] {
            lanes.rest(route, Reason::Configuration, AFTER_A_FAULT, "535 no", 0);
        }
        assert!(lanes.follow(&config(587), &config(587)), "one is gone");
        assert!(!lanes.follow(&config(587), &config(587)));
        assert!(lanes.follow(&config(587), &config(588)));
        let left: Vec<String> = lanes.view(1).into_iter().map(|rest| rest.route).collect();
        assert_eq!(left, ["mail/p#1"]);
    }
}
