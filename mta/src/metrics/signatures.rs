//! Figures of DKIM signatures over mail of ours.

use postroad_verify::dkim::Algorithm;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::signing::NoSignature;

/// What a signature was made with (RFC 6376 section 3.3, RFC 8463).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Signature {
    /// rsa-sha256.
    Rsa,
    /// ed25519-sha256.
    Ed25519,
}

/// Why a message that should be signed was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Unsigned {
    /// Its own form: it went unsigned.
    Message,
    /// We could not: its client was asked to come again.
    Unable,
}

/// Label `algorithm` of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByAlgorithm {
    /// What it was made with.
    pub algorithm: Signature,
}

/// Label `cause` of messages that were not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByCause {
    /// Why.
    pub cause: Unsigned,
}

/// The figures.
#[derive(Debug, Default)]
pub struct Signatures {
    made: Family<ByAlgorithm, Counter>,
    omitted: Family<ByCause, Counter>,
    sealed: Counter,
}

impl Signatures {
    /// Puts them into a registry.
    pub fn register(&self, to: &mut Registry) {
        // An alert asks for the increase: a counter that is born with its first event has not increased.
        for cause in [Unsigned::Message, Unsigned::Unable] {
            drop(self.omitted.get_or_create(&ByCause { cause }));
        }
        to.register(
            "dkim_signatures",
            "DKIM signatures that were made, by algorithm",
            self.made.clone(),
        );
        to.register(
            "dkim_unsigned",
            "Messages that should have been signed and were not, by cause",
            self.omitted.clone(),
        );
        to.register(
            "arc_seals",
            "Messages that were sealed on their way to another server",
            self.sealed.clone(),
        );
    }

    /// Counts a message that was sealed.
    pub fn sealed(&self) {
        self.sealed.inc();
    }

    /// Counts the signatures of a message, one for each of these.
    pub fn made(&self, algorithms: &[Algorithm]) {
        for algorithm in algorithms {
            let algorithm = match algorithm {
                Algorithm::RsaSha256 => Signature::Rsa,
                Algorithm::Ed25519Sha256 => Signature::Ed25519,
            };
            self.made.get_or_create(&ByAlgorithm { algorithm }).inc();
        }
    }

    /// Counts a message that should have been signed and was not.
    pub fn omitted(&self, why: &NoSignature) {
        let cause = if why.is_of_message() {
            Unsigned::Message
        } else {
            Unsigned::Unable
        };
        self.omitted.get_or_create(&ByCause { cause }).inc();
    }
}
