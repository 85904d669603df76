//! How TLS went in one session with a mail server, and the policy that it was held to: what a report counts (RFC 8460 section
//! 4).
//!
//! A session is also a row of what a server keeps of a day, so it is written and read as JSON and its size is bounded.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::dane::Tlsa;
use crate::mta_sts;

/// One session. Equal ones are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// What it was held to.
    pub policy: Policy,
    /// What went wrong; absent: nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// The policy of a domain (RFC 8460 section 4.4, `policy`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Policy {
    /// Of which kind.
    pub policy_type: PolicyType,
    /// Its text: lines of an MTA-STS policy, TLSA records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy_string: Vec<String>,
    /// Whose it is, in A-labels: of a TLSA record, the name where it is (RFC 8460 section 1.1).
    pub policy_domain: String,
    /// The mail servers that an MTA-STS policy names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mx_host: Vec<String>,
}

/// Kind of a policy (RFC 8460 section 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyType {
    /// TLSA records (DANE, RFC 7672).
    Tlsa,
    /// MTA-STS (RFC 8461).
    Sts,
    /// Neither of both.
    NoPolicyFound,
}

/// What went wrong (RFC 8460 section 4.4, `failure-details`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Failure {
    /// In a word.
    pub result_type: ResultType,
    /// The sender's address, where it is known as others see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sending_mta_ip: Option<IpAddr>,
    /// The mail server; absent where none was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiving_mx_hostname: Option<String>,
    /// What it called itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiving_mx_helo: Option<String>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiving_ip: Option<IpAddr>,
    /// In a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason_code: Option<String>,
}

/// What went wrong, in a word (RFC 8460 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResultType {
    /// The server offers no STARTTLS.
    StarttlsNotSupported,
    /// Its certificate is for other names.
    CertificateHostMismatch,
    /// Its certificate is of the past.
    CertificateExpired,
    /// Nobody who is trusted vouches for its certificate.
    CertificateNotTrusted,
    /// Something else; the reason says what.
    ValidationFailure,
    /// Of the TLSA records none holds.
    TlsaInvalid,
    /// What DNSSEC proves could not be learnt.
    DnssecInvalid,
    /// The sender needs TLSA records, and there are none that DNSSEC proves.
    DaneRequired,
    /// The MTA-STS policy could not be fetched.
    StsPolicyFetchError,
    /// What was fetched is no policy.
    StsPolicyInvalid,
    /// The host of the policy did not prove itself.
    StsWebpkiInvalid,
}

impl ResultType {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::StarttlsNotSupported,
        Self::CertificateHostMismatch,
        Self::CertificateExpired,
        Self::CertificateNotTrusted,
        Self::ValidationFailure,
        Self::TlsaInvalid,
        Self::DnssecInvalid,
        Self::DaneRequired,
        Self::StsPolicyFetchError,
        Self::StsPolicyInvalid,
        Self::StsWebpkiInvalid,
    ];
}

impl Policy {
    /// That of TLSA records. `base`: the name where they are. `records`: empty where none can be used.
    pub fn tlsa(base: &str, records: &[Tlsa]) -> Self {
        Self {
            policy_string: bounded(records.iter().map(short)),
            ..Self::empty(PolicyType::Tlsa, base)
        }
    }

    /// That of an MTA-STS policy. `policy`: absent where it could not be had.
    pub fn sts(domain: &str, policy: Option<&mta_sts::Policy>) -> Self {
        let text = policy.map(ToString::to_string).unwrap_or_default();
        let mx = policy.map(|policy| policy.mx.as_slice()).unwrap_or_default();
        Self {
            policy_string: bounded(text.lines().map(str::to_owned)),
            mx_host: bounded(mx.iter().map(ToString::to_string)),
            ..Self::empty(PolicyType::Sts, domain)
        }
    }

    /// There is none.
    pub fn none(domain: &str) -> Self {
        Self::empty(PolicyType::NoPolicyFound, domain)
    }

    fn empty(policy_type: PolicyType, domain: &str) -> Self {
        Self {
            policy_type,
            policy_string: vec![],
            policy_domain: domain.to_owned(),
            mx_host: vec![],
        }
    }
}

impl Failure {
    /// One without particulars.
    pub fn of(result_type: ResultType) -> Self {
        Self {
            result_type,
            sending_mta_ip: None,
            receiving_mx_hostname: None,
            receiving_mx_helo: None,
            receiving_ip: None,
            failure_reason_code: None,
        }
    }

    /// The same with a reason, in printable ASCII and not too long.
    #[must_use]
    pub fn because(self, reason: &str) -> Self {
        Self {
            failure_reason_code: Some(clean(reason)).filter(|reason| !reason.is_empty()),
            ..self
        }
    }

