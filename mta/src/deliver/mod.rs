//! One attempt: route plan, connection, dialogue, replies.
//!
//! ```text
//!   Plan ─► each way ─► hosts (DNS) ─► each server, each address ─► link (pooled or new) ─► transaction
//!              │            │                   │ cannot be reached, or breaks: the next one
//!              └────────────┴───────────────────┴─► Attempted: an outcome per recipient, and what it says of the site
//! ```
//!
//! Of the servers that an MX names, two are spoken to and five addresses are tried at most (as Postfix does by
//! `smtp_mx_session_limit` and `smtp_mx_address_limit`), and all of it ends in time ([`Patience::attempt`]): servers that
//! answer nothing may not hold an attempt for hours, however many of them a domain names.
//!
//! A recipient that got a verdict of a next hop is never offered to another one in the same attempt; a connection that
//! broke before the end of the data leaves its recipients to the next server.

mod body;
pub mod callout;
pub(crate) mod connect;
mod control;
mod course;
mod dane_certificate;
pub mod demand;
pub mod exchanges;
pub mod holds;
pub mod hosts;
pub mod https;
mod kept;
pub mod lanes;
mod link;
mod login;
pub mod networks;
pub mod patience;
pub mod plan;
mod policies;
mod pool;
pub mod probe;
pub mod protection;
pub mod reply;
pub mod setback;
pub mod sites;
mod spare;
pub mod sts;
pub mod telling;
pub mod tls;
pub mod tls_fault;
pub mod tls_session;
mod transaction;
mod vouchers;
mod witness;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use postroad_config::Credentials;
use postroad_config::provider::Kind;
use postroad_smtp::ByMode;
use postroad_spool::{EntryId, Item, Spool};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::control::Passing;
use self::course::Course;
use self::demand::{Demand, Terms};
use self::exchanges::{Exchangers, NoExchange};
use self::hosts::{Finder, Server};
use self::lanes::{Lane, Lanes};
use self::link::{Link, Target, Trouble};
use self::login::Key;
use self::patience::Patience;
use self::plan::{Plan, To, Way};
use self::policies::{Found, Policies};
use self::pool::Pool;
use self::protection::{Protection, Refusal};
use self::setback::Setback;
use self::sites::Sites;
use self::spare::{Spare, Taken};
use self::sts::Sts;
use self::telling::{Counter, Telling};
use self::tls::ClientTls;
use self::witness::Witness;
use crate::dns::Dns;
use crate::logins::Logins;
use crate::outcome::{Hop, Outcome};
use crate::queue::window::Feedback;
use crate::queue::{clock, rate};
use crate::seen::Seen;

/// Makes attempts; holds the connections that are still warm.
#[derive(Debug)]
pub struct Deliverer {
    spool: Spool,
    dns: Dns,
    tls: ClientTls,
    logins: Logins,
    policies: Policies,
    pool: Pool,
    spare: Spare,
    sites: Sites,
    patience: Patience,
    mx_port: u16,
    seen: Seen,
    lanes: Lanes,
    turns: Option<Arc<dyn Turns>>,
}

/// Whose turn it is at a route that fewer pods may use at once than there are.
pub trait Turns: std::fmt::Debug + Send + Sync {
    /// `None`: this pod may begin. Otherwise for how long it waits, in milliseconds.
    fn wait_for<'a>(&'a self, route: &'a str, most: u32) -> BoxFuture<'a, Option<u64>>;

    /// Whether the entry will be handed over to a pod that the route belongs to, and is not tried here.
    fn moves(&self, route: &str, most: u32, entry: EntryId) -> bool;
}

/// What the DNS says of the ways of a plan that go by MX, in their order.
#[derive(Clone, Debug, Default)]
pub struct Answers(Vec<Option<Result<Exchangers, NoExchange>>>);

impl Answers {
    /// The DNS does not answer about the first way.
    pub fn are_silent(&self) -> bool {
        matches!(self.0.first(), Some(Some(Err(NoExchange::Unknown(_)))))
    }
}

