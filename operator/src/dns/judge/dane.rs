//! The TLSA records of a mail server (RFC 6698, RFC 7672): one of them for the key that it shows, one for each key that is to come, and
//! DNSSEC that proves them.
//!
//! Records of the kind `3 1 1` are wanted and judged; what others say of the certificate is not known here.

use std::fmt::Write as _;

use hickory_resolver::proto::rr::RData;
use postroad_verify::dane::Tlsa;

use super::{Judgement, Opinion, Sought, Statement, no_answer, reasons};
use crate::dns::exchange::{Found, Trouble};
use crate::dns::resolver::Observation;

/// What is wanted of a mail server's records.
#[derive(Clone, Debug)]
pub struct DaneWanted<'a> {
    /// `_25._tcp.<host>`.
    pub name: &'a str,
    /// Data of the records: of the key that is shown, then of those that are to come. Empty: no key is known.
    pub records: &'a [String],
    /// What is known of DNSSEC.
    pub proof: &'a Proof,
}

/// Whether DNSSEC proves what senders go by: the MX records of the domain, the TLSA records of its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A resolver that validates says so.
    Proven,
    /// A resolver does not say so: its name, and the records.
    Unproven(String, String),
    /// Nobody is named who could say it.
    Unasked,
    /// Nobody who is named gave an answer.
    Unknown(Trouble),
}

/// Judges the records as the servers gave them, or the trouble of finding the servers.
pub fn dane(wanted: &DaneWanted<'_>, seen: &Result<Vec<Observation>, Trouble>) -> Judgement {
    let lines: Vec<String> = wanted
        .records
        .iter()
        .map(|data| format!("{}. TLSA {data}", wanted.name))
        .collect();
    let sought = Sought {
        name: wanted.name,
        kind: "TLSA",
        expected: wanted.records.join(", "),
        publish: format!("publish: {}", lines.join(" and ")),
    };
    let statements = seen.as_ref().map(|list| {
        list.iter()
            .map(|observation| statement(wanted, observation))
            .collect()
    });
    sought.conclude(&statements.map_err(Clone::clone))
}

fn statement(wanted: &DaneWanted<'_>, observation: &Observation) -> Statement {
    let (observed, opinion) = match &observation.seen {
        Err(trouble) => (String::new(), no_answer(trouble)),
        Ok(Found::Records(records)) => {
            let found: Vec<Vec<u8>> = records.iter().filter_map(data).collect();
            let shown: Vec<String> = found.iter().take(MOST_SHOWN).map(|data| text(data)).collect();
            (shown.join(", "), judged(wanted, &found))
        }
        Ok(_) => (String::new(), judged(wanted, &[])),
    };
    Statement {
        server: observation.server.clone(),
        observed,
        opinion,
    }
}

fn judged(wanted: &DaneWanted<'_>, found: &[Vec<u8>]) -> Opinion {
    let Some((served, coming)) = wanted.records.split_first() else {
        let sentence = "the listener shows no certificate yet, so no record can be wanted";
        return Opinion::Unclear(reasons::DANE_NO_CERTIFICATE, sentence.to_owned());
    };
    let usable = Tlsa::usable(found.iter().map(Vec::as_slice));
    // A stronger digest takes the weight of a weaker one away, so what counts is what is left.
    let has = |record: &String| {
        octets(record)
            .and_then(|data| Tlsa::read(&data))
            .is_some_and(|own| usable.contains(&own))
    };
    let others = found
        .iter()
        .any(|data| !data.starts_with(&KIND) && Tlsa::read(data).is_some());
    if usable.is_empty() {
        let sentence = "no TLSA record is there that servers use";
        return Opinion::Bad(reasons::DANE_MISSING, sentence.to_owned());
    }
    if !has(served) && others {
        let sentence = "there are TLSA records of other kinds than 3 1 1, which are not judged, and none of the key that is shown";
        return Opinion::Unclear(reasons::DANE_NOT_JUDGED, sentence.to_owned());
    }
    if !has(served) {
        let sentence = "no TLSA record is of the key that is shown: servers that go by DANE do not deliver";
        return Opinion::Bad(reasons::DANE_OTHER_KEY, sentence.to_owned());
    }
    if !coming.iter().all(has) {
        let sentence = "the key that is to come has no TLSA record: keep the old key until it has, and its time to live is over";
        return Opinion::Bad(reasons::DANE_NEXT_MISSING, sentence.to_owned());
    }
    proven(wanted.proof)
}

