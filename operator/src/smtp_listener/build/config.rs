//! The configuration of the pods: one base file and the shards of the domains, rendered and read back. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use postroad_config::{
    AdminApi, AdminSection, AssembleError, Authentication, ConfigFile, Domain, FORMAT, LoginSecret, Peers,
    Policy, Review, ServiceAccounts, ShardFile, SpoolSection, TlsSection, TlsSource, TokenAuthority,
    TokenRole, TokenRule, User, assemble, assemble_onto, hash, render, shard_of,
};
use postroad_crds::conditions::reason;

use super::certificates::Pair;
use super::room::{TooLarge, room};
use super::share::shared;
use crate::smtp_listener::names::{ADMIN_PORT, Names, QUEUE_MOUNT, TOKEN_MOUNT};
use crate::smtp_listener::validate::Valid;

/// All that goes into the configuration.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// Names of the listener's children.
    pub names: &'a Names,
    /// The parsed spec.
    pub valid: &'a Valid,
    /// Users.
    pub users: Vec<User>,
    /// `loginSecret`.
    pub login_secret: Option<LoginSecret>,
    /// Certificate of the ports.
    pub tls: Option<Pair>,
    /// Authority of the admin endpoints (certificate only is used), and their leaf.
    pub authority: &'a Pair,
    /// Leaf of the admin endpoints.
    pub leaf: &'a Pair,
    /// Issuer and key set of the cluster's ServiceAccount tokens.
    pub issuer: Issuer,
    /// `system:serviceaccount:…` of the operator.
    pub operator: String,
    /// Attached domains.
    pub domains: Vec<Domain>,
    /// Attached policies, in rank order.
    pub policies: Vec<Policy>,
    /// Those of them that stay as they were written last, by name: their limits are shared out already.
    pub kept_policies: BTreeSet<String>,
    /// Pods that send: those that are wanted and those that still leave.
    pub pods: u32,
    /// What is said of other pods.
    pub peers: Peers,
    /// `spool.writeFormat`.
    pub spool_format: Option<u32>,
    /// Who is asked whether a token was revoked.
    pub review: Option<Review>,
}

/// Issuer of the cluster's ServiceAccount tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Issuer {
    /// `iss`.
    pub issuer: String,
    /// JSON Web Key Set.
    pub key_set: String,
    /// Audiences of the API server: a token that opens the API opens nothing here.
    pub api_audiences: Vec<String>,
}

/// Rendered files.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The base file.
    pub base: String,
    /// Its hash: the name of the whole set.
    pub hash: String,
    /// Its generation.
    pub generation: u64,
    /// Shards by number; those without domains are not there.
    pub shards: BTreeMap<u8, String>,
    /// All of it, read back.
    pub set: Arc<ConfigFile>,
    /// A file that has little room left: a sentence.
    pub nearly_full: Option<String>,
}

/// Why there are no files.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// It could not be written as YAML.
    #[error("the configuration cannot be written: {0}")]
    Write(String),
    /// It was refused when it was read back. The one that runs stays.
    #[error("the configuration is refused: {0}")]
    Refused(#[from] AssembleError),
    /// A file does not fit into its Secret. The one that runs stays.
    #[error("the configuration does not fit: {0}")]
    TooLarge(#[from] TooLarge),
}

impl RenderError {
    /// Reason of the condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Write(_) | Self::Refused(_) => reason::INVALID,
            Self::TooLarge(_) => reason::CONFIG_TOO_LARGE,
        }
    }
}

/// Renders the files, and reads them back as a pod does. `before`: the base file that is there now; its generation is
/// kept when nothing else changed, and counted up otherwise. `known`: what `before` and its shards say, where it was read already;
/// `live`: the text of a shard that is there now. Shards whose domains are those that are known are not written anew: of thousands
/// of domains few change.
pub fn rendered(
    mut parts: Parts<'_>,
    before: Option<&str>,
    known: Option<&Arc<ConfigFile>>,
    live: &dyn Fn(u8) -> Option<String>,
) -> Result<Rendered, RenderError> {
    let domains = std::mem::take(&mut parts.domains);
    let shards = shards(&domains, known.map(|known| &**known), live)?;
    let last = before.and_then(generation_of).unwrap_or(0);
    let mut file = base(parts, &shards);
    file.generation = last;
    let mut text = render(&file).map_err(RenderError::Write)?;
    if before != Some(text.as_str()) {
        file.generation = last + 1;
        text = render(&file).map_err(RenderError::Write)?;
    }
    let set = match known.filter(|_| before == Some(text.as_str())) {
        Some(known) => Arc::clone(known),
        None => Arc::new(assemble_onto(&text, &shards, known.map(|known| &**known))?.file),
    };
    Ok(Rendered {
        set,
        nearly_full: room(&text, &shards, &domains)?,
        hash: hash(&text),
        base: text,
        generation: file.generation,
        shards,
    })
}

