//! Where the mail of one sender for one recipient domain goes, by the configuration alone.
//!
//! Pure: no IO; DNS comes later (`exchanges.rs`).
//!
//! ```text
//!   recipient domain ─┬─ one that we receive for ─► its `deliverTo`
//!                     ├─ first policy that matches ─► its routes, in order
//!                     └─ none ─► directly by MX, opportunistic TLS
//! ```
//!
//! May assume: the configuration is checked, domains are sorted by name and both domains are A-labels in lower case.

use std::sync::Arc;

use ipnet::IpNet;
use postroad_config::provider::Provider;
use postroad_config::{
    ConfigFile, Credentials, Deliver, DomainName, Endpoint, Match, Period, Policy, Retry, Rewriting, Route,
    RouteLimits, RouteTarget, TlsMode, Within, as_service_account,
};

use super::sites::Sites;
use crate::logins::Id;
use crate::queue::job::Pace;

/// Whose mail it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Domain of the reverse-path; none for the null reverse-path.
    pub domain: Option<&'a str>,
    /// Who had logged in when the mail came.
    pub identity: Option<&'a str>,
}

/// The ways out for one recipient domain, in the order in which they are tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Name of the policy for logs, `inbound` for a domain of ours, `default` when nothing matched.
    pub name: String,
    /// Never empty.
    pub ways: Vec<Way>,
    /// When to try again.
    pub retry: Retry,
}

/// One way out.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// To whom.
    pub to: To,
    /// How TLS is used, by one of the modes of routes.
    pub tls: TlsMode,
    /// What to log in with.
    pub credentials: Option<Credentials>,
    /// How fast it is used.
    pub limits: RouteLimits,
    /// What else is said of it.
    pub habits: Habits,
}

/// What a policy says of a way beyond where it leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// It is a route to smart hosts, which may rest as a whole (`lanes.rs`).
    pub is_lane: bool,
    /// Whose hosts they are.
    pub provider: Option<Provider>,
    /// TLS comes first.
    pub implicit_tls: bool,
    /// Our name in EHLO, where it is not the usual one.
    pub hello_name: Option<String>,
    /// Who vouches for its hosts, where that is not the public authorities; PEM.
    pub authorities: Option<Arc<str>>,
    /// What is changed of the message.
    pub rewrite: Rewriting,
}

/// To whom a way leads.
#[derive(Clone, Debug, PartialEq)]
pub enum To {
    /// The servers that the domain's MX records name.
    Exchanges {
        /// The recipient domain, or an address literal with its brackets.
        domain: String,
        /// Networks that may be next hops although they are not public.
        allowed: Vec<IpNet>,
    },
    /// Hosts out of the configuration, in order.
    Hosts {
        /// The hosts; never empty.
        hosts: Vec<Endpoint>,
        /// What they speak.
        protocol: Protocol,
    },
}

/// What a next hop speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 5321: one reply for all recipients.
    Smtp,
    /// RFC 2033: one reply per recipient.
    Lmtp,
}

impl Way {
    /// How many pods may use it at once, where that is fewer than all.
    pub(super) fn pods(&self) -> Option<u32> {
        self.limits.pods.filter(|_| self.habits.is_lane)
    }

    /// What happens to one of its sites says nothing of the same servers under another policy.
    fn is_special(&self) -> bool {
        let networks = matches!(&self.to, To::Exchanges { allowed, .. } if !allowed.is_empty());
        let own = Habits {
            is_lane: self.habits.is_lane,
            ..Habits::default()
        };
        networks || self.credentials.is_some() || self.limits != RouteLimits::default() || self.habits != own
    }
}

impl Plan {
    /// Decides the ways out.
    pub fn decide(config: &ConfigFile, from: Origin<'_>, recipient_domain: &str) -> Self {
        if let Some(deliver) = inbound(config, recipient_domain) {
            return Self::inbound(deliver);
        }
        let policy = config
            .policies
            .iter()
            .find(|policy| is_for(policy, from, recipient_domain));
        policy.map_or_else(
            || Self::direct(recipient_domain),
            |policy| Self::by(policy, recipient_domain),
        )
    }

    /// The ways out by a policy that a person chose for a message, whatever mail the policy is for. `None`: there is no policy
    /// of that name, or the domain is ours and its mail goes to its store.
    pub fn by_hand(config: &ConfigFile, policy: &str, recipient_domain: &str) -> Option<Self> {
        if inbound(config, recipient_domain).is_some() {
            return None;
        }
        let policy = config.policies.iter().find(|known| known.name == policy)?;
        Some(Self::by(policy, recipient_domain))
    }

