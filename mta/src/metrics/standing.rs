//! How the queue stands at the moment of a scrape: what waits for what, and the sites with the most of it.
//!
//! The number of series is bounded: the [`MOST_SITES`] with the most that waits and runs have their own, `other` is the
//! sum of the rest.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::by_site::{OTHER, label};
use crate::queue::index::{Busiest, Tally};
use crate::queue::job::SiteView;

/// The figures. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Standing(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    tally: Tally,
    sites: BTreeMap<String, Row>,
}

/// One site, or several whose names are one label.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    waiting: u64,
    running: u64,
    /// Of a single site only.
    window: Option<u64>,
    state: Option<&'static str>,
}

impl Standing {
    /// Takes over how it stands. `now`: milliseconds since 1970.
    pub fn observe(&self, tally: Tally, busiest: &Busiest, now: u64) {
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        if let Some(others) = busiest.others {
            let sum = Row {
                waiting: others.waiting,
                running: others.running,
                ..Row::default()
            };
            rows.insert(OTHER.to_owned(), sum);
        }
        for site in &busiest.sites {
            let one = Row {
                waiting: site.waiting as u64,
                running: u64::from(site.running),
                window: Some(u64::from(site.window)),
                state: Some(state(site, now)),
            };
            let name = label(&site.name);
            match rows.get_mut(&name) {
                Some(row) => row.add(one),
                None if name == OTHER => rows.entry(name).or_default().add(one),
                None => {
                    rows.insert(name, one);
                }
            }
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Seen { tally, sites: rows };
    }
}

impl Row {
    fn add(&mut self, other: Self) {
        self.waiting += other.waiting;
        self.running += other.running;
        (self.window, self.state) = (None, None);
    }
}

/// What keeps mail from going there, if anything does.
fn state(site: &SiteView, now: u64) -> &'static str {
    if site.suspended {
        "Suspended"
    } else if site.dead_until > now {
        "Dead"
    } else if site.opens_at > now {
        "Paced"
    } else {
        "Open"
    }
}

impl Collector for Standing {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let states = [
            ("Scheduled", seen.tally.scheduled),
            ("Ready", seen.tally.ready),
            ("Running", seen.tally.running),
            ("Held", seen.tally.held),
            ("Dead", seen.tally.dead),
            ("Suspended", seen.tally.suspended),
        ];
        let mut family =
            encoder.encode_descriptor("queue_states", "What waits for what", None, MetricType::Gauge)?;
        for (state, count) in states {
            ConstGauge::new(count as u64).encode(family.encode_family(&[("state", state)])?)?;
        }
        let figures: [Figure; 3] = [
            ("site_waiting", "Attempts that wait for a site", |row| {
                Some(row.waiting)
            }),
            ("site_running", "Attempts that run to a site", |row| {
                Some(row.running)
            }),
            ("site_window", "Attempts that may run to a site at once", |row| {
                row.window
            }),
        ];
        for (name, help, figure) in figures {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (site, row) in &seen.sites {
                if let Some(value) = figure(row) {
                    ConstGauge::new(value).encode(family.encode_family(&[("site", site.as_str())])?)?;
                }
            }
        }
        let mut family = encoder.encode_descriptor(
            "site_state",
            "1: what keeps mail from going to a site",
            None,
            MetricType::Gauge,
        )?;
        for (site, row) in &seen.sites {
            if let Some(state) = row.state {
                let labels = [("site", site.as_str()), ("state", state)];
                ConstGauge::new(1_u64).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// Name, help, and what a site's row says; none where several sites are one row.
type Figure = (&'static str, &'static str, fn(&Row) -> Option<u64>);

/// Sites with series of their own.
pub const MOST_SITES: usize = 100;

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::queue::index::Load;

    fn site(name: &str, waiting: usize) -> SiteView {
        SiteView {
            name: name.into(),
            waiting,
            running: 1,
            window: 5,
            opens_at: 0,
            dead_until: 0,
            last_trouble: None,
            suspended: false,
        }
    }

    fn text(tally: Tally, sites: Vec<SiteView>, others: Option<Load>) -> String {
        let figures = Standing::default();
        figures.observe(tally, &Busiest { sites, others }, 100);
        let mut registry = Registry::with_prefix("p");
        registry.register_collector(Box::new(figures));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn states_and_sites_are_told() {
        let tally = Tally {
            dead: 7,
            held: 2,
            ..Tally::default()
        };
        let (mut dead, mut suspended, mut paced) = (site("mx:dead", 7), site("mx:s", 1), site("mx:p\"", 1));
        (dead.dead_until, dead.opens_at) = (200, 200);
        (suspended.suspended, suspended.dead_until) = (true, 200);
        paced.opens_at = 200;
        let text = text(tally, vec![dead, suspended, paced, site("mx:o", 0)], None);
        for line in [
            "p_queue_states{state=\"Dead\"} 7",
            "p_queue_states{state=\"Held\"} 2",
            "p_queue_states{state=\"Ready\"} 0",
            "p_site_waiting{site=\"mx:dead\"} 7",
            "p_site_running{site=\"mx:dead\"} 1",
            "p_site_window{site=\"mx:dead\"} 5",
            "p_site_state{site=\"mx:dead\",state=\"Dead\"} 1",
            "p_site_state{site=\"mx:s\",state=\"Suspended\"} 1",
            "p_site_state{site=\"mx:p?\",state=\"Paced\"} 1",
            "p_site_state{site=\"mx:o\",state=\"Open\"} 1",
        ] {
            assert_eq!(text.matches(line).count(), 1, "{line} in\n{text}");
        }
    }

    #[test]
    fn many_sites_have_few_series_and_the_sum_is_kept() {
        let mut sites: Vec<SiteView> = (0..98).map(|number| site(&format!("mx:{number}"), 1)).collect();
        sites.push(site("mx:big", 50));
        sites.push(site(OTHER, 3));
        let others = Load {
            waiting: 902,
            running: 902,
        };
        let text = text(Tally::default(), sites, Some(others));
        let samples = |name: &str| -> Vec<u64> {
            text.lines()
                .filter(|line| line.starts_with(&format!("p_{name}{{")))
                .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
                .collect()
        };
        assert_eq!(samples("site_waiting").len(), MOST_SITES);
        assert_eq!(samples("site_waiting").iter().sum::<u64>(), 1_053);
        assert_eq!(samples("site_running").iter().sum::<u64>(), 1_002);
        assert_eq!(samples("site_window").len(), MOST_SITES - 1, "none of `other`");
        assert!(text.contains("p_site_waiting{site=\"mx:big\"} 50"));
    }
}