/// The generation in a base file, without trust in the rest of it.
fn generation_of(base: &str) -> Option<u64> {
    let line = base.lines().find_map(|line| line.strip_prefix("generation:"))?;
    line.trim().parse().ok()
}

/// Files that were written before, if they are whole and readable.
pub fn read(base: &str, shards: &BTreeMap<u8, String>) -> Option<ConfigFile> {
    assemble(base, shards).map(|set| set.file).ok()
}

fn shards(
    domains: &[Domain],
    known: Option<&ConfigFile>,
    live: &dyn Fn(u8) -> Option<String>,
) -> Result<BTreeMap<u8, String>, RenderError> {
    let before = known.map(|known| by_shard(&known.domains)).unwrap_or_default();
    let is_known = |number: &u8, text: &String| {
        let named = known.and_then(|known| known.shards.get(number));
        named.is_some_and(|named| hash(text) == *named)
    };
    let file = |number: u8, domains: Vec<&Domain>| {
        if before.get(&number) == Some(&domains)
            && let Some(text) = live(number).filter(|text| is_known(&number, text))
        {
            return Ok((number, text));
        }
        let domains = domains.into_iter().cloned().collect();
        let format = FORMAT;
        let text = render(&ShardFile { format, domains }).map_err(RenderError::Write)?;
        Ok((number, text))
    };
    let all = by_shard(domains).into_iter();
    all.map(|(number, domains)| file(number, domains)).collect()
}

/// Each sorted by name.
fn by_shard(domains: &[Domain]) -> BTreeMap<u8, Vec<&Domain>> {
    let mut found: BTreeMap<u8, Vec<&Domain>> = BTreeMap::new();
    for domain in domains {
        found.entry(shard_of(&domain.name)).or_default().push(domain);
    }
    for domains in found.values_mut() {
        domains.sort_by(|a, b| a.name.cmp(&b.name));
    }
    found
}

fn base(parts: Parts<'_>, shards: &BTreeMap<u8, String>) -> ConfigFile {
    let Parts {
        names,
        valid,
        users,
        login_secret,
        tls,
        authority,
        leaf,
        issuer,
        operator,
        domains: _,
        policies,
        kept_policies,
        pods,
        peers,
        spool_format,
        review,
    } = parts;
    let any = |port: u16| std::net::SocketAddr::from(([0_u16; 8], port));
    let rule = |audience, subject, role| TokenRule {
        audience,
        subject,
        role,
    };
    let account = format!("system:serviceaccount:{}:{}", names.namespace, names.account());
    let administrator = format!(
        "system:serviceaccount:{}:{}",
        names.namespace,
        names.admin_account()
    );
    ConfigFile {
        format: FORMAT,
        generation: 0,
        hostname: valid.hostname.clone(),
        spool: SpoolSection {
            directory: format!("{QUEUE_MOUNT}/spool").into(),
            high_water_percent: valid.high_water_percent,
            write_format: spool_format,
        },
        ports: valid.ports.clone(),
        tls: tls.map(|pair| TlsSection {
            source: TlsSource::Inline {
                certificate: pair.certificate,
                key: pair.key,
            },
            minimum_version: valid.minimum_version,
        }),
        users,
        authentication: Authentication {
            service_accounts: valid.service_accounts.then(|| ServiceAccounts {
                issuer: issuer.issuer.clone(),
                audience: names.submission_audience(),
                key_set: issuer.key_set.clone(),
                refused_audiences: issuer.api_audiences.clone(),
                review,
            }),
        },
        login_secret,
        channel_binding: valid.channel_binding,
        relay_from: valid.relay_from.clone(),
        proxy_protocol: valid.proxy_protocol.clone(),
        access: valid.access.clone(),
        headers: valid.headers.clone(),
        verification: valid.verification.clone(),
        reports: valid.reports.clone(),
        filters: valid.filters.clone(),
        limits: valid.limits,
        queue: valid.queue,
        resolvers: valid.resolvers.clone(),
        dnssec: valid.dnssec,
        trust_anchors: valid.trust_anchors.clone(),
        domains: Vec::new(),
        shards: shards
            .iter()
            .map(|(number, text)| (*number, hash(text)))
            .collect(),
        policies: shared(policies, pods, &kept_policies),
        admin: AdminSection {
            health: Some(any(8080)),
            api: names.admin_name().parse().ok().map(|server_name| AdminApi {
                address: any(ADMIN_PORT),
                certificate: leaf.certificate.clone(),
                key: leaf.key.clone(),
                authorities: authority.certificate.clone(),
                server_name,
                tokens: TokenAuthority {
                    refused_audiences: issuer.api_audiences,
                    issuer: issuer.issuer,
                    key_set: issuer.key_set,
                    rules: vec![
                        rule(names.admin_audience(), operator, TokenRole::Operator),
                        rule(names.admin_audience(), administrator, TokenRole::Admin),
                        rule(names.peer_audience(), account, TokenRole::Peer),
                    ],
                },
                peer_token_file: Some(format!("{TOKEN_MOUNT}/token").into()),
            }),
        },
        peers,
    }
}

