//! Has pods try the smart hosts of policies, beside the reconciles, and not too often.
//!
//! ```text
//!   reconcile ─► the last round ─► conditions (upstream.rs)
//!            └─► due? ─► a task: for each listener, a serving pod connects, logs in and leaves ─► kept, read by the next reconcile
//! ```
//!
//! A round is due when the policy or a Secret of it has changed and the pods have taken that up; when mail was not let in or found
//! wrong TLS since the last one; five minutes after a good one; and after a bad one soon, then later and later. Pods whose mail found
//! that try as well: a login that is taken ends their pause.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use postroad_config::admin::{UpstreamTest, UpstreamTested};

use super::reported::Reported;
use super::upstream::Known;
use crate::context::Ctx;
use crate::smtp_listener::admin::Fleet;
use crate::smtp_listener::gather;
use crate::smtp_listener::names::Names;

/// What was found by the pods of each listener; or why nothing was.
type Tests = Vec<(String, Result<Vec<UpstreamTested>, String>)>;

/// The last rounds, by the uid of the policy.
#[derive(Default)]
pub struct Rounds(Mutex<HashMap<String, Kept>>);

#[derive(Default)]
struct Kept {
    began: Option<Instant>,
    is_under_way: bool,
    /// What the round was about: spec and Secrets.
    about: String,
    /// Names of what mail had found when it began.
    reported: BTreeSet<String>,
    bad: u32,
    tests: Tests,
}

/// What a round is about.
pub struct Subject {
    /// The policy.
    pub uid: String,
    /// Its name in the configuration.
    pub policy: String,
    /// Listeners whose pods are asked.
    pub listeners: Vec<Names>,
    /// Spec and Secrets: a round about others is no answer.
    pub about: String,
    /// What mail found.
    pub reported: Vec<Reported>,
}

impl Subject {
    fn names(&self) -> BTreeSet<String> {
        self.reported.iter().map(Reported::name).collect()
    }

    /// Pods of a listener whose mail found something.
    fn turned_away(&self, listener: &Names) -> BTreeSet<&str> {
        let names = [
            format!("{}/{}", listener.namespace, listener.listener),
            listener.listener.clone(),
        ];
        let of_it = self
            .reported
            .iter()
            .filter(|reported| names.contains(&reported.listener));
        of_it
            .flat_map(|reported| reported.row.pods.iter().map(String::as_str))
            .collect()
    }
}

impl Rounds {
    /// What the last round about this found.
    pub fn last(&self, uid: &str, about: &str) -> Tests {
        let rounds = self.lock();
        let kept = rounds.get(uid).filter(|kept| kept.about == about);
        kept.map(|kept| kept.tests.clone()).unwrap_or_default()
    }

    /// Whether a round is under way.
    pub fn is_under_way(&self, uid: &str) -> bool {
        self.lock().get(uid).is_some_and(|kept| kept.is_under_way)
    }

    /// How long until the next round about this may begin.
    pub fn rest(&self, uid: &str, about: &str) -> Duration {
        let rounds = self.lock();
        let kept = rounds.get(uid).filter(|kept| kept.about == about);
        let began = kept.and_then(|kept| Some((kept.began?, kept.bad)));
        began.map_or(Duration::ZERO, |(began, bad)| {
            every(bad).saturating_sub(began.elapsed())
        })
    }

    fn begin(&self, subject: &Subject) -> bool {
        let is_due = self.rest(&subject.uid, &subject.about).is_zero();
        let names = subject.names();
        let mut rounds = self.lock();
        let kept = rounds.entry(subject.uid.clone()).or_default();
        let is_news = !names.is_subset(&kept.reported);
        if kept.is_under_way || !(is_due || is_news) {
            return false;
        }
        if kept.about != subject.about {
            *kept = Kept {
                about: subject.about.clone(),
                ..Kept::default()
            };
        }
        kept.is_under_way = true;
        kept.reported = names;
        kept.began = Some(Instant::now());
        true
    }

