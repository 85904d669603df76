//! Counters and gauges of the whole daemon, in one registry, written as `OpenMetrics` text.
//!
//! ```text
//!   any part ─► metrics.accepted.inc() ─► Registry ─► Metrics::text ─► GET /metrics
//! ```
//!
//! One field per figure; a part adds a field here for what it counts. Labels are enumerations of this module: never
//! an address or a queue id, so the number of series is bounded when the daemon is built; see [`by_site`] and
//! [`standing`] for sites, and [`access`] for lists that the configuration names.
//! Figures that belong to another part (queue, seal, certificate) are written by [`Metrics::observe`] before a scrape.

pub mod access;
pub mod by_site;
pub mod filters;
pub mod reports;
mod routes;
pub mod signatures;
pub mod standing;
pub mod tls_policies;
pub mod verdicts;

use std::sync::atomic::AtomicU64;

use postroad_config::admin::State;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::deliver::lanes::Lanes;
use crate::seen::Seen;

pub use access::{Answered, Check};

/// Content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Refused {
    /// The recipient does not exist here.
    Recipient,
    /// It would be relaying, or the sender may not use that address.
    Policy,
    /// AUTH failed.
    Authentication,
    /// A limit of size, recipients, messages, connections, time or errors.
    Limit,
    /// The client broke the protocol.
    Protocol,
    /// We could not: no space, read-only, sealed, stopping, configuration incomplete.
    Unable,
}

/// How an attempt on one recipient ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// A next hop took it.
    Delivered,
    /// To be tried again.
    Deferred,
    /// Failed for good.
    Failed,
    /// Its time ran out.
    Expired,
}

/// Why a recipient may get a message twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Doubt {
    /// The next hop had the whole message, and its reply did not come: it is tried again.
    NoReply,
    /// The next hop took it, and the spool could not record that: a restart tries it again.
    Unrecorded,
}

/// What a bearer of a token, or of none, got at the admin endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Admitted {
    /// Served.
    Yes,
    /// No token, or one that does not hold.
    Unauthenticated,
    /// A good token whose role may not do that.
    Forbidden,
}

/// Which side of a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Side {
    /// Given away.
    Source,
    /// Taken over.
    Target,
}

/// Label `class` of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByClass {
    /// Why.
    pub class: Refused,
}

/// Label `outcome` of attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByOutcome {
    /// How it ended.
    pub outcome: Outcome,
}

/// Label `why` of possible duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByDoubt {
    /// Why.
    pub why: Doubt,
}

/// Label `admitted` of admin requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByAdmission {
    /// What the bearer got.
    pub admitted: Admitted,
}

/// Label `side` of the hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BySide {
    /// Source or target.
    pub side: Side,
}

