//! Self-tests of a listener: does it relay for strangers, does it see its clients, is it who it says, can mail leave.
//!
//! ```text
//!   reconcile ─► conditions of the last round (pure: relay, clients, egress, port25)
//!             └► a round is due? ─► a task beside it: nodes, what the pods have seen, DNS, the relay test by one pod
//! ```
//!
//! A reconcile never waits for a round. A round is made every minute; DNS is asked and the test made every ten, or every minute
//! while something is wrong. Nobody is talked to but the pods, the published addresses of the listener itself, and DNS. An Unknown
//! never blocks `Ready`.

pub mod clients;
pub mod egress;
pub mod known;
pub mod port25;
pub mod relay;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use hickory_resolver::proto::rr::RecordType;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use postroad_config::admin::{NetworkState, RelayTest};
use postroad_crds::SmtpListener;
use postroad_crds::conditions::{
    CLIENT_IP_PRESERVED, EGRESS_IDENTIFIED, NewCondition, PORT_25_REACHABLE, RELAY_PROTECTED, reason,
};
use postroad_crds::smtp_listener::ServiceType;

use super::admin::Fleet;
use super::gather::{self, Children};
use super::names::Names;
use super::prepare::Prepared;
use super::validate::Valid;
use crate::context::Ctx;
use crate::dns::Resolver;
use crate::dns::exchange::{Found, addresses, names as names_of};
use known::{Known, Place};

/// What a round found.
#[derive(Clone, Debug, Default)]
struct Round {
    known: Known,
    pods: Vec<(String, NetworkState)>,
    dns: egress::Dns,
    test: relay::Test,
    /// A published address was there to be tested.
    is_published: bool,
    /// When DNS was asked and the test made.
    whole: Option<Instant>,
    /// Of what they were made.
    about: String,
}

/// The last rounds, by the uid of the listener.
#[derive(Default)]
pub struct Rounds(Mutex<HashMap<String, Kept>>);

#[derive(Default)]
struct Kept {
    /// When the last one began.
    began: Option<Instant>,
    is_under_way: bool,
    last: Option<Arc<Round>>,
}

impl Rounds {
    /// Begins a round, where one is due.
    fn begin(&self, uid: &str) -> bool {
        let mut rounds = self.lock();
        let kept = rounds.entry(uid.to_owned()).or_default();
        let is_due = kept.began.is_none_or(|began| began.elapsed() >= EVERY);
        if kept.is_under_way || !is_due {
            return false;
        }
        kept.is_under_way = true;
        kept.began = Some(Instant::now());
        true
    }

    fn end(&self, uid: &str, round: Round) {
        let mut rounds = self.lock();
        // Listeners that went are not looked at any more.
        rounds.retain(|_, kept| kept.began.is_some_and(|began| began.elapsed() < FORGOTTEN));
        if let Some(kept) = rounds.get_mut(uid) {
            // The first ones find pods that have just started.
            let is_settled = round.test != relay::Test::Due || !round.is_published;
            kept.is_under_way = false;
            kept.began = if is_settled { kept.began } else { None };
            kept.last = Some(Arc::new(round));
        }
    }

