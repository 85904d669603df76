//! What is asked of the TLS with one server, and on whose word: the route, the message, and what the recipient's domain
//! publishes.
//!
//! Pure. Whoever asks the DNS and fetches policies is `policies.rs`.
//!
//! ```text
//!   Terms (route, REQUIRETLS) ─┐
//!   DANE of the server ────────┼─► decide ─┬─ Protection   the connection is made so, and in no lesser way
//!   MTA-STS of the domain ─────┤           └─ Refusal      the server gets nothing
//!   TLS-Required: No ──────────┘
//! ```
//!
//! `TLS-Required: No` waives what the recipient's domain asks for (RFC 8689 section 4.1), never what a route of ours does.

use std::fmt;
use std::sync::Arc;

use postroad_config::TlsMode;
use postroad_verify::dane::{self, Dane, Tlsa};
use postroad_verify::mta_sts;

use super::demand::Terms;

/// How TLS is used with one server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Protection {
    /// What is needed.
    pub need: Need,
    /// Who needs it.
    pub by: By,
}

/// What is needed of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// No TLS.
    Clear,
    /// TLS where it is offered, whatever the certificate (RFC 7435).
    Offered,
    /// TLS, whatever the certificate.
    Encrypted,
    /// A public authority vouches for the host's name.
    Verified,
    /// One of these authorities (PEM) vouches for the host's name.
    Vouched(Arc<str>),
    /// TLSA records vouch for the certificate (RFC 7672).
    Dane(Arc<Anchors>),
}

/// What a certificate must match.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Anchors {
    /// Where the records are: the name that the server is asked for.
    pub base: String,
    /// Names of which one is in the certificate, where an authority issued it (RFC 7672 section 3.2.3).
    pub names: Vec<String>,
    /// The records; never empty.
    pub records: Vec<Tlsa>,
}

/// On whose word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// The route's, or the message's.
    Route,
    /// TLSA records of the server.
    Dane,
    /// A policy of the domain.
    MtaSts,
    /// The same, which is only tried out: what it finds wrong is told and nothing else.
    MtaStsTesting,
    /// The message waived what the domain asks for.
    Waived,
}

/// Why a server gets nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What it publishes is not known now.
    Unknown(dane::Question),
    /// It publishes no usable TLSA records.
    NoDane,
    /// The policy of the domain does not name it.
    NotNamed,
    /// REQUIRETLS: its name is not beyond doubt.
    Unproven,
}

/// What is known of a server.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The recipient's domain; absent: the server is named by the configuration.
    pub domain: Option<&'a str>,
    /// Its name.
    pub host: &'a str,
    /// Its name did not come from an answer that anybody can forge, see `demand.rs`.
    pub proven: bool,
    /// What it publishes.
    pub dane: &'a Dane,
    /// The policy of the domain.
    pub policy: Option<&'a mta_sts::Policy>,
    /// The message says `TLS-Required: No`.
    pub waived: bool,
}

/// Whether the policies of recipients are asked for at all.
pub fn asks(terms: Terms) -> bool {
    terms.require_tls || matches!(terms.tls, TlsMode::Automatic | TlsMode::DaneOnly)
}

/// Decides. Errors: the server gets nothing.
pub fn decide(terms: Terms, facts: &Facts<'_>) -> Result<Protection, Refusal> {
    let waived = facts.waived && !terms.require_tls && terms.tls == TlsMode::Automatic;
    let by_route = |need| Ok(Protection { need, by: By::Route });
    match terms.tls {
        _ if waived => Ok(Protection {
            need: Need::Offered,
            by: By::Waived,
        }),
        _ if asks(terms) => by_policies(terms, facts),
        TlsMode::Disabled => by_route(Need::Clear),
        TlsMode::Encrypted => by_route(Need::Encrypted),
        TlsMode::Verified => by_route(Need::Verified),
        // The rest is for ports, or asked above.
        _ => by_route(Need::Offered),
    }
}