    /// Whether the next hop is a mail store of ours.
    pub fn is_store(&self) -> bool {
        let to = self.ways.first().map(|way| &way.to);
        matches!(
            to,
            Some(To::Hosts {
                protocol: Protocol::Lmtp,
                ..
            })
        )
    }

    /// What the queue groups by: recipients whose mail goes to the same hosts. Two domains with one smart host, or with the
    /// same MX records, are one site, so that a dead host is probed once for all of them. A policy with limits,
    /// networks or credentials of its own has sites of its own.
    pub fn site(&self, sites: &Sites) -> String {
        let mut site = String::new();
        for way in &self.ways {
            if !site.is_empty() {
                site.push(' ');
            }
            match &way.to {
                To::Exchanges { domain, .. } => {
                    site.push_str(sites.known(domain).as_deref().unwrap_or(domain));
                }
                To::Hosts { hosts, protocol } => {
                    site.push_str(if *protocol == Protocol::Lmtp {
                        "lmtp:"
                    } else {
                        "smtp:"
                    });
                    let hosts: Vec<_> = hosts
                        .iter()
                        .map(|host| format!("{}:{}", host.host, host.port))
                        .collect();
                    site.push_str(&hosts.join(","));
                }
            }
        }
        if self.ways.iter().any(Way::is_special) {
            site.push('@');
            site.push_str(&self.name);
        }
        // Others to log in with make another site, on which the trouble of those before does not rest.
        for credentials in self.ways.iter().filter_map(|way| way.credentials.as_ref()) {
            site.push('#');
            site.push_str(&Id::of(credentials).short());
        }
        site
    }

    /// How fast the first way is used, where it is limited; the others are asked for when they are taken.
    pub fn pace(&self) -> Option<Pace> {
        let limits = &self.ways.first()?.limits;
        (*limits != RouteLimits::default()).then(|| Pace {
            route: self.route(0),
            limits: limits.clone(),
        })
    }

    /// Name of a way, for its limits.
    pub fn route(&self, way: usize) -> String {
        route_name(&self.name, way)
    }

    fn inbound(deliver: &Deliver) -> Self {
        let (endpoint, protocol) = match deliver {
            Deliver::Lmtp(endpoint) => (endpoint, Protocol::Lmtp),
            Deliver::Smtp(endpoint) => (endpoint, Protocol::Smtp),
        };
        let to = To::Hosts {
            hosts: vec![endpoint.clone()],
            protocol,
        };
        Self {
            name: "inbound".to_owned(),
            ways: vec![Way {
                to,
                tls: TlsMode::Opportunistic,
                credentials: None,
                limits: RouteLimits::default(),
                habits: Habits::default(),
            }],
            retry: STORE_RETRY,
        }
    }

    fn direct(domain: &str) -> Self {
        let to = To::Exchanges {
            domain: domain.to_owned(),
            allowed: vec![],
        };
        Self {
            name: "default".to_owned(),
            ways: vec![Way {
                to,
                tls: TlsMode::Opportunistic,
                credentials: None,
                limits: RouteLimits::default(),
                habits: Habits::default(),
            }],
            retry: Retry::default(),
        }
    }

    fn by(policy: &Policy, domain: &str) -> Self {
        let way = |route: &Route| Way {
            to: target(&route.to, domain),
            tls: route.tls,
            credentials: route.credentials.clone(),
            limits: route.limits.clone(),
            habits: Habits {
                is_lane: matches!(route.to, RouteTarget::SmartHosts(_)),
                provider: route.provider,
                implicit_tls: route.implicit_tls,
                hello_name: route.hello_name.as_ref().map(|name| name.as_str().to_owned()),
                authorities: route.authorities.as_deref().map(Arc::from),
                rewrite: rewriting(policy),
            },
        };
        Self {
            name: policy.name.clone(),
            ways: policy.routes.iter().map(way).collect(),
            retry: policy.retry,
        }
    }
}

/// What a policy may change: a neighbour's sends as domains of its own alone.
fn rewriting(policy: &Policy) -> Rewriting {
    let rewrite = policy.rewrite.clone();
    let is_own = |within: &Within| {
        let domain = rewrite.sender_domain();
        domain.is_some_and(|domain| within.sender_domains.contains(&domain))
    };
    if policy.within.as_ref().is_none_or(is_own) {
        return rewrite;
    }
    Rewriting {
        sender: None,
        ..rewrite
    }
}

