//! A pod's share of a route's limits: what all pods of a listener do together stays below what the policy says. Pure.

use std::collections::BTreeSet;

use postroad_config::{LONGEST_ROUTE_RATE, Period, Policy, Rate, RouteLimits, RouteTarget};

/// Policies with the limits of one of `pods` pods; those of these names have them already.
pub fn shared(mut policies: Vec<Policy>, pods: u32, already: &BTreeSet<String>) -> Vec<Policy> {
    let whole = policies
        .iter_mut()
        .filter(|policy| !already.contains(&policy.name));
    for route in whole.flat_map(|policy| &mut policy.routes) {
        let limits = share(&route.limits, pods.max(1));
        // At the servers of recipients each site has a limit of its own: turns at the route would hold up all of them.
        let takes_turns = matches!(route.to, RouteTarget::SmartHosts(_));
        route.limits = RouteLimits {
            pods: limits.pods.filter(|_| takes_turns),
            ..limits
        };
    }
    policies
}

fn share(limits: &RouteLimits, pods: u32) -> RouteLimits {
    RouteLimits {
        messages: limits.messages.iter().map(|rate| rate_of(*rate, pods)).collect(),
        recipients: limits
            .recipients
            .iter()
            .map(|rate| rate_of(*rate, pods))
            .collect(),
        // A pod without a connection could not send at all: where there are fewer than pods, they take turns.
        connections: limits.connections.map(|all| (all / pods).max(1)),
        pods: limits.connections.filter(|all| *all < pods),
        // What holds for one transaction, connection or message holds for each pod.
        ..limits.clone()
    }
}

/// A share of a rate: fewer messages in the same time, or one message in a longer one. Ten pods stay within what their
/// configuration takes.
fn rate_of(rate: Rate, pods: u32) -> Rate {
    if rate.count >= pods {
        return Rate {
            count: rate.count / pods,
            per: rate.per,
        };
    }
    let seconds = (rate.per.get().as_secs().max(1) * u64::from(pods)).div_ceil(u64::from(rate.count.max(1)));
    Rate {
        count: 1,
        // Of more pods than there may be: what their configuration refuses would stop every policy of the listener.
        per: Period::from_secs(seconds).min(LONGEST_ROUTE_RATE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pods_together_stay_below_the_rate() {
        for (count, seconds) in [
            (14, 1),
            (1, 1),
            (2, 60),
            (1_000, 3_600),
            (7, 5),
            (1, 100 * 86_400),
            (3, 99 * 86_400),
        ] {
            for pods in 1..=10_u32 {
                let rate = Rate {
                    count,
                    per: Period::from_secs(seconds),
                };
                let part = rate_of(rate, pods);
                assert!(part.count >= 1, "{rate:?} of {pods}");
                // part.count / part.per * pods <= count / per, without division.
                let together = u64::from(part.count) * u64::from(pods) * seconds;
                let allowed = u64::from(count) * part.per.get().as_secs();
                assert!(
                    together <= allowed,
                    "{pods} pods with {part:?} do more than {rate:?}"
                );
            }
        }
    }

    #[test]
    fn a_share_of_any_rate_that_is_taken_is_taken_again() {
        for per in ["1s", "60d", "99d", "100d"] {
            for (count, pods) in [(1, 2), (1, 100), (3, 7), (1_000_000, 2), (2, 100)] {
                let text = format!(
                    "format: 1\nhostname: m.example\nspool: {{directory: /x}}\npolicies:\n  - name: mail/p\n    routes:\n      \
                     - {{to: {{direct: {{}}}}, tls: Opportunistic, limits: {{messages: [{{count: {count}, per: {per}}}], \
                     recipients: [{{count: {count}, per: {per}}}]}}}}\n"
                );
                let none = std::collections::BTreeMap::new();
                let mut file = postroad_config::assemble(&text, &none).unwrap().file;
                file.policies = shared(file.policies, pods, &BTreeSet::new());
                let read = postroad_config::assemble(&serde_json::to_string(&file).unwrap(), &none);
                assert!(read.is_ok(), "{count} in {per} of {pods} pods: {:?}", read.err());
            }
        }
    }

    #[test]
    fn a_pod_alone_has_the_whole_and_none_is_left_without_a_connection() {
        let limits = RouteLimits {
            messages: vec![],
            recipients: vec![Rate {
                count: 14,
                per: Period::from_secs(1),
            }],
            connections: Some(2),
            pods: None,
            recipients_per_transaction: Some(50),
            messages_per_connection: Some(7),
            message_size: Some(postroad_config::Octets(1 << 20)),
        };
        assert_eq!(share(&limits, 1), limits);
        let few = share(&limits, 5);
        assert_eq!((few.connections, few.pods), (Some(1), Some(2)), "by turns");
        assert_eq!(share(&limits, 2).pods, None);
        let share = share(&limits, 5);
        assert_eq!(share.recipients[0].count, 2, "of fourteen");
        assert_eq!(
            (
                share.recipients_per_transaction,
                share.messages_per_connection,
                share.message_size
            ),
            (Some(50), Some(7), limits.message_size)
        );
    }

    #[test]
    fn what_was_shared_out_is_not_shared_out_again() {
        let route = |connections| {
            let limits = RouteLimits {
                connections: Some(connections),
                ..RouteLimits::default()
            };
            serde_json::from_value::<Policy>(serde_json::json!({
                "name": "mail/out", "routes": [{"to": {"direct": {}}, "tls": "Opportunistic", "limits": limits}],
            }))
            .unwrap()
        };
        let none = BTreeSet::new();
        assert_eq!(shared(vec![route(8)], 4, &none), [route(2)]);
        assert_eq!(
            shared(vec![route(8)], 4, &["mail/out".to_owned()].into()),
            [route(8)]
        );
    }

    #[test]
    fn turns_are_for_routes_to_smart_hosts() {
        let text = "format: 1\nhostname: m.example\nspool: {directory: /x}\npolicies:\n  - name: mail/p\n    routes:\n      \
                    - {to: {smartHosts: [{host: h.example, port: 25}]}, tls: Verified, limits: {connections: 2}}\n      \
                    - {to: {direct: {}}, tls: Opportunistic, limits: {connections: 2}}\n";
        let set = postroad_config::assemble(text, &std::collections::BTreeMap::new()).unwrap();
        let shared = shared(set.file.policies, 3, &BTreeSet::new());
        let pods: Vec<_> = shared[0].routes.iter().map(|route| route.limits.pods).collect();
        assert_eq!(pods, [Some(2), None]);
    }
}
