//! A policy's spec, parsed once into what the pods are told. Pure.

use ipnet::IpNet;
use kube::ResourceExt;
use postroad_config::{
    DomainName, Endpoint, Match, Period, Policy, Rate, Retry, Route, RouteLimits, RouteTarget, TlsMode,
    check_user_name, service_account,
};
use postroad_crds::RelayPolicy;
use postroad_crds::common::Period as Text;
use postroad_crds::relay_policy::{self as crd, RouteTlsMode};

use super::credentials;
use crate::smtp_listener::validate::{Invalid, parsed};

/// Parses a policy, without the bounds that a listener of another namespace sets to it. Errors: the first field that is wrong
/// in a way that the schema cannot show.
pub fn validate(object: &RelayPolicy) -> Result<Policy, Invalid> {
    let spec = &object.spec;
    let given = spec.matches.clone().unwrap_or_default();
    Ok(Policy {
        name: format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any()),
        matches: Match {
            sender_domains: domains("spec.match.senderDomains", &given.sender_domains)?,
            recipient_domains: domains("spec.match.recipientDomains", &given.recipient_domains)?,
            identities: identities(&given)?,
        },
        within: None,
        routes: spec.routes.iter().map(route).collect::<Result<_, _>>()?,
        retry: retry(spec.retry.as_ref())?,
    })
}

/// Users by name, ServiceAccounts as their tokens call them.
fn identities(given: &crd::Match) -> Result<Vec<String>, Invalid> {
    if !given.users.is_empty() && !given.service_accounts.is_empty() {
        return Err(Invalid::new(
            "spec.match",
            "nobody is a user and a ServiceAccount at once; write a policy for each",
        ));
    }
    for user in &given.users {
        check_user_name(user).map_err(|what| Invalid::new("spec.match.users", what))?;
    }
    let accounts = given
        .service_accounts
        .iter()
        .map(|account| service_account(&account.namespace, &account.name));
    Ok(given.users.iter().cloned().chain(accounts).collect())
}

fn domains(field: &str, names: &[String]) -> Result<Vec<DomainName>, Invalid> {
    names
        .iter()
        .map(|name| {
            name.parse()
                .map_err(|error: postroad_config::DomainNameError| Invalid::new(field, error.to_string()))
        })
        .collect()
}

fn route(route: &crd::Route) -> Result<Route, Invalid> {
    let to = match (&route.direct, &route.smart_hosts) {
        (Some(direct), None) => {
            let network = |text: &String| {
                text.parse::<IpNet>().map_err(|_| {
                    Invalid::new(
                        "spec.routes.direct.allowedNetworks",
                        format!("`{text}` is no network; write it as 10.0.0.0/8"),
                    )
                })
            };
            RouteTarget::Direct {
                allowed_networks: direct
                    .allowed_networks
                    .iter()
                    .map(network)
                    .collect::<Result<_, _>>()?,
            }
        }
        (None, Some(hosts)) => {
            let endpoint = |host: &postroad_crds::common::HostPort| Endpoint {
                host: host.host.clone(),
                port: u16::try_from(host.port).unwrap_or(0),
            };
            RouteTarget::SmartHosts(hosts.iter().map(endpoint).collect())
        }
        _ => {
            return Err(Invalid::new(
                "spec.routes",
                "give exactly one of direct and smartHosts",
            ));
        }
    };
    let tls = match credentials::tls(route)? {
        RouteTlsMode::Disabled => TlsMode::Disabled,
        RouteTlsMode::Opportunistic => TlsMode::Opportunistic,
        RouteTlsMode::Encrypted => TlsMode::Encrypted,
        RouteTlsMode::Verified => TlsMode::Verified,
        RouteTlsMode::Automatic => TlsMode::Automatic,
        RouteTlsMode::DaneOnly => TlsMode::DaneOnly,
    };
    Ok(Route {
        credentials: credentials::planned(route, &to, tls)?,
        to,
        tls,
        limits: limits(route.limits.as_ref())?,
    })
}

fn limits(given: Option<&crd::RouteLimits>) -> Result<RouteLimits, Invalid> {
    let Some(given) = given else {
        return Ok(RouteLimits::default());
    };
    let number = |value: i32| u32::try_from(value).unwrap_or(1);
    Ok(RouteLimits {
        messages: given.messages.iter().map(rate).collect::<Result<_, _>>()?,
        connections: given.connections.map(number),
        recipients_per_transaction: given.recipients_per_transaction.map(number),
    })
}

fn rate(given: &crd::Rate) -> Result<Rate, Invalid> {
    let field = "spec.routes.limits.messages.per";
    let per: Period = parsed(field, &given.per.0)?;
    if per > LONGEST_RATE {
        return Err(Invalid::new(
            field,
            format!("{per} is longer than {LONGEST_RATE}; count over a shorter time"),
        ));
    }
    Ok(Rate {
        count: u32::try_from(given.count).unwrap_or(1),
        per,
    })
}

/// Longest time over which a rate is counted.
const LONGEST_RATE: Period = Period::from_secs(100 * 86_400);

