//! Attempts by destination site, for the sites that see most of them: a bounded number of series, and no attempt uncounted.
//!
//! A new site takes the place of the one with the fewest attempts, whose counts move on to `other`; so a flood of small
//! destinations cannot push the big ones out, and the sum over all series is exact.

use std::collections::{BTreeMap, HashMap};
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
        for ((known, _), count) in OUTCOMES.iter().zip(table.counts(site)) {
            *count += u64::from(*known == outcome);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Of a site that is known, without an allocation.
    fn counts(&mut self, site: &str) -> &mut Counts {
        if !self.sites.contains_key(site) {
            if self.sites.len() >= MOST_SITES {
                self.drop_smallest();
            }
            self.sites.insert(site.to_owned(), Counts::default());
        }
        self.sites.get_mut(site).unwrap_or(&mut self.other)
    }

    fn drop_smallest(&mut self) {
        let total = |(_, counts): &(&String, &Counts)| counts.iter().sum::<u64>();
        let smallest = self.sites.iter().min_by_key(total).map(|(site, _)| site.clone());
        let counts = smallest.and_then(|site| self.sites.remove(&site));
        add(&mut self.other, &counts.unwrap_or_default());
    }

    /// By label. Names that are the same as labels are one series, or the text would have it twice.
    fn rows(&self) -> BTreeMap<String, Counts> {
        let mut rows = BTreeMap::from([(OTHER.to_owned(), self.other)]);
        for (site, counts) in &self.sites {
            add(rows.entry(label(site)).or_default(), counts);
        }
        rows
    }
}

fn add(sum: &mut Counts, counts: &Counts) {
    for (sum, count) in sum.iter_mut().zip(counts) {
        *sum += count;
    }
}

impl Collector for BySite {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let rows = self.table().rows();
        let mut family = encoder.encode_descriptor(
            "site_deliveries",
            "Attempts on recipients, by destination site and outcome",
            None,
            MetricType::Counter,
        )?;
        for (site, counts) in &rows {
            for ((_, outcome), count) in OUTCOMES.iter().zip(counts).filter(|(_, count)| **count > 0) {
                let labels = [("site", site.as_str()), ("outcome", *outcome)];
                ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// The name of a site as a label: a peer's DNS chose part of it, and the text format is not escaped by the library.
pub(super) fn label(site: &str) -> String {
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

/// The series of all others.
pub(super) const OTHER: &str = "other";

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
    fn names_that_look_the_same_as_labels_are_one_series() {
        let figures = BySite::default();
        for site in [OTHER, "mx:a\"", "mx:a\\"] {
            figures.count(site, Outcome::Failed);
        }
        figures.table().other = [0, 0, 4, 0];
        let text = text(&figures);
        for line in [
            "{site=\"other\",outcome=\"Failed\"} 5",
            "{site=\"mx:a?\",outcome=\"Failed\"} 2",
        ] {
            assert_eq!(text.matches(line).count(), 1, "{text}");
        }
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