/// All figures. Share it as an `Arc`.
#[derive(Debug)]
pub struct Metrics {
    /// What was seen of the network: addresses, so it is no figure of a scrape.
    pub seen: Seen,
    /// Routes that rest.
    pub lanes: Lanes,
    /// Sessions open now.
    pub sessions: Gauge,
    /// Sessions opened.
    pub sessions_opened: Counter,
    /// Messages that got 250.
    pub accepted: Counter,
    /// Octets of messages that got 250.
    pub accepted_octets: Counter,
    /// Commands refused, by class.
    pub refused: Family<ByClass, Counter>,
    /// From the end of DATA to the 250 that says it is stored.
    pub commit: Histogram,
    /// Octets that sessions hold for what is under way.
    pub buffers: Gauge<u64, AtomicU64>,
    /// The most that it may be.
    pub buffer_limit: Gauge<u64, AtomicU64>,
    /// The most that it has been.
    pub buffers_highest: Gauge<u64, AtomicU64>,
    /// Bodies that went to a file early, because memory was short.
    pub spilled: Counter,
    /// What sender authentication came to.
    pub verdicts: verdicts::Verdicts,
    /// What filters said.
    pub filters: filters::Filters,
    /// Who was let in.
    pub access: access::AccessFigures,
    /// Reports to others about their own domains.
    pub reports: reports::ReportFigures,
    /// Signatures over mail of ours.
    pub signatures: signatures::Signatures,
    /// Attempts on recipients, by how they ended.
    pub deliveries: Family<ByOutcome, Counter>,
    /// The same by site.
    pub site_deliveries: by_site::BySite,
    /// The same where a published policy about TLS decided.
    pub tls_policies: tls_policies::TlsPolicies,
    /// Recipients that may get a message twice, by why.
    pub duplicates_possible: Family<ByDoubt, Counter>,
    /// How the queue stands, taken over before a scrape.
    pub standing: standing::Standing,
    /// From the acceptance of a message to the delivery to a recipient.
    pub delivery_delay: Histogram,
    /// Notices (DSN) that were queued.
    pub notices: Counter,
    /// Entries handed over between pods, by side.
    pub handed_over: Family<BySide, Counter>,
    /// Messages that a lost spool may have delivered as well.
    pub perhaps_twice: Counter,
    /// Requests at the admin endpoint, by admission.
    pub admin_requests: Family<ByAdmission, Counter>,
    /// Configurations that could not be used.
    pub config_refused: Counter,
    queue: Gauge,
    oldest: Gauge,
    free: Gauge<u64, AtomicU64>,
    damaged: Gauge<u64, AtomicU64>,
    generation: Gauge<u64, AtomicU64>,
    certificate_expiry: Gauge,
    sealed: Gauge,
    remaining: Gauge<u64, AtomicU64>,
    accepting: Gauge,
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All figures at zero, registered.
    pub fn new() -> Self {
        let mut metrics = Self {
            seen: Seen::default(),
            lanes: Lanes::default(),
            sessions: Gauge::default(),
            sessions_opened: Counter::default(),
            accepted: Counter::default(),
            accepted_octets: Counter::default(),
            refused: Family::default(),
            // 0.5 ms to 8 s.
            commit: Histogram::new(exponential_buckets(0.0005, 2.0, 15)),
            buffers: Gauge::default(),
            buffer_limit: Gauge::default(),
            buffers_highest: Gauge::default(),
            spilled: Counter::default(),
            verdicts: verdicts::Verdicts::default(),
            filters: filters::Filters::default(),
            access: access::AccessFigures::default(),
            reports: reports::ReportFigures::default(),
            signatures: signatures::Signatures::default(),
            deliveries: Family::default(),
            site_deliveries: by_site::BySite::default(),
            tls_policies: tls_policies::TlsPolicies::default(),
            duplicates_possible: Family::default(),
            standing: standing::Standing::default(),
            // 1 s to 3 days.
            delivery_delay: Histogram::new(exponential_buckets(1.0, 4.0, 10)),
            notices: Counter::default(),
            handed_over: Family::default(),
            perhaps_twice: Counter::default(),
            admin_requests: Family::default(),
            config_refused: Counter::default(),
            queue: Gauge::default(),
            oldest: Gauge::default(),
            free: Gauge::default(),
            damaged: Gauge::default(),
            generation: Gauge::default(),
            certificate_expiry: Gauge::default(),
            sealed: Gauge::default(),
            remaining: Gauge::default(),
            accepting: Gauge::default(),
            registry: Registry::with_prefix("postroad_mta"),
        };
        metrics.register_mail();
        metrics.verdicts.register(&mut metrics.registry);
        metrics.filters.register(&mut metrics.registry);
        metrics.access.register(&mut metrics.registry);
        metrics.reports.register(&mut metrics.registry);
        metrics.signatures.register(&mut metrics.registry);
        metrics.tls_policies.register(&mut metrics.registry);
        let routes = routes::Routes(metrics.lanes.clone());
        metrics.registry.register_collector(Box::new(routes));
        metrics.register_buffers();
        metrics.register_state();
        metrics
    }

    fn register_mail(&mut self) {
        let to = &mut self.registry;
        to.register("sessions", "SMTP sessions open now", self.sessions.clone());
        to.register(
            "sessions_opened",
            "SMTP sessions opened",
            self.sessions_opened.clone(),
        );
        to.register(
            "accepted_messages",
            "Messages stored and answered with 250",
            self.accepted.clone(),
        );
        to.register_with_unit(
            "accepted",
            "Octets of messages stored and answered with 250",
            Unit::Bytes,
            self.accepted_octets.clone(),
        );
        to.register("refused", "Commands refused, by class", self.refused.clone());
        to.register_with_unit(
            "commit",
            "Time from the end of a message to its 250",
            Unit::Seconds,
            self.commit.clone(),
        );
        to.register(
            "deliveries",
            "Attempts on recipients, by outcome",
            self.deliveries.clone(),
        );
        to.register_collector(Box::new(self.site_deliveries.clone()));
        // An alert asks for the increase: a counter that is born with its first event has not increased.
        for why in [Doubt::NoReply, Doubt::Unrecorded] {
            drop(self.duplicates_possible.get_or_create(&ByDoubt { why }));
        }
        to.register(
            "duplicates_possible",
            "Recipients that may get a message twice",
            self.duplicates_possible.clone(),
        );
        to.register_with_unit(
            "delivery_delay",
            "Time from the acceptance of a message to its delivery to a recipient",
            Unit::Seconds,
            self.delivery_delay.clone(),
        );
        to.register(
            "notices",
            "Delivery status notifications queued",
            self.notices.clone(),
        );
        to.register(
            "handed_over",
            "Entries handed over between pods, by side",
            self.handed_over.clone(),
        );
        to.register(
            "perhaps_twice",
            "Messages taken over from or for a lost volume, which it may have delivered as well",
            self.perhaps_twice.clone(),
        );
        to.register(
            "admin_requests",
            "Requests at the admin endpoint",
            self.admin_requests.clone(),
        );
        to.register(
            "config_refused",
            "Configurations that could not be used",
            self.config_refused.clone(),
        );
    }

