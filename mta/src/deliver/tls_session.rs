//! What the TLS of one session came to, in the words of its report (RFC 8460 section 4).
//!
//! Pure.
//!
//! ```text
//!   what is published (About) ───────┐
//!   Refusal: no session ─────────────┼─► sessions, to be counted
//!   Protection, how it went (Went) ──┘
//! ```
//!
//! A session is held to one policy, TLSA records before MTA-STS. An MTA-STS policy that cannot be had is told beside it, as nobody
//! is held to it then.

use std::net::IpAddr;

use postroad_verify::dane::Dane;
use postroad_verify::mta_sts;
use postroad_verify::tls_rpt::{Failure, Policy, ResultType, Session};

use super::connect::NoTls;
use super::protection::{By, Need, Protection, Refusal};
use super::sts::NoPolicy;

/// A server of a domain, and what is published about both.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The recipient's domain.
    pub domain: &'a str,
    /// Name of the server.
    pub host: &'a str,
    /// What it publishes.
    pub dane: &'a Dane,
    /// The MTA-STS policy of the domain.
    pub policy: Option<&'a mta_sts::Policy>,
    /// Why it has none although it says so.
    pub no_policy: Option<&'a NoPolicy>,
}

/// How a session went.
#[derive(Clone, Copy, Debug)]
pub struct Went<'a> {
    /// Address of the server.
    pub address: IpAddr,
    /// Ours, as others see it.
    pub ours: Option<IpAddr>,
    /// What the server called itself; empty: it said nothing.
    pub helo: &'a str,
    /// What is wrong with its TLS.
    pub flaw: Option<&'a NoTls>,
}

/// A server that gets nothing, by what is published about it; none where that is a demand of the message.
pub fn refused(about: &About<'_>, refusal: &Refusal) -> Option<Session> {
    let (policy, result, reason) = match refusal {
        Refusal::Unproven => return None,
        Refusal::Unknown(question) => (
            Policy::tlsa(about.host, &[]),
            ResultType::DnssecInvalid,
            format!("no answer to {question}"),
        ),
        Refusal::NoDane => (
            Policy::tlsa(about.host, &[]),
            ResultType::DaneRequired,
            String::new(),
        ),
        Refusal::NotNamed => (
            Policy::sts(about.domain, about.policy),
            ResultType::ValidationFailure,
            NOT_NAMED.to_owned(),
        ),
    };
    let failure = Failure::of(result).at(about.host, "").because(&reason);
    Some(Session {
        policy,
        failure: Some(failure),
    })
}

/// A connection that was made, or tried up to its TLS.
pub fn opened(about: &About<'_>, protection: &Protection, went: &Went<'_>) -> Vec<Session> {
    // Such a session says nothing about the domain's policies.
    let by_ourselves = protection.by == By::Route && protection.need != Need::Offered;
    if by_ourselves || protection.by == By::Waived {
        return vec![];
    }
    let failure = failure(about, protection.by, went).map(|(result, reason)| Failure {
        sending_mta_ip: went.ours,
        receiving_ip: Some(went.address),
        ..Failure::of(result).at(about.host, went.helo).because(reason)
    });
    let session = Session {
        policy: held_to(about),
        failure,
    };
    let missed = about.no_policy.map(|no| Session {
        policy: Policy::sts(about.domain, None),
        failure: Some(Failure::of(no.result_type).because(&no.reason)),
    });
    [Some(session), missed].into_iter().flatten().collect()
}

fn held_to(about: &About<'_>) -> Policy {
    match (about.dane, about.policy) {
        (Dane::Usable { base, records }, _) => Policy::tlsa(base, records),
        (Dane::Unusable | Dane::Unknown(_), _) => Policy::tlsa(about.host, &[]),
        (Dane::Absent, Some(policy)) if policy.mode != mta_sts::Mode::None => {
            Policy::sts(about.domain, Some(policy))
        }
        (Dane::Absent, _) => Policy::none(about.domain),
    }
}