#[cfg(test)]
mod tests {
    use postroad_config::TlsVersion;

    use super::*;
    use crate::smtp_listener::build::certificates;

    fn domain(name: &str) -> Domain {
        Domain {
            name: name.parse().unwrap(),
            inbound: None,
            senders: vec![],
            dkim: postroad_config::Dkim::default(),
        }
    }

    fn valid() -> Valid {
        let spec = serde_json::json!({
            "hostname": "mail.example.com", "queue": {"storage": {"size": "1Gi"}},
            "ports": [{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Disabled"}],
        });
        crate::smtp_listener::validate::validate(&serde_json::from_value(spec).unwrap()).unwrap()
    }

    fn render_with(domains: Vec<Domain>, before: Option<&str>) -> Rendered {
        render_onto(domains, before, None, &|_| None)
    }

    fn render_onto(
        domains: Vec<Domain>,
        before: Option<&str>,
        known: Option<&Arc<ConfigFile>>,
        live: &dyn Fn(u8) -> Option<String>,
    ) -> Rendered {
        let names = Names {
            namespace: "mail".into(),
            listener: "edge".into(),
        };
        let pair = Pair {
            certificate: "c".into(),
            key: "k".into(),
        };
        let (valid, issuer) = (
            valid(),
            Issuer {
                issuer: "https://issuer".into(),
                key_set: "{}".into(),
                api_audiences: vec!["https://api".into()],
            },
        );
        let parts = Parts {
            names: &names,
            valid: &valid,
            users: vec![],
            login_secret: None,
            tls: None,
            authority: &pair,
            leaf: &pair,
            issuer,
            operator: "system:serviceaccount:sys:op".into(),
            domains,
            policies: vec![],
            kept_policies: BTreeSet::new(),
            pods: 1,
            peers: Peers::default(),
            spool_format: None,
            review: None,
        };
        rendered(parts, before, known, live).unwrap()
    }

    #[test]
    fn shards_that_are_known_are_not_written_anew_and_come_to_the_same() {
        let three = || vec![domain("a.example"), domain("b.example"), domain("c.example")];
        let first = render_with(three(), None);
        let base = Some(first.base.as_str());
        let asked = std::cell::RefCell::new(Vec::new());
        let live = |number| {
            asked.borrow_mut().push(number);
            first.shards.get(&number).cloned()
        };
        // The order in which domains come is not theirs in the file.
        let mut next = vec![domain("d.example")];
        next.extend(three());
        let found = render_onto(next.clone(), base, Some(&first.set), &live);
        assert_eq!(found, render_with(next, base));
        let changed = shard_of(&"d.example".parse().unwrap());
        let asked = asked.into_inner();
        assert!(!asked.is_empty() && !asked.contains(&changed), "{asked:?}");
        // What somebody wrote into a shard is no text of ours.
        let spoilt = |_| Some("format: 1\ndomains: []\n".to_owned());
        let found = render_onto(three(), base, Some(&first.set), &spoilt);
        assert_eq!(found, first);
    }

    #[test]
    fn the_generation_counts_changes_and_nothing_else() {
        let first = render_with(vec![domain("a.example")], None);
        assert_eq!(first.generation, 1);
        let unknown = ["writeFormat", "loginSecret"].map(|field| first.base.contains(field));
        assert_eq!(unknown, [false; 2], "a pod that knows neither reads the file");
        let same = render_with(vec![domain("a.example")], Some(&first.base));
        assert_eq!(same, first);
        let other = render_with(vec![domain("a.example"), domain("b.example")], Some(&first.base));
        assert_eq!(other.generation, 2);
        assert_ne!(other.hash, first.hash);
    }

    #[test]
    fn what_is_rendered_reads_back_as_one_set() {
        let rendered = render_with(vec![domain("b.example"), domain("a.example")], None);
        let set = assemble(&rendered.base, &rendered.shards).unwrap();
        assert_eq!(set.hash, rendered.hash);
        assert_eq!(set.file.domains.len(), 2);
        let api = set.file.admin.api.unwrap();
        assert_eq!(api.server_name.as_str(), "edge-peers.mail.svc");
        assert_eq!(
            api.tokens.rules[1].subject,
            "system:serviceaccount:mail:edge-admin"
        );
    }

    #[test]
    fn tokens_of_service_accounts_are_taken_where_the_listener_says_so() {
        let pair = Pair {
            certificate: "c".into(),
            key: "k".into(),
        };
        let names = Names {
            namespace: "mail".into(),
            listener: "edge".into(),
        };
        let render = |valid: &Valid| {
            let parts = Parts {
                names: &names,
                valid,
                users: vec![],
                login_secret: None,
                tls: None,
                authority: &pair,
                leaf: &pair,
                issuer: Issuer {
                    issuer: "https://issuer".into(),
                    key_set: "{}".into(),
                    api_audiences: vec!["https://api".into(), "https://issuer".into()],
                },
                operator: "o".into(),
                domains: vec![],
                policies: vec![],
                kept_policies: BTreeSet::new(),
                pods: 1,
                peers: Peers::default(),
                spool_format: None,
                review: Some(Review {
                    address: "10.0.0.1:8443".parse().unwrap(),
                    server_name: "review.edge".parse().unwrap(),
                    authorities: "c".into(),
                }),
            };
            let rendered = rendered(parts, None, None, &|_| None).unwrap();
            assemble(&rendered.base, &rendered.shards).unwrap().file
        };
        let mut valid = valid();
        assert_eq!(render(&valid).authentication, Authentication::default());
        valid.service_accounts = true;
        let file = render(&valid);
        let accounts = file.authentication.service_accounts.unwrap();
        assert_eq!(accounts.audience, "smtp.postroad.dev/mail/edge");
        assert_eq!(accounts.refused_audiences, ["https://api", "https://issuer"]);
        assert_eq!(accounts.review.unwrap().address.to_string(), "10.0.0.1:8443");
        assert_eq!(
            file.admin.api.unwrap().tokens.refused_audiences,
            accounts.refused_audiences
        );
    }

    #[test]
    fn certificates_of_the_ports_reach_the_file() {
        let pair = certificates::self_signed("mail.example.com", 1_800_000_000).unwrap();
        let names = Names {
            namespace: "mail".into(),
            listener: "edge".into(),
        };
        let valid = Valid {
            minimum_version: TlsVersion::Tls13,
            ..valid()
        };
        let parts = Parts {
            names: &names,
            valid: &valid,
            users: vec![],
            login_secret: Some(LoginSecret::new("0123456789abcdef".repeat(2))),
            tls: Some(pair.clone()),
            authority: &pair,
            leaf: &pair,
            issuer: Issuer::default(),
            operator: "o".into(),
            domains: vec![],
            policies: vec![],
            kept_policies: BTreeSet::new(),
            pods: 1,
            peers: Peers::default(),
            spool_format: Some(2),
            review: None,
        };
        let rendered = rendered(parts, None, None, &|_| None).unwrap();
        let set = assemble(&rendered.base, &rendered.shards).unwrap();
        assert_eq!(set.file.spool.format(), 2);
        let secret = set.file.login_secret.unwrap();
        assert_eq!(secret.octets(), b"0123456789abcdef0123456789abcdef");
        assert_eq!(
            set.file.tls,
            Some(TlsSection {
                source: TlsSource::Inline {
                    certificate: pair.certificate,
                    key: pair.key
                },
                minimum_version: TlsVersion::Tls13,
            })
        );
    }
}
