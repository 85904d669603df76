//! Whether the providers of a policy's routes take more mail: conditions and rows of the status out of what the listeners say of
//! its routes. Pure.
//!
//! `QuotaAvailable` is about how much an account may send; `UpstreamAccepting` about how account and senders are set up there.
//! Neither changes Ready: a provider's word is not a fault of the object.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use postroad_config::admin::TLS_FAILED;
use postroad_config::provider::preset;
use postroad_config::{Policy, RouteTarget};
use postroad_crds::conditions::{
    NewCondition, QUOTA_AVAILABLE, UPSTREAM_ACCEPTING, UPSTREAM_SECURED, reason, status_of,
};
use postroad_crds::relay_policy::RouteStatus;
use postroad_crds::smtp_listener::RouteTrouble;
use postroad_crds::{RelayPolicy, SmtpListener};

use super::reported::What;

/// What a listener says of a route of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The listener.
    pub listener: String,
    /// Its row.
    pub row: RouteTrouble,
}

/// Whether a listener says something of the routes of a policy that the policy's status does not have. With several listeners the
/// status has the worst that one of them says, and a look too many does no harm.
pub fn is_behind(object: &RelayPolicy, listener: &SmtpListener) -> bool {
    let name = format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
    let rows = listener.status.iter().flat_map(|status| &status.routes);
    let rows: Vec<_> = rows.filter(|row| row.policy == name).collect();
    let told = object.status.iter().flat_map(|status| &status.routes);
    let told: Vec<_> = told.filter(|row| row.reason.is_some()).collect();
    let conditions = object.status.as_ref().map(|status| &*status.conditions);
    let is_secured = conditions.and_then(|known| status_of(known, UPSTREAM_SECURED));
    let is_told = |row: &RouteTrouble| match What::named(&row.reason) {
        // Its condition says so, whatever else there is to say of the route.
        Some(What::Tls) => is_secured == Some(false),
        _ => told
            .iter()
            .any(|known| known.route == row.route && known.until >= row.until),
    };
    let is_said = |known: &RouteStatus| {
        rows.iter().any(|row| {
            row.route == known.route && row.until == known.until && known.reason.as_ref() == Some(&row.reason)
        })
    };
    !rows.iter().all(|row| is_told(row)) || !told.iter().all(|known| is_said(known))
}

/// The routes, each with the worst that is said of it. `told`: rows of this policy alone.
pub fn routes(policy: &Policy, told: &[Told]) -> Vec<RouteStatus> {
    let one = |(number, route): (usize, &postroad_config::Route)| {
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        let rows = told.iter().filter(|told| told.row.route == number);
        let worst = rows.max_by_key(|told| (told.row.until.is_some(), &told.row.until));
        let row = worst.map(|told| &told.row);
        RouteStatus {
            route: number,
            to: target(&route.to),
            provider: route.provider.map(|provider| provider.name().to_owned()),
            state: match row {
                Some(row) if row.until.is_some() => "Resting".to_owned(),
                Some(row) if row.reason == TLS_FAILED => "Insecure".to_owned(),
                Some(_) => "Refusing".to_owned(),
                None => "Usable".to_owned(),
            },
            reason: row.map(|row| row.reason.clone()),
            until: row.and_then(|row| row.until.clone()),
            message: worst.map(|told| sentence(policy, told)),
        }
    };
    policy.routes.iter().enumerate().map(one).collect()
}

fn target(to: &RouteTarget) -> String {
    match to {
        RouteTarget::Direct { .. } => "the recipient's MX hosts".to_owned(),
        RouteTarget::SmartHosts(hosts) => {
            let hosts = hosts.iter().map(|host| format!("{}:{}", host.host, host.port));
            hosts.collect::<Vec<_>>().join(", ")
        }
    }
}

/// The two conditions. `used`: a listener uses the policy, so that there is somebody to say something.
pub fn conditions(policy: &Policy, told: &[Told], used: bool) -> [NewCondition; 2] {
    let of = |reasons: &[&str]| {
        let rows = told.iter();
        rows.filter(|told| reasons.contains(&told.row.reason.as_str()))
            .collect::<Vec<_>>()
    };
    let say = |kind, why, found: &[&Told], well: &str| match found.first() {
        Some(first) => {
            let sentence = sentence(policy, first) + &others(first, found);
            NewCondition::new(kind, Some(false), why, sentence)
        }
        None if used => NewCondition::new(kind, Some(true), reason::AS_WANTED, well),
        None => NewCondition::new(kind, None, reason::NO_TRAFFIC, "no listener uses this policy yet"),
    };
    let mut refused = of(&["Configuration"]);
    refused.extend(of(&["Sender"]));
    let why = match refused.first() {
        Some(told) if told.row.reason == "Sender" => reason::SENDER_REFUSED,
        _ => reason::ACCOUNT_REFUSED,
    };
    [
        say(
            QUOTA_AVAILABLE,
            reason::QUOTA_USED_UP,
            &of(&["Quota", "Throttle"]),
            "no provider has said that its quota is used up",
        ),
        say(
            UPSTREAM_ACCEPTING,
            why,
            &refused,
            "no provider has refused the account or a sender",
        ),
    ]
}

