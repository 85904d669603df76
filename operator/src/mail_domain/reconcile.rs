//! One look at a domain: is it valid, is it its own, do its listeners serve it, what does DNS say. IO; the decisions are in
//! [`super::status`], [`super::records`] and [`crate::dns::judge`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use postroad_config::{Domain, DomainName};
use postroad_crds::conditions::{self, NewCondition, set_condition};
use postroad_crds::mail_domain::{Check as Wish, Checks, DkimStatus, DmarcPolicy, DomainDmarc, RecordStatus};
use postroad_crds::{MailDomain, MailDomainStatus, SmtpListener};
use postroad_verify::dmarc::Policy;

use super::keys;
use super::records::{self, Row};
use super::signing::Held;
use super::standing::Signing;
use super::status::{Check, Obstacle, Severity, Stated, conditions as decide, types};
use super::{events, pace, proof, providers, tls_records, validate};
use crate::apply;
use crate::attached;
use crate::context::Ctx;
use crate::dns::exchange::Trouble;
use crate::dns::judge::{self, DkimWanted, DmarcWanted, Judgement, MxWanted, ProofWanted, Ruling, SpfWanted};
use crate::dns::resolver::Server;
use crate::dns::{Resolver, resolver, spf};
use crate::error::Error;
use crate::rendered::was_served;
use crate::smtp_listener::validate as listeners;
use crate::tenancy::Door;

/// Judges a domain and says so in its status.
pub async fn reconcile(object: Arc<MailDomain>, ctx: Arc<Ctx>) -> Result<Action, Error> {
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let now = Timestamp::now();
    let listeners = listeners_of(&object, &ctx);
    let obstacles = obstacles(&object, &listeners, &ctx);
    let found = listeners.serving;
    let rows_before = rows(&object);
    let mut checks = Vec::new();
    let mut rows_now = Vec::new();
    let (mut signing, mut proven) = (None, None);
    if let Ok(domain) = validate::validate(&object.spec) {
        let gathered = keys::gather(&object, &ctx).await?;
        let held = gathered.as_ref().map_or(&[][..], |gathered| &gathered.keys);
        let severities = Severities::of(&object, &domain, held);
        let for_providers = {
            let known = ctx.policies.state();
            let policies: Vec<_> = known.iter().filter_map(|known| known.0.as_ref().ok()).collect();
            providers::records(&object, domain.name.as_str(), &found, &policies)
        };
        let includes = providers::includes(&for_providers, domain.name.as_str());
        let asked = Asked {
            severities: &severities,
            keys: held,
            includes: &includes,
        };
        let mut judgements = judge_all(&object, &domain, &asked, &found, &ctx).await;
        let mut ruling = None;
        if listeners.asks_for_proof {
            let judgement = judge_proof(&object, &domain.name, &ctx).await;
            ruling = Some(judgement.ruling);
            judgements.push((types::OWNERSHIP_PROVEN, Severity::Advised, judgement));
        }
        let known = object.status.as_ref().and_then(|status| status.proof.as_ref());
        proven = proof::next(known, &domain.name, ruling, now);
        for (condition, severity, judgement) in judgements {
            let row = records::row(&judgement, before(&rows_before, &judgement), now);
            let message = records::message(&judgement, &row);
            checks.push(Check {
                condition,
                severity,
                last: row.last(),
                message,
                judgement,
            });
            rows_now.push(row);
        }
        if severities.dkim.is_none() {
            // Not asked for, and to be published all the same.
            rows_now.extend(held.iter().map(|key| {
                let unasked = judge::unasked(&key.name(domain.name.as_str()), key.expected());
                records::row(&unasked, before(&rows_before, &unasked), now)
            }));
        }
        let hostnames = hostnames(&found);
        let unasked = tls_records::sts_wanted(&object, domain.name.as_str(), &hostnames);
        if let Some(wanted) = unasked.filter(|_| severities.mta_sts.is_none()) {
            let policy = wanted.policy_row();
            rows_now.push(records::row(&policy, before(&rows_before, &policy), now));
        }
        rows_now.extend(
            providers::judgements(&for_providers, domain.name.as_str())
                .iter()
                .map(|shown| records::row(shown, providers::before(&rows_before, shown), now)),
        );
        signing = gathered.map(|gathered| {
            let required = wishes(&object).dkim == Wish::Required;
            Signing::new(&object, domain.name.as_str(), gathered, &checks, required, now)
        });
    }
    let keys = signing.as_ref().map(|signing| &signing.keys);
    let stated = decide(&obstacles, &checks, keys);
    let dkim = signing.as_ref().and_then(|signing| signing.status.clone());
    let mut next = status(&object, &stated, &rows_now, dkim, now);
    next.proof = proven;
    events::tell(&object, &next, &ctx).await;
    write(&object, &next, &ctx).await?;
    let mut again = pause(&object, &obstacles, &checks, &rows_now, now);
    if let Some(wait) = signing.and_then(|signing| signing.wait) {
        again = again.min(wait);
    }
    Ok(Action::requeue(again))
}

