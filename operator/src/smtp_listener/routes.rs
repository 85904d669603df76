//! What the pods say of routes that something is the matter with, as one list. Pure.
//!
//! Each pod learns by itself. A row is of a route and a reason; a pod that cannot be asked keeps the rows that it had, until
//! their time is over.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use postroad_config::admin::RouteState;
use postroad_crds::smtp_listener::RouteTrouble;

use super::status::Seen;

/// The list, by policy, route and reason; the reply is that of the first pod.
pub fn troubles(before: &[RouteTrouble], pods: &[Seen], now: Timestamp) -> Vec<RouteTrouble> {
    let mut rows: BTreeMap<(String, i32, String), RouteTrouble> = BTreeMap::new();
    for pod in pods {
        match &pod.state {
            Ok(state) => {
                let said = state.routes.iter().filter(|state| is_worth_a_row(state, now));
                for row in said.filter_map(|state| row(state, &pod.name)) {
                    add(&mut rows, row);
                }
            }
            Err(_) => {
                for row in before
                    .iter()
                    .filter(|row| row.pods.contains(&pod.name) && holds(row, now))
                {
                    let row = RouteTrouble {
                        pods: vec![pod.name.clone()],
                        ..row.clone()
                    };
                    add(&mut rows, row);
                }
            }
        }
    }
    rows.into_values()
        .take(MOST)
        .map(|row| settled(row, before))
        .collect()
}

/// What has no end is told anew for each message that is refused, with the newest reply: in a status it moves once a minute.
fn settled(row: RouteTrouble, before: &[RouteTrouble]) -> RouteTrouble {
    let same = |known: &&RouteTrouble| {
        (&known.policy, known.route, &known.reason, &known.pods)
            == (&row.policy, row.route, &row.reason, &row.pods)
    };
    let moment = |row: &RouteTrouble| row.since.parse::<Timestamp>().map(Timestamp::as_second);
    let known = before.iter().find(same);
    let known = known.filter(|known| match (moment(known), moment(&row)) {
        (Ok(then), Ok(now)) => known.until.is_none() && (0..MINUTE).contains(&(now - then)),
        _ => false,
    });
    match known {
        Some(known) if row.until.is_none() => known.clone(),
        _ => row,
    }
}

fn row(state: &RouteState, pod: &str) -> Option<RouteTrouble> {
    let (policy, number) = state.route.rsplit_once('#')?;
    Some(RouteTrouble {
        policy: policy.to_owned(),
        route: number.parse().ok()?,
        reason: state.reason.clone(),
        since: time(state.since)?,
        until: time(state.until).filter(|_| state.until > 0),
        reply: state.reply.clone(),
        pods: vec![pod.to_owned()],
    })
}

/// A rest of seconds at a provider that takes mail would only make the status restless.
fn is_worth_a_row(state: &RouteState, now: Timestamp) -> bool {
    let now = u64::try_from(now.as_millisecond()).unwrap_or(0);
    state.reason != "Throttle" || state.until > now.saturating_add(SHORT)
}

fn add(rows: &mut BTreeMap<(String, i32, String), RouteTrouble>, row: RouteTrouble) {
    let key = (row.policy.clone(), row.route, row.reason.clone());
    let Some(known) = rows.get_mut(&key) else {
        rows.insert(key, row);
        return;
    };
    // One notation, so that texts compare as times do.
    known.since = known.since.clone().min(row.since);
    known.until = known.until.clone().max(row.until);
    known.pods.extend(row.pods);
}

/// What only says that a sender was refused goes with the word of its pod.
fn holds(row: &RouteTrouble, now: Timestamp) -> bool {
    let until = row
        .until
        .as_ref()
        .and_then(|until| until.parse::<Timestamp>().ok());
    until.is_some_and(|until| until > now)
}

