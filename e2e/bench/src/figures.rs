//! Figures: what was measured, by test, series and server; medians, ratios, percentiles. Plain values, no IO.

use std::time::Duration;

use serde_json::{Value, json};

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The figure, in the unit of its [`Figure`].
    pub value: f64,
    /// Share of the machine's processors that the generator (and our sink) used meanwhile, where that was measured.
    pub generator: Option<f64>,
    /// The same of the server.
    pub server: Option<f64>,
}

/// All samples of one server in one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// `B1` to `B12`.
    pub test: &'static str,
    /// Where in the test: `["sessions", "10"]`; empty for a test with one series.
    pub series: Vec<&'static str>,
    /// Whose it is.
    pub server: &'static str,
    /// What it counts: `/s`, `MiB`, …
    pub unit: &'static str,
    /// One for each round.
    pub samples: Vec<Sample>,
}

impl Figure {
    /// The middle sample's value.
    pub fn median(&self) -> f64 {
        median(self.samples.iter().map(|sample| sample.value))
    }

    /// The smallest and the largest value.
    pub fn range(&self) -> (f64, f64) {
        let values = || self.samples.iter().map(|sample| sample.value);
        (
            values().fold(f64::INFINITY, f64::min),
            values().fold(0.0, f64::max),
        )
    }

    /// Medians of the processor shares: generator, server.
    pub fn shares(&self) -> (Option<f64>, Option<f64>) {
        let middle = |of: fn(&Sample) -> Option<f64>| {
            let known: Vec<_> = self.samples.iter().filter_map(of).collect();
            (!known.is_empty()).then(|| median(known))
        };
        (middle(|sample| sample.generator), middle(|sample| sample.server))
    }
}

/// Everything that a run measured.
#[derive(Clone, Debug, Default)]
pub struct Figures(pub Vec<Figure>);

impl Figures {
    /// Adds a sample to its series.
    pub fn add(
        &mut self,
        (test, series): (&'static str, &[&'static str]),
        server: &'static str,
        unit: &'static str,
        sample: Sample,
    ) {
        let known = self
            .0
            .iter_mut()
            .find(|figure| figure.test == test && figure.series == series && figure.server == server);
        match known {
            Some(figure) => figure.samples.push(sample),
            None => self.0.push(Figure {
                test,
                series: series.to_vec(),
                server,
                unit,
                samples: vec![sample],
            }),
        }
    }

    /// A series of one server.
    pub fn get(&self, test: &str, series: &[&str], server: &str) -> Option<&Figure> {
        self.0
            .iter()
            .find(|figure| figure.test == test && figure.series == series && figure.server == server)
    }

    /// `{"B1": {"sessions": {"1": {"postroad": N, …}}}, "B2": {"postroad": N}}` of medians.
    pub fn json(&self) -> Value {
        let mut root = json!({});
        for figure in &self.0 {
            let mut at = &mut root;
            for step in std::iter::once(&figure.test).chain(&figure.series) {
                at = &mut at[*step]; // made an object where it is not yet
            }
            at[figure.server] = json!(rounded(figure.median()));
        }
        root
    }
}

/// Three significant places are more than a shared machine can promise.
fn rounded(value: f64) -> f64 {
    if value.abs() >= 100.0 {
        value.round()
    } else {
        (value * 1_000.0).round() / 1_000.0
    }
}

/// The middle of some values; of an even number, the mean of the two in the middle. 0 for none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<_> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// The value that this many of a thousand do not exceed; the times are sorted by it.
pub fn per_mille(times: &mut [Duration], rank: usize) -> Duration {
    times.sort_unstable();
    let at = (times.len() * rank).div_ceil(1_000).saturating_sub(1);
    times.get(at).copied().unwrap_or_default()
}

/// Events per second.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn rate(events: u64, took: Duration) -> f64 {
    events as f64 / took.as_secs_f64().max(1e-9)
}

/// Octets in MiB.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn mebibytes(octets: u64) -> f64 {
    octets as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(value: f64) -> Sample {
        Sample {
            value,
            generator: Some(0.5),
            server: None,
        }
    }

    #[test]
    fn medians_and_percentiles_are_those_of_the_sorted_values() {
        let is = |values: &[f64], middle: f64| (median(values.iter().copied()) - middle).abs() < 1e-9;
        assert!(is(&[3.0, 1.0, 2.0], 2.0) && is(&[4.0, 1.0, 2.0, 3.0], 2.5) && is(&[], 0.0));
        let mut times: Vec<_> = (1..=1_000).rev().map(Duration::from_micros).collect();
        assert_eq!(per_mille(&mut times, 990), Duration::from_micros(990));
        assert_eq!(per_mille(&mut times, 1_000), Duration::from_millis(1));
        assert_eq!(per_mille(&mut [], 990), Duration::ZERO);
    }

    #[test]
    fn json_has_a_level_for_each_step_of_a_series() {
        let mut figures = Figures::default();
        for value in [1_000.4, 1_200.0, 900.0] {
            figures.add(("B1", &["sessions", "10"]), "postroad", "/s", sample(value));
        }
        figures.add(("B1", &["pipelined"]), "postfix", "/s", sample(7.0));
        figures.add(("B2", &[]), "postroad", "/s", sample(5.0));
        assert_eq!(
            figures.json(),
            json!({
                "B1": {"sessions": {"10": {"postroad": 1000.0}}, "pipelined": {"postfix": 7.0}},
                "B2": {"postroad": 5.0},
            })
        );
        let figure = figures.get("B1", &["sessions", "10"], "postroad").unwrap();
        assert_eq!(figure.range(), (900.0, 1_200.0));
        assert_eq!(figure.shares(), (Some(0.5), None));
    }
}