fn before<'a>(rows: &'a [Row], judgement: &Judgement) -> Option<&'a Row> {
    rows.iter()
        .find(|row| row.kind == judgement.kind && row.name == judgement.name)
}

fn pause(
    object: &MailDomain,
    obstacles: &[Obstacle],
    checks: &[Check],
    rows: &[Row],
    now: Timestamp,
) -> Duration {
    if obstacles
        .iter()
        .any(|obstacle| matches!(obstacle, Obstacle::Pending(_) | Obstacle::ListenersMissing(_)))
    {
        // Listeners wake us when they take it up, or come: this is for what nobody tells.
        return pace::next_look(Some(underway_for(object, now)), &object.uid().unwrap_or_default());
    }
    let wrong = checks
        .iter()
        .zip(rows)
        .filter(|(check, _)| check.judgement.ruling != Ruling::True);
    let lasting = wrong
        .map(|(_, row)| now.duration_since(row.since).unsigned_abs())
        .max();
    pace::next_look(lasting, &object.uid().unwrap_or_default())
}

/// How long an object has been on its way.
fn underway_for(object: &MailDomain, now: Timestamp) -> Duration {
    let status = object.status.as_ref();
    let mut known = status.into_iter().flat_map(|status| &status.conditions);
    let since =
        known.find(|condition| condition.type_ == conditions::RECONCILING && condition.status == "True");
    since.map_or(Duration::ZERO, |since| {
        now.duration_since(since.last_transition_time.0).unsigned_abs()
    })
}

/// The listeners that an object names.
#[derive(Default)]
struct Listeners {
    /// Those that are there and let it in.
    serving: Vec<SmtpListener>,
    /// What those say that do not let it in.
    closed: Vec<String>,
    /// Names of those that are not there.
    missing: Vec<String>,
    /// One of them asks for a proof of the domain.
    asks_for_proof: bool,
}

fn listeners_of(object: &MailDomain, ctx: &Ctx) -> Listeners {
    let namespace = object.namespace().unwrap_or_default();
    let name = validate::validate(&object.spec).map(|domain| domain.name);
    let labels = |namespace: &str| ctx.labels_of(namespace);
    let mut all = Listeners::default();
    for reference in &object.spec.listener_refs {
        let Some(listener) = ctx.listener(&namespace, reference) else {
            all.missing.push(reference.shown());
            continue;
        };
        let door = Door::new(&listener, &labels);
        if let Ok(name) = &name {
            all.asks_for_proof |= door.asks_for_proof(&namespace, name);
        }
        let judged = name
            .as_ref()
            .map(|name| door.domain_may(&namespace, name, proof::holds(object, name)));
        match judged {
            Ok(Err(sentence)) => all.closed.push(sentence),
            _ => all.serving.push(listener),
        }
    }
    all
}