/// The records are right.
fn proven(proof: &Proof) -> Opinion {
    match proof {
        Proof::Proven => Opinion::Good(
            reasons::DANE_FOUND,
            "the TLSA records are of the key that is shown, and DNSSEC proves them".to_owned(),
        ),
        Proof::Unproven(server, records) => Opinion::Bad(
            reasons::DANE_NOT_PROVEN,
            format!(
                "the TLSA records are right, but {server} does not say that DNSSEC proves {records}: sign the zone, or name a \
                 resolver that validates"
            ),
        ),
        Proof::Unasked => Opinion::Unclear(
            reasons::DANE_PROOF_UNKNOWN,
            "the TLSA records are right; whether DNSSEC proves them is not known: name resolvers that validate in \
             spec.dns.resolvers"
                .to_owned(),
        ),
        Proof::Unknown(trouble) => Opinion::Unclear(
            reasons::DANE_PROOF_UNKNOWN,
            format!("the TLSA records are right; whether DNSSEC proves them is not known: {trouble}"),
        ),
    }
}

/// As on the wire.
fn data(record: &RData) -> Option<Vec<u8>> {
    let RData::TLSA(tlsa) = record else { return None };
    let numbers = [tlsa.cert_usage.into(), tlsa.selector.into(), tlsa.matching.into()];
    Some([&numbers[..], &tlsa.cert_data].concat())
}

/// As zone files have it, of bounded length.
fn text(data: &[u8]) -> String {
    let (numbers, digest) = data.split_at_checked(3).unwrap_or((data, &[]));
    let mut text = String::new();
    for number in numbers {
        // Writing to a string cannot fail.
        let _ = write!(text, "{number} ");
    }
    for octet in digest.iter().take(LONGEST_SHOWN) {
        let _ = write!(text, "{octet:02x}");
    }
    text
}

/// Octets of what zone files have.
fn octets(text: &str) -> Option<Vec<u8>> {
    let mut words = text.split(' ');
    let mut data = Vec::new();
    for _ in 0..3 {
        data.push(words.next()?.parse().ok()?);
    }
    let digits = words.next()?;
    for at in (0..digits.len()).step_by(2) {
        data.push(u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?);
    }
    Some(data)
}

