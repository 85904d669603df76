//! Rules over a whole configuration that one field cannot show. Each breach is a sentence with the field, the value
//! and the mend.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use ipnet::IpNet;

use crate::access::{Headers, ProxyProtocol};
use crate::admission::Access;
use crate::file::{ConfigFile, Deliver, Dnssec, Domain, Policy, RecipientMode, Role, RouteTarget, TlsMode};
use crate::filter::Filter;
use crate::limits::{Limits, QueueSection};
use crate::reports::Reports;
use crate::spool::{NEWEST_SPOOL_FORMAT, OLDEST_SPOOL_FORMAT};
use crate::text::shorten;
use crate::verification::Verification;
use crate::{
    access, admission, authentication, credentials, dkim, endpoint, filter, limits, reports, users,
    verification,
};

/// One breach of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field, such as `ports[1].tls`.
    pub field: String,
    /// What is wrong and what to write instead.
    pub sentence: String,
}

/// All breaches of a file, in the order of its fields; at most 50 are kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}: {}", problem.field, problem.sentence)?;
        }
        Ok(())
    }
}

const MOST_PROBLEMS: usize = 50;
const MOST_PORTS: usize = 16;
const MOST_PODS: usize = 1_000;
const MOST_ANCHORS: usize = 16;
const MOST_DOMAINS: usize = 100_000;

/// Breaches found so far.
#[derive(Default)]
pub(crate) struct Findings(Vec<Problem>);

impl Findings {
    /// Whether all holds.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first breach.
    pub(crate) fn into_first(self) -> Option<Problem> {
        self.0.into_iter().next()
    }

    /// Keeps a breach where the rule does not hold.
    pub(crate) fn require(
        &mut self,
        holds: bool,
        field: impl FnOnce() -> String,
        sentence: impl FnOnce() -> String,
    ) {
        if !holds && self.0.len() < MOST_PROBLEMS {
            self.0.push(Problem {
                field: field(),
                sentence: sentence(),
            });
        }
    }
}

/// Checks a complete configuration. Errors: every breach found.
pub(crate) fn check(file: &ConfigFile) -> Result<(), Problems> {
    let mut found = Findings(Vec::new());
    check_ports(file, &mut found);
    users::check(&file.users, &mut found);
    authentication::check(&file.authentication, &mut found);
    users::check_secret(file.login_secret.as_ref(), &mut found);
    check_sections(file, &mut found);
    check_fleet(file, &mut found);
    check_domains(file, &mut found);
    let mut names = HashSet::new();
    for (index, policy) in file.policies.iter().enumerate() {
        found.require(
            names.insert(&policy.name),
            || format!("policies[{index}].name"),
            || {
                format!(
                    "`{}` is used twice; give each policy a name of its own",
                    shorten(&policy.name)
                )
            },
        );
        check_policy(index, policy, &mut found);
    }
    if found.0.is_empty() {
        Ok(())
    } else {
        Err(Problems(found.0))
    }
}

/// Sections that stand alone in a listener, for a caller that has no whole file yet.
#[derive(Clone, Copy, Debug)]
pub struct Sections<'a> {
    /// `relayFrom`.
    pub relay_from: &'a [IpNet],
    /// `proxyProtocol`.
    pub proxy_protocol: &'a ProxyProtocol,
    /// `access`.
    pub access: &'a Access,
    /// `headers`.
    pub headers: &'a Headers,
    /// `verification`.
    pub verification: &'a Verification,
    /// `reports`.
    pub reports: &'a Reports,
    /// `filters`.
    pub filters: &'a [Filter],
    /// `limits`.
    pub limits: &'a Limits,
    /// `queue`.
    pub queue: &'a QueueSection,
}

impl Sections<'_> {
    /// Checks the sections. Errors: every breach found, with the path that the field has in the file.
    pub fn check(self) -> Result<(), Problems> {
        let mut found = Findings(Vec::new());
        self.find(&mut found);
        if found.0.is_empty() {
            Ok(())
        } else {
            Err(Problems(found.0))
        }
    }

    fn find(self, found: &mut Findings) {
        access::check_networks("relayFrom", self.relay_from, found);
        access::check_proxy(self.proxy_protocol, found);
        admission::check(self.access, found);
        access::check_headers(self.headers, found);
        verification::check(self.verification, self.reports, found);
        reports::check(self.reports, found);
        filter::check(self.filters, found);
        limits::check_limits(self.limits, found);
        limits::check_queue(self.queue, found);
    }
}

