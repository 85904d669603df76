//! A policy's spec, parsed once into what the pods are told. Pure.

use ipnet::IpNet;
use kube::ResourceExt;
use postroad_config::provider::{Provider, preset};
use postroad_config::{
    DomainName, Match, Octets, Period, Policy, Rate, Retry, Rewriting, Route, RouteLimits, RouteTarget,
    TlsMode, check_sender, check_user_name, service_account,
};
use postroad_crds::RelayPolicy;
use postroad_crds::common::Period as Text;
use postroad_crds::relay_policy as crd;

use super::{credentials, provider};
use crate::smtp_listener::validate::{Invalid, endpoint, parsed};

/// Parses a policy, without the bounds that a listener of another namespace sets to it. Errors: the first field that is wrong
/// in a way that the schema cannot show.
pub fn validate(object: &RelayPolicy) -> Result<Policy, Invalid> {
    let spec = &object.spec;
    let given = spec.matches.clone().unwrap_or_default();
    internal_only(spec)?;
    Ok(Policy {
        name: name(object),
        matches: Match {
            sender_domains: domains("spec.match.senderDomains", &given.sender_domains)?,
            recipient_domains: domains("spec.match.recipientDomains", &given.recipient_domains)?,
            identities: identities(&given)?,
        },
        within: None,
        routes: spec.routes.iter().map(route).collect::<Result<_, _>>()?,
        retry: retry(spec.retry.as_ref())?,
        rewrite: rewriting(spec)?,
    })
}

/// What is changed on the way out.
fn rewriting(spec: &crd::RelayPolicySpec) -> Result<Rewriting, Invalid> {
    let headers = spec.headers.clone().unwrap_or_default();
    let sender = spec
        .envelope
        .as_ref()
        .and_then(|envelope| envelope.sender.clone());
    if let Some(problem) = sender.as_deref().and_then(check_sender) {
        return Err(Invalid::new("spec.envelope.sender", problem));
    }
    let rewrite = Rewriting {
        add: headers.add,
        remove: headers.remove,
        sender,
    };
    match rewrite.problem() {
        Some((field, sentence)) => Err(Invalid::new(&format!("spec.headers.{field}"), sentence)),
        None => Ok(rewrite),
    }
}

/// A provider that takes mail for one's own organisation alone would refuse all other mail for good.
fn internal_only(spec: &crd::RelayPolicySpec) -> Result<(), Invalid> {
    let names = spec.routes.iter().filter_map(|route| route.provider.as_ref());
    let mut internal = names.filter(|wanted| preset(provider::named(wanted.name)).internal_only);
    let is_bounded = spec
        .matches
        .as_ref()
        .is_some_and(|terms| !terms.recipient_domains.is_empty());
    match internal.next().filter(|_| !is_bounded) {
        Some(wanted) => Err(Invalid::new(
            "spec.match.recipientDomains",
            format!(
                "{} takes mail for recipients of your own organisation alone; name its domains here",
                provider::named(wanted.name)
            ),
        )),
        None => Ok(()),
    }
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
    let mut known = None;
    let to = match (&route.provider, &route.direct, &route.smart_hosts) {
        (Some(wanted), None, None) => {
            let (provider, resolved) = provider::resolved(wanted)?;
            known = Some(Known {
                provider: Some(provider),
                tls: resolved.tls,
                implicit_tls: resolved.implicit_tls,
                limits: resolved.limits,
                hello_name: resolved.hello_name,
            });
            RouteTarget::SmartHosts(vec![resolved.to])
        }
        (None, Some(direct), None) => {
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
        (None, None, Some(hosts)) => {
            let hosts = hosts.iter().map(|host| endpoint("spec.routes.smartHosts", host));
            RouteTarget::SmartHosts(hosts.collect::<Result<_, _>>()?)
        }
        _ => {
            return Err(Invalid::new(
                "spec.routes",
                "give exactly one of provider, smartHosts and direct",
            ));
        }
    };
    let known = known.unwrap_or_default();
    let given = route.tls.clone().unwrap_or_default();
    let tls = credentials::tls(route, known.tls)?;
    let implicit_tls = given.implicit.unwrap_or(known.implicit_tls);
    if implicit_tls && route.direct.is_some() {
        return Err(Invalid::new(
            "spec.routes.tls.implicit",
            "mail that goes directly begins in the clear; leave it out",
        ));
    }
    if implicit_tls && tls == TlsMode::Disabled {
        return Err(Invalid::new(
            "spec.routes.tls.mode",
            "Disabled cannot be where TLS comes first; write Encrypted or Verified",
        ));
    }
    Ok(Route {
        credentials: credentials::planned(route, &to, tls)?,
        authorities: credentials::authorities(route, tls)?,
        to,
        tls,
        limits: limits(known.limits, route.limits.as_ref())?,
        provider: known.provider,
        implicit_tls,
        hello_name: hello_name(route, known.hello_name)?,
    })
}

/// What a provider's name stands for; for another route, the usual.
struct Known {
    provider: Option<Provider>,
    tls: TlsMode,
    implicit_tls: bool,
    limits: RouteLimits,
    hello_name: Option<String>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            provider: None,
            tls: TlsMode::Opportunistic,
            implicit_tls: false,
            limits: RouteLimits::default(),
            hello_name: None,
        }
    }
}