/// Name of a route of a policy, by its number from 0.
pub fn route_name(policy: &str, number: usize) -> String {
    format!("{policy}#{number}")
}

fn target(target: &RouteTarget, domain: &str) -> To {
    match target {
        RouteTarget::Direct { allowed_networks } => To::Exchanges {
            domain: domain.to_owned(),
            allowed: allowed_networks.clone(),
        },
        RouteTarget::SmartHosts(hosts) => To::Hosts {
            hosts: hosts.clone(),
            protocol: Protocol::Smtp,
        },
    }
}

fn inbound<'a>(config: &'a ConfigFile, domain: &str) -> Option<&'a Deliver> {
    let at = config
        .domains
        .binary_search_by(|known| known.name.as_str().cmp(domain))
        .ok()?;
    config
        .domains
        .get(at)?
        .inbound
        .as_ref()
        .map(|inbound| &inbound.deliver_to)
}

fn is_for(policy: &Policy, from: Origin<'_>, recipient: &str) -> bool {
    policy
        .within
        .as_ref()
        .is_none_or(|within| is_within(within, from))
        && holds(&policy.matches, from, recipient)
}

/// Whether the mail is of those whose mail alone the policy may be for.
fn is_within(within: &Within, from: Origin<'_>) -> bool {
    let namespace = from
        .identity
        .and_then(as_service_account)
        .map(|(namespace, _)| namespace);
    namespace == Some(within.namespace.as_str())
        || from
            .domain
            .is_some_and(|domain| lists(&within.sender_domains, domain))
}

/// A list that is empty says nothing about its side.
fn holds(terms: &Match, from: Origin<'_>, recipient: &str) -> bool {
    let is_sender = |domain| lists(&terms.sender_domains, domain);
    let is_identity = |identity: &str| terms.identities.iter().any(|known| known == identity);
    (terms.sender_domains.is_empty() || from.domain.is_some_and(is_sender))
        && (terms.recipient_domains.is_empty() || lists(&terms.recipient_domains, recipient))
        && (terms.identities.is_empty() || from.identity.is_some_and(is_identity))
}

fn lists(domains: &[DomainName], domain: &str) -> bool {
    domains.iter().any(|known| known.as_str() == domain)
}

/// A mail store of ours is away for a restart rather than for hours, and nobody else minds being asked.
const STORE_RETRY: Retry = Retry {
    first: Period::from_secs(60),
    max: Period::from_secs(1_800),
    lifetime: None,
};

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
format: 1
hostname: mail.example.com
spool: {directory: /var/spool/postroad}
domains:
  - name: here.example
    inbound:
      recipients: {mode: Any}
      deliverTo: {lmtp: {host: store.example, port: 24}}
  - name: sender.example
policies:
  - name: mail/partner
    match: {recipientDomains: [partner.example]}
    routes:
      - {to: {smartHosts: [{host: a.example, port: 587}, {host: b.example, port: 587}]}, tls: Verified}
      - {to: {direct: {allowedNetworks: [10.0.0.0/8]}}, tls: Encrypted}
    retry: {first: 1s, max: 2s}
  - name: mail/sender
    match: {senderDomains: [sender.example], recipientDomains: [third.example]}
    routes: [{to: {smartHosts: [{host: a.example, port: 587}]}, tls: Disabled}]