fn check_ports(file: &ConfigFile, found: &mut Findings) {
    found.require(
        file.ports.len() <= MOST_PORTS,
        || "ports".into(),
        || {
            format!(
                "{} ports are too many; serve at most {MOST_PORTS}",
                file.ports.len()
            )
        },
    );
    let mut names = HashSet::new();
    let mut addresses = HashSet::new();
    for (index, port) in file.ports.iter().enumerate() {
        let at = |field: &str| format!("ports[{index}].{field}");
        found.require(
            !port.name.is_empty() && names.insert(&port.name),
            || at("name"),
            || {
                format!(
                    "`{}` is empty or used twice; give each port a name of its own",
                    shorten(&port.name)
                )
            },
        );
        found.require(
            port.address.port() == 0 || addresses.insert(port.address),
            || at("address"),
            || {
                format!(
                    "{} is served twice; give each port an address of its own",
                    port.address
                )
            },
        );
        found.require(
            TlsMode::OF_PORTS.contains(&port.tls),
            || at("tls"),
            || {
                let mend = TlsMode::alternatives(&TlsMode::OF_PORTS);
                format!("{:?} is for routes; write {mend}", port.tls)
            },
        );
        found.require(
            port.tls == TlsMode::Disabled || file.tls.is_some(),
            || at("tls"),
            || format!("{:?} needs a certificate; add the section `tls`", port.tls),
        );
        // RFC 8314 section 3.3: no password over plain text.
        found.require(
            port.role != Role::Submission || matches!(port.tls, TlsMode::StartTls | TlsMode::Implicit),
            || at("tls"),
            || {
                format!(
                    "{:?} would carry passwords in plain text; write StartTls or Implicit",
                    port.tls
                )
            },
        );
    }
}

fn check_sections(file: &ConfigFile, found: &mut Findings) {
    found.require(
        (50..=99).contains(&file.spool.high_water_percent),
        || "spool.highWaterPercent".into(),
        || format!("{} is not between 50 and 99", file.spool.high_water_percent),
    );
    found.require(
        (OLDEST_SPOOL_FORMAT..=NEWEST_SPOOL_FORMAT).contains(&file.spool.format()),
        || "spool.writeFormat".into(),
        || {
            format!(
                "{} is not a format that this version writes: {OLDEST_SPOOL_FORMAT} or {NEWEST_SPOOL_FORMAT}",
                file.spool.format()
            )
        },
    );
    check_anchors(file, found);
    Sections {
        relay_from: &file.relay_from,
        proxy_protocol: &file.proxy_protocol,
        access: &file.access,
        headers: &file.headers,
        verification: &file.verification,
        reports: &file.reports,
        filters: &file.filters,
        limits: &file.limits,
        queue: &file.queue,
    }
    .find(found);
}

fn check_anchors(file: &ConfigFile, found: &mut Findings) {
    found.require(
        file.trust_anchors.is_empty() || file.dnssec == Dnssec::Validated,
        || "trustAnchors".into(),
        || "they are for `dnssec: Validated`: say that, or leave them out".into(),
    );
    found.require(
        file.trust_anchors.len() <= MOST_ANCHORS,
        || "trustAnchors".into(),
        || {
            format!(
                "{} are too many: at most {MOST_ANCHORS}",
                file.trust_anchors.len()
            )
        },
    );
}

fn check_fleet(file: &ConfigFile, found: &mut Findings) {
    let fleet = &file.peers.fleet;
    found.require(
        fleet.len() <= MOST_PODS,
        || "peers.fleet".into(),
        || format!("{} pods are too many; name at most {MOST_PODS}", fleet.len()),
    );
    let mut names = HashSet::new();
    for (index, pod) in fleet.iter().enumerate() {
        found.require(
            !pod.name.is_empty() && names.insert(&pod.name),
            || format!("peers.fleet[{index}].name"),
            || {
                format!(
                    "`{}` is empty or given twice; name each pod once",
                    shorten(&pod.name)
                )
            },
        );
        endpoint::check(&pod.admin, || format!("peers.fleet[{index}].admin"), found);
    }
}

fn check_domains(file: &ConfigFile, found: &mut Findings) {
    found.require(
        file.domains.len() <= MOST_DOMAINS,
        || "domains".into(),
        || {
            format!(
                "{} domains are too many; serve at most {MOST_DOMAINS}",
                file.domains.len()
            )
        },
    );
    let mut names = BTreeSet::new();
    for domain in &file.domains {
        found.require(
            names.insert(&domain.name),
            || format!("domains[{}]", domain.name),
            || "is given twice; write it once".into(),
        );
        check_domain(domain, found);
    }
}