    fn register_buffers(&mut self) {
        let to = &mut self.registry;
        to.register_with_unit(
            "buffers",
            "Octets that sessions hold for what is under way",
            Unit::Bytes,
            self.buffers.clone(),
        );
        to.register_with_unit(
            "buffers_limit",
            "The most that it may be",
            Unit::Bytes,
            self.buffer_limit.clone(),
        );
        to.register_with_unit(
            "buffers_highest",
            "The most that it has been since the start",
            Unit::Bytes,
            self.buffers_highest.clone(),
        );
        to.register(
            "spilled_bodies",
            "Bodies that went to a file early, because memory was short",
            self.spilled.clone(),
        );
    }

    fn register_state(&mut self) {
        let to = &mut self.registry;
        to.register(
            "queue_messages",
            "Entries that the spool answers for",
            self.queue.clone(),
        );
        to.register_collector(Box::new(self.standing.clone()));
        to.register_with_unit(
            "queue_oldest_age",
            "Age of the oldest entry, 0 when there is none",
            Unit::Seconds,
            self.oldest.clone(),
        );
        to.register_with_unit(
            "spool_free",
            "Octets free on the volume",
            Unit::Bytes,
            self.free.clone(),
        );
        to.register(
            "spool_damaged",
            "Places and entries found damaged",
            self.damaged.clone(),
        );
        to.register(
            "config_generation",
            "Generation of the configuration in use",
            self.generation.clone(),
        );
        to.register_with_unit(
            "certificate_expiry_timestamp",
            "End of validity of the served certificate, seconds since 1970",
            Unit::Seconds,
            self.certificate_expiry.clone(),
        );
        to.register("sealed", "1 while the spool is sealed", self.sealed.clone());
        to.register(
            "drain_remaining",
            "Entries still to go from a sealed spool",
            self.remaining.clone(),
        );
        to.register(
            "accepting",
            "1 while new sessions are served",
            self.accepting.clone(),
        );
    }

    /// Counts a refusal.
    pub fn refuse(&self, class: Refused) {
        self.refused.get_or_create(&ByClass { class }).inc();
    }