fn hello_name(route: &crd::Route, usual: Option<String>) -> Result<Option<DomainName>, Invalid> {
    let field = "spec.routes.heloName";
    let Some(name) = route.helo_name.clone().or(usual) else {
        return Ok(None);
    };
    let name: DomainName = name
        .parse()
        .map_err(|error: postroad_config::DomainNameError| Invalid::new(field, error.to_string()))?;
    if !name.as_str().contains('.') {
        return Err(Invalid::new(
            field,
            format!("`{name}` is no full host name; write it with its domain"),
        ));
    }
    Ok(Some(name))
}

/// What is said of the route goes before what is known of the provider.
fn limits(known: RouteLimits, given: Option<&crd::RouteLimits>) -> Result<RouteLimits, Invalid> {
    let Some(given) = given else {
        return Ok(known);
    };
    let number = |value: i32| u32::try_from(value).unwrap_or(1);
    let rates = |field: &str, given: &[crd::Rate], known| {
        if given.is_empty() {
            return Ok(known);
        }
        given.iter().map(|given| rate(field, given)).collect()
    };
    Ok(RouteLimits {
        messages: rates("messages", &given.messages, known.messages)?,
        recipients: rates("recipients", &given.recipients, known.recipients)?,
        connections: given.connections.map(number).or(known.connections),
        // How many pods there are is known where the shares are made.
        pods: None,
        recipients_per_transaction: given
            .recipients_per_transaction
            .map(number)
            .or(known.recipients_per_transaction),
        messages_per_connection: given
            .messages_per_connection
            .map(number)
            .or(known.messages_per_connection),
        message_size: match &given.message_size {
            Some(size) => Some(message_size(size.as_ref())?),
            None => known.message_size,
        },
    })
}

fn message_size(text: &str) -> Result<Octets, Invalid> {
    let field = "spec.routes.limits.messageSize";
    let size: Octets = parsed(field, text)?;
    if !(64 << 10..=1 << 30).contains(&size.0) {
        return Err(Invalid::new(field, format!("{size} is not between 64Ki and 1Gi")));
    }
    Ok(size)
}