/// DANE-EE(3) SPKI(1) SHA2-256(1).
const KIND: [u8; 3] = [3, 1, 1];
const MOST_SHOWN: usize = 8;
/// Octets of a digest: SHA2-512.
const LONGEST_SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::TLSA;
    use hickory_resolver::proto::rr::rdata::tlsa::{CertUsage, Matching, Selector};

    use super::*;
    use crate::dns::judge::Ruling::{False, True, Unknown};

    fn record(numbers: [u8; 3], digest: &[u8]) -> RData {
        let [usage, selector, matching] = numbers;
        RData::TLSA(TLSA::new(
            CertUsage::from(usage),
            Selector::from(selector),
            Matching::from(matching),
            digest.to_vec(),
        ))
    }

    fn key(octet: u8) -> RData {
        record(KIND, &[octet; 32])
    }

    fn wanted_of(octet: u8) -> String {
        format!("3 1 1 {}", format!("{octet:02x}").repeat(32))
    }

    fn said(seen: Result<Found, Trouble>) -> Vec<Observation> {
        let server = "ns1".to_owned();
        vec![Observation { server, seen }]
    }

    fn judge(records: &[String], proof: &Proof, found: &[RData]) -> Judgement {
        let wanted = DaneWanted {
            name: "_25._tcp.mx.example.com",
            records,
            proof,
        };
        dane(&wanted, &Ok(said(Ok(Found::Records(found.to_vec())))))
    }

    #[test]
    fn the_record_of_the_key_that_is_shown_must_be_there_and_count() {
        let records = [wanted_of(7)];
        let strong = record([3, 1, 2], &[9; 64]);
        let above = record([2, 1, 1], &[9; 32]);
        let useless = record([1, 1, 1], &[9; 32]);
        for (found, ruling, reason) in [
            (vec![key(7)], True, reasons::DANE_FOUND),
            (vec![key(7), key(8)], True, reasons::DANE_FOUND),
            (vec![key(7), above.clone()], True, reasons::DANE_FOUND),
            (vec![key(8)], False, reasons::DANE_OTHER_KEY),
            (vec![], False, reasons::DANE_MISSING),
            (vec![useless], False, reasons::DANE_MISSING),
            (vec![above], Unknown, reasons::DANE_NOT_JUDGED),
            // Only the stronger digest counts (RFC 7671 section 9).
            (vec![key(7), strong], Unknown, reasons::DANE_NOT_JUDGED),
        ] {
            let judged = judge(&records, &Proof::Proven, &found);
            assert_eq!((judged.ruling, judged.reason), (ruling, reason), "{found:?}");
            assert_eq!(judged.expected, records[0]);
            if ruling == False {
                let publish = format!("publish: _25._tcp.mx.example.com. TLSA {}", records[0]);
                assert!(judged.message.ends_with(&publish), "{}", judged.message);
            }
        }
        assert_eq!(judge(&records, &Proof::Proven, &[key(8)]).observed, wanted_of(8));
        let silent = dane(
            &DaneWanted {
                name: "_25._tcp.mx.example.com",
                records: &records,
                proof: &Proof::Proven,
            },
            &Ok(said(Err(Trouble::Code("SERVFAIL")))),
        );
        assert_eq!((silent.ruling, silent.reason), (Unknown, reasons::NO_ANSWER));
    }

    #[test]
    fn a_key_to_come_is_published_before_it_is_shown() {
        let records = [wanted_of(7), wanted_of(8)];
        let early = judge(&records, &Proof::Proven, &[key(7)]);
        assert_eq!((early.ruling, early.reason), (False, reasons::DANE_NEXT_MISSING));
        assert!(early.message.contains(&wanted_of(8)), "{}", early.message);
        let ready = judge(&records, &Proof::Proven, &[key(8), key(7)]);
        assert_eq!((ready.ruling, ready.reason), (True, reasons::DANE_FOUND));
    }

    #[test]
    fn without_a_word_about_dnssec_nothing_is_valid() {
        let records = [wanted_of(7)];
        let lost = Proof::Unknown(Trouble::TimedOut);
        let unproven = Proof::Unproven("10.0.0.53".to_owned(), "example.com MX".to_owned());
        for (proof, ruling, reason) in [
            (Proof::Proven, True, reasons::DANE_FOUND),
            (unproven, False, reasons::DANE_NOT_PROVEN),
            (Proof::Unasked, Unknown, reasons::DANE_PROOF_UNKNOWN),
            (lost, Unknown, reasons::DANE_PROOF_UNKNOWN),
        ] {
            let judged = judge(&records, &proof, &[key(7)]);
            assert_eq!((judged.ruling, judged.reason), (ruling, reason), "{proof:?}");
            // A wrong record is wrong, proven or not.
            assert_eq!(judge(&records, &proof, &[key(8)]).reason, reasons::DANE_OTHER_KEY);
        }
        let none = judge(&[], &Proof::Proven, &[key(7)]);
        assert_eq!(
            (none.ruling, none.reason),
            (Unknown, reasons::DANE_NO_CERTIFICATE)
        );
    }
}