    /// Counts an attempt on a recipient.
    pub fn deliver(&self, outcome: Outcome) {
        self.deliveries.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// Counts recipients that may get a message twice.
    pub fn doubt(&self, why: Doubt, recipients: u64) {
        if recipients > 0 {
            self.duplicates_possible
                .get_or_create(&ByDoubt { why })
                .inc_by(recipients);
        }
    }

    /// Counts entries that changed pods.
    pub fn hand_over(&self, side: Side, entries: u64) {
        self.handed_over.get_or_create(&BySide { side }).inc_by(entries);
    }

    /// Counts a request at the admin endpoint.
    pub fn admit(&self, admitted: Admitted) {
        self.admin_requests.get_or_create(&ByAdmission { admitted }).inc();
    }

    /// Takes over the figures of other parts. `now`: seconds since 1970.
    pub fn observe(&self, state: &State, now: i64) {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.queue.set(signed(state.queue.messages));
        self.oldest.set(
            state
                .queue
                .oldest
                .map_or(0, |oldest| now.saturating_sub(oldest).max(0)),
        );
        self.free.set(state.queue.free_bytes);
        self.damaged.set(state.queue.damaged);
        self.generation.set(state.config.generation);
        self.certificate_expiry
            .set(state.certificate.as_ref().map_or(0, |served| served.not_after));
        self.sealed.set(i64::from(state.seal.is_some()));
        self.remaining
            .set(state.seal.as_ref().map_or(0, |seal| seal.remaining));
        self.accepting.set(i64::from(state.accepting));
    }

    /// The `OpenMetrics` text.
    ///
    /// Errors: none in practice; formatting into a string cannot fail.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::with_capacity(8 << 10);
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use postroad_config::admin::{ConfigState, QueueState, SealState};

    use super::*;

    /// What an alert of the chart takes the increase of is told as 0 by a server at which nothing happened yet.
    #[test]
    fn counters_of_alerts_begin_at_zero() {
        let text = Metrics::new().text().unwrap();
        for figure in [
            "dkim_unsigned_total{cause=\"Message\"}",
            "dkim_unsigned_total{cause=\"Unable\"}",
            "duplicates_possible_total{why=\"NoReply\"}",
            "duplicates_possible_total{why=\"Unrecorded\"}",
            "config_refused_total",
        ] {
            assert!(
                text.contains(&format!("\npostroad_mta_{figure} 0\n")),
                "{figure}: {text}"
            );
        }
    }

    fn state() -> State {
        State {
            boot_id: "b".into(),
            version: "0".into(),
            spool: "s".into(),
            config: ConfigState {
                generation: 7,
                ..Default::default()
            },
            queue: QueueState {
                messages: 3,
                oldest: Some(1_000),
                free_bytes: 5,
                ..Default::default()
            },
            seal: Some(SealState {
                number: 1,
                remaining: 3,
                ..Default::default()
            }),
            not_accepting: "sealed".into(),
            ..State::default()
        }
    }

    #[test]
    fn figures_appear_in_the_text_with_bounded_labels() {
        let metrics = Metrics::new();
        metrics.accepted.inc();
        metrics.refuse(Refused::Policy);
        metrics.deliver(Outcome::Deferred);
        metrics.hand_over(Side::Source, 4);
        metrics.commit.observe(0.002);
        let text = metrics.text().unwrap();
        for line in [
            "postroad_mta_accepted_messages_total 1",
            "postroad_mta_refused_total{class=\"Policy\"} 1",
            "postroad_mta_deliveries_total{outcome=\"Deferred\"} 1",
            "postroad_mta_handed_over_total{side=\"Source\"} 4",
            "postroad_mta_commit_seconds_count 1",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_reference_lists_each_figure_and_no_other() {
        let metrics = Metrics::new();
        metrics.refuse(Refused::Policy);
        verdicts::sample(&metrics.verdicts);
        let took = std::time::Duration::from_millis(2);
        metrics
            .filters
            .count(filters::Kind::Milter, filters::Verdict::Failed, took);
        let algorithm = postroad_verify::dkim::Algorithm::RsaSha256;
        metrics.signatures.made(&[algorithm]);
        metrics.signatures.omitted(&crate::signing::NoSignature::CutShort);
        metrics.access.deny(Check::Deny);
        metrics
            .access
            .listed("list.example", &crate::access::blocklist::Word::NotListed);
        metrics.access.asked(Answered::Here);
        metrics.deliver(Outcome::Deferred);
        metrics.site_deliveries.count("mx:a", Outcome::Deferred);
        metrics
            .tls_policies
            .count(crate::deliver::protection::By::Dane, Outcome::Deferred);
        metrics.doubt(Doubt::NoReply, 1);
        metrics.hand_over(Side::Source, 1);
        metrics.admit(Admitted::Yes);
        metrics
            .reports
            .ended(crate::reports::Kind::Dmarc, reports::End::Queued);
        metrics.reports.left_out(crate::reports::Kind::Dmarc, 1);
        let text = metrics.text().unwrap();
        let page = include_str!("../../../docs/reference/metrics.md");
        let mut count = 0;
        for figure in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = figure.split_once(' ').unwrap();
            assert!(page.contains(&format!("| `{name}` | {kind} |")), "{name} {kind}");
            count += 1;
        }
        assert_eq!(page.matches("| `postroad_mta_").count(), count);
    }

    #[test]
    fn the_age_of_the_oldest_entry_counts_from_its_arrival_and_never_below_zero() {
        let metrics = Metrics::new();
        metrics.observe(&state(), 1_060);
        let text = metrics.text().unwrap();
        assert!(
            text.contains("postroad_mta_queue_oldest_age_seconds 60"),
            "{text}"
        );
        assert!(text.contains("postroad_mta_sealed 1"), "{text}");
        assert!(text.contains("postroad_mta_config_generation 7"), "{text}");
        metrics.observe(&state(), 10);
        assert!(
            metrics
                .text()
                .unwrap()
                .contains("postroad_mta_queue_oldest_age_seconds 0")
        );
    }
}
