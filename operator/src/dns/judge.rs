//! From what the servers said to a verdict: True, False or Unknown, with what to publish.
//!
//! ```text
//! each server: Good | Bad(reason) | Unclear(reason)
//! any Bad  ─► False   (with a Good beside it: the servers disagree)
//! any Good ─► True    (a dead server beside it is told, not judged)
//! else     ─► Unknown (and the record keeps its last verdict)
//! ```

use std::fmt::{self, Write as _};

mod dane;
mod dkim;
mod dmarc;
mod mta_sts;
mod mta_sts_policy;
mod proof;
mod spf;
mod tls_rpt;

use super::exchange::{Found, Trouble, exchangers};
use super::resolver::Observation;
pub use dane::{DaneWanted, Proof, dane};
pub use dkim::{DkimWanted, dkim};
pub use dmarc::{DmarcWanted, dmarc};
pub use mta_sts::{MtaStsWanted, mta_sts};
pub use mta_sts_policy::{Served, policy};
pub use proof::{ProofWanted, proof};
pub use spf::{SpfWanted, spf};
pub use tls_rpt::{TlsRptWanted, tls_rpt};

/// A verdict about one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It is what the mail needs.
    True,
    /// It is not.
    False,
    /// It could not be found out.
    Unknown,
}

impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        })
    }
}

/// Reasons of the DNS conditions. They are API: alerts and the book search for them.
pub mod reasons {
    /// The MX records name a listener.
    pub const MX_FOUND: &str = "MXFound";
    /// There is no MX record.
    pub const MX_MISSING: &str = "MXMissing";
    /// The MX records name other hosts only.
    pub const MX_ELSEWHERE: &str = "MXElsewhere";
    /// The domain says that it takes no mail (RFC 7505).
    pub const MX_NULL: &str = "MXNull";
    /// The SPF record lets all egress addresses send.
    pub const SPF_PASSES: &str = "SPFPasses";
    /// There is a valid record, and nobody sends as the domain.
    pub const SPF_RECORD_VALID: &str = "SPFRecordValid";
    /// There is no SPF record.
    pub const SPF_MISSING: &str = "SPFMissing";
    /// There is more than one.
    pub const SPF_SEVERAL: &str = "SPFSeveralRecords";
    /// It cannot be read, or breaks the limits.
    pub const SPF_INVALID: &str = "SPFInvalid";
    /// It does not let an egress address send.
    pub const SPF_NOT_AUTHORIZED: &str = "SPFNotAuthorized";
    /// The record has the signing key.
    pub const DKIM_FOUND: &str = "DKIMFound";
    /// There is no record of the signing key.
    pub const DKIM_MISSING: &str = "DKIMMissing";
    /// There is more than one.
    pub const DKIM_SEVERAL: &str = "DKIMSeveralRecords";
    /// It cannot be read, or says that the key is not to be used.
    pub const DKIM_INVALID: &str = "DKIMInvalid";
    /// It has another key.
    pub const DKIM_OTHER_KEY: &str = "DKIMOtherKey";
    /// The record asks for the policy that is wanted, and has every place that reports are wanted at.
    pub const DMARC_FOUND: &str = "DMARCFound";
    /// There is no such record.
    pub const DMARC_MISSING: &str = "DMARCMissing";
    /// There is more than one.
    pub const DMARC_SEVERAL: &str = "DMARCSeveralRecords";
    /// It cannot be read.
    pub const DMARC_INVALID: &str = "DMARCInvalid";
    /// It asks for another policy.
    pub const DMARC_POLICY_DIFFERS: &str = "DMARCPolicyDiffers";
    /// It lacks a place.
    pub const DMARC_ELSEWHERE: &str = "DMARCElsewhere";
    /// A record says that there is an MTA-STS policy.
    pub const MTASTS_RECORD_FOUND: &str = "MTASTSRecordFound";
    /// There is no such record.
    pub const MTASTS_MISSING: &str = "MTASTSMissing";
    /// There is more than one.
    pub const MTASTS_SEVERAL: &str = "MTASTSSeveralRecords";
    /// It cannot be read.
    pub const MTASTS_INVALID: &str = "MTASTSInvalid";
    /// The record has an id of before, under which others have kept another policy.
    pub const MTASTS_STALE: &str = "MTASTSIdNotChanged";
    /// The policy is served as it is wanted.
    pub const MTASTS_POLICY_SERVED: &str = "MTASTSPolicyServed";
    /// It is not served, or not so that others take it.
    pub const MTASTS_POLICY_MISSING: &str = "MTASTSPolicyMissing";
    /// What is served cannot be read.
    pub const MTASTS_POLICY_INVALID: &str = "MTASTSPolicyInvalid";
    /// It has another mode, or does not name a listener.
    pub const MTASTS_POLICY_DIFFERS: &str = "MTASTSPolicyDiffers";
    /// The record has every place that reports are wanted at.
    pub const TLSRPT_FOUND: &str = "TLSRPTFound";
    /// There is no such record.
    pub const TLSRPT_MISSING: &str = "TLSRPTMissing";
    /// There is more than one.
    pub const TLSRPT_SEVERAL: &str = "TLSRPTSeveralRecords";
    /// It cannot be read.
    pub const TLSRPT_INVALID: &str = "TLSRPTInvalid";
    /// It lacks a place.
    pub const TLSRPT_ELSEWHERE: &str = "TLSRPTElsewhere";
    /// The TLSA records are of the key that is shown, and proven.
    pub const DANE_FOUND: &str = "DANEFound";
    /// There is no TLSA record that servers use.
    pub const DANE_MISSING: &str = "DANEMissing";
    /// They are of other keys: servers that go by them do not deliver.
    pub const DANE_OTHER_KEY: &str = "DANEOtherKey";
    /// The key that is to come has none yet.
    pub const DANE_NEXT_MISSING: &str = "DANENextKeyMissing";
    /// They are of kinds that are not judged.
    pub const DANE_NOT_JUDGED: &str = "DANENotJudged";
    /// DNSSEC does not prove them.
    pub const DANE_NOT_PROVEN: &str = "DANENotProven";
    /// Whether DNSSEC proves them is not known.
    pub const DANE_PROOF_UNKNOWN: &str = "DANEProofUnknown";
    /// The listener shows no certificate.
    pub const DANE_NO_CERTIFICATE: &str = "DANENoCertificate";
    /// The record is valid, but where mail leaves from is not known.
    pub const EGRESS_UNKNOWN: &str = "EgressUnknown";
    /// The record has the uid of the object.
    pub const PROOF_FOUND: &str = "ProofFound";
    /// There is no record with it.
    pub const PROOF_MISSING: &str = "ProofMissing";
    /// Servers of the zone say different things.
    pub const SERVERS_DISAGREE: &str = "ServersDisagree";
    /// No server gave a usable answer.
    pub const NO_ANSWER: &str = "NoAnswer";
    /// The zone's servers could not be found.
    pub const NO_NAME_SERVERS: &str = "NoNameServers";
}