fn check_domain(domain: &Domain, found: &mut Findings) {
    dkim::check(domain, found);
    let at = |field: &str| format!("domains[{}].{field}", domain.name);
    let Some(inbound) = &domain.inbound else { return };
    let recipients = &inbound.recipients;
    let nobody =
        recipients.addresses.is_empty() && recipients.aliases.is_empty() && recipients.catch_all.is_none();
    found.require(
        recipients.mode != RecipientMode::Listed || !nobody,
        || at("inbound.recipients"),
        || "lists nobody; name addresses, aliases or a catchAll, or write mode: Any".into(),
    );
    found.require(
        recipients.mode != RecipientMode::Any
            || (recipients.addresses.is_empty() && recipients.catch_all.is_none()),
        || at("inbound.recipients"),
        || "mode Any takes every recipient; leave addresses and catchAll out".into(),
    );
    found.require(
        recipients.mode != RecipientMode::Callout || recipients.catch_all.is_none(),
        || at("inbound.recipients"),
        || "mode Callout asks the host of deliverTo for each recipient; leave catchAll out".into(),
    );
    for (index, local) in recipients.addresses.iter().enumerate() {
        found.require(
            is_local_part(local),
            || at(&format!("inbound.recipients.addresses[{index}]")),
            || wants_local_part(local),
        );
    }
    for (index, alias) in recipients.aliases.iter().enumerate() {
        found.require(
            is_local_part(&alias.name),
            || at(&format!("inbound.recipients.aliases[{index}].name")),
            || wants_local_part(&alias.name),
        );
        found.require(
            !alias.to.is_empty() && alias.to.len() <= 100 && alias.to.iter().all(|to| to.contains('@')),
            || at("inbound.recipients.aliases"),
            || format!("`{}` needs 1 to 100 full addresses in `to`", shorten(&alias.name)),
        );
    }
    let (kind, endpoint) = match &inbound.deliver_to {
        Deliver::Lmtp(endpoint) => ("lmtp", endpoint),
        Deliver::Smtp(endpoint) => ("smtp", endpoint),
    };
    endpoint::check(endpoint, || at(&format!("inbound.deliverTo.{kind}")), found);
}

/// What can stand in front of the `@` of a recipient (RFC 5321 section 4.5.3.1.1). Those that have to be written with quotes are
/// not for lists of people, but for mistakes: a whole address, or two in one entry. The schema of MailDomain has the same rule.
fn is_local_part(local: &str) -> bool {
    let is_wrong = |c: char| c == '@' || c.is_ascii_whitespace();
    (1..=64).contains(&local.chars().count()) && !local.contains(is_wrong)
}

fn wants_local_part(local: &str) -> String {
    let part = local.split('@').next().unwrap_or_default();
    let shown = shorten(local);
    if part != local && is_local_part(part) {
        format!(
            "`{shown}` is no local part; write `{}`, without the domain",
            shorten(part)
        )
    } else {
        format!("`{shown}` is no local part; write 1 to 64 characters, without white space and @")
    }
}

