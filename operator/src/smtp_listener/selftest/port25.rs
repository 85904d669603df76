//! `Port25Reachable`: mail by MX can leave at all. Passive: what the pods met on their way decides. Pure.

use k8s_openapi::jiff::Timestamp;
use postroad_config::admin::NetworkState;
use postroad_crds::conditions::{NewCondition, PORT_25_REACHABLE, reason};

/// Sites that are silent by accident are fewer.
const SITES: usize = 3;
/// For this long, in seconds.
const LASTING: i64 = 600;

/// The condition.
pub fn condition(pods: &[(String, NetworkState)], now: Timestamp) -> NewCondition {
    let condition =
        |status, reason, message: String| NewCondition::new(PORT_25_REACHABLE, status, reason, message);
    let blocked = pods.iter().find(|(_, state)| {
        let port = &state.port25;
        let lasts = port
            .silent_since
            .is_some_and(|since| now.as_second() - since >= LASTING);
        lasts && port.silent.len() >= SITES
    });
    if let Some((pod, state)) = blocked {
        let sites: Vec<&str> = state
            .port25
            .silent
            .iter()
            .take(SITES)
            .map(String::as_str)
            .collect();
        let message = format!(
            "{pod} has reached nobody at port 25 for {} minutes: {} sites did not answer, {} among them; it is probably \
             blocked on the way. Ask your provider, or let mail leave by a smart host (a RelayPolicy)",
            LASTING / 60,
            state.port25.silent.len(),
            sites.join(", ")
        );
        return condition(Some(false), reason::PORT_25_BLOCKED, message);
    }
    if pods.iter().any(|(_, state)| state.port25.connected.is_some()) {
        let message = "port 25 of another host was reached since the pods started";
        return condition(Some(true), reason::AS_WANTED, message.into());
    }
    let message = "no host was reached at port 25 yet, and too few were tried to say why";
    condition(None, reason::NO_TRAFFIC, message.into())
}

#[cfg(test)]
mod tests {
    use postroad_config::admin::Port25State;

    use super::*;

    fn pod(connected: Option<i64>, silent_since: Option<i64>, silent: usize) -> (String, NetworkState) {
        let port25 = Port25State {
            connected,
            silent_since,
            silent: (0..silent).map(|number| format!("s{number}.example")).collect(),
        };
        let state = NetworkState {
            port25,
            ..NetworkState::default()
        };
        ("edge-0".into(), state)
    }

    #[test]
    fn three_sites_silent_for_ten_minutes_are_no_accident() {
        let now = Timestamp::from_second(10_000).unwrap();
        for (pods, status, reason) in [
            (vec![], None, reason::NO_TRAFFIC),
            (vec![pod(None, None, 0)], None, reason::NO_TRAFFIC),
            (vec![pod(Some(1), None, 0)], Some(true), reason::AS_WANTED),
            (vec![pod(None, Some(9_400), 2)], None, reason::NO_TRAFFIC),
            (vec![pod(None, Some(9_401), 3)], None, reason::NO_TRAFFIC),
            (
                vec![pod(None, Some(9_400), 3)],
                Some(false),
                reason::PORT_25_BLOCKED,
            ),
            (
                vec![pod(Some(9_000), Some(9_400), 3)],
                Some(false),
                reason::PORT_25_BLOCKED,
            ),
            (
                vec![pod(Some(9_000), Some(9_400), 2)],
                Some(true),
                reason::AS_WANTED,
            ),
            // Of two nodes, one is cut off.
            (
                vec![pod(Some(1), None, 0), pod(None, Some(1), 5)],
                Some(false),
                reason::PORT_25_BLOCKED,
            ),
        ] {
            let judged = condition(&pods, now);
            assert_eq!(
                (judged.status, judged.reason.as_str()),
                (status, reason),
                "{pods:?}"
            );
        }
        let message = condition(&[pod(None, Some(1), 4)], now).message;
        assert!(
            message.contains("edge-0") && message.contains("s0.example") && message.contains("RelayPolicy")
        );
    }
}