/// A verdict with its grounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Name of the record.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// What should be there, as record data.
    pub expected: String,
    /// What is there; empty when nothing is.
    pub observed: String,
    /// Who said so.
    pub server: String,
    /// The verdict.
    pub ruling: Ruling,
    /// Reason of the condition.
    pub reason: &'static str,
    /// Message of the condition: observed, server, and what to publish.
    pub message: String,
}

/// A TXT record that is wanted and that nobody was asked for.
pub fn unasked(name: &str, expected: String) -> Judgement {
    Judgement {
        name: name.to_owned(),
        kind: "TXT",
        expected,
        observed: String::new(),
        server: String::new(),
        ruling: Ruling::Unknown,
        reason: reasons::NO_ANSWER,
        message: String::new(),
    }
}

enum Opinion {
    Good(&'static str, String),
    Bad(&'static str, String),
    Unclear(&'static str, String),
}

struct Statement {
    server: String,
    observed: String,
    opinion: Opinion,
}

/// What is wanted of a domain's MX records.
#[derive(Clone, Debug)]
pub struct MxWanted<'a> {
    /// The domain.
    pub domain: &'a str,
    /// Host names of the listeners that receive for it; one of them must be named. Not empty.
    pub hostnames: &'a [String],
}

/// Judges the MX records as the servers gave them, or the trouble of finding the servers.
pub fn mx(wanted: &MxWanted<'_>, seen: &Result<Vec<Observation>, Trouble>) -> Judgement {
    let expected = wanted
        .hostnames
        .iter()
        .map(|host| format!("10 {host}."))
        .collect::<Vec<_>>()
        .join(", ");
    let first = wanted.hostnames.first().map_or("", String::as_str);
    let sought = Sought {
        name: wanted.domain,
        kind: "MX",
        expected,
        publish: format!("publish: {}. MX 10 {first}.", wanted.domain),
    };
    let statements = seen.as_ref().map(|list| {
        list.iter()
            .map(|observation| mx_statement(wanted, observation))
            .collect()
    });
    sought.conclude(&statements.map_err(Clone::clone))
}

fn mx_statement(wanted: &MxWanted<'_>, observation: &Observation) -> Statement {
    let (observed, opinion) = match &observation.seen {
        Err(trouble) => (String::new(), no_answer(trouble)),
        Ok(Found::Records(records)) => {
            let list = exchangers(records);
            let shown = list
                .iter()
                .map(|mx| format!("{} {}.", mx.preference, mx.host))
                .collect::<Vec<_>>();
            let ours = |host: &str| {
                wanted
                    .hostnames
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(host))
            };
            let opinion = if list.iter().any(|mx| ours(&mx.host)) {
                Opinion::Good(reasons::MX_FOUND, "the MX records name the listener".to_owned())
            } else if list.iter().all(|mx| mx.host.is_empty()) {
                let sentence = "a null MX says that the domain takes no mail (RFC 7505)";
                Opinion::Bad(reasons::MX_NULL, sentence.to_owned())
            } else {
                let hosts = wanted.hostnames.join(" or ");
                Opinion::Bad(reasons::MX_ELSEWHERE, format!("no MX record names {hosts}"))
            };
            (shown.join(", "), opinion)
        }
        Ok(_) => (
            String::new(),
            Opinion::Bad(reasons::MX_MISSING, "there is no MX record".to_owned()),
        ),
    };
    Statement {
        server: observation.server.clone(),
        observed,
        opinion,
    }
}

fn no_answer(trouble: &Trouble) -> Opinion {
    Opinion::Unclear(reasons::NO_ANSWER, trouble.to_string())
}

/// The record that is judged.
struct Sought<'a> {
    name: &'a str,
    kind: &'static str,
    expected: String,
    publish: String,
}

