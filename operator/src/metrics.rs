//! Figures of the operator. No label holds a name or a text of an object.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Step {
    step: &'static str,
}

/// All figures.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Kind, Counter>,
    seconds: Histogram,
    writes: Family<Outcome, Counter>,
    leader: Gauge,
    rollouts: Family<Step, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("postroad_operator");
        let reconciles = Family::default();
        let seconds = Histogram::new(exponential_buckets(0.005, 2.0, 12));
        let writes = Family::default();
        let leader = Gauge::default();
        let rollouts = Family::default();
        registry.register(
            "reconciles",
            "Reconciles by kind and outcome (ok, or the category of the error)",
            reconciles.clone(),
        );
        registry.register("reconcile_seconds", "Time of a reconcile", seconds.clone());
        registry.register("writes", "Writes to the API server by outcome", writes.clone());
        registry.register("leader", "1 while this process leads", leader.clone());
        registry.register(
            "rollouts",
            "Rollouts of new pods by step (RolloutStarted, RolloutStopped, RolloutResumed, RolloutCompleted)",
            rollouts.clone(),
        );
        Self {
            registry,
            reconciles,
            seconds,
            writes,
            leader,
            rollouts,
        }
    }
}

impl Metrics {
    /// A reconcile ended.
    pub fn reconciled(&self, kind: &'static str, outcome: &'static str, seconds: f64) {
        self.reconciles.get_or_create(&Kind { kind, outcome }).inc();
        self.seconds.observe(seconds);
    }

    /// A write ended.
    pub fn wrote(&self, outcome: &'static str) {
        self.writes.get_or_create(&Outcome { outcome }).inc();
    }

    /// A rollout took a step.
    pub fn rollout(&self, step: &'static str) {
        self.rollouts.get_or_create(&Step { step }).inc();
    }

    /// Whether we lead.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}
