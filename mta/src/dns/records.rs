//! Questions and answers of sender authentication in the terms of the resolver. Pure.

use std::net::IpAddr;

use hickory_resolver::proto::rr::{Name, RData, RecordType};
use postroad_verify::dns::{Answer, Exchanger, Kind, is_askable};

/// A name as the wire has it. Its octets are free: macros of SPF make names that no host has.
pub(super) fn wire_name(name: &str) -> Option<Name> {
    if !is_askable(name) {
        return None;
    }
    let mut name = Name::from_labels(name.split('.').map(str::as_bytes)).ok()?;
    name.set_fqdn(true);
    Some(name)
}

pub(super) fn record_type(kind: Kind) -> RecordType {
    match kind {
        Kind::Txt => RecordType::TXT,
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
        Kind::Mx => RecordType::MX,
        Kind::Ptr => RecordType::PTR,
    }
}

/// The records of that type in a reply, aliases left out; none of them is "no data".
pub(super) fn answer<'a>(kind: Kind, data: impl Iterator<Item = &'a RData>) -> Answer {
    let (mut texts, mut addresses, mut exchangers, mut names) = (vec![], vec![], vec![], vec![]);
    for data in data {
        match (kind, data) {
            // RFC 7208 section 3.3: the strings of one record are one text.
            (Kind::Txt, RData::TXT(txt)) => texts.push(txt.txt_data.concat()),
            (Kind::A, RData::A(a)) => addresses.push(IpAddr::V4(a.0)),
            (Kind::Aaaa, RData::AAAA(aaaa)) => addresses.push(IpAddr::V6(aaaa.0)),
            (Kind::Mx, RData::MX(mx)) => exchangers.push(Exchanger {
                preference: mx.preference,
                host: text(&mx.exchange),
            }),
            (Kind::Ptr, RData::PTR(ptr)) => names.push(text(&ptr.0)),
            _ => {}
        }
    }
    match kind {
        Kind::Txt if !texts.is_empty() => Answer::Txt(texts),
        Kind::A | Kind::Aaaa if !addresses.is_empty() => Answer::Addresses(addresses),
        Kind::Mx if !exchangers.is_empty() => Answer::Mx(exchangers),
        Kind::Ptr if !names.is_empty() => Answer::Names(names),
        _ => Answer::NoData,
    }
}

/// As it is asked for: octets that are special in a zone file are not, except a dot inside of a label.
pub(super) fn text(name: &Name) -> String {
    let label = |octets: &[u8]| {
        String::from_utf8(octets.to_vec())
            .ok()
            .filter(|text| !text.contains('.'))
    };
    let labels: Option<Vec<String>> = name.iter().map(label).collect();
    labels.map_or_else(
        || name.to_ascii().trim_end_matches('.').to_owned(),
        |labels| labels.join("."),
    )
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::PTR;

    use super::*;

    #[test]
    fn names_come_back_as_they_are_asked_for() {
        for name in ["mx.example", "foo:bar.example", "a b%.example", "Mail.Example"] {
            let wire = wire_name(name).unwrap();
            let found = answer(Kind::Ptr, [RData::PTR(PTR(wire))].iter());
            assert_eq!(found, Answer::Names(vec![name.to_owned()]));
        }
        assert_eq!(text(&Name::root()), "");
        let dotted = Name::from_labels([b"a.b".as_slice(), b"example"]).unwrap();
        assert!(text(&dotted).contains('\\'), "{}", text(&dotted));
    }
}