/// Routes that have the same trouble besides the first, shortly.
fn others(first: &Told, found: &[&Told]) -> String {
    let others = found.iter().filter(|told| told.row.route != first.row.route);
    let others: BTreeSet<_> = others
        .map(|told| {
            let reply: String = told.row.reply.chars().take(LONGEST_BESIDES).collect();
            format!("; also routes[{}] ({}): {reply}", told.row.route, told.row.reason)
        })
        .collect();
    others.into_iter().collect()
}

/// Characters of a reply to a route besides the first.
const LONGEST_BESIDES: usize = 160;

fn sentence(policy: &Policy, told: &Told) -> String {
    let row = &told.row;
    let route = usize::try_from(row.route)
        .ok()
        .and_then(|at| policy.routes.get(at));
    let provider = route.and_then(|route| route.provider);
    let name = provider.map_or_else(String::new, |provider| format!(" ({provider})"));
    let next = if usize::try_from(row.route).is_ok_and(|at| at + 1 < policy.routes.len()) {
        "mail takes the next route"
    } else {
        "mail waits"
    };
    let what = match (&row.until, row.reason.as_str()) {
        (Some(until), "Quota" | "Throttle") => {
            format!("takes no more for now; {next}, and a message is tried again at {until}")
        }
        (None, TLS_FAILED) => {
            format!("has no TLS as it is wanted; {next}, nothing is returned, and it is tested again and again. Mend the host, or tls of the route")
        }
        (Some(until), fault) if What::named(fault).is_some() => {
            format!("lets nobody log in; {next}, nothing is returned, and it is tried again at {until}")
        }
        (Some(until), "Unreachable") => {
            format!("cannot be reached; {next}, and it is tried again at {until}")
        }
        (Some(until), _) => {
            format!(
                "refuses how it is set up; {next}, nothing is returned, and a message is tried again at {until}. Correct the account or the route"
            )
        }
        (None, _) => {
            "refuses some mail, by its sender or by where it goes; that waits, and other mail goes on. Verify the sender there, or have it allowed".to_owned()
        }
    };
    let documented = provider
        .filter(|_| row.reason == "Quota")
        .and_then(|provider| preset(provider).quota)
        .map_or_else(String::new, |quota| format!(". What it grants: {}", quota.value));
    format!(
        "routes[{}]{name} of listener {} {what} ({}, since {}): {}{documented}",
        row.route,
        told.listener,
        pods(&row.pods),
        row.since,
        row.reply
    )
}

fn pods(pods: &[String]) -> String {
    match pods {
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} other pods", rest.len()),
        [] => "no pod".to_owned(),
    }
}