fn obstacles(object: &MailDomain, listeners: &Listeners, ctx: &Ctx) -> Vec<Obstacle> {
    let mut list = Vec::new();
    if let Err(invalid) = validate::validate(&object.spec)
        .map(drop)
        .and_then(|()| validate::resolvers(&object.spec).map(drop))
    {
        list.push(Obstacle::Invalid {
            field: invalid.field,
            sentence: invalid.sentence,
        });
        return list;
    }
    if let Some(sentence) = listeners.closed.first() {
        list.push(Obstacle::NotPermitted(sentence.clone()));
    }
    let all = ctx.all_domains();
    let labels = |namespace: &str| ctx.labels_of(namespace);
    let doors: Vec<Door<'_>> = listeners
        .serving
        .iter()
        .map(|listener| Door::new(listener, &labels))
        .collect();
    let winner = attached::domain_winner(object, &doors, &all);
    // Who lost is in no configuration, and waits for none.
    let waits = winner.is_none();
    if let Some((listener, winner)) = winner {
        list.push(Obstacle::Conflict {
            domain: object.spec.domain.clone(),
            listener,
            winner,
        });
    }
    if !listeners.missing.is_empty() {
        list.push(Obstacle::ListenersMissing(listeners.missing.clone()));
    }
    let line = attached::domain_line(object);
    let is_confirmed = |door: &Door<'_>| {
        let known = ctx.rendered.holds(door.listener(), &line);
        known.unwrap_or_else(|| was_served(object))
    };
    let pending: Vec<String> = doors
        .iter()
        .filter(|door| waits && !is_confirmed(door))
        .map(|door| door.name().to_owned())
        .collect();
    if !pending.is_empty() {
        list.push(Obstacle::Pending(pending));
    }
    list
}

fn wishes(object: &MailDomain) -> Checks {
    object
        .spec
        .dns
        .clone()
        .unwrap_or_default()
        .checks
        .unwrap_or_default()
}

/// How much each record matters; none: it is not asked for.
struct Severities {
    mx: Option<Severity>,
    spf: Option<Severity>,
    dkim: Option<Severity>,
    dmarc: Option<Severity>,
    mta_sts: Option<Severity>,
    tls_rpt: Option<Severity>,
    dane: Option<Severity>,
}

impl Severities {
    fn of(object: &MailDomain, domain: &Domain, keys: &[Held]) -> Self {
        let wishes = wishes(object);
        Self {
            mx: severity(wishes.mx).filter(|_| domain.inbound.is_some()),
            spf: severity(wishes.spf),
            dkim: severity(wishes.dkim).filter(|_| !keys.is_empty()),
            dmarc: severity(wishes.dmarc).filter(|_| object.spec.dmarc.is_some()),
            mta_sts: severity(wishes.mta_sts).filter(|_| object.spec.mta_sts.is_some()),
            tls_rpt: severity(wishes.tls_rpt).filter(|_| object.spec.tls_rpt.is_some()),
            dane: severity(wishes.dane).filter(|_| domain.inbound.is_some()),
        }
    }
}

/// What the DNS is asked about.
struct Asked<'a> {
    severities: &'a Severities,
    keys: &'a [Held],
    /// See [`SpfWanted::includes`].
    includes: &'a [&'a str],
}