impl Sought<'_> {
    fn conclude(&self, statements: &Result<Vec<Statement>, Trouble>) -> Judgement {
        let statements = match statements {
            Ok(statements) => statements,
            Err(trouble) => {
                let message = format!("the name servers of {} cannot be found: {trouble}", self.name);
                return self.nobody(message);
            }
        };
        let find = |wanted: fn(&Opinion) -> bool| statements.iter().find(|one| wanted(&one.opinion));
        let good = find(|opinion| matches!(opinion, Opinion::Good(..)));
        let bad = find(|opinion| matches!(opinion, Opinion::Bad(..)));
        let unclear = || find(|opinion| matches!(opinion, Opinion::Unclear(..)));
        if let Some(bad) = bad {
            return self.wrong(bad, good);
        }
        let ruling = if good.is_some() {
            Ruling::True
        } else {
            Ruling::Unknown
        };
        match good.or_else(unclear) {
            Some(decisive) => {
                let (reason, sentence) = decisive.opinion.parts();
                let message = format!("{}: {sentence}", decisive.server);
                self.judgement(decisive, ruling, reason, message)
            }
            None => self.nobody(format!("{} has no name server", self.name)),
        }
    }

    fn wrong(&self, bad: &Statement, good: Option<&Statement>) -> Judgement {
        let (mut reason, sentence) = bad.opinion.parts();
        let observed = if bad.observed.is_empty() {
            "nothing"
        } else {
            &bad.observed
        };
        let mut message = format!(
            "{}: {sentence}; observed: {observed}; {}",
            bad.server, self.publish
        );
        if let Some(good) = good {
            reason = reasons::SERVERS_DISAGREE;
            let _ = write!(
                message,
                "; but {} has it right: wait until all servers agree",
                good.server
            );
        }
        self.judgement(bad, Ruling::False, reason, message)
    }

    fn nobody(&self, message: String) -> Judgement {
        let nobody = Statement {
            server: String::new(),
            observed: String::new(),
            opinion: Opinion::Unclear(reasons::NO_NAME_SERVERS, String::new()),
        };
        self.judgement(&nobody, Ruling::Unknown, reasons::NO_NAME_SERVERS, message)
    }

    fn judgement(
        &self,
        decisive: &Statement,
        ruling: Ruling,
        reason: &'static str,
        message: String,
    ) -> Judgement {
        Judgement {
            name: self.name.to_owned(),
            kind: self.kind,
            expected: self.expected.clone(),
            observed: decisive.observed.clone(),
            server: decisive.server.clone(),
            ruling,
            reason,
            message,
        }
    }
}

impl Opinion {
    fn parts(&self) -> (&'static str, &str) {
        let (Self::Good(reason, sentence) | Self::Bad(reason, sentence) | Self::Unclear(reason, sentence)) =
            self;
        (reason, sentence)
    }
}

#[cfg(test)]
mod tests;