/// What is to be delivered.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// The entry.
    pub entry: EntryId,
    /// Its envelope and prefix.
    pub item: &'a Item,
    /// Octets of prefix and body.
    pub size: u64,
    /// All of them, where they are in memory.
    pub octets: Option<&'a [u8]>,
    /// Positions of the recipients.
    pub recipients: &'a [u32],
    /// Our name.
    pub hostname: &'a str,
    /// What the DNS says to be proven by DNSSEC is believed.
    pub validated: bool,
    /// It was submitted here: what steers another provider than the one that it goes to is taken out of it.
    pub submitted: bool,
}

/// What came of an attempt.
#[derive(Clone, Debug, Default)]
pub struct Attempted {
    /// One per recipient; those without one were not tried to the end and stay as they were.
    pub outcomes: Vec<(u32, Outcome)>,
    /// What it says of the site; none when no server was asked.
    pub feedback: Option<Feedback>,
    /// Why these recipients went none of the other ways either, shortly.
    pub others: Option<(Vec<u32>, String)>,
    /// The next hop was a mail store.
    pub store: bool,
    /// Recipients whose next hop had the whole message when the connection broke: they may get it twice.
    pub doubtful: u64,
    /// Time that transactions took, of all that the attempt lasted.
    pub transaction: Duration,
}

impl Deliverer {
    /// Delivers messages of `spool`. `mx_port`: port of servers that are found by MX.
    /// `sites` is told where domains lead.
    pub fn new(spool: Spool, dns: Dns, tls: ClientTls, sites: Sites, mx_port: u16) -> Self {
        Self {
            policies: Policies {
                sts: Sts::new(dns.clone(), &tls, spool.directory(), HTTPS),
                dns: dns.clone(),
                spool: spool.clone(),
                counter: None,
            },
            spool,
            logins: Logins::new(dns.clone(), tls.clone()),
            dns,
            tls,
            pool: Pool::default(),
            spare: Spare::default(),
            sites,
            patience: Patience::default(),
            mx_port,
            seen: Seen::default(),
            lanes: Lanes::default(),
            turns: None,
        }
    }

    /// The same, with what is seen on the way noted there.
    #[must_use]
    pub fn with_seen(self, seen: Seen) -> Self {
        Self { seen, ..self }
    }

    /// The same with these tokens and pauses, which others use as well.
    #[must_use]
    pub fn with_logins(self, logins: Logins) -> Self {
        Self { logins, ..self }
    }

    /// The same with policies that are fetched from another port.
    #[must_use]
    pub fn with_policy_port(mut self, port: u16) -> Self {
        self.policies.sts = Sts::new(self.dns.clone(), &self.tls, self.spool.directory(), port);
        self
    }

    /// The same, with sessions told to whoever counts them.
    #[must_use]
    pub fn with_tls_sessions(mut self, counter: Option<Counter>) -> Self {
        self.policies.counter = counter;
        self
    }

    /// The same, with routes that rest noted there.
    #[must_use]
    pub fn with_lanes(self, lanes: Lanes) -> Self {
        Self { lanes, ..self }
    }

    /// The same, which asks for turns there.
    #[must_use]
    pub fn with_turns(self, turns: Option<Arc<dyn Turns>>) -> Self {
        Self { turns, ..self }
    }

    /// The same with other bounds of waits.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Asks the DNS where the ways of a plan lead; the plan may have another site after it.
    pub async fn ask(&self, plan: &Plan, hostname: &str) -> Answers {
        let finder = self.finder(hostname);
        let mut answers = vec![];
        for way in &plan.ways {
            let To::Exchanges { domain, .. } = &way.to else {
                answers.push(None);
                continue;
            };
            if domain.starts_with('[') {
                answers.push(None);
                continue;
            }
            let answer = finder.exchangers(domain).await;
            let site = answer.as_ref().ok().map(Exchangers::site);
            self.sites.learn(domain, site, clock::now());
            answers.push(Some(answer));
        }
        Answers(answers)
    }