async fn judge_all(
    object: &MailDomain,
    domain: &Domain,
    asked: &Asked<'_>,
    found: &[SmtpListener],
    ctx: &Ctx,
) -> Vec<(&'static str, Severity, Judgement)> {
    let Severities {
        mx,
        spf: spf_wish,
        dkim,
        dmarc,
        mta_sts,
        tls_rpt,
        dane,
    } = *asked.severities;
    if [mx, spf_wish, dkim, dmarc, mta_sts, tls_rpt, dane]
        .iter()
        .all(Option::is_none)
    {
        return Vec::new();
    }
    let name = domain.name.as_str();
    let given = validate::resolvers(&object.spec).unwrap_or_default();
    let resolver = if given.is_empty() {
        ctx.resolver.clone()
    } else {
        ctx.resolver.with_upstream(&given)
    };
    let servers = if given.is_empty() {
        resolver.authorities(name).await
    } else {
        Ok(resolver::named_servers(&given))
    };
    let hostnames = hostnames(found);
    let mut list = Vec::new();
    if let Some(severity) = mx {
        let seen = match &servers {
            Ok(servers) => Ok(resolver.observe(servers, name, crate::dns::MX).await),
            Err(trouble) => Err(trouble.clone()),
        };
        let wanted = MxWanted {
            domain: name,
            hostnames: &hostnames,
        };
        list.push((types::MX_VALID, severity, judge::mx(&wanted, &seen)));
    }
    if let Some(severity) = spf_wish {
        let egress = egress(found);
        let helo = hostnames.first().map_or(name, String::as_str);
        let seen = match &servers {
            Ok(servers) => Ok(spf::observe(&resolver, servers, name, helo, &egress).await),
            Err(trouble) => Err(trouble.clone()),
        };
        let sends = !domain.senders.is_empty();
        let wanted = SpfWanted {
            domain: name,
            egress: &egress,
            sends,
            hostnames: &hostnames,
            includes: asked.includes,
        };
        list.push((types::SPF_VALID, severity, judge::spf(&wanted, &seen)));
    }
    if let Some(severity) = dkim {
        for key in asked.keys {
            let name = key.name(name);
            let seen = match &servers {
                Ok(servers) => Ok(resolver.observe(servers, &name, crate::dns::TXT).await),
                Err(trouble) => Err(trouble.clone()),
            };
            let wanted = DkimWanted {
                name: &name,
                record: &key.record,
            };
            list.push((types::DKIM_VALID, severity, judge::dkim(&wanted, &seen)));
        }
    }
    if let (Some(severity), Some(given)) = (dmarc, &object.spec.dmarc) {
        let judgement = judge_dmarc(given, name, &resolver, &servers).await;
        list.push((types::DMARC_VALID, severity, judgement));
    }
    list.extend(
        tls_records::judge_all(
            object,
            (name, &hostnames),
            (mta_sts, tls_rpt),
            (&resolver, &ctx.policy_hosts),
            &servers,
        )
        .await,
    );
    if let Some(severity) = dane {
        let named = servers.as_deref().ok().filter(|_| !given.is_empty());
        list.extend(tls_records::judge_dane((name, found), severity, &resolver, named).await);
    }
    list
}

async fn judge_dmarc(
    given: &DomainDmarc,
    domain: &str,
    resolver: &Resolver,
    servers: &Result<Vec<Server>, Trouble>,
) -> Judgement {
    let name = format!("_dmarc.{domain}");
    let seen = match servers {
        Ok(servers) => Ok(resolver.observe(servers, &name, crate::dns::TXT).await),
        Err(trouble) => Err(trouble.clone()),
    };
    let wanted = DmarcWanted {
        name: &name,
        policy: match given.policy {
            DmarcPolicy::None => Policy::None,
            DmarcPolicy::Quarantine => Policy::Quarantine,
            DmarcPolicy::Reject => Policy::Reject,
        },
        report_to: &given.report_to,
    };
    judge::dmarc(&wanted, &seen)
}

fn hostnames(found: &[SmtpListener]) -> Vec<String> {
    found
        .iter()
        .map(|listener| listener.spec.hostname.to_ascii_lowercase())
        .collect()
}

