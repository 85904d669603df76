//! Attempts by destination site, for the sites that see most of them: a bounded number of series, and no attempt uncounted.
//!
//! A new site takes the place of the one with the fewest attempts, whose counts move on to `other`; so a flood of small
//! destinations cannot push the big ones out, and the sum over all series is exact.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::Outcome;

/// Attempts by how they ended, in the order of [`OUTCOMES`].
type Counts = [u64; OUTCOMES.len()];

/// The figures. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub struct BySite(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    sites: HashMap<String, Counts>,
    other: Counts,
}

impl BySite {
    /// Counts an attempt on a recipient.
    pub fn count(&self, site: &str, outcome: Outcome) {
        let mut table = self.table();
        let Some(at) = OUTCOMES.iter().position(|(known, _)| *known == outcome) else {
            return;
        };
        if let Some(count) = table.counts(site).get_mut(at) {
            *count += 1;
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn counts(&mut self, site: &str) -> &mut Counts {
        if !self.sites.contains_key(site) && self.sites.len() >= MOST_SITES {
            self.drop_smallest();
        }
        self.sites.entry(site.to_owned()).or_default()
    }

    fn drop_smallest(&mut self) {
        let total = |(_, counts): &(&String, &Counts)| counts.iter().sum::<u64>();
        let smallest = self.sites.iter().min_by_key(total).map(|(site, _)| site.clone());
        let counts = smallest.and_then(|site| self.sites.remove(&site));
        for (sum, count) in self.other.iter_mut().zip(counts.unwrap_or_default()) {
            *sum += count;
        }
    }
}

impl Collector for BySite {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let table = self.table();
        let mut family = encoder.encode_descriptor(
            "site_deliveries",
            "Attempts on recipients, by destination site and outcome",
            None,
            MetricType::Counter,
        )?;
        let mut sites: Vec<(&str, &Counts)> = table
            .sites
            .iter()
            .map(|(site, counts)| (site.as_str(), counts))
            .collect();
        sites.sort_unstable();
        for (site, counts) in sites.into_iter().chain([(OTHER, &table.other)]) {
            let site = label(site);
            for ((_, outcome), count) in OUTCOMES.iter().zip(counts).filter(|(_, count)| **count > 0) {
                let labels = [("site", site.as_str()), ("outcome", *outcome)];
                ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// The name of a site as a label: a peer's DNS chose part of it, and the text format is not escaped by the library.
fn label(site: &str) -> String {
    crate::log::clean(site).replace(['"', '\\'], "?")
}

const OUTCOMES: [(Outcome, &str); 4] = [
    (Outcome::Delivered, "Delivered"),
    (Outcome::Deferred, "Deferred"),
    (Outcome::Failed, "Failed"),
    (Outcome::Expired, "Expired"),
];

/// Sites with series of their own.
const MOST_SITES: usize = 100;

/// The series of all others. No site has this name: they are domains with a dot, or begin with a kind and a colon.
const OTHER: &str = "other";

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    fn text(figures: &BySite) -> String {
        let mut registry = Registry::with_prefix("p");
        registry.register_collector(Box::new(figures.clone()));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn a_flood_of_small_sites_keeps_the_big_one_and_the_sum() {
        let figures = BySite::default();
        for _ in 0..3 {
            figures.count("mx:big", Outcome::Delivered);
        }
        for site in 0..1_000 {
            figures.count(&format!("mx:{site}"), Outcome::Deferred);
        }
        let text = text(&figures);
        assert!(text.contains("p_site_deliveries_total{site=\"mx:big\",outcome=\"Delivered\"} 3"));
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples.len(), MOST_SITES + 1);
        let sum: u64 = samples
            .iter()
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
            .sum();
        assert_eq!(sum, 1_003);
    }

    #[test]
    fn a_name_that_a_peer_chose_cannot_break_the_text() {
        let figures = BySite::default();
        figures.count("mx:a\"} 1\nx{y=\"\\", Outcome::Failed);
        let text = text(&figures);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains("site=\"mx:a?} 1?x{y=??\","), "{text}");
    }
}