    /// Makes an attempt. `stop` ends it at the next point where that repeats nothing.
    pub async fn attempt(
        &self,
        plan: &Plan,
        mut answers: Answers,
        load: &Load<'_>,
        stop: &CancellationToken,
    ) -> Attempted {
        let mut course = Course::new(load.recipients.to_vec(), self.patience.attempt);
        for (number, way) in plan.ways.iter().enumerate() {
            if course.is_over() || stop.is_cancelled() {
                break;
            }
            let name = plan.route(number);
            let lane = way.habits.is_lane.then_some(Lane {
                lanes: &self.lanes,
                name: &name,
                provider: way.habits.provider,
                is_certified: matches!(way.credentials, Some(Credentials::ClientCertificate(_))),
            });
            course.takes_way();
            if let Some((until, reaction, why)) = lane.and_then(|lane| lane.resting(clock::now())) {
                course.rests(until, Outcome::resting(reaction, why));
                continue;
            }
            if let Some(wait) = self.wait_for_turn(way, &name).await {
                let why = "it is the turn of other pods at this route, which so many cannot use at once";
                let until = clock::now().saturating_add(wait);
                course.rests(until, Outcome::resting(Kind::Throttle, why));
                continue;
            }
            if let Some(most) = way.limits.message_size.filter(|most| load.size > most.0) {
                course.set_back(Setback::too_large(most.0));
                continue;
            }
            // The queue keeps the limits of the first way; of the others it does not know that they are taken.
            let taken = (number > 0).then(|| self.spare(plan, number, way, course.left.len()));
            if matches!(taken, Some(None)) {
                course.set_back(Setback::ours("the limits of the spare route are reached"));
                continue;
            }
            let known = answers.0.get_mut(number).and_then(Option::take);
            self.take((way, lane), known, load, &mut course, stop).await;
            // Others need not find out by themselves that they have to go another way.
            if let (Some(lane), Some(dead)) = (lane, course.dead_way())
                && number + 1 < plan.ways.len()
            {
                lane.is_out_of_reach(dead, &course.way.why, clock::now());
            }
        }
        course.end(stop.is_cancelled(), plan.ways.len())
    }

    fn spare(&self, plan: &Plan, number: usize, way: &Way, recipients: usize) -> Option<Taken> {
        let most = way.limits.recipients_per_transaction.unwrap_or(u32::MAX).max(1);
        let recipients = u64::try_from(recipients).unwrap_or(1);
        let load = rate::Load {
            messages: recipients.div_ceil(u64::from(most)),
            recipients,
        };
        self.spare
            .take(plan.route(number), &way.limits, load, clock::now())
    }

    /// Whether the entry, with nothing to deliver but by this plan, goes to a pod that its first route belongs to.
    pub fn moves(&self, plan: &Plan, entry: EntryId) -> bool {
        let most = plan.ways.first().and_then(Way::pods);
        let told = most.zip(self.turns.as_ref());
        told.is_some_and(|(most, turns)| turns.moves(&plan.route(0), most, entry))
    }

    /// For how long another pod's turn is waited for, in milliseconds.
    async fn wait_for_turn(&self, way: &Way, route: &str) -> Option<u64> {
        let most = way.pods()?;
        self.turns.as_ref()?.wait_for(route, most).await
    }

    fn finder<'a>(&'a self, hostname: &'a str) -> Finder<'a> {
        Finder {
            dns: &self.dns,
            hostname,
            port: self.mx_port,
        }
    }