fn rate(of: &str, given: &crd::Rate) -> Result<Rate, Invalid> {
    let field = format!("spec.routes.limits.{of}.per");
    let per: Period = parsed(&field, &given.per.0)?;
    if per > LONGEST_RATE {
        return Err(Invalid::new(
            &field,
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

/// What the pods call a policy.
pub fn name(object: &RelayPolicy) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

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
    use postroad_config::Endpoint;

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
    fn a_provider_is_a_route_and_what_the_route_says_goes_before_it() {
        let route = |route: serde_json::Value| {
            let policy = policy(&json!({"routes": [route]}));
            validate(&policy).unwrap().routes.remove(0)
        };
        let ses = route(json!({"provider": {"name": "AmazonSES", "region": "eu-west-1"}}));
        assert_eq!(ses.provider, Some(Provider::AmazonSes));
        assert_eq!(
            ses.to,
            RouteTarget::SmartHosts(vec![Endpoint {
                host: "email-smtp.eu-west-1.amazonaws.com".into(),
                port: 587
            }])
        );
        assert_eq!((ses.tls, ses.implicit_tls), (TlsMode::Verified, false));
        assert_eq!(ses.limits.recipients_per_transaction, Some(50));
        let own = route(json!({
            "provider": {"name": "Microsoft365", "port": 25},
            "limits": {"connections": 2, "messages": [{"count": 1, "per": "1s"}], "messageSize": "5Mi"},
            "tls": {"mode": "Encrypted"},
            "heloName": "out.example.com",
        }));
        assert_eq!((own.tls, own.limits.connections), (TlsMode::Encrypted, Some(2)));
        assert_eq!((own.limits.messages.len(), own.limits.messages[0].count), (1, 1));
        // What it does not say is as the provider has it.
        assert_eq!(own.limits.recipients_per_transaction, Some(500));
        assert_eq!(own.limits.message_size, Some(Octets(5 << 20)));
        assert_eq!(own.hello_name.unwrap().as_str(), "out.example.com");
        let first = route(json!({"provider": {"name": "SMTP2GO", "port": 443}}));
        assert!(first.implicit_tls);
        let not = route(json!({"provider": {"name": "SMTP2GO", "port": 443}, "tls": {"implicit": false}}));
        assert_eq!((not.implicit_tls, not.tls), (false, TlsMode::Verified));
        let relay = route(json!({"provider": {"name": "GoogleWorkspaceRelay", "domain": "example.com"}}));
        assert_eq!(relay.hello_name.unwrap().as_str(), "example.com");
    }

    #[test]
    fn authorities_of_a_route_are_proof_enough_for_verified() {
        let authority = rcgen::generate_simple_self_signed(vec!["ca.example".to_owned()]).unwrap();
        let authority = authority.cert.pem();
        for to in [
            json!({"provider": {"name": "Exim", "host": "h"}}),
            json!({"smartHosts": [{"host": "h", "port": 25}]}),
        ] {
            let mut route = to;
            route["tls"] = json!({"authorities": authority});
            let told = validate(&policy(&json!({"routes": [route]}))).unwrap();
            assert_eq!(told.routes[0].tls, TlsMode::Verified);
            assert_eq!(told.routes[0].authorities.as_ref(), Some(&authority));
        }
        let direct = json!({"direct": {}, "tls": {"mode": "Automatic", "authorities": authority}});
        let told = validate(&policy(&json!({"routes": [direct]}))).unwrap();
        assert_eq!(told.routes[0].tls, TlsMode::Automatic);
        assert_eq!(told.routes[0].authorities.as_ref(), Some(&authority));
    }

    /// Specifications, the field that is wrong, and what its sentence names.
    fn each_is_told(mistakes: &[(serde_json::Value, &str, &str)]) {
        for (spec, field, value) in mistakes {
            let error = validate(&policy(spec)).unwrap_err();
            assert_eq!(error.field, *field);
            assert!(error.sentence.contains(value), "{error}");
        }
    }

    #[test]
    fn a_mistake_in_where_a_route_leads_names_field_value_and_mend() {
        each_is_told(&[
            (
                json!({"routes": [{"provider": {"name": "AmazonSES", "region": "eu west"}}]}),
                "spec.routes.provider.region",
                "eu west",
            ),
            (
                json!({"routes": [{"provider": {"name": "Microsoft365HVE"}}]}),
                "spec.match.recipientDomains",
                "Microsoft365HVE",
            ),
            (
                json!({"routes": [{"provider": {"name": "Gmail"}, "direct": {}}]}),
                "spec.routes",
                "exactly one",
            ),
            (
                json!({"routes": [{"direct": {}, "tls": {"implicit": true}}]}),
                "spec.routes.tls.implicit",
                "leave it out",
            ),
            (
                json!({"routes": [{"provider": {"name": "Gmail", "port": 465}, "tls": {"mode": "Disabled"}}]}),
                "spec.routes.tls.mode",
                "Disabled",
            ),
            (
                json!({"routes": [{"direct": {}, "tls": {"mode": "DaneOnly", "authorities": "x"}}]}),
                "spec.routes.tls.authorities",
                "DaneOnly",
            ),
            (
                json!({"routes": [{"smartHosts": [{"host": "h", "port": 25}], "tls": {"mode": "Automatic", "authorities": "x"}}]}),
                "spec.routes.tls.authorities",
                "Automatic",
            ),
            (
                json!({"routes": [{"provider": {"name": "Gmail"}, "tls": {"mode": "Encrypted", "authorities": "x"}}]}),
                "spec.routes.tls.authorities",
                "Encrypted",
            ),
            (
                json!({"routes": [{"provider": {"name": "Postfix", "host": "h"}, "tls": {"authorities": "x"}}]}),
                "spec.routes.tls.authorities",
                "no certificates",
            ),
            (
                json!({"routes": [{"provider": {"name": "Gmail"}, "heloName": "mail"}]}),
                "spec.routes.heloName",
                "mail",
            ),
            (
                json!({"routes": [{"provider": {"name": "Gmail"}, "limits": {"messageSize": "1Ki"}}]}),
                "spec.routes.limits.messageSize",
                "1Ki",
            ),
        ]);
    }

    #[test]
    fn a_mistake_in_what_a_route_allows_names_field_value_and_mend() {
        each_is_told(&[
            (
                json!({"routes": [{"direct": {"allowedNetworks": ["10.0.0.0/99"]}}]}),
                "spec.routes.direct.allowedNetworks",
                "10.0.0.0/99",
            ),
            (
                json!({"routes": [{"direct": {}, "limits": {"messages": [{"count": 5, "per": "101d"}]}}]}),
                "spec.routes.limits.messages.per",
                "101d",
            ),
            (
                json!({"routes": [{"direct": {}, "limits": {"recipients": [{"count": 5, "per": "101d"}]}}]}),
                "spec.routes.limits.recipients.per",
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
        ]);
    }

    #[test]
    fn a_mistake_beside_the_routes_names_field_value_and_mend() {
        each_is_told(&[
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
                json!({"envelope": {"sender": "not an address"}}),
                "spec.envelope.sender",
                "not an address",
            ),
            (
                json!({"headers": {"add": {"From": "x"}}}),
                "spec.headers.add",
                "From",
            ),
            (
                json!({"headers": {"remove": ["Received"]}}),
                "spec.headers.remove",
                "Received",
            ),
            (
                json!({"headers": {"add": {"X-A": "a\r\nBcc: b"}}}),
                "spec.headers.add",
                "printable",
            ),
            (
                json!({"retry": {"first": "2h", "max": "5m"}}),
                "spec.retry.max",
                "5m",
            ),
            (
                json!({"retry": {"lifetime": "999999999d"}}),
                "spec.retry.lifetime",
                "999999999d",
            ),
        ]);
    }

    #[test]
    fn a_smart_host_that_no_host_can_be_is_a_mistake_of_its_policy() {
        let hosts = json!([{"host": "good.example", "port": 25}, {"host": "hub;example", "port": 25}]);
        let error = validate(&policy(&json!({"routes": [{"smartHosts": hosts}]}))).unwrap_err();
        assert_eq!(error.field, "spec.routes.smartHosts.host");
        assert!(error.sentence.contains("hub;example"), "{error}");
    }
}
