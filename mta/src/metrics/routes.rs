//! Routes that something is the matter with, and policies whose mail is on hold, at the moment of a scrape. One that is well has no
//! series.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::by_site::label;
use crate::deliver::lanes::Lanes;
use crate::queue::clock;

/// The figures of these routes.
#[derive(Debug)]
pub(super) struct Routes(pub(super) Lanes);

impl Collector for Routes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "route_trouble",
            "1: why a route rests, or that the mail of some sender is refused there",
            None,
            MetricType::Gauge,
        )?;
        for state in self.0.view(clock::now()) {
            let route = label(&state.route);
            let labels = [("route", route.as_str()), ("reason", state.reason.as_str())];
            ConstGauge::new(1_u64).encode(family.encode_family(&labels)?)?;
        }
        let mut family = encoder.encode_descriptor(
            "policy_hold_seconds",
            "For how long mail of a policy has been on hold: somebody has to mend it, or its quota is used up",
            None,
            MetricType::Gauge,
        )?;
        for (policy, since) in self.0.holds().view() {
            let policy = label(&policy);
            let labels = [("policy", policy.as_str())];
            let seconds = clock::now().saturating_sub(since) / 1_000;
            ConstGauge::new(seconds).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