/// To the second.
fn time(milliseconds: u64) -> Option<String> {
    let seconds = i64::try_from(milliseconds / 1_000).ok()?;
    Timestamp::from_second(seconds).ok().map(|at| at.to_string())
}

/// In milliseconds.
const SHORT: u64 = 60_000;
/// In seconds.
const MINUTE: i64 = 60;
/// Rows in a status.
const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use postroad_config::admin::State;

    use super::*;

    fn pod(name: &str, routes: Option<Vec<RouteState>>) -> Seen {
        let state = routes.map(|routes| State {
            routes,
            ..State::default()
        });
        Seen {
            name: name.to_owned(),
            stays: true,
            ready: true,
            state: state.ok_or_else(|| "no".to_owned()),
            shown: None,
        }
    }

    fn state(route: &str, reason: &str, since: u64, until: u64) -> RouteState {
        RouteState {
            route: route.to_owned(),
            reason: reason.to_owned(),
            since,
            until,
            reply: "550 no".to_owned(),
        }
    }

    #[test]
    fn pods_that_find_the_same_are_one_row() {
        let now = Timestamp::from_second(10).unwrap();
        let pods = [
            pod("edge-0", Some(vec![state("mail/p#1", "Quota", 5_000, 60_000)])),
            pod(
                "edge-1",
                Some(vec![
                    state("mail/p#1", "Quota", 4_000, 90_000),
                    state("mail/p#0", "Sender", 4_000, 0),
                    state("mail/p#2", "Throttle", 4_000, 15_000),
                ]),
            ),
        ];
        let rows = troubles(&[], &pods, now);
        assert_eq!(rows.len(), 2);
        assert_eq!(
            (rows[0].route, rows[0].reason.as_str(), &rows[0].until),
            (0, "Sender", &None)
        );
        assert_eq!(rows[1].pods, ["edge-0", "edge-1"]);
        assert_eq!(rows[1].since, "1970-01-01T00:00:04Z");
        assert_eq!(rows[1].until.as_deref(), Some("1970-01-01T00:01:30Z"));
    }

    #[test]
    fn a_sender_who_is_refused_again_and_again_is_told_anew_once_a_minute() {
        let told = |second: u64, reply: &str| {
            let state = RouteState {
                reply: reply.to_owned(),
                ..state("mail/p#0", "Sender", second * 1_000, 0)
            };
            [pod("edge-0", Some(vec![state]))]
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = troubles(&[], &told(100, "550 a"), at(100));
        assert_eq!(troubles(&first, &told(159, "550 b"), at(159)), first);
        let next = troubles(&first, &told(160, "550 c"), at(160));
        assert_eq!(
            (next[0].since.as_str(), next[0].reply.as_str()),
            ("1970-01-01T00:02:40Z", "550 c")
        );
        // One pod more is news.
        let both = [
            told(101, "550 d"),
            [pod("edge-1", Some(vec![state("mail/p#0", "Sender", 101_000, 0)]))],
        ];
        let both = troubles(&first, &both.concat(), at(101));
        assert_eq!(both[0].pods.len(), 2);
    }

    #[test]
    fn a_pod_that_is_not_heard_keeps_what_still_holds() {
        let told = [pod(
            "edge-0",
            Some(vec![
                state("mail/p#0", "Quota", 0, 60_000),
                state("mail/p#1", "Quota", 0, 20_000),
                state("mail/p#2", "Sender", 0, 0),
            ]),
        )];
        let before = troubles(&[], &told, Timestamp::from_second(1).unwrap());
        assert_eq!(before.len(), 3);
        let silent = [pod("edge-0", None)];
        let rows = troubles(&before, &silent, Timestamp::from_second(30).unwrap());
        assert_eq!(rows.iter().map(|row| row.route).collect::<Vec<_>>(), [0]);
        assert!(
            troubles(
                &before,
                &[pod("edge-0", Some(vec![]))],
                Timestamp::from_second(1).unwrap()
            )
            .is_empty()
        );
    }
}