fn retry(given: Option<&crd::Retry>) -> Result<Retry, Invalid> {
    let mut retry = Retry::default();
    let Some(given) = given else { return Ok(retry) };
    let period = |field: &str, text: &Option<Text>| {
        text.as_ref()
            .map(|text| parsed::<Period>(field, &text.0))
            .transpose()
    };
    if let Some(first) = period("spec.retry.first", &given.first)? {
        retry.first = first;
        retry.max = retry.max.max(first);
    }
    if let Some(max) = period("spec.retry.max", &given.max)? {
        retry.max = max;
    }
    retry.lifetime = period("spec.retry.lifetime", &given.lifetime)?;
    if retry.first > retry.max {
        return Err(Invalid::new(
            "spec.retry.max",
            format!(
                "{} is shorter than first ({}); make it at least as long",
                retry.max, retry.first
            ),
        ));
    }
    Ok(retry)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(spec: &serde_json::Value) -> RelayPolicy {
        let mut value = json!({"listenerRefs": [{"name": "edge"}], "routes": [{"direct": {}}]});
        for (key, field) in spec.as_object().unwrap() {
            value[key] = field.clone();
        }
        serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy", "metadata": {"name": "p", "namespace": "mail"}, "spec": value,
        })).unwrap()
    }

    #[test]
    fn a_policy_becomes_what_the_pods_are_told() {
        let spec = json!({
            "match": {"senderDomains": ["Example.com"]},
            "routes": [{"smartHosts": [{"host": "relay.corp", "port": 587}], "tls": {"mode": "Encrypted"}}, {"direct": {"allowedNetworks": ["10.0.0.0/8"]}}],
            "retry": {"first": "5s"},
        });
        let policy = validate(&policy(&spec)).unwrap();
        assert_eq!(
            (policy.name.as_str(), policy.matches.sender_domains[0].as_str()),
            ("mail/p", "example.com")
        );
        let who = |terms: serde_json::Value| {
            let policy = self::policy(&json!({"match": terms}));
            validate(&policy).unwrap().matches.identities
        };
        assert_eq!(who(json!({"users": ["alice"]})), ["alice"]);
        assert_eq!(
            who(json!({"serviceAccounts": [{"namespace": "shop", "name": "orders"}]})),
            ["system:serviceaccount:shop:orders"]
        );
        assert_eq!(policy.routes[0].tls, TlsMode::Encrypted);
        assert!(
            matches!(&policy.routes[1].to, RouteTarget::Direct { allowed_networks } if allowed_networks.len() == 1)
        );
        assert_eq!(
            (
                policy.retry.first.to_string().as_str(),
                policy.retry.max.to_string().as_str()
            ),
            ("5s", "4h")
        );
    }

    #[test]
    fn a_route_with_credentials_waits_for_them_inside_proven_tls() {
        let route = |credentials: serde_json::Value, tls: serde_json::Value| {
            let mut route = json!({"smartHosts": [{"host": "h", "port": 587}], "credentials": credentials});
            if !tls.is_null() {
                route["tls"] = tls;
            }
            let policy = validate(&policy(&json!({"routes": [route]}))).unwrap();
            (policy.routes[0].tls, policy.routes[0].credentials.clone())
        };
        let password = json!({"type": "Password", "secretRef": {"name": "s"}});
        let (tls, credentials) = route(password.clone(), json!(null));
        assert_eq!(tls, TlsMode::Verified);
        assert!(matches!(
            credentials,
            Some(postroad_config::Credentials::Missing(_))
        ));
        assert_eq!(
            route(password, json!({"mode": "Encrypted"})).0,
            TlsMode::Encrypted
        );
        let (tls, credentials) = route(json!({"type": "None"}), json!(null));
        assert_eq!((tls, credentials), (TlsMode::Opportunistic, None));
    }

    #[test]
    fn each_mistake_names_field_value_and_mend() {
        for (spec, field, value) in [
            (
                json!({"match": {"recipientDomains": ["a..b"]}}),
                "spec.match.recipientDomains",
                "a..b",
            ),
            (
                json!({"match": {"users": ["system:serviceaccount:a:b"]}}),
                "spec.match.users",
                "system:serviceaccount:a:b",
            ),
            (
                json!({"match": {"users": ["alice"], "serviceAccounts": [{"namespace": "shop", "name": "orders"}]}}),
                "spec.match",
                "at once",
            ),
            (
                json!({"routes": [{"direct": {"allowedNetworks": ["10.0.0.0/99"]}}]}),
                "spec.routes.direct.allowedNetworks",
                "10.0.0.0/99",
            ),
            (
                json!({"retry": {"first": "2h", "max": "5m"}}),
                "spec.retry.max",
                "5m",
            ),
            (
                json!({"routes": [{"direct": {}, "limits": {"messages": [{"count": 5, "per": "101d"}]}}]}),
                "spec.routes.limits.messages.per",
                "101d",
            ),
            (
                json!({"routes": [{"direct": {}, "credentials": {"type": "Password", "secretRef": {"name": "s"}}}]}),
                "spec.routes.credentials",
                "nobody logs in",
            ),
            (
                json!({"routes": [{"smartHosts": [{"host": "h", "port": 587}], "tls": {"mode": "Opportunistic"},
                    "credentials": {"type": "Password", "secretRef": {"name": "s"}}}]}),
                "spec.routes.tls.mode",
                "Opportunistic",
            ),
            (
                json!({"routes": [{"smartHosts": [{"host": "h", "port": 587}],
                    "credentials": {"type": "AwsAccessKey", "region": "EU West", "secretRef": {"name": "s"}}}]}),
                "spec.routes.credentials.region",
                "EU West",
            ),
            (
                json!({"retry": {"lifetime": "999999999d"}}),
                "spec.retry.lifetime",
                "999999999d",
            ),
        ] {
            let error = validate(&policy(&spec)).unwrap_err();
            assert_eq!(error.field, field);
            assert!(error.sentence.contains(value), "{error}");
        }
    }
}
