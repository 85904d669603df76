//! Figures of the operator. No label holds a name or a text of an object. `docs/reference/metrics.md` lists them.

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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ready {
    kind: &'static str,
    ready: &'static str,
}

/// All figures.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Kind, Counter>,
    seconds: Histogram,
    writes: Family<Outcome, Counter>,
    leader: Gauge,
    rollouts: Family<Step, Counter>,
    objects: Family<Ready, Gauge>,
    failing: Gauge,
}

/// All steps of a rollout.
const STEPS: [&str; 4] = [
    "RolloutStarted",
    "RolloutStopped",
    "RolloutResumed",
    "RolloutCompleted",
];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("postroad_operator");
        let reconciles = Family::default();
        let seconds = Histogram::new(exponential_buckets(0.005, 2.0, 12));
        let writes = Family::default();
        let leader = Gauge::default();
        let rollouts = Family::<Step, Counter>::default();
        let objects = Family::default();
        let failing = Gauge::default();
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
        registry.register(
            "objects",
            "Objects by kind and what their condition Ready says (True, False, Unknown; Unreadable = cannot be parsed)",
            objects.clone(),
        );
        registry.register(
            "failing",
            "Objects whose reconcile failed three times in a row or more, and which are tried later and later",
            failing.clone(),
        );
        // What an alert asks the increase of starts at 0: a counter that is born with its first event has not increased.
        for step in STEPS {
            drop(rollouts.get_or_create(&Step { step }));
        }
        Self {
            registry,
            reconciles,
            seconds,
            writes,
            leader,
            rollouts,
            objects,
            failing,
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

    /// How many objects of a kind say this of themselves.
    pub fn objects(&self, kind: &'static str, ready: &'static str, count: usize) {
        let gauge = self.objects.get_or_create(&Ready { kind, ready });
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many objects fail again and again.
    pub fn failing(&self, count: usize) {
        self.failing.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an alert of the chart takes the increase of is told as 0 by an operator at which nothing happened yet.
    #[test]
    fn steps_of_rollouts_begin_at_zero() {
        let text = Metrics::default().text();
        for step in STEPS {
            let line = format!("\npostroad_operator_rollouts_total{{step=\"{step}\"}} 0\n");
            assert!(text.contains(&line), "{step}: {text}");
        }
    }

    #[test]
    fn the_reference_lists_each_figure_and_no_other() {
        let metrics = Metrics::default();
        metrics.reconciled("SmtpListener", "ok", 0.1);
        metrics.wrote("ok");
        metrics.rollout("RolloutStarted");
        metrics.objects("SmtpListener", "True", 1);
        metrics.failing(1);
        metrics.leads(true);
        let page = include_str!("../../docs/reference/metrics.md");
        let text = metrics.text();
        let figures: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .collect();
        for figure in &figures {
            let (name, kind) = figure.split_once(' ').unwrap();
            assert!(page.contains(&format!("| `{name}` | {kind} |")), "{name} {kind}");
        }
        assert_eq!(page.matches("| `postroad_operator_").count(), figures.len());
    }
}