";

    fn decide(sender: Option<&str>, recipient: &str) -> Plan {
        let from = Origin {
            domain: sender,
            identity: None,
        };
        let set = postroad_config::assemble(CONFIG, &std::collections::BTreeMap::new()).unwrap();
        Plan::decide(&set.file, from, recipient)
    }

    #[test]
    fn a_domain_of_ours_goes_to_its_store_whatever_the_policies_say() {
        let plan = decide(None, "here.example");
        assert_eq!(
            (plan.name.as_str(), plan.site(&Sites::default()).as_str()),
            ("inbound", "lmtp:store.example:24")
        );
    }

    #[test]
    fn a_domain_that_only_sends_is_reached_like_any_other() {
        assert_eq!(decide(None, "sender.example").name, "default");
    }

    #[test]
    fn the_first_policy_whose_terms_all_hold_decides() {
        for (sender, recipient, name) in [
            (Some("x.example"), "partner.example", "mail/partner"),
            (Some("sender.example"), "third.example", "mail/sender"),
            (Some("x.example"), "third.example", "default"),
            (None, "third.example", "default"),
        ] {
            assert_eq!(decide(sender, recipient).name, name, "{sender:?} {recipient}");
        }
    }

    #[test]
    fn a_policy_decides_for_those_who_logged_in_and_within_its_bounds_alone() {
        let policy = |name: &str, terms: &str| {
            format!("  - {{name: {name}, {terms}, routes: [{{to: {{direct: {{}}}}, tls: Disabled}}]}}\n")
        };
        let text = [
            "format: 1\nhostname: mail.example.com\nspool: {directory: /nowhere}\npolicies:\n".to_owned(),
            policy("shop/all", "within: {namespace: shop, senderDomains: [shop.example]}"),
            policy(
                "mail/some",
                "match: {identities: ['system:serviceaccount:crm:bulk', alice], recipientDomains: [r.example]}",
            ),
        ]
        .concat();
        let set = postroad_config::assemble(&text, &std::collections::BTreeMap::new()).unwrap();
        let orders = Some("system:serviceaccount:shop:orders");
        for (domain, identity, recipient, name) in [
            (Some("x.example"), orders, "r.example", "shop/all"),
            (None, orders, "r.example", "shop/all"),
            (Some("shop.example"), Some("alice"), "r.example", "shop/all"),
            (Some("shop.example"), None, "r.example", "shop/all"),
            (Some("x.example"), Some("alice"), "r.example", "mail/some"),
            (
                Some("x.example"),
                Some("system:serviceaccount:crm:bulk"),
                "r.example",
                "mail/some",
            ),
            (
                Some("x.example"),
                Some("system:serviceaccount:crm:other"),
                "r.example",
                "default",
            ),
            (
                Some("x.example"),
                Some("system:serviceaccount:shopping:orders"),
                "r.example",
                "default",
            ),
            (Some("x.example"), Some("shop"), "r.example", "default"),
            (Some("x.example"), Some("alice"), "z.example", "default"),
            (Some("x.example"), None, "r.example", "default"),
            (None, None, "r.example", "default"),
        ] {
            let plan = Plan::decide(&set.file, Origin { domain, identity }, recipient);
            assert_eq!(plan.name, name, "{domain:?} {identity:?} {recipient}");
        }
    }

    #[test]
    fn a_neighbour_sends_as_its_own_domains_alone() {
        let sender = |within: &str, sender: &str| {
            let text = format!(
                "format: 1\nhostname: m.example\nspool: {{directory: /x}}\npolicies:\n  - name: shop/p\n    \
                 rewrite: {{sender: {sender}, add: {{X-Shop: a}}}}\n    routes: [{{to: {{direct: {{}}}}, tls: Opportunistic}}]\n{within}"
            );
            let set = postroad_config::assemble(&text, &std::collections::BTreeMap::new()).unwrap();
            let identity = Some("system:serviceaccount:shop:orders");
            let plan = Plan::decide(
                &set.file,
                Origin {
                    domain: None,
                    identity,
                },
                "r.example",
            );
            assert_eq!(plan.ways[0].habits.rewrite.add.len(), 1);
            plan.ways[0].habits.rewrite.sender.clone()
        };
        let within = "    within: {namespace: shop, senderDomains: [shop.example]}\n";
        assert_eq!(sender("", "a@bank.example").as_deref(), Some("a@bank.example"));
        assert_eq!(
            sender(within, "a@shop.example").as_deref(),
            Some("a@shop.example")
        );
        assert_eq!(sender(within, "a@bank.example"), None);
    }

    #[test]
    fn routes_keep_their_order_their_tls_and_their_schedule() {
        let plan = decide(None, "partner.example");
        let sites = Sites::default();
        assert_eq!(
            plan.site(&sites),
            "smtp:a.example:587,b.example:587 partner.example@mail/partner"
        );
        sites.learn("partner.example", Some("mx:p".to_owned()), 0);
        assert_eq!(
            plan.site(&sites),
            "smtp:a.example:587,b.example:587 mx:p@mail/partner"
        );
        assert_eq!(
            plan.ways.iter().map(|way| way.tls).collect::<Vec<_>>(),
            [TlsMode::Verified, TlsMode::Encrypted]
        );
        assert_eq!(plan.retry.first.get().as_secs(), 1);
        assert!(matches!(&plan.ways[1].to, To::Exchanges { allowed, .. } if allowed.len() == 1));
    }
}