/// When the first of the rests is over.
pub fn ends(told: &[Told]) -> Option<Timestamp> {
    let times = told
        .iter()
        .filter_map(|told| told.row.until.as_ref()?.parse().ok());
    times.min()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_policy_looks_again_when_a_listener_says_something_else_of_its_routes() {
        let policy = |routes: serde_json::Value| -> RelayPolicy {
            serde_json::from_value(json!({
                "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy", "metadata": {"name": "p", "namespace": "mail"},
                "spec": {"listenerRefs": [{"name": "edge"}], "routes": [{"direct": {}}]},
                "status": {"conditions": [], "routes": routes},
            }))
            .unwrap()
        };
        let listener = |routes: serde_json::Value| -> SmtpListener {
            serde_json::from_value(json!({
                "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener", "metadata": {"name": "edge", "namespace": "mail"},
                "spec": {"hostname": "m.example", "queue": {"storage": {"size": "1Gi"}},
                         "ports": [{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Opportunistic"}]},
                "status": {"conditions": [], "routes": routes},
            }))
            .unwrap()
        };
        let row = |policy: &str, until: &str| json!({"policy": policy, "route": 0, "reason": "Quota", "since": "a", "until": until, "reply": "", "pods": []});
        let insecure = json!({"policy": "mail/p", "route": 0, "reason": "TlsFailed", "since": "a", "reply": "", "pods": []});
        let usable = json!([{"route": 0, "to": "h", "state": "Usable"}]);
        let resting = json!([{"route": 0, "to": "h", "state": "Resting", "reason": "Quota", "until": "2026-01-01T01:00:00Z"}]);
        let until = "2026-01-01T01:00:00Z";
        for (told, said, want) in [
            (&usable, json!([]), false),
            (&resting, json!([row("mail/p", until), insecure]), true),
            (&usable, json!([row("mail/p", until)]), true),
            (&usable, json!([row("mail/other", until)]), false),
            (&resting, json!([row("mail/p", until)]), false),
            (&resting, json!([row("mail/p", "2026-01-01T02:00:00Z")]), true),
            (&resting, json!([]), true),
        ] {
            let found = is_behind(&policy(told.clone()), &listener(said.clone()));
            assert_eq!(found, want, "{told} {said}");
        }
    }

    fn policy() -> Policy {
        let text = "name: mail/p\nroutes:\n  - {to: {smartHosts: [{host: smtp.example, port: 587}]}, tls: Verified, provider: AmazonSES}\n  - {to: {direct: {}}, tls: Opportunistic}\n";
        let file = format!(
            "format: 1\nhostname: m.example\nspool: {{directory: /x}}\npolicies:\n  - {}",
            text.replace('\n', "\n    ")
        );
        let set = postroad_config::assemble(&file, &std::collections::BTreeMap::new()).unwrap();
        set.file.policies.into_iter().next().unwrap()
    }

    fn told(reason: &str, until: Option<&str>) -> Told {
        Told {
            listener: "edge".to_owned(),
            row: RouteTrouble {
                policy: "mail/p".to_owned(),
                route: 0,
                reason: reason.to_owned(),
                since: "2026-01-01T00:00:00Z".to_owned(),
                until: until.map(str::to_owned),
                reply: "454 said so".to_owned(),
                pods: vec!["edge-0".to_owned(), "edge-1".to_owned()],
            },
        }
    }

    #[test]
    fn a_quota_is_a_condition_with_the_words_of_the_provider() {
        let told = [told("Quota", Some("2026-01-01T01:00:00Z"))];
        let [quota, accepting] = conditions(&policy(), &told, true);
        assert_eq!(
            (quota.status, quota.reason.as_str()),
            (Some(false), reason::QUOTA_USED_UP)
        );
        for part in [
            "routes[0] (AmazonSES)",
            "next route",
            "01:00:00Z",
            "454 said so",
            "edge-0 and 1 other",
            "Max24HourSend",
        ] {
            assert!(quota.message.contains(part), "{part}: {}", quota.message);
        }
        assert_eq!(accepting.status, Some(true));
        let rows = routes(&policy(), &told);
        assert_eq!(
            (rows[0].state.as_str(), rows[1].state.as_str()),
            ("Resting", "Usable")
        );
        assert_eq!(rows[0].to, "smtp.example:587");
        assert_eq!(ends(&told).unwrap().to_string(), "2026-01-01T01:00:00Z");
    }

    #[test]
    fn a_fault_of_the_account_and_a_refused_sender_are_told_apart() {
        for (reason, until, why, state) in [
            (
                "Configuration",
                Some("2026-01-01T00:05:00Z"),
                reason::ACCOUNT_REFUSED,
                "Resting",
            ),
            ("Sender", None, reason::SENDER_REFUSED, "Refusing"),
        ] {
            let told = [told(reason, until)];
            let [quota, accepting] = conditions(&policy(), &told, true);
            assert_eq!(quota.status, Some(true));
            assert_eq!((accepting.status, accepting.reason.as_str()), (Some(false), why));
            assert_eq!(routes(&policy(), &told)[0].state, state);
        }
        // A login that is refused has a condition of its own.
        let refused = [told("CredentialsRefused", Some("2026-01-01T00:05:00Z"))];
        let [quota, accepting] = conditions(&policy(), &refused, true);
        assert_eq!((quota.status, accepting.status), (Some(true), Some(true)));
        let row = &routes(&policy(), &refused)[0];
        assert_eq!(row.state, "Resting");
        assert!(
            row.message
                .as_ref()
                .is_some_and(|text| text.contains("lets nobody log in"))
        );
        let insecure = [told("TlsFailed", None)];
        let [quota, accepting] = conditions(&policy(), &insecure, true);
        assert_eq!((quota.status, accepting.status), (Some(true), Some(true)));
        let row = &routes(&policy(), &insecure)[0];
        assert_eq!(row.state, "Insecure");
        assert!(
            row.message
                .as_ref()
                .is_some_and(|text| text.contains("no TLS as"))
        );
        let [quota, _] = conditions(&policy(), &[], false);
        assert_eq!(quota.status, None);
        let mut both = [told("Quota", Some("a")), told("Throttle", Some("b"))];
        both[1].row.route = 1;
        let [quota, _] = conditions(&policy(), &both, true);
        assert!(
            quota.message.starts_with("routes[0]")
                && quota
                    .message
                    .ends_with("; also routes[1] (Throttle): 454 said so"),
            "{}",
            quota.message
        );
    }
}
