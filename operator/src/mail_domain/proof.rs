//! The proof of a domain by DNS, as it is kept in the status. Pure.
//!
//! A listener's reconcile asks no DNS: it goes by what the domain's own reconcile has seen. A proof that was seen stands while
//! nothing is known, and for a day while the record is gone: a slip in a zone loses nobody's mail.

use jiff::Timestamp;
use postroad_config::DomainName;
use postroad_crds::MailDomain;
use postroad_crds::mail_domain::Proof;

use crate::dns::judge::Ruling;

/// The time seen moves in steps: a status that is written at every look would be traffic.
const STEP: i64 = 6 * 3_600;
/// How long a proof outlives its record.
const GRACE: i64 = 24 * 3_600;

/// Name of the record.
pub fn record(domain: &DomainName) -> String {
    format!("_postroad.{domain}")
}

/// Whether the domain of an object is proven. What is kept is of this object (the status goes with its uid), and of this domain.
pub fn holds(object: &MailDomain, domain: &DomainName) -> bool {
    let proof = object.status.as_ref().and_then(|status| status.proof.as_ref());
    proof.is_some_and(|proof| proof.domain == domain.as_str())
}

/// What is kept after a look. `ruling`: absent where no listener asks for a proof.
pub fn next(
    before: Option<&Proof>,
    domain: &DomainName,
    ruling: Option<Ruling>,
    now: Timestamp,
) -> Option<Proof> {
    let ruling = ruling?;
    let before = before.filter(|proof| proof.domain == domain.as_str());
    let age = |proof: &Proof| {
        let seen = proof.seen.parse::<Timestamp>();
        seen.map_or(i64::MAX, |seen| now.as_second().saturating_sub(seen.as_second()))
    };
    let lasting = match ruling {
        Ruling::True => STEP,
        Ruling::False => GRACE,
        Ruling::Unknown => i64::MAX,
    };
    let kept = before.filter(|proof| ruling == Ruling::Unknown || age(proof) < lasting);
    let fresh = || {
        (ruling == Ruling::True).then(|| Proof {
            domain: domain.to_string(),
            seen: now.to_string(),
        })
    };
    kept.cloned().or_else(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    #[test]
    fn a_proof_moves_in_steps_outlives_silence_and_ends_a_day_after_its_record() {
        let domain = name("B\u{fc}cher.example");
        let first = next(None, &domain, Some(Ruling::True), at(1_000)).unwrap();
        assert_eq!(
            (first.domain.as_str(), first.seen.as_str()),
            ("xn--bcher-kva.example", "1970-01-01T00:16:40Z")
        );
        let kept = |ruling, second| next(Some(&first), &domain, Some(ruling), at(second));
        for (ruling, second, want) in [
            (Ruling::True, 1_000 + STEP - 1, Some(1_000)),
            (Ruling::True, 1_000 + STEP, Some(1_000 + STEP)),
            (Ruling::Unknown, 1_000 + 100 * GRACE, Some(1_000)),
            (Ruling::False, 1_000 + GRACE - 1, Some(1_000)),
            (Ruling::False, 1_000 + GRACE, None),
        ] {
            let seen = kept(ruling, second).map(|proof| proof.seen);
            assert_eq!(
                seen,
                want.map(|second| at(second).to_string()),
                "{ruling} {second}"
            );
        }
    }

    #[test]
    fn it_is_for_one_domain_and_for_those_that_ask() {
        let (domain, other) = (name("a.example"), name("b.example"));
        let proof = next(None, &domain, Some(Ruling::True), at(0));
        assert_eq!(next(proof.as_ref(), &other, Some(Ruling::Unknown), at(1)), None);
        assert_eq!(next(proof.as_ref(), &domain, None, at(1)), None);
        assert_eq!(next(None, &domain, Some(Ruling::False), at(1)), None);
        assert_eq!(next(None, &domain, Some(Ruling::Unknown), at(1)), None);
    }
}