fn by_policies(terms: Terms, facts: &Facts<'_>) -> Result<Protection, Refusal> {
    let by = |need, by| Ok(Protection { need, by });
    match facts.dane {
        Dane::Unknown(question) => return Err(Refusal::Unknown(question.clone())),
        // It comes before MTA-STS, which may not weaken it (RFC 8461 section 2).
        Dane::Usable { base, records } => return by(Need::Dane(anchors(facts, base, records)), By::Dane),
        Dane::Absent | Dane::Unusable => {}
    }
    if terms.tls == TlsMode::DaneOnly {
        return Err(Refusal::NoDane);
    }
    let enforced = facts
        .policy
        .filter(|policy| policy.mode == mta_sts::Mode::Enforce);
    let is_named = enforced.map(|policy| policy.names(facts.host));
    match (terms.require_tls, is_named) {
        (_, Some(true)) => by(Need::Verified, By::MtaSts),
        (false, Some(false)) => Err(Refusal::NotNamed),
        // RFC 8689 section 4.2.1. What an enforced policy does not name is not used for being proven otherwise (RFC 8461 section 5).
        (true, None) if facts.proven => by(Need::Verified, By::Route),
        (true, _) => Err(Refusal::Unproven),
        // RFC 7672 section 2.2: never in the clear, as the server says that it has TLS.
        (false, None) if *facts.dane == Dane::Unusable => by(Need::Encrypted, By::Dane),
        (false, None) => match facts.policy.map(|policy| policy.mode) {
            Some(mta_sts::Mode::Testing) => by(Need::Offered, By::MtaStsTesting),
            _ => by(Need::Offered, By::Route),
        },
    }
}

fn anchors(facts: &Facts<'_>, base: &str, records: &[Tlsa]) -> Arc<Anchors> {
    let mut names = vec![base.to_owned()];
    for name in [Some(facts.host), facts.domain].into_iter().flatten() {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    Arc::new(Anchors {
        base: base.to_owned(),
        names,
        records: records.to_vec(),
    })
}

/// What a mode of a host of the configuration needs where nobody looks records up: a callout, a try of a smart host. With `DaneOnly`
/// nobody logs in there (`postroad_config`), so that a try gives nothing away.
impl From<TlsMode> for Protection {
    fn from(mode: TlsMode) -> Self {
        let need = match mode {
            TlsMode::Disabled => Need::Clear,
            TlsMode::Encrypted | TlsMode::DaneOnly => Need::Encrypted,
            TlsMode::Verified => Need::Verified,
            _ => Need::Offered,
        };
        Self { need, by: By::Route }
    }
}

impl Protection {
    /// The same at a route that names its authorities: they vouch for its hosts, and the public ones do not.
    #[must_use]
    pub fn vouched_by(self, authorities: Option<&Arc<str>>) -> Self {
        match (&self.need, authorities) {
            (Need::Verified, Some(authorities)) => Self {
                need: Need::Vouched(authorities.clone()),
                ..self
            },
            _ => self,
        }
    }
}

impl Need {
    /// There is no delivery without TLS.
    pub fn is_strict(&self) -> bool {
        matches!(
            self,
            Self::Encrypted | Self::Verified | Self::Vouched(_) | Self::Dane(_)
        )
    }
}

impl By {
    /// As the delivery log has it; empty where nothing but the route decided.
    pub fn name(self) -> &'static str {
        match self {
            Self::Route => "",
            Self::Dane => "dane",
            Self::MtaSts => "mta-sts",
            Self::MtaStsTesting => "mta-sts-testing",
            Self::Waived => "waived",
        }
    }
}

/// Who asks for TLS, in a sentence.
impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Route | Self::Waived => "the route",
            Self::Dane => "the server's TLSA record (DANE)",
            Self::MtaSts | Self::MtaStsTesting => "the domain's MTA-STS policy",
        })
    }
}

#[cfg(test)]
#[path = "protection_tests.rs"]
mod tests;