    fn last(&self, uid: &str) -> Option<Arc<Round>> {
        self.lock().get(uid).and_then(|kept| kept.last.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nodes as they were listed last; absent where they may not be.
pub type Nodes = tokio::sync::Mutex<Option<(Instant, Option<Vec<Place>>)>>;

/// What a round is about.
struct Subject {
    uid: String,
    names: Names,
    valid: Valid,
    authority: String,
    pods: Vec<Pod>,
    published: Vec<String>,
    is_balanced: bool,
    test: RelayTest,
    ports: Vec<(u16, postroad_config::Port)>,
}

/// The conditions of the last round; begins the next one where it is due. `prepared`: absent where the newest spec cannot be used.
pub fn look(
    listener: &SmtpListener,
    names: &Names,
    valid: Option<&Valid>,
    children: &Children,
    prepared: Option<&Prepared>,
    ctx: &Arc<Ctx>,
) -> Vec<NewCondition> {
    let (Some(valid), Some(uid)) = (valid, listener.uid()) else {
        return Vec::new();
    };
    if listener.spec.replicas == 0 {
        return asleep();
    }
    if let Some(prepared) = prepared
        && ctx.self_tests.begin(&uid)
    {
        let subject = subject(listener, names, valid, children, prepared, uid.clone());
        tokio::spawn(run(subject, Arc::clone(ctx)));
    }
    let round = ctx.self_tests.last(&uid).unwrap_or_default();
    conditions(listener, valid, &round, Timestamp::now())
}

/// Without pods there is nothing to find out.
fn asleep() -> Vec<NewCondition> {
    [
        RELAY_PROTECTED,
        CLIENT_IP_PRESERVED,
        EGRESS_IDENTIFIED,
        PORT_25_REACHABLE,
    ]
    .map(|kind| NewCondition::new(kind, None, reason::SCALED_TO_ZERO, "no pod is wanted"))
    .to_vec()
}

fn conditions(listener: &SmtpListener, valid: &Valid, round: &Round, now: Timestamp) -> Vec<NewCondition> {
    let service = listener.spec.service.as_ref();
    let outside = service.is_some_and(|service| service.type_ != ServiceType::ClusterIP);
    let egress = egress::known(&valid.egress, &round.pods);
    let is_published = round.is_published || round.whole.is_none();
    vec![
        relay::condition(&valid.relay_from, &round.known, is_published, &round.test),
        clients::condition(outside, &round.known, &round.pods),
        egress::condition(valid.hostname.as_str(), &egress, &round.dns),
        port25::condition(&round.pods, now),
    ]
}

fn subject(
    listener: &SmtpListener,
    names: &Names,
    valid: &Valid,
    children: &Children,
    prepared: &Prepared,
    uid: String,
) -> Subject {
    let numbers = listener
        .spec
        .ports
        .iter()
        .filter_map(|port| u16::try_from(port.port).ok());
    let is_serving = |pod: &&Pod| gather::is_ready(pod) && names.ordinal(&pod.name_any()).is_some();
    let service = listener.spec.service.as_ref();
    Subject {
        uid,
        names: names.clone(),
        authority: prepared.authority.clone(),
        pods: children.pods.iter().filter(is_serving).cloned().collect(),
        published: prepared.addresses.clone(),
        is_balanced: service.is_some_and(|service| service.type_ == ServiceType::LoadBalancer),
        test: RelayTest {
            targets: Vec::new(),
            names: relay::names(&valid.hostname, &prepared.domains),
        },
        ports: numbers.zip(valid.ports.iter().cloned()).collect(),
        valid: valid.clone(),
    }
}

async fn run(subject: Subject, ctx: Arc<Ctx>) {
    let last = ctx.self_tests.last(&subject.uid).unwrap_or_default();
    let round = match tokio::time::timeout(LONGEST, round(&subject, &last, &ctx)).await {
        Ok(round) => round,
        Err(_) => Round {
            test: relay::Test::Failed("it took too long".to_owned()),
            ..Round::clone(&last)
        },
    };
    ctx.self_tests.end(&subject.uid, round);
}

async fn round(subject: &Subject, last: &Round, ctx: &Ctx) -> Round {
    let nodes = nodes(ctx).await;
    let resolver = ctx.resolver.with_upstream(&subject.valid.resolvers);
    let published = published(&subject.published, &resolver).await;
    let balancers: &[IpAddr] = if subject.is_balanced { &published } else { &[] };
    let known = Known::of(nodes.as_deref(), &subject.pods, balancers);
    let access = access(subject, ctx).await;
    let pods = match &access {
        Ok(access) => seen(subject, access).await,
        Err(_) => Vec::new(),
    };
    let mut test = subject.test.clone();
    let ports: Vec<_> = subject
        .ports
        .iter()
        .map(|(number, port)| (*number, port))
        .collect();
    test.targets = relay::targets(&published, &ports);
    let egress = egress::known(&subject.valid.egress, &pods);
    let about = format!("{test:?} {egress:?} {}", subject.valid.hostname);
    let mut round = Round {
        known,
        pods,
        is_published: !test.targets.is_empty(),
        ..Round::clone(last)
    };
    // Nobody serves yet: the next round is made at once.
    if subject.pods.is_empty() {
        return round;
    }
    let helo = subject.valid.hostname.as_str();
    let is_good = last.test.is_good() && egress::condition(helo, &egress, &last.dns).status != Some(false);
    let lasts = if is_good { WHOLE } else { EVERY };
    let is_fresh = last.whole.is_some_and(|whole| whole.elapsed() < lasts) && last.about == about;
    if is_fresh {
        return round;
    }
    round.dns = dns(helo, &egress, &resolver).await;
    round.test = tested(subject, &test, access.as_ref()).await;
    round.whole = Some(Instant::now());
    round.about = about;
    round
}

async fn access(subject: &Subject, ctx: &Ctx) -> Result<Fleet, String> {
    let (namespace, account) = (&ctx.args.pod_namespace, &ctx.args.service_account);
    let audience = subject.names.admin_audience();
    let token = ctx.tokens.get(&ctx.client, namespace, account, &audience).await;
    let token = token.map_err(|error| error.to_string())?;
    Fleet::new(&subject.authority, &subject.names.admin_name(), token).map_err(|error| error.to_string())
}

/// What each pod has seen; nothing of those that cannot be asked, or are of a version that does not look.
async fn seen(subject: &Subject, access: &Fleet) -> Vec<(String, NetworkState)> {
    let asked = subject.pods.iter().map(async |pod| {
        let address = gather::admin_address(pod)?;
        match access.network(&address).await {
            Ok(state) => Some((pod.name_any(), state)),
            Err(error) => {
                tracing::debug!(pod = pod.name_any(), %error, "it did not say what it has seen");
                None
            }
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// The first pod that can tests the addresses for all.
async fn tested(subject: &Subject, test: &RelayTest, access: Result<&Fleet, &String>) -> relay::Test {
    let access = match access {
        Ok(access) => access,
        Err(why) => return relay::Test::Failed(why.clone()),
    };
    if test.targets.is_empty() || subject.pods.is_empty() {
        return relay::Test::Due;
    }
    let mut why = "no pod has an address".to_owned();
    for address in subject.pods.iter().take(2).filter_map(gather::admin_address) {
        match access.relay_test(&address, test).await {
            Ok(tested) => return relay::Test::Done(tested),
            Err(error) => why = error.to_string(),
        }
    }
    relay::Test::Failed(why)
}

/// Addresses that are published; names are looked up, as load balancers of some clouds have nothing else.
async fn published(given: &[String], resolver: &Resolver) -> Vec<IpAddr> {
    let mut list: Vec<IpAddr> = Vec::new();
    for text in given.iter().take(MOST_PUBLISHED) {
        match text.parse() {
            Ok(address) => list.push(address),
            Err(_) => list.extend(forward(text, resolver).await.unwrap_or_default()),
        }
    }
    list.sort();
    list.dedup();
    list
}

async fn dns(helo: &str, egress: &egress::Egress, resolver: &Resolver) -> egress::Dns {
    if egress.addresses.is_empty() {
        return egress::Dns::default();
    }
    let reverse = egress.addresses.iter().map(async |address| {
        let name = postroad_verify::spf::reverse_name(*address);
        let seen = match resolver.recursive(&name, RecordType::PTR).await {
            Ok(Found::Records(records)) => Ok(names_of(&records)),
            Ok(_) => Ok(Vec::new()),
            Err(trouble) => Err(trouble.to_string()),
        };
        (*address, seen)
    });
    egress::Dns {
        forward: Some(forward(helo, resolver).await),
        reverse: join_all(reverse).await.into_iter().collect(),
    }
}

/// A and AAAA. Errors: one of them could not be asked.
async fn forward(name: &str, resolver: &Resolver) -> Result<Vec<IpAddr>, String> {
    let mut list = Vec::new();
    for kind in [RecordType::A, RecordType::AAAA] {
        match resolver.recursive(name, kind).await {
            Ok(Found::Records(records)) => list.extend(addresses(&records)),
            Ok(_) => {}
            Err(trouble) => return Err(trouble.to_string()),
        }
    }
    Ok(list)
}

/// Nodes are listed every five minutes: their addresses hardly ever change, and the rest of them always does.
async fn nodes(ctx: &Ctx) -> Option<Vec<Place>> {
    let mut kept = ctx.nodes.lock().await;
    if let Some((since, nodes)) = &*kept
        && since.elapsed() < NODES
    {
        return nodes.clone();
    }
    let api: Api<Node> = Api::all(ctx.client.clone());
    let nodes = match api.list(&ListParams::default()).await {
        Ok(list) => Some(list.items.iter().flat_map(known::node).collect()),
        Err(error) => {
            tracing::debug!(%error, "nodes cannot be listed");
            None
        }
    };
    *kept = Some((Instant::now(), nodes.clone()));
    nodes
}

const EVERY: Duration = Duration::from_mins(1);
const WHOLE: Duration = Duration::from_mins(10);
const NODES: Duration = Duration::from_mins(5);
const LONGEST: Duration = Duration::from_secs(90);
const FORGOTTEN: Duration = Duration::from_hours(1);
const MOST_PUBLISHED: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_round_at_a_time_and_not_more_than_one_a_minute() {
        let rounds = Rounds::default();
        assert!(rounds.begin("a") && rounds.begin("b"));
        assert!(!rounds.begin("a"), "one is under way");
        let done = Round {
            test: relay::Test::Done(Vec::new()),
            is_published: true,
            ..Round::default()
        };
        rounds.end("a", done);
        assert!(!rounds.begin("a"), "it is not due");
        assert!(rounds.last("a").is_some() && rounds.last("b").is_none());
    }

    #[test]
    fn a_round_that_could_test_nothing_yet_is_made_again() {
        let rounds = Rounds::default();
        assert!(rounds.begin("a"));
        let early = Round {
            is_published: true,
            ..Round::default()
        };
        rounds.end("a", early);
        assert!(rounds.begin("a"), "no pod served then");
    }
}
