//! Figures of the policies that recipients' servers and domains publish about TLS.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Outcome;
use crate::deliver::protection::By;

/// Who decided how TLS is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Policy {
    /// TLSA records of the server.
    Dane,
    /// A policy of the domain.
    MtaSts,
    /// The same, which is only tried out.
    MtaStsTesting,
    /// The message waived what the domain asks for.
    Waived,
}

/// Labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByPolicy {
    /// Who decided.
    pub policy: Policy,
    /// How the attempt on the recipient ended.
    pub outcome: Outcome,
}

/// The figures.
#[derive(Debug, Default)]
pub struct TlsPolicies(Family<ByPolicy, Counter>);

impl TlsPolicies {
    /// Puts them into a registry.
    pub fn register(&self, to: &mut Registry) {
        to.register(
            "tls_policies",
            "Attempts on recipients whose server is held to a published policy about TLS, by policy and outcome",
            self.0.clone(),
        );
    }

    /// Counts an attempt on a recipient; where the route alone decided there is nothing to count.
    pub fn count(&self, by: By, outcome: Outcome) {
        let policy = match by {
            By::Route => return,
            By::Dane => Policy::Dane,
            By::MtaSts => Policy::MtaSts,
            By::MtaStsTesting => Policy::MtaStsTesting,
            By::Waived => Policy::Waived,
        };
        self.0.get_or_create(&ByPolicy { policy, outcome }).inc();
    }
}
