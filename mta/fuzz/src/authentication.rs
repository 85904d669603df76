//! Texts of sender authentication: From fields, DMARC records, fields that claim to be our Authentication-Results.
//!
//! * An author's domain reads the same again.
//! * A place for reports is one plain mailbox, whatever its URI hides.
//! * A field that we write is recognised as ours, keeps to its lines, and says what was said and no more.

use postroad_verify::dmarc::record::Text;
use postroad_verify::dmarc::report;
use postroad_verify::dmarc::{Domain, author};
use postroad_verify::results::{Claim, Field, Property, Statement, claim, read};

/// A record and a From field.
pub fn dmarc(octets: &[u8]) {
    if let Text::Record(record) = Text::parse(octets) {
        assert!(record.reports.iter().all(|to| to.is_ascii() && to.contains(':')));
        for place in record.reports.iter().filter_map(|uri| report::target(uri)) {
            let address = place.address.as_bytes();
            assert!(
                address
                    .iter()
                    .all(|octet| octet.is_ascii_graphic() && !b"<>\",;:".contains(octet))
            );
            assert_eq!(address.split(|octet| *octet == b'@').count(), 2);
        }
    }
    if let Ok(domain) = author(&[octets]) {
        assert_eq!(Domain::parse(domain.as_str()), Some(domain));
    }
}

/// A field of a stranger, and a field of ours with a stranger's text in it.
pub fn results(octets: &[u8]) {
    const OWN: &str = "mail.example.com";
    let _ = claim(octets, OWN);
    let words = String::from_utf8_lossy(octets).into_owned();
    let _ = read(&words);
    let field = Field {
        authserv_id: OWN.to_owned(),
        statements: vec![Statement {
            method: "spf",
            result: "pass",
            comment: Some(words.clone()),
            reason: Some(words.clone()),
            properties: vec![Property {
                kind: "smtp",
                name: "mailfrom",
                value: words,
            }],
        }],
    };
    let text = field.text();
    let body = text
        .strip_prefix("Authentication-Results:")
        .and_then(|body| body.strip_suffix("\r\n"))
        .expect("one field");
    assert_eq!(claim(body.as_bytes(), OWN), Claim::Ours);
    assert_eq!(read(body).map(|said| said.len()), Some(1));
    for line in body.split("\r\n").skip(1) {
        assert!(line.starts_with('\t') && line.len() <= 998 && !line.contains(['\r', '\n']));
    }
}