/// Asks the name servers of the domain themselves: a resolver that the object names would prove whatever its owner likes.
async fn judge_proof(object: &MailDomain, domain: &DomainName, ctx: &Ctx) -> Judgement {
    let (name, uid) = (proof::record(domain), object.uid().unwrap_or_default());
    let seen = match ctx.resolver.authorities(domain.as_str()).await {
        Ok(servers) => Ok(ctx.resolver.observe(&servers, &name, crate::dns::TXT).await),
        Err(trouble) => Err(trouble),
    };
    let wanted = ProofWanted {
        name: &name,
        uid: &uid,
    };
    judge::proof(&wanted, &seen)
}

fn severity(wish: Wish) -> Option<Severity> {
    match wish {
        Wish::Required => Some(Severity::Required),
        Wish::Advised => Some(Severity::Advised),
        Wish::Ignored => None,
    }
}

fn egress(found: &[SmtpListener]) -> Vec<IpAddr> {
    let networks: Vec<_> = found
        .iter()
        .filter_map(|listener| listeners::validate(&listener.spec).ok())
        .flat_map(|valid| valid.egress)
        .collect();
    spf::samples(&networks)
}

fn rows(object: &MailDomain) -> Vec<Row> {
    let read = |record: &RecordStatus| {
        Some(Row {
            name: record.name.clone(),
            kind: record.type_.clone(),
            expected: record.expected.clone(),
            observed: record.observed.clone(),
            verdict: match record.verdict.as_str() {
                "True" => Ruling::True,
                "False" => Ruling::False,
                _ => Ruling::Unknown,
            },
            server: record.server.clone(),
            since: record.since.parse().ok()?,
        })
    };
    object
        .status
        .iter()
        .flat_map(|status| &status.records)
        .filter_map(read)
        .collect()
}

fn status(
    object: &MailDomain,
    stated: &[Stated],
    rows: &[Row],
    dkim: Option<DkimStatus>,
    now: Timestamp,
) -> MailDomainStatus {
    let generation = object.metadata.generation;
    let mut next = object.status.clone().unwrap_or_default();
    next.observed_generation = generation;
    next.dkim = dkim;
    next.conditions
        .retain(|known| stated.iter().any(|stated| stated.condition == known.type_));
    for one in stated {
        let value = match one.status {
            Ruling::True => Some(true),
            Ruling::False => Some(false),
            Ruling::Unknown => None,
        };
        let condition = NewCondition::new(one.condition, value, one.reason, one.message.clone());
        set_condition(&mut next.conditions, condition, generation, now);
    }
    next.records = rows
        .iter()
        .map(|row| RecordStatus {
            name: row.name.clone(),
            type_: row.kind.clone(),
            expected: row.expected.clone(),
            observed: row.observed.clone(),
            verdict: row.verdict.to_string(),
            server: row.server.clone(),
            since: row.since.to_string(),
        })
        .collect();
    next
}

async fn write(object: &MailDomain, next: &MailDomainStatus, ctx: &Ctx) -> Result<(), Error> {
    let value = |status: &MailDomainStatus| {
        serde_json::to_value(status).map_err(|error| Error::Made(error.to_string()))
    };
    let before = object.status.as_ref().map(value).transpose()?;
    apply::status(ctx, object, before.as_ref(), &value(next)?).await
}

/// Kept so that the names of the two modules cannot drift apart.
const _: () = assert!(
    same(types::MX_VALID, conditions::MX_VALID)
        && same(types::SPF_VALID, conditions::SPF_VALID)
        && same(types::OWNERSHIP_PROVEN, conditions::OWNERSHIP_PROVEN)
        && same(types::DKIM_VALID, conditions::DKIM_VALID)
        && same(types::DKIM_KEYS_CURRENT, conditions::DKIM_KEYS_CURRENT)
        && same(types::DMARC_VALID, conditions::DMARC_VALID)
        && same(types::MTASTS_VALID, conditions::MTASTS_VALID)
        && same(types::TLSRPT_VALID, conditions::TLSRPT_VALID)
        && same(types::DANE_VALID, conditions::DANE_VALID)
);

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}