    fn end(&self, uid: &str, tests: Tests) {
        let mut rounds = self.lock();
        // Policies that went are not looked at any more.
        rounds.retain(|_, kept| kept.began.is_some_and(|began| began.elapsed() < FORGOTTEN));
        if let Some(kept) = rounds.get_mut(uid) {
            let known = Known {
                tests,
                ..Known::default()
            };
            kept.bad = if known.is_good() {
                0
            } else {
                kept.bad.saturating_add(1)
            };
            kept.tests = known.tests;
            kept.is_under_way = false;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time between rounds, after so many bad ones in a row.
fn every(bad: u32) -> Duration {
    match bad {
        0 => Duration::from_mins(5),
        bad => Duration::from_secs(30)
            .saturating_mul(1 << bad.saturating_sub(1).min(8))
            .min(Duration::from_mins(10)),
    }
}

/// Begins a round where one is due.
pub fn look(subject: Subject, ctx: &Arc<Ctx>) {
    if ctx.upstream_tests.begin(&subject) {
        let ctx = Arc::clone(ctx);
        tokio::spawn(async move {
            let asked = subject.listeners.iter().map(async |names| {
                let tested = tokio::time::timeout(LONGEST, ask(names, &subject, &ctx)).await;
                let tested = tested.unwrap_or_else(|_| Err("it took too long".to_owned()));
                (names.listener.clone(), tested)
            });
            let tests = join_all(asked).await;
            ctx.upstream_tests.end(&subject.uid, tests);
        });
    }
}

/// Has the serving pods of a listener try whose mail found something, or where there are none the first that can do it.
async fn ask(names: &Names, subject: &Subject, ctx: &Ctx) -> Result<Vec<UpstreamTested>, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let secrets: Api<Secret> = Api::namespaced(ctx.client.clone(), &names.namespace);
    let pods: Api<Pod> = Api::namespaced(ctx.client.clone(), &names.namespace);
    let ours = ListParams::default().labels(&names.selector());
    let authority = secrets
        .get_opt(&names.authority())
        .await
        .map_err(|error| said(&error))?;
    let data = authority.and_then(|secret| secret.data).unwrap_or_default();
    let authority = data
        .get("ca.crt")
        .and_then(|value| String::from_utf8(value.0.clone()).ok())
        .ok_or_else(|| "the listener has no authority yet".to_owned())?;
    let audience = names.admin_audience();
    let (namespace, account) = (&ctx.args.pod_namespace, &ctx.args.service_account);
    let token = ctx.tokens.get(&ctx.client, namespace, account, &audience).await;
    let token = token.map_err(|error| said(&error))?;
    let fleet = Fleet::new(&authority, &names.admin_name(), token).map_err(|error| said(&error))?;
    let test = UpstreamTest {
        policy: subject.policy.clone(),
    };
    let mut why = "no pod serves".to_owned();
    let pods = pods.list(&ours).await.map_err(|error| said(&error))?;
    let is_serving = |pod: &&Pod| gather::is_ready(pod) && names.ordinal(&pod.name_any()).is_some();
    let turned_away = subject.turned_away(names);
    let (first, others): (Vec<&Pod>, Vec<&Pod>) = pods
        .items
        .iter()
        .filter(is_serving)
        .partition(|pod| turned_away.contains(pod.name_any().as_str()));
    let asked = addresses(first)
        .take(MOST_AT_ONCE)
        .map(async |address| fleet.upstream_test(&address, &test).await);
    let found: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
    if let Some(tested) = worst(found) {
        return Ok(tested);
    }
    for address in addresses(others).take(2) {
        match fleet.upstream_test(&address, &test).await {
            Ok(tested) => return Ok(tested),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

fn addresses(pods: Vec<&Pod>) -> impl Iterator<Item = String> {
    pods.into_iter().filter_map(gather::admin_address)
}

/// Of what several pods found, that of the first which found something wrong.
fn worst(found: Vec<Vec<UpstreamTested>>) -> Option<Vec<UpstreamTested>> {
    let is_bad = |tested: &Vec<UpstreamTested>| {
        tested
            .iter()
            .any(|one| !one.reachable || one.secured == Some(false) || one.authenticated == Some(false))
    };
    let bad = found.iter().position(is_bad);
    found.into_iter().nth(bad.unwrap_or(0))
}

/// Pods of one listener that try at once.
const MOST_AT_ONCE: usize = 4;
const LONGEST: Duration = Duration::from_secs(90);
const FORGOTTEN: Duration = Duration::from_hours(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(about: &str) -> Subject {
        Subject {
            uid: "u".into(),
            policy: "mail/p".into(),
            listeners: vec![],
            about: about.into(),
            reported: vec![],
        }
    }

    fn refused(since: &str) -> Reported {
        let row = serde_json::json!({"policy": "mail/p", "route": 0, "reason": "CredentialsRefused", "since": since,
                                     "reply": "535 no", "pods": ["edge-1"]});
        Reported::of("mail/edge", &serde_json::from_value(row).unwrap()).unwrap()
    }

    #[test]
    fn a_login_of_mail_that_is_refused_is_tested_at_once_and_once() {
        let rounds = Rounds::default();
        assert!(rounds.begin(&subject("1")));
        rounds.end("u", good());
        let with = |since| Subject {
            reported: vec![refused(since)],
            ..subject("1")
        };
        assert!(
            rounds.begin(&with("a")),
            "the last round was good, and is of the past"
        );
        rounds.end("u", vec![("edge".into(), Err("x".into()))]);
        assert!(!rounds.begin(&with("a")), "it was tested");
        assert!(!rounds.begin(&subject("1")), "and is over");
        assert!(rounds.begin(&with("b")), "that is another one");
    }

    #[test]
    fn pods_that_were_not_let_in_try_and_the_worst_is_told() {
        let names = |namespace: &str| Names {
            namespace: namespace.into(),
            listener: "edge".into(),
        };
        let subject = Subject {
            reported: vec![refused("a")],
            ..subject("1")
        };
        assert_eq!(subject.turned_away(&names("mail")), ["edge-1"].into());
        let tested = |let_in| {
            vec![UpstreamTested {
                reachable: true,
                authenticated: Some(let_in),
                ..UpstreamTested::default()
            }]
        };
        assert_eq!(worst(vec![tested(true), tested(false)]), Some(tested(false)));
        let insecure = vec![UpstreamTested {
            reachable: true,
            secured: Some(false),
            ..UpstreamTested::default()
        }];
        assert_eq!(
            worst(vec![tested(true), insecure.clone()]),
            Some(insecure),
            "its mail waits"
        );
        assert_eq!(worst(vec![tested(true)]), Some(tested(true)));
        assert_eq!(worst(vec![]), None);
    }

    fn good() -> Tests {
        let tested = UpstreamTested {
            reachable: true,
            ..UpstreamTested::default()
        };
        vec![("edge".into(), Ok(vec![tested]))]
    }

    #[test]
    fn a_round_is_made_once_for_each_version_and_again_when_it_is_due() {
        let rounds = Rounds::default();
        assert!(rounds.begin(&subject("1")) && rounds.is_under_way("u"));
        assert!(!rounds.begin(&subject("1")), "one is under way");
        rounds.end("u", good());
        assert!(!rounds.begin(&subject("1")), "it is not due");
        assert_eq!(rounds.last("u", "1"), good());
        assert!(rounds.last("u", "2").is_empty(), "that was about another version");
        assert!(rounds.begin(&subject("2")), "another Secret is tried at once");
        rounds.end("u", vec![("edge".into(), Err("x".into()))]);
        let rest = rounds.rest("u", "2");
        assert!(
            rest > Duration::from_secs(20) && rest <= Duration::from_secs(30),
            "{rest:?}"
        );
    }

    #[test]
    fn after_bad_rounds_the_next_one_is_later_and_later() {
        let minutes: Vec<_> = (0..8).map(|bad| every(bad).as_secs()).collect();
        assert_eq!(minutes, [300, 30, 60, 120, 240, 480, 600, 600]);
    }
}