fn check_policy(index: usize, policy: &Policy, found: &mut Findings) {
    found.require(
        !policy.routes.is_empty(),
        || format!("policies[{index}].routes"),
        || "is empty; give at least one route".into(),
    );
    found.require(
        policy.retry.first.get().as_secs() >= 1 && policy.retry.first <= policy.retry.max,
        || format!("policies[{index}].retry"),
        || {
            format!(
                "first {} must be at least 1s and at most max {}",
                policy.retry.first, policy.retry.max
            )
        },
    );
    crate::rewriting::check(&policy.rewrite, &format!("policies[{index}].rewrite"), found);
    for (number, route) in policy.routes.iter().enumerate() {
        let at = |field: &str| format!("policies[{index}].routes[{number}].{field}");
        found.require(
            TlsMode::OF_ROUTES.contains(&route.tls),
            || at("tls"),
            || {
                let mend = TlsMode::alternatives(&TlsMode::OF_ROUTES);
                format!("{:?} is for ports; write {mend}", route.tls)
            },
        );
        credentials::check(&format!("policies[{index}].routes[{number}]"), route, found);
        limits::check_route(
            &route.limits,
            &format!("policies[{index}].routes[{number}]"),
            found,
        );
        found.require(
            route
                .hello_name
                .as_ref()
                .is_none_or(|name| name.as_str().contains('.')),
            || at("helloName"),
            || "is no full host name; write one with its domain".into(),
        );
        let is_direct = matches!(route.to, RouteTarget::Direct { .. });
        for (field, given) in [
            ("provider", route.provider.is_some()),
            ("implicitTls", route.implicit_tls),
        ] {
            found.require(
                !given || !is_direct,
                || at(field),
                || "is for smart hosts; leave it out of a direct route".into(),
            );
        }
        found.require(
            !route.implicit_tls || route.tls != TlsMode::Disabled,
            || at("implicitTls"),
            || "needs TLS; write Encrypted or Verified for tls".into(),
        );
        if let RouteTarget::SmartHosts(hosts) = &route.to {
            found.require(
                !hosts.is_empty(),
                || at("to.smartHosts"),
                || "names nobody; give at least one host, each with a name and a port".into(),
            );
            for (which, host) in hosts.iter().enumerate() {
                endpoint::check(host, || at(&format!("to.smartHosts[{which}]")), found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::{AssembleError, assemble};

    const GOOD: &str = "\
format: 1
hostname: mail.example.com
spool: {directory: /tmp/x}
tls: {certificateFile: /a, keyFile: /b}
users: [{name: alice, verifier: $argon2id$x}]
ports:
  - {name: one, address: '127.0.0.1:1', role: Submission, tls: StartTls}
  - {name: two, address: '127.0.0.1:2', role: Transfer, tls: Opportunistic}
domains:
  - name: example.com
    inbound: {recipients: {mode: Any}, deliverTo: {lmtp: {host: h, port: 24}}}
policies:
  - {name: p, routes: [{to: {direct: {}}, tls: Opportunistic}]}
";
    /// Each row: a change to the good file, and the field that the refusal must name.
    fn expect_refused(rows: &[(&str, &str, &str)]) {
        assemble(GOOD, &BTreeMap::new()).unwrap();
        for (from, to, field) in rows {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "the row {from} changes nothing");
            match assemble(&text, &BTreeMap::new()) {
                Err(AssembleError::Invalid(problems)) => {
                    assert!(
                        problems.0.iter().any(|p| p.field == *field),
                        "{from} → {to}: {problems}"
                    );
                }
                other => panic!("{from} → {to}: {other:?}"),
            }
        }
    }

    #[test]
    fn each_mistake_names_its_field() {
        expect_refused(&[
            ("name: two", "name: one", "ports[1].name"),
            ("127.0.0.1:2", "127.0.0.1:1", "ports[1].address"),
            ("tls: StartTls", "tls: Verified", "ports[0].tls"),
            (
                "role: Submission, tls: StartTls",
                "role: Submission, tls: Disabled",
                "ports[0].tls",
            ),
            ("tls: {certificateFile: /a, keyFile: /b}\n", "", "ports[0].tls"),
            ("$argon2id$x", "secret", "users[0].verifier"),
            (
                "mode: Any",
                "mode: Listed",
                "domains[example.com].inbound.recipients",
            ),
            (
                "port: 24",
                "port: 0",
                "domains[example.com].inbound.deliverTo.lmtp.port",
            ),
            (
                "  - {name: p,",
                "  - {name: p, routes: [{to: {direct: {}}, tls: Opportunistic}]}\n  - {name: p,",
                "policies[1].name",
            ),
            (
                "direct: {}",
                "smartHosts: []",
                "policies[0].routes[0].to.smartHosts",
            ),
            (
                "tls: Opportunistic}]}",
                "tls: Implicit}]}",
                "policies[0].routes[0].tls",
            ),
            (
                "tls: Opportunistic}]}",
                "tls: Disabled}], retry: {first: 9h}}",
                "policies[0].retry",
            ),
            (
                "directory: /tmp/x",
                "directory: /tmp/x, highWaterPercent: 100",
                "spool.highWaterPercent",
            ),
            (
                "directory: /tmp/x",
                "directory: /tmp/x, writeFormat: 3",
                "spool.writeFormat",
            ),
            (
                "users:",
                "limits: {messageSize: 1Ki}\nusers:",
                "limits.messageSize",
            ),
            ("users:", "limits: {connections: 0}\nusers:", "limits.connections"),
            ("users:", "queue: {lifetime: 1s}\nusers:", "queue.lifetime"),
            ("name: alice", "name: 'al\u{ad}ice'", "users[0].name"),
            ("name: alice", "name: 'al\u{1f600}ice'", "users[0].name"),
            (
                "name: alice",
                "name: 'system:serviceaccount:a:b'",
                "users[0].name",
            ),
            (
                "name: example.com",
                "name: example.com\n    dkim: {keys: [{selector: a b, key: k}]}",
                "domains[example.com].dkim.keys[0].selector",
            ),
            (
                "name: example.com",
                "name: example.com\n    dkim: {keys: [{selector: a, key: k}, {selector: A, keyFile: /k}]}",
                "domains[example.com].dkim.keys[1].selector",
            ),
            (
                "users:",
                "authentication: {serviceAccounts: {issuer: i, audience: '', keySet: k}}\nusers:",
                "authentication.serviceAccounts.audience",
            ),
            (
                "users:",
                "authentication: {serviceAccounts: {issuer: i, audience: a, keySet: k, refusedAudiences: [a]}}\nusers:",
                "authentication.serviceAccounts.refusedAudiences",
            ),
        ]);
    }

    #[test]
    fn each_mistake_of_credentials_names_its_field() {
        expect_refused(&[
            (
                "tls: Opportunistic}]}",
                "tls: Verified, credentials: {password: {user: u, password: p}}}]}",
                "policies[0].routes[0].credentials",
            ),
            (
                "direct: {}}, tls: Opportunistic}]}",
                "smartHosts: [{host: h, port: 25}]}, tls: Opportunistic, credentials: {password: {user: u, password: p}}}]}",
                "policies[0].routes[0].tls",
            ),
            (
                "direct: {}}, tls: Opportunistic}]}",
                "smartHosts: [{host: h, port: 25}]}, tls: Verified, credentials: {password: {user: '', password: p}}}]}",
                "policies[0].routes[0].credentials.password.user",
            ),
            (
                "direct: {}}, tls: Opportunistic}]}",
                "smartHosts: [{host: h, port: 25}]}, tls: Verified, credentials: {oauthClient: {user: u, clientId: c, \
                 tokenEndpoint: 'http://a.example/b', scope: s, proof: {secret: x}}}}]}",
                "policies[0].routes[0].credentials.oauthClient.tokenEndpoint",
            ),
        ]);
    }

    #[test]
    fn each_mistake_of_limits_and_trust_names_its_field() {
        expect_refused(&[
            ("users:", "queue: {delayNotice: 5s}\nusers:", "queue.delayNotice"),
            (
                "users:",
                "queue: {nullSenderLifetime: 5s}\nusers:",
                "queue.nullSenderLifetime",
            ),
            (
                "users:",
                "limits: {minimumDataRate: 2Mi}\nusers:",
                "limits.minimumDataRate",
            ),
            (
                "users:",
                "limits: {transactionTime: 5s}\nusers:",
                "limits.transactionTime",
            ),
            (
                "users:",
                "limits: {greetingDelay: 31s}\nusers:",
                "limits.greetingDelay",
            ),
            (
                "users:",
                "limits: {bufferMemory: 1Mi}\nusers:",
                "limits.bufferMemory",
            ),
            (
                "users:",
                "limits: {messagesPerConnection: 0}\nusers:",
                "limits.messagesPerConnection",
            ),
            ("users:", "reports: {from: nobody}\nusers:", "reports.from"),
            ("users:", "reports: {contact: ''}\nusers:", "reports.contact"),
            (
                "users:",
                "reports: {dmarc: {mode: Daily}}\nverification: {dmarc: {mode: Disabled}}\nusers:",
                "reports.dmarc.mode",
            ),
            (
                "users:",
                "verification: {arc: {trustedSealers: [list.example]}, dmarc: {mode: Disabled}}\nusers:",
                "verification.arc.trustedSealers",
            ),
            ("users:", "relayFrom: [0.0.0.0/0]\nusers:", "relayFrom[0]"),
            ("users:", "relayFrom: ['::/0']\nusers:", "relayFrom[0]"),
            (
                "users:",
                "proxyProtocol: {mode: Required}\nusers:",
                "proxyProtocol.trustedSources",
            ),
            (
                "users:",
                "access: {trustedPeers: [10.0.0.0/7]}\nusers:",
                "access.trustedPeers[0]",
            ),
            (
                "users:",
                "headers: {submission: {remove: [Received]}}\nusers:",
                "headers.submission.remove",
            ),
            (
                "users:",
                "headers: {transfer: {add: {'X-A:': b}}}\nusers:",
                "headers.transfer.add",
            ),
            (
                "tls: Opportunistic}]}",
                "tls: Disabled, limits: {messages: [{count: 0, per: 1s}]}}]}",
                "policies[0].routes[0].limits.messages[0].count",
            ),
            (
                "tls: Opportunistic}]}",
                "tls: Disabled, limits: {connections: 0}}]}",
                "policies[0].routes[0].limits.connections",
            ),
        ]);
    }
}
