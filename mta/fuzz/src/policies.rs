//! What recipients' domains publish about TLS: MTA-STS policies and records, TLSA records, records of TLS-RPT.
//!
//! * A policy that is read, written and read again is the same.
//! * Ids and places of reports hold nothing that a log line, a record, a header or a request gives another meaning.
//! * A record matches no certificate that is not drawn from it.

use postroad_verify::dane::Tlsa;
use postroad_verify::dns::Answer;
use postroad_verify::mta_sts::{Mode, Policy, Record};
use postroad_verify::tls_rpt;

fn place(uri: &str) {
    match tls_rpt::Place::of(uri) {
        Some(tls_rpt::Place::Mail(address)) => {
            assert!(
                address
                    .bytes()
                    .all(|octet| octet.is_ascii_graphic() && !b"<>,:;\"[]()\\".contains(&octet))
            );
            assert_eq!(address.matches('@').count(), 1);
        }
        Some(tls_rpt::Place::Web(web)) => {
            assert!(!web.host.is_empty() && !web.host.contains(['@', ':', '/']));
            assert!(web.path.starts_with('/') && web.path.bytes().all(|octet| octet.is_ascii_graphic()));
        }
        None => {}
    }
}

/// The same octets as each of them.
pub fn policies(octets: &[u8]) {
    if let Ok(policy) = Policy::parse(octets) {
        assert!(policy.mode == Mode::None || !policy.mx.is_empty());
        assert_eq!(Policy::parse(policy.to_string().as_bytes()), Ok(policy));
    }
    if let Record::Id(id) = Record::of(&Answer::Txt(vec![octets.to_vec()])) {
        assert!(!id.is_empty() && id.len() <= 32 && id.bytes().all(|octet| octet.is_ascii_alphanumeric()));
    }
    if let Ok(record) = tls_rpt::Record::of(&[octets.to_vec()]) {
        let sound = |uri: &String| uri.is_ascii() && !uri.contains([',', ';', '!', ' ', '\r', '\n']);
        assert!(!record.rua.is_empty() && record.rua.iter().all(sound));
        record.rua.iter().for_each(|uri| place(uri));
    }
    for record in Tlsa::usable(octets.chunks(35)) {
        // Neither is part of itself, nor its own digest.
        assert!(!record.matches(octets, octets));
    }
}
