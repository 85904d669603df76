//! Records that come from a wildcard (RFC 4592), and the proof that nothing nearer to the name is there (RFC 4035 section 5.3.4).
//!
//! ```text
//!   _25._tcp.mx.example  from  *._tcp.mx.example   signed with the labels of _tcp.mx.example
//!                              an NSEC record of the same zone says: nothing is at _25._tcp.mx.example, nor below
//! ```
//!
//! May assume: what is marked as secure is signed rightly, by the zone that its signature names.

use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::dnssec::rdata::{DNSSECRData, RRSIG};
use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

/// The labels that the signature of this name's records counts, where they are fewer than the name has.
pub(super) fn labels(name: &Name, reply: &Message) -> Option<u8> {
    expanded(name, reply, |_| true).map(|signature| signature.input().num_labels)
}

/// Whether records of this name come from a wildcard, and an NSEC record denies what would be nearer.
pub(super) fn is_proven(name: &Name, reply: &Message) -> bool {
    // The signature that was verified, and not one that somebody put beside it.
    let verified = |record: &Record| record.proof == Proof::Secure;
    let Some(signature) = expanded(name, reply, verified) else {
        return false;
    };
    let nearer = name.trim_to(usize::from(signature.input().num_labels) + 1);
    let apex = &signature.input().signer_name;
    reply.authorities.iter().any(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::NSEC(nsec)) => {
            // What lies below a delegation is not for its parent to deny (RFC 6840 section 4.1).
            let is_parents = nsec.is_ancestor_delegation() && record.name.zone_of(&nearer);
            record.proof == Proof::Secure
                && !is_parents
                && is_signed_by(apex, record, reply)
                && is_between(&nearer, (&record.name, nsec.next_domain_name()), apex)
        }
        _ => false,
    })
}

fn expanded<'a>(name: &Name, reply: &'a Message, counts: impl Fn(&Record) -> bool) -> Option<&'a RRSIG> {
    let mut own = reply
        .answers
        .iter()
        .filter(|record| record.name == *name && counts(record));
    own.find_map(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => {
            (signature.input().num_labels < name.num_labels()).then_some(signature)
        }
        _ => None,
    })
}

fn is_signed_by(apex: &Name, nsec: &Record, reply: &Message) -> bool {
    reply.authorities.iter().any(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => {
            let input = signature.input();
            record.name == nsec.name
                && record.proof == Proof::Secure
                && input.type_covered == RecordType::NSEC
                && input.signer_name == *apex
                && input.num_labels == nsec.name.num_labels()
        }
        _ => false,
    })
}

/// Whether a name, and all below it, lies between two that follow each other in a zone (RFC 4034 section 6.1); behind the last is the
/// apex again.
fn is_between(name: &Name, (owner, next): (&Name, &Name), apex: &Name) -> bool {
    owner < name && (name < next || next == apex) && !name.zone_of(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::records::wire_name;

    #[test]
    fn a_gap_denies_what_is_in_it_and_nothing_that_reaches_out_of_it() {
        let name = |text: &str| wire_name(text).unwrap();
        let apex = name("example");
        for (what, owner, next, want) in [
            ("_25._tcp.mx.example", "*._tcp.mx.example", "ns.example", true),
            ("_25._tcp.mx.example", "_tcp.mx.example", "ns.example", true),
            (
                "_25._tcp.mx.example",
                "_24._tcp.mx.example",
                "_26._tcp.mx.example",
                true,
            ),
            // The last of the zone.
            ("_25._tcp.mx.example", "*._tcp.mx.example", "example", true),
            ("_25._tcp.mx.example", "_25._tcp.mx.example", "ns.example", false),
            ("_25._tcp.mx.example", "_26._tcp.mx.example", "ns.example", false),
            ("_25._tcp.mx.example", "a.example", "_24._tcp.mx.example", false),
            // Something is below it.
            (
                "_25._tcp.mx.example",
                "*._tcp.mx.example",
                "x._25._tcp.mx.example",
                false,
            ),
            ("_25._tcp.mx.example", "_26._tcp.mx.example", "example", false),
        ] {
            let (owner, next) = (name(owner), name(next));
            assert_eq!(
                is_between(&name(what), (&owner, &next), &apex),
                want,
                "{owner} {next}"
            );
        }
    }
}