    /// The same at a server that called itself so; empty where it said nothing.
    #[must_use]
    pub fn at(self, host: &str, helo: &str) -> Self {
        let text = |text: &str| Some(clean(text)).filter(|text| !text.is_empty());
        Self {
            receiving_mx_hostname: text(host),
            receiving_mx_helo: text(helo),
            ..self
        }
    }
}

/// A policy may name a thousand servers, and each row holds them: so many as fit.
fn bounded(texts: impl Iterator<Item = String>) -> Vec<String> {
    let fits = |room: &mut usize, text: &String| {
        *room = room.checked_sub(text.len())?;
        Some(())
    };
    let mut room = MOST_OCTETS;
    texts.take_while(|text| fits(&mut room, text).is_some()).collect()
}

/// A whole certificate in a record is cut: it is known by its beginning.
fn short(record: &Tlsa) -> String {
    let mut text = record.to_string();
    text.truncate(LONGEST_RECORD);
    text
}

/// A stranger's text as it may stand in a report: printable ASCII.
fn clean(text: &str) -> String {
    let shown = |character: char| {
        if character.is_ascii_graphic() || character == ' ' {
            character
        } else {
            '?'
        }
    };
    text.chars().take(LONGEST_TEXT).map(shown).collect()
}

/// Octets of the lines and records of one policy that are repeated, and as many of its servers.
const MOST_OCTETS: usize = 5_000;
/// Octets of a TLSA record; that of a digest is shorter.
const LONGEST_RECORD: usize = 512;
/// Octets of a name or a reason.
const LONGEST_TEXT: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_one_line_and_reads_back() {
        let policy = mta_sts::Policy::parse(b"version: STSv1\nmode: testing\nmx: *.d.example\nmax_age: 60\n");
        let tlsa = Tlsa::read(&[&[3, 1, 1][..], &[0xab; 32]].concat()).unwrap();
        let failure = |result| {
            let failure = Failure::of(result)
                .because("line\r\n\u{202e}end")
                .at("mx.d.example", "");
            Failure {
                receiving_ip: Some("192.0.2.1".parse().unwrap()),
                ..failure
            }
        };
        for policy in [
            Policy::sts("d.example", Some(&policy.unwrap())),
            Policy::tlsa("mx.d.example", &[tlsa]),
            Policy::none("d.example"),
        ] {
            for result in ResultType::ALL.map(Some).into_iter().chain([None]) {
                let session = Session {
                    policy: policy.clone(),
                    failure: result.map(failure),
                };
                let text = serde_json::to_string(&session).unwrap();
                assert!(!text.contains('\n') && text.is_ascii(), "{text}");
                assert_eq!(serde_json::from_str::<Session>(&text).unwrap(), session);
            }
        }
        let told = failure(ResultType::TlsaInvalid);
        assert_eq!(told.failure_reason_code.as_deref(), Some("line???end"));
        assert_eq!(told.receiving_mx_helo, None);
    }

    #[test]
    fn a_policy_is_told_in_the_words_of_its_owner() {
        let text = "version: STSv1\nmode: enforce\nmax_age: 86400\nmx: mx.d.example\nmx: *.e.example\n";
        let sts = Policy::sts("d.example", mta_sts::Policy::parse(text.as_bytes()).ok().as_ref());
        assert_eq!(sts.policy_string.join("\n") + "\n", text);
        assert_eq!(sts.mx_host, ["mx.d.example", "*.e.example"]);
        let record = Tlsa::read(&[&[2, 0, 1][..], &[0x0f; 32]].concat()).unwrap();
        let tlsa = Policy::tlsa("mx.d.example", &[record]);
        assert_eq!(tlsa.policy_string, [format!("2 0 1 {}", "0F".repeat(32))]);
        assert_eq!(tlsa.policy_domain, "mx.d.example");
    }

    #[test]
    fn a_policy_without_end_is_cut() {
        let many = (0..900).map(|number| format!("mx: mx{number}.d.example\n"));
        let text = format!(
            "version: STSv1\nmode: enforce\nmax_age: 60\n{}",
            many.collect::<String>()
        );
        let sts = Policy::sts("d.example", mta_sts::Policy::parse(text.as_bytes()).ok().as_ref());
        let octets = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
        for texts in [&sts.policy_string, &sts.mx_host] {
            assert!(
                (MOST_OCTETS - 100..=MOST_OCTETS).contains(&octets(texts)),
                "{texts:?}"
            );
        }
        let whole = Tlsa::read(&[&[3, 0, 0][..], &[7; 5_000]].concat()).unwrap();
        assert_eq!(
            Policy::tlsa("mx.d.example", &[whole]).policy_string[0].len(),
            LONGEST_RECORD
        );
        let failure = Failure::of(ResultType::ValidationFailure).because(&"x".repeat(10_000));
        assert_eq!(failure.failure_reason_code.unwrap().len(), LONGEST_TEXT);
    }
}