fn failure<'a>(about: &About<'_>, by: By, went: &Went<'a>) -> Option<(ResultType, &'a str)> {
    let is_named = about.policy.is_none_or(|policy| policy.names(about.host));
    match went.flaw {
        _ if by == By::MtaStsTesting && !is_named => Some((ResultType::ValidationFailure, NOT_NAMED)),
        Some(no) => Some((no.fault.result_type(), no.reason.as_str())),
        None if *about.dane == Dane::Unusable => Some((ResultType::TlsaInvalid, UNUSABLE)),
        None => None,
    }
}

const NOT_NAMED: &str = "the policy does not name this host";
const UNUSABLE: &str = "SMTP can use none of the records";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use postroad_verify::dane::{self, Kind, Tlsa};
    use postroad_verify::tls_rpt::PolicyType;

    use super::*;
    use crate::deliver::protection::Anchors;
    use crate::deliver::tls_fault::TlsFault;

    fn sts(mode: &str) -> mta_sts::Policy {
        let text = format!("version: STSv1\nmode: {mode}\nmx: mx.d.example\nmax_age: 60\n");
        mta_sts::Policy::parse(text.as_bytes()).unwrap()
    }

    fn usable() -> Dane {
        Dane::Usable {
            base: "base.example".into(),
            records: vec![Tlsa::read(&[&[3, 1, 1][..], &[7; 32]].concat()).unwrap()],
        }
    }

    fn about<'a>(host: &'a str, dane: &'a Dane, policy: Option<&'a mta_sts::Policy>) -> About<'a> {
        About {
            domain: "d.example",
            host,
            dane,
            policy,
            no_policy: None,
        }
    }

    fn by(need: Need, by: By) -> Protection {
        Protection { need, by }
    }

    fn dane() -> Protection {
        let anchors = Anchors {
            base: String::new(),
            names: vec![],
            records: vec![],
        };
        by(Need::Dane(Arc::new(anchors)), By::Dane)
    }

    /// Kind of the policy, whose it is, and what went wrong.
    fn told(session: &Session) -> (PolicyType, &str, Option<ResultType>) {
        let result = session.failure.as_ref().map(|failure| failure.result_type);
        (session.policy.policy_type, &session.policy.policy_domain, result)
    }

    fn went(flaw: Option<&NoTls>) -> Went<'_> {
        Went {
            address: "192.0.2.1".parse().unwrap(),
            ours: Some("192.0.2.9".parse().unwrap()),
            helo: "mx.helo.example",
            flaw,
        }
    }

    /// What is counted of one session with a server of that name; the particulars are the same.
    fn counted(
        host: &str,
        dane: &Dane,
        policy: Option<&mta_sts::Policy>,
        protection: &Protection,
        flaw: Option<TlsFault>,
    ) -> (PolicyType, String, Option<ResultType>) {
        let flaw = flaw.map(|fault| NoTls {
            reason: "why".into(),
            lasting: true,
            fault,
        });
        let sessions = opened(&about(host, dane, policy), protection, &went(flaw.as_ref()));
        assert_eq!(sessions.len(), 1);
        if let Some(failure) = &sessions[0].failure {
            assert_eq!(failure.receiving_mx_hostname.as_deref(), Some(host));
            assert_eq!(failure.receiving_mx_helo.as_deref(), Some("mx.helo.example"));
            assert_eq!(failure.receiving_ip, Some("192.0.2.1".parse().unwrap()));
            assert_eq!(failure.sending_mta_ip, Some("192.0.2.9".parse().unwrap()));
            assert!(failure.failure_reason_code.is_some());
        }
        let (kind, domain, result) = told(&sessions[0]);
        (kind, domain.to_owned(), result)
    }

    const MX: &str = "mx.d.example";

    #[test]
    fn a_server_with_records_is_held_to_dane() {
        let (enforce, unusable) = (sts("enforce"), Dane::Unusable);
        let at = |base: &str, result| (PolicyType::Tlsa, base.to_owned(), result);
        let bare = Some(TlsFault::NotOffered);
        let no_tls = Some(ResultType::StarttlsNotSupported);
        let usable = |flaw| counted(MX, &usable(), Some(&enforce), &dane(), flaw);
        assert_eq!(usable(None), at("base.example", None));
        assert_eq!(usable(bare), at("base.example", no_tls));
        let unusable = |flaw| counted(MX, &unusable, None, &by(Need::Encrypted, By::Dane), flaw);
        assert_eq!(unusable(None), at(MX, Some(ResultType::TlsaInvalid)));
        assert_eq!(unusable(bare), at(MX, no_tls));
    }

    #[test]
    fn another_is_held_to_mta_sts_or_to_nothing() {
        let (enforce, testing, none) = (sts("enforce"), sts("testing"), sts("none"));
        let (verified, tried) = (
            by(Need::Verified, By::MtaSts),
            by(Need::Offered, By::MtaStsTesting),
        );
        let offered = by(Need::Offered, By::Route);
        let (expired, bare) = (Some(TlsFault::Expired), Some(TlsFault::NotOffered));
        let (late, no_tls) = (
            Some(ResultType::CertificateExpired),
            Some(ResultType::StarttlsNotSupported),
        );
        let unnamed = Some(ResultType::ValidationFailure);
        for (host, policy, protection, flaw, kind, result) in [
            (MX, Some(&enforce), &verified, None, PolicyType::Sts, None),
            (MX, Some(&enforce), &verified, expired, PolicyType::Sts, late),
            (MX, Some(&testing), &tried, None, PolicyType::Sts, None),
            (MX, Some(&testing), &tried, expired, PolicyType::Sts, late),
            (
                "x.example",
                Some(&testing),
                &tried,
                None,
                PolicyType::Sts,
                unnamed,
            ),
            (MX, Some(&none), &offered, None, PolicyType::NoPolicyFound, None),
            (MX, None, &offered, None, PolicyType::NoPolicyFound, None),
            (MX, None, &offered, bare, PolicyType::NoPolicyFound, no_tls),
        ] {
            let counted = counted(host, &Dane::Absent, policy, protection, flaw);
            assert_eq!(
                counted,
                (kind, "d.example".to_owned(), result),
                "{host} {protection:?}"
            );
        }
    }

    #[test]
    fn what_the_message_or_the_route_wants_is_not_told_of_the_domain() {
        for protection in [
            by(Need::Offered, By::Waived),
            by(Need::Verified, By::Route),
            by(Need::Encrypted, By::Route),
            by(Need::Clear, By::Route),
        ] {
            let sessions = opened(
                &about("mx.d.example", &Dane::Absent, None),
                &protection,
                &went(None),
            );
            assert_eq!(sessions, [], "{protection:?}");
        }
        assert_eq!(
            refused(&about("mx.d.example", &Dane::Absent, None), &Refusal::Unproven),
            None
        );
    }

    #[test]
    fn a_server_that_gets_nothing_is_told_with_the_reason() {
        let question = dane::Question {
            name: "_25._tcp.mx.d.example".into(),
            kind: Kind::Tlsa,
        };
        let policy = sts("enforce");
        for (refusal, want) in [
            (
                Refusal::Unknown(question.clone()),
                (PolicyType::Tlsa, "x.example", Some(ResultType::DnssecInvalid)),
            ),
            (
                Refusal::NoDane,
                (PolicyType::Tlsa, "x.example", Some(ResultType::DaneRequired)),
            ),
            (
                Refusal::NotNamed,
                (PolicyType::Sts, "d.example", Some(ResultType::ValidationFailure)),
            ),
        ] {
            let session = refused(&about("x.example", &Dane::Absent, Some(&policy)), &refusal).unwrap();
            assert_eq!(told(&session), want);
            let failure = session.failure.unwrap();
            assert_eq!(failure.receiving_mx_hostname.as_deref(), Some("x.example"));
            assert_eq!(failure.receiving_ip, None, "no connection was made");
        }
    }

    #[test]
    fn a_policy_that_cannot_be_had_is_told_beside_the_session() {
        let no = NoPolicy {
            result_type: ResultType::StsWebpkiInvalid,
            reason: "no".into(),
        };
        let about = About {
            no_policy: Some(&no),
            ..about("mx.d.example", &Dane::Absent, None)
        };
        let sessions = opened(&about, &by(Need::Offered, By::Route), &went(None));
        let told: Vec<_> = sessions.iter().map(told).collect();
        assert_eq!(
            told,
            [
                (PolicyType::NoPolicyFound, "d.example", None),
                (PolicyType::Sts, "d.example", Some(ResultType::StsWebpkiInvalid)),
            ]
        );
    }
}