    async fn take(
        &self,
        (way, lane): (&Way, Option<Lane<'_>>),
        known: Option<Result<Exchangers, NoExchange>>,
        load: &Load<'_>,
        course: &mut Course,
        stop: &CancellationToken,
    ) {
        let finder = self.finder(load.hostname);
        let servers = tokio::select! {
            servers = finder.find(&way.to, known, clock::draw) => servers,
            () = stop.cancelled() => return,
            () = sleep_until(course.until) => return course.is_late(None),
        };
        let servers = match servers {
            Ok(servers) => servers,
            Err(setback) => return course.set_back(setback),
        };
        let terms = Demand::of(&load.item.envelope).terms(way);
        let found = tokio::select! {
            found = self.policies.ask(way, &terms, &servers, load) => found,
            () = stop.cancelled() => return,
            () = sleep_until(course.until) => return course.is_late(None),
        };
        for terms in terms {
            self.go((way, lane), terms, (&servers, &found), load, course, stop)
                .await;
        }
    }

    /// Tries servers on these terms.
    async fn go(
        &self,
        (way, lane): (&Way, Option<Lane<'_>>),
        terms: Terms,
        (servers, found): (&[Server], &Found),
        load: &Load<'_>,
        course: &mut Course,
        stop: &CancellationToken,
    ) {
        let login = Key::of(way.credentials.as_ref());
        let (usable, refused) = allowed(way, terms, servers, found);
        let telling = self.telling(way, servers, found);
        if let Some(telling) = telling {
            telling.refused(&refused, usable.iter().map(|(server, _)| server.rank).min());
        }
        let targets = usable.iter().flat_map(|&(server, ref protection)| {
            server.addresses.iter().map(move |address| Target {
                server,
                address: *address,
                tls: protection,
                require_tls: terms.require_tls,
                hostname: way.habits.hello_name.as_deref().unwrap_or(load.hostname),
                login,
                recipients: way.limits.recipients_per_transaction,
                messages: way.limits.messages_per_connection,
                implicit_tls: way.habits.implicit_tls,
                passing: if load.submitted {
                    Passing::Of(way.habits.provider)
                } else {
                    Passing::All
                },
                rewrite: Some(&way.habits.rewrite),
                lane,
                patience: self.patience,
                seen: Some(&self.seen),
                authorities: way.habits.authorities.as_deref(),
                witness: None,
            })
        });
        let mut targets: Vec<_> = targets.collect();
        if let (true, Some(refused)) = (targets.is_empty(), set_back(way, servers, &refused)) {
            return course.set_back(refused);
        }
        // Among equals, one that is connected already.
        targets.sort_by_key(|target| (target.server.rank, !self.pool.is_warm(target)));
        let mut sessions = 0;
        for (tried, target) in targets.iter().enumerate() {
            // What the configuration names is few, and a person has chosen it.
            let is_enough = target.server.public && (tried >= MOST_ADDRESSES || sessions >= MOST_SESSIONS);
            if course.is_over() || course.way.resting || stop.is_cancelled() || is_enough {
                return;
            }
            sessions += usize::from(self.converse(target, telling, load, course, stop).await);
        }
    }

    /// What tells of sessions with these servers; none where nobody wants to know.
    fn telling<'a>(&'a self, way: &'a Way, servers: &'a [Server], found: &'a Found) -> Option<Telling<'a>> {
        match (&way.to, &self.policies.counter) {
            (To::Exchanges { domain, .. }, Some(counter)) if found.is_reported() => Some(Telling {
                counter,
                domain,
                servers,
                found,
            }),
            _ => None,
        }
    }

    /// One connection, or two when a warm one turns out to be gone. False: there was none.
    async fn converse(
        &self,
        target: &Target<'_>,
        telling: Option<Telling<'_>>,
        load: &Load<'_>,
        course: &mut Course,
        stop: &CancellationToken,
    ) -> bool {
        let by = demand::time_left(&load.item.envelope, clock::now());
        if by.is_some_and(|by| by.mode == ByMode::Return && by.seconds <= 0) {
            course.closed = true;
            course.set_back(Setback::late());
            return false;
        }
        if let Some(mut link) = self.pool.take(target) {
            if let Err(trouble) = link.promises(target, by) {
                // It is good for other messages.
                self.pool.give(target, link);
                course.trouble(target, trouble);
                return true;
            }
            match self.transact(&mut link, target, load, course, stop).await {
                Ok(()) => {
                    self.pool.give(target, link);
                    return true;
                }
                // The server may have closed it meanwhile: that says nothing, a new connection will tell.
                Err(trouble) if trouble.is_repeatable() && course.untouched() => {}
                Err(trouble) => {
                    course.trouble(target, trouble);
                    return true;
                }
            }
        }
        let opened = tokio::select! {
            opened = self.open(target, telling) => opened,
            () = stop.cancelled() => return false,
            () = sleep_until(course.until) => {
                course.is_late(Some(target));
                return false;
            }
        };
        let mut link = match opened {
            Ok(link) => link,
            Err(trouble) => {
                let spoke = !matches!(trouble, Trouble::Connect(_) | Trouble::Login(_));
                course.trouble(target, trouble);
                return spoke;
            }
        };
        if let Err(trouble) = link.promises(target, by) {
            self.pool.give(target, link);
            course.trouble(target, trouble);
            return true;
        }
        match self.transact(&mut link, target, load, course, stop).await {
            Ok(()) => self.pool.give(target, link),
            Err(trouble) => course.trouble(target, trouble),
        }
        true
    }

    async fn open(&self, target: &Target<'_>, telling: Option<Telling<'_>>) -> Result<Link, Trouble> {
        let Some(telling) = telling else {
            return login::open(target, &self.tls, &self.logins).await;
        };
        let witness = Witness::default();
        let target = Target {
            witness: Some(&witness),
            ..*target
        };
        let opened = login::open(&target, &self.tls, &self.logins).await;
        telling.opened(&target, &witness, &opened);
        opened
    }

    async fn transact(
        &self,
        link: &mut Link,
        target: &Target<'_>,
        load: &Load<'_>,
        course: &mut Course,
        stop: &CancellationToken,
    ) -> Result<(), Trouble> {
        let began = Instant::now();
        let done = transaction::run(link, &self.spool, load, target, course, stop).await;
        course.transaction += began.elapsed();
        done
    }
}

/// Servers that may be used, each with how TLS is used; and the places of the others, each with why not.
type Allowed<'a> = (Vec<(&'a Server, Protection)>, Vec<(usize, Refusal)>);

