//! DNSSEC validated here (RFC 4035 section 5), from trust anchors down, by the chain of proofs that hickory makes.
//!
//! ```text
//!   question ─► records of this very name ─┬─ of the type ─► found: proven, or of a zone without DNSSEC
//!                                          ├─ an alias ────► the same question of what it leads to
//!                                          ├─ none ────────► nothing, where that is proven, or of a zone without DNSSEC
//!                                          └─ anything else: bogus, indeterminate, no answer ─► failure
//! ```
//!
//! What cannot be proven in a zone that is signed is a failure, never an answer without DNSSEC: mail waits. So do servers below a DNAME record
//! (RFC 6672 section 5.3.1): the alias that is made of it is not signed, and it is not made anew from the record here. hickory says of each
//! record whether it is signed rightly, and of the answer as a whole that it fits the question; the first it does well, and of
//! the second only what is looked at again here is believed.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt as _};
use hickory_resolver::NameServerPool;
use hickory_resolver::net::dnssec::DnssecDnsHandle;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::DnsHandle as _;
use hickory_resolver::net::{DnsError as HickoryDnsError, NetError};
use hickory_resolver::proto::dnssec::{Algorithm, Proof, PublicKeyBuf, TrustAnchors};
use hickory_resolver::proto::op::{DnsRequestOptions, DnsResponse, Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use postroad_config::TrustAnchor;
use postroad_verify::dane::Answer;

use super::proof::{LONGEST, MOST_RECORDS, Told, datum};
use super::{records, wildcard};

/// Asks and validates. Cheap to clone.
#[derive(Clone)]
pub(super) struct Validator {
    handle: DnssecDnsHandle<NameServerPool<TokioRuntimeProvider>>,
}

impl Validator {
    /// Trusts these keys; the root's own where there are none.
    pub(super) fn new(pool: NameServerPool<TokioRuntimeProvider>, anchors: &[TrustAnchor]) -> Self {
        let handle = DnssecDnsHandle::with_trust_anchor(pool, Arc::new(trusted(anchors)));
        Self {
            handle: handle.validation_cache_size(MOST_VALIDATED),
        }
    }

    pub(super) async fn ask(&self, mut name: Name, kind: RecordType) -> Told {
        let (mut proven, mut lifetime, mut end) = (true, LONGEST, None);
        for _ in 0..MOST_ALIASES {
            match self.part(&name, kind).await {
                Part::Records(found) => {
                    let answer = Answer::Found {
                        proven: proven && found.proven,
                        end,
                        data: found.data,
                    };
                    return (answer, Some(lifetime.min(found.lifetime)));
                }
                Part::Alias(alias) => {
                    proven &= alias.proven;
                    lifetime = lifetime.min(alias.lifetime);
                    end = Some(records::text(&alias.to).to_ascii_lowercase());
                    name = alias.to;
                }
                Part::Nothing => return (Answer::Nothing, None),
                Part::Failure => return (Answer::Failure, None),
            }
        }
        (Answer::Failure, None)
    }

    async fn part(&self, name: &Name, kind: RecordType) -> Part {
        let part = self.asked(name, kind, kind).await;
        // Of an alias that leads to nothing hickory does not know what the denial is about.
        if matches!(part, Part::Failure) && kind != RecordType::CNAME {
            let alias = self.asked(name, RecordType::CNAME, kind).await;
            if matches!(alias, Part::Alias(_)) {
                return alias;
            }
        }
        part
    }

    /// Asks for `of` where `kind` is wanted.
    async fn asked(&self, name: &Name, of: RecordType, kind: RecordType) -> Part {
        let mut options = DnsRequestOptions::default();
        options.edns_set_dnssec_ok = true;
        let reply = self
            .handle
            .lookup(Query::query(name.clone(), of), options)
            .into_future();
        // What comes from outside is not to end more than the question.
        match AssertUnwindSafe(reply).catch_unwind().await {
            Ok((Some(reply), _)) => read(name, kind, &reply.map(DnsResponse::into_message)),
            Ok((None, _)) | Err(_) => Part::Failure,
        }
    }
}

/// One step of an answer.
#[derive(Debug, PartialEq)]
enum Part {
    Records(Records),
    Alias(Alias),
    Nothing,
    Failure,
}

#[derive(Debug, PartialEq)]
struct Records {
    proven: bool,
    lifetime: Duration,
    data: Vec<Vec<u8>>,
}

#[derive(Debug, PartialEq)]
struct Alias {
    proven: bool,
    lifetime: Duration,
    to: Name,
}

/// What a reply says of this name.
fn read(name: &Name, kind: RecordType, reply: &Result<Message, NetError>) -> Part {
    match reply {
        Ok(reply) => said(name, kind, reply).unwrap_or_else(|| {
            if is_denied(name, reply) {
                Part::Nothing
            } else {
                Part::Failure
            }
        }),
        // It takes records that come from a wildcard for false where an NSEC record is the wildcard's own.
        Err(NetError::Dns(HickoryDnsError::Nsec { response, .. })) if wildcard::is_proven(name, response) => {
            said(name, kind, response).unwrap_or(Part::Failure)
        }
        Err(_) => Part::Failure,
    }
}

/// What its records at this name say. None: there are none.
fn said(name: &Name, kind: RecordType, reply: &Message) -> Option<Part> {
    let own = |of: RecordType| -> Vec<&Record> {
        let records = reply.answers.iter().take(MOST_RECORDS);
        records
            .filter(move |record| record.record_type() == of && record.name == *name)
            .collect()
    };
    let (found, aliases) = (own(kind), own(RecordType::CNAME));
    let told = if found.is_empty() { &aliases } else { &found };
    if told.is_empty() {
        return None;
    }
    // Left out where all of the authority section is without DNSSEC.
    let is_unasked = is_open(reply) && wildcard::labels(name, reply).is_some();
    let Some((proven, lifetime)) = proof(told).filter(|_| !is_unasked) else {
        return Some(Part::Failure);
    };
    if !found.is_empty() {
        let data = found
            .iter()
            .filter_map(|record| datum(kind, &record.data))
            .collect();
        return Some(Part::Records(Records {
            proven,
            lifetime,
            data,
        }));
    }
    Some(match aliases.as_slice() {
        [
            Record {
                data: RData::CNAME(to),
                ..
            },
        ] => Part::Alias(Alias {
            proven,
            lifetime,
            to: to.0.clone(),
        }),
        _ => Part::Failure,
    })
}

/// Whether these are proven, and how long they hold. None: they are bogus, or it is not known.
fn proof(records: &[&Record]) -> Option<(bool, Duration)> {
    let known = |record: &&Record| matches!(record.proof, Proof::Secure | Proof::Insecure);
    let lifetimes = records
        .iter()
        .map(|record| Duration::from_secs(record.ttl.into()));
    records.iter().all(known).then(|| {
        let proven = records.iter().all(|record| record.proof == Proof::Secure);
        (proven, lifetimes.fold(LONGEST, Duration::min))
    })
}

/// Whether there is nothing at this name. hickory has compared signed denials with the question; where it takes the word of a zone
/// without DNSSEC, that zone must be one that the name is in.
fn is_denied(name: &Name, reply: &Message) -> bool {
    if !matches!(
        reply.metadata.response_code,
        ResponseCode::NoError | ResponseCode::NXDomain
    ) {
        return false;
    }
    let is_above = |record: &Record| record.proof == Proof::Insecure && record.name.zone_of(name);
    !is_open(reply) || reply.authorities.iter().any(is_above)
}

/// Whether the authority section has something, and all of it is without DNSSEC.
fn is_open(reply: &Message) -> bool {
    let mut authorities = reply.authorities.iter();
    !reply.authorities.is_empty() && authorities.all(|record| record.proof == Proof::Insecure)
}

fn trusted(anchors: &[TrustAnchor]) -> TrustAnchors {
    if anchors.is_empty() {
        return TrustAnchors::default();
    }
    let mut trusted = TrustAnchors::empty();
    for anchor in anchors {
        let key = PublicKeyBuf::new(anchor.key.clone(), Algorithm::from_u8(anchor.algorithm));
        trusted.insert(&key);
    }
    trusted
}

/// Aliases that are followed.
const MOST_ALIASES: usize = 8;
/// Judgements of sets of records that are kept.
const MOST_VALIDATED: usize = 4_096;

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::{A, CNAME, SOA};

    use super::*;

    fn name(text: &str) -> Name {
        records::wire_name(text).unwrap()
    }

    fn record(owner: &str, data: RData, proof: Proof) -> Record {
        let mut record = Record::from_rdata(name(owner), 60, data);
        record.proof = proof;
        record
    }

    fn address(owner: &str, proof: Proof) -> Record {
        record(owner, RData::A(A::new(192, 0, 2, 1)), proof)
    }

    fn alias(owner: &str, to: &str, proof: Proof) -> Record {
        record(owner, RData::CNAME(CNAME(name(to))), proof)
    }

    fn apex(owner: &str, proof: Proof) -> Record {
        let soa = SOA::new(name("ns.example"), name("a.example"), 1, 1, 1, 1, 1);
        record(owner, RData::SOA(soa), proof)
    }

    fn reply(code: ResponseCode, answers: Vec<Record>, authorities: Vec<Record>) -> Message {
        let mut reply = Message::query();
        reply.metadata.response_code = code;
        reply.insert_answers(answers);
        reply.insert_authorities(authorities);
        reply
    }

    fn told(answers: Vec<Record>, authorities: Vec<Record>) -> Part {
        let reply = Ok(reply(ResponseCode::NoError, answers, authorities));
        read(&name("mx.example"), RecordType::A, &reply)
    }

    fn found(proven: bool) -> Part {
        Part::Records(Records {
            proven,
            lifetime: Duration::from_mins(1),
            data: vec![vec![]],
        })
    }

    const HOST: &str = "mx.example";

    #[test]
    fn only_what_is_known_is_an_answer() {
        for (proof, want) in [
            (Proof::Secure, found(true)),
            (Proof::Insecure, found(false)),
            (Proof::Bogus, Part::Failure),
            (Proof::Indeterminate, Part::Failure),
        ] {
            assert_eq!(told(vec![address(HOST, proof)], vec![]), want, "{proof:?}");
        }
        let mixed = vec![address(HOST, Proof::Secure), address(HOST, Proof::Bogus)];
        assert_eq!(told(mixed, vec![]), Part::Failure);
    }

    #[test]
    fn a_proven_record_of_another_name_is_no_answer() {
        let foreign = address("mx.evil.example", Proof::Secure);
        let denied = told(vec![foreign.clone()], vec![apex("evil.example", Proof::Insecure)]);
        assert_eq!(denied, Part::Failure);
        let both = told(vec![foreign, address(HOST, Proof::Insecure)], vec![]);
        assert_eq!(both, found(false));
    }

    #[test]
    fn an_alias_is_followed_as_far_as_it_is_known() {
        for (proof, proven) in [(Proof::Secure, true), (Proof::Insecure, false)] {
            let to = name("end.example");
            let lifetime = Duration::from_mins(1);
            let want = Part::Alias(Alias { proven, lifetime, to });
            let behind = address("end.example", Proof::Secure);
            assert_eq!(
                told(vec![alias(HOST, "end.example", proof), behind], vec![]),
                want
            );
        }
        for answers in [
            vec![alias(HOST, "end.example", Proof::Bogus)],
            vec![
                alias(HOST, "end.example", Proof::Secure),
                alias(HOST, "other.example", Proof::Secure),
            ],
        ] {
            assert_eq!(told(answers, vec![]), Part::Failure);
        }
    }

    #[test]
    fn a_denial_without_proof_is_of_a_zone_that_the_name_is_in() {
        for (authorities, want) in [
            (vec![], Part::Nothing),
            (vec![apex("example", Proof::Secure)], Part::Nothing),
            (vec![apex("example", Proof::Insecure)], Part::Nothing),
            (vec![apex("open.test", Proof::Insecure)], Part::Failure),
            (
                vec![
                    apex("open.test", Proof::Insecure),
                    apex("x.mx.example", Proof::Insecure),
                ],
                Part::Failure,
            ),
        ] {
            let text = format!("{authorities:?}");
            assert_eq!(told(vec![], authorities), want, "{text}");
        }
    }

    #[test]
    fn errors_and_codes_are_failures() {
        for code in [
            ResponseCode::ServFail,
            ResponseCode::Refused,
            ResponseCode::YXDomain,
        ] {
            let reply = Ok(reply(code, vec![], vec![]));
            assert_eq!(read(&name(HOST), RecordType::A, &reply), Part::Failure, "{code}");
        }
        let nsec = Err(NetError::from(HickoryDnsError::DnssecBogus));
        assert_eq!(read(&name(HOST), RecordType::A, &nsec), Part::Failure);
        let absent = Ok(reply(ResponseCode::NXDomain, vec![], vec![]));
        assert_eq!(read(&name(HOST), RecordType::A, &absent), Part::Nothing);
    }

    #[test]
    fn anchors_take_the_place_of_the_roots() {
        let anchor: TrustAnchor = ". IN DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4="
            .parse()
            .unwrap();
        let own = trusted(std::slice::from_ref(&anchor));
        assert_eq!(own.len(), 1);
        let key = PublicKeyBuf::new(anchor.key, Algorithm::ED25519);
        assert!(own.contains(&key) && !trusted(&[]).contains(&key));
        assert!(trusted(&[]).len() >= 2);
    }
}
