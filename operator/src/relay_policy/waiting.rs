//! A new policy whose routes are wrong: the mail that it is for waits until they are mended. By another way it might be returned. Pure.
//!
//! One that was served goes on as it was, and one that takes mail from others by mistake, with a match that cannot be read, takes none.

use postroad_config::{Credentials, Endpoint, Policy, Route, RouteLimits, RouteTarget, TlsMode};
use postroad_crds::RelayPolicy;

use super::credentials::missing;
use super::validate::validate;
use crate::smtp_listener::validate::Invalid;

/// The policy with one route that nobody uses, and which says why. `None`: not its routes are wrong, or not they alone.
pub fn policy(object: &RelayPolicy, invalid: &Invalid) -> Option<Policy> {
    let mut known = object.clone();
    known.spec.routes.clear();
    let policy = validate(&known)
        .ok()
        .filter(|_| invalid.field.starts_with("spec.routes"))?;
    Some(Policy {
        routes: vec![route(invalid)],
        ..policy
    })
}

/// Whether a policy is such a one.
pub fn waits(policy: &Policy) -> bool {
    policy.routes.iter().any(is_nowhere)
}

fn is_nowhere(route: &Route) -> bool {
    let is_named =
        matches!(&route.to, RouteTarget::SmartHosts(hosts) if hosts.iter().any(|host| host.host == NOWHERE));
    is_named && matches!(route.credentials, Some(Credentials::Missing(_)))
}

fn route(invalid: &Invalid) -> Route {
    Route {
        to: RouteTarget::SmartHosts(vec![Endpoint {
            host: NOWHERE.to_owned(),
            port: 587,
        }]),
        tls: TlsMode::Verified,
        credentials: Some(missing(invalid.to_string())),
        authorities: None,
        limits: RouteLimits::default(),
        provider: None,
        implicit_tls: false,
        hello_name: None,
    }
}

/// Where nothing is ever connected: RFC 6761 section 6.4.
const NOWHERE: &str = "routes-to-be-mended.invalid";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(terms: &Value, routes: &Value) -> RelayPolicy {
        serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy",
            "metadata": {"name": "p", "namespace": "mail"},
            "spec": {"listenerRefs": [{"name": "edge"}], "match": terms, "routes": routes},
        }))
        .unwrap()
    }

    fn waiting(terms: &Value, routes: &Value) -> Option<Policy> {
        let object = object(terms, routes);
        policy(&object, &validate(&object).unwrap_err())
    }

    #[test]
    fn the_mail_of_routes_that_are_wrong_waits_and_the_reason_says_what_to_mend() {
        let other_region = json!([{
            "provider": {"name": "AmazonSES", "region": "eu-west-1"},
            "credentials": {"type": "AwsAccessKey", "region": "eu-central-1", "secretRef": {"name": "ses"}},
        }]);
        let found = waiting(&json!({"recipientDomains": ["a.example"]}), &other_region).unwrap();
        assert_eq!(found.matches.recipient_domains.len(), 1);
        assert!(waits(&found));
        let Some(Credentials::Missing(missing)) = &found.routes[0].credentials else {
            panic!("{found:?}")
        };
        assert!(
            missing.reason.contains("spec.routes.credentials.region"),
            "{}",
            missing.reason
        );
        // The pods take it.
        let file = format!(
            "format: 1\nhostname: m.example\nspool: {{directory: /x}}\npolicies:\n  - {}\n",
            serde_json::to_string(&found).unwrap()
        );
        postroad_config::assemble(&file, &std::collections::BTreeMap::new()).unwrap();
    }

    #[test]
    fn a_match_that_cannot_be_read_takes_no_mail() {
        let unknown = json!([{"provider": {"name": "SendGrid", "tenant": "x"}}]);
        assert!(waiting(&json!({}), &unknown).is_some());
        assert!(waiting(&json!({"senderDomains": ["10.1.2.3"]}), &unknown).is_none());
        assert!(waiting(&json!({"senderDomains": ["10.1.2.3"]}), &json!([{"direct": {}}])).is_none());
        let good = object(&json!({}), &json!([{"direct": {}}]));
        assert!(!waits(&validate(&good).unwrap()));
    }
}