/// Which servers may be used on these terms.
fn allowed<'a>(way: &Way, terms: Terms, servers: &'a [Server], found: &Found) -> Allowed<'a> {
    let (mut usable, mut refused) = (vec![], vec![]);
    for (place, server) in servers.iter().enumerate() {
        match found.decide(place, server, &way.to, terms) {
            Ok(protection) => {
                let vouched = protection.vouched_by(way.habits.authorities.as_ref());
                usable.push((server, vouched));
            }
            Err(refusal) => refused.push((place, refusal)),
        }
    }
    (usable, refused)
}

/// Why a message goes to none of the servers.
fn set_back(way: &Way, servers: &[Server], refused: &[(usize, Refusal)]) -> Option<Setback> {
    let mut setback: Option<Setback> = None;
    for (place, refusal) in refused {
        let Some(server) = servers.get(*place) else {
            continue;
        };
        let to = match &way.to {
            To::Exchanges { domain, .. } => domain,
            To::Hosts { .. } => &server.host,
        };
        // One that may pass says more than one that will not.
        let is_final = |known: &Setback| known.outcome.verdict == crate::outcome::Verdict::Failed;
        if setback.as_ref().is_none_or(is_final) {
            let found = Setback::refused(to, &server.host, refusal);
            // A smart host does not publish what its route needs.
            let is_fault = way.habits.is_lane && *refusal == Refusal::NoDane;
            setback = Some(if is_fault { found.until_mended() } else { found });
        }
    }
    setback
}

/// Where policies of domains are (RFC 8461 section 3.3).
const HTTPS: u16 = 443;
/// Servers of an MX that are spoken to in one attempt.
const MOST_SESSIONS: usize = 2;
/// Addresses of them that are tried.
const MOST_ADDRESSES: usize = 5;

impl Target<'_> {
    fn hop(&self) -> Hop {
        Hop {
            host: self.server.host.clone(),
            address: Some(self.address.ip()),
            tls: None,
            tls_policy: self.tls.by,
        }
    }
}
