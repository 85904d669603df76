//! Certificates that the operator makes: the self-signed one of the ports, and authority and leaf of the admin endpoints.
//!
//! Time comes in as seconds since 1970. Keys are ECDSA P-256.

use aws_lc_rs::digest;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use x509_parser::pem::Pem;
use x509_parser::prelude::{GeneralName, ParsedExtension};

const DAY: i64 = 86_400;

/// A certificate chain and its key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// Chain, leaf first.
    pub certificate: String,
    /// Private key.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair(…)")
    }
}

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Serial number in lower-case hexadecimal digits.
    pub serial: String,
    /// Begin of validity, seconds since 1970.
    pub not_before: i64,
    /// End of validity, seconds since 1970.
    pub not_after: i64,
    /// DNS names.
    pub names: Vec<String>,
    /// Data of its TLSA record, see [`tlsa`]; behind it those of keys to come.
    pub tlsa: Vec<String>,
}

impl Facts {
    /// Whether a third of its life or less is left.
    pub fn is_due(&self, now: i64) -> bool {
        (self.not_after - now) * 3 <= self.not_after - self.not_before
    }

    /// Whether it is for this host name (RFC 9525: a wildcard stands for one label).
    pub fn covers(&self, host: &str) -> bool {
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(parent) => host
                .split_once('.')
                .is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent)),
            None => name.eq_ignore_ascii_case(host),
        })
    }
}

/// Reads the first certificate of a PEM text. `None`: there is none, or it cannot be read.
pub fn facts(pem: &str) -> Option<Facts> {
    let block = Pem::iter_from_buffer(pem.as_bytes())
        .find_map(|block| block.ok().filter(|b| b.label == "CERTIFICATE"))?;
    let certificate = block.parse_x509().ok()?;
    let names = certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        });
    let names = names.into_iter().flatten().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    Some(Facts {
        serial: hexadecimal(certificate.raw_serial()),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
        names: names.collect(),
        tlsa: vec![tlsa(certificate.public_key().raw)],
    })
}

/// DANE-EE(3) SPKI(1) SHA2-256(1) of a key (RFC 6698 section 2), as zone files have it.
fn tlsa(public_key: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, public_key);
    let digits = digest.as_ref().iter().flat_map(|octet| [octet >> 4, octet & 15]);
    let digits: String = digits
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect();
    format!("3 1 1 {digits}")
}

/// DER prefixes a zero octet where the first bit is set; it is no part of the number.
fn hexadecimal(octets: &[u8]) -> String {
    let octets = match octets {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    let digits = octets.iter().flat_map(|octet| [octet >> 4, octet & 15]);
    digits
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}

/// Whether a PEM text holds a private key (of whatever kind).
pub fn has_key(pem: &str) -> bool {
    Pem::iter_from_buffer(pem.as_bytes())
        .any(|block| block.is_ok_and(|block| block.label.ends_with("PRIVATE KEY")))
}

/// Whether this is the key of the certificate, both made by us.
pub fn belong_together(pair: &Pair) -> bool {
    let block = Pem::iter_from_buffer(pair.certificate.as_bytes()).find_map(Result::ok);
    let Some(block) = block else { return false };
    let (Ok(certificate), Ok(key)) = (block.parse_x509(), KeyPair::from_pem(&pair.key)) else {
        return false;
    };
    certificate.public_key().raw == key.subject_public_key_info()
}

fn parameters(name: &str, now: i64, days: i64) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::new(vec![name.to_owned()])?;
    parameters
        .distinguished_name
        .push(DnType::CommonName, name.chars().take(64).collect::<String>());
    let at = |seconds| {
        time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
    };
    // An hour back: clocks of clients differ.
    parameters.not_before = at(now - 3_600);
    parameters.not_after = at(now + days * DAY);
    Ok(parameters)
}

/// A self-signed certificate for a host name, good for 90 days.
pub fn self_signed(host: &str, now: i64) -> Result<Pair, rcgen::Error> {
    self_signed_with(KeyPair::generate()?, host, now)
}

/// The same with the key of before.
pub fn self_signed_again(before: &Pair, host: &str, now: i64) -> Result<Pair, rcgen::Error> {
    self_signed_with(KeyPair::from_pem(&before.key)?, host, now)
}

#[expect(clippy::needless_pass_by_value, reason = "it is made for this")]
fn self_signed_with(key: KeyPair, host: &str, now: i64) -> Result<Pair, rcgen::Error> {
    let mut parameters = parameters(host, now, 90)?;
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(Pair {
        certificate: parameters.self_signed(&key)?.pem(),
        key: key.serialize_pem(),
    })
}

/// An authority for the admin endpoints of one listener, good for ten years.
pub fn authority(name: &str, now: i64) -> Result<Pair, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut parameters = parameters(name, now, 3_650)?;
    parameters.subject_alt_names.clear();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(Pair {
        certificate: parameters.self_signed(&key)?.pem(),
        key: key.serialize_pem(),
    })
}

/// The authority to go on with: the one that is there, or, when a third of its life or less is left, a new one. The certificate of
/// the old one stands behind that of the new one: pods that have not heard of the new one yet are known by it.
pub fn authority_at(kept: Option<&Pair>, name: &str, now: i64) -> Result<Pair, rcgen::Error> {
    let Some(kept) = kept else {
        return authority(name, now);
    };
    if facts(&kept.certificate).is_some_and(|facts| !facts.is_due(now)) {
        return Ok(kept.clone());
    }
    let next = authority(name, now)?;
    Ok(Pair {
        certificate: format!("{}{}", next.certificate, first(&kept.certificate)),
        key: next.key,
    })
}

/// The first certificate of a chain or bundle of ours.
fn first(pem: &str) -> &str {
    const END: &str = "-----END CERTIFICATE-----";
    pem.split_inclusive(END).next().unwrap_or(pem)
}

/// A leaf of that authority, good for 90 days.
pub fn leaf(authority: &Pair, name: &str, now: i64) -> Result<Pair, rcgen::Error> {
    let issuer_key = KeyPair::from_pem(&authority.key)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, issuer_key)?;
    let key = KeyPair::generate()?;
    let mut parameters = parameters(name, now, 90)?;
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    Ok(Pair {
        certificate: parameters.signed_by(&key, &issuer)?.pem(),
        key: key.serialize_pem(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn a_key_that_was_spoilt_or_is_of_another_certificate_is_seen() {
        let [one, other] = [1, 2].map(|_| self_signed("mail.example.com", 1_800_000_000).unwrap());
        assert!(belong_together(&one));
        let key = |key: &str| Pair {
            key: key.to_owned(),
            ..one.clone()
        };
        assert!(!belong_together(&key(&other.key)));
        assert!(!belong_together(&key("foreign")));
        assert!(!belong_together(&Pair {
            certificate: "foreign".into(),
            ..one.clone()
        }));
    }

    #[test]
    fn a_self_signed_certificate_is_for_its_host_and_due_after_sixty_days() {
        let pair = self_signed("mail.example.com", NOW).unwrap();
        let facts = facts(&pair.certificate).unwrap();
        assert!(facts.covers("MAIL.example.com") && !facts.covers("example.com"));
        assert!(!facts.is_due(NOW) && !facts.is_due(NOW + 59 * DAY) && facts.is_due(NOW + 61 * DAY));
        assert!(has_key(&pair.key) && !has_key(&pair.certificate));
        assert_eq!(format!("{pair:?}"), "Pair(…)");
    }

    /// As the pods say it.
    #[test]
    fn a_serial_number_has_no_octet_that_der_added() {
        for (octets, digits) in [
            (&[0, 0x80, 1][..], "8001"),
            (&[0x7f, 0][..], "7f00"),
            (&[0][..], "00"),
        ] {
            assert_eq!(hexadecimal(octets), digits);
        }
    }

    #[test]
    fn a_leaf_is_signed_by_its_authority() {
        let ca = authority("edge in mail", NOW).unwrap();
        let leaf = leaf(&ca, "edge-peers.mail.svc", NOW).unwrap();
        let block = |pem: &str| Pem::iter_from_buffer(pem.as_bytes()).next().unwrap().unwrap();
        let (ca, leaf) = (block(&ca.certificate), block(&leaf.certificate));
        let (ca, leaf) = (ca.parse_x509().unwrap(), leaf.parse_x509().unwrap());
        assert_eq!(leaf.issuer(), ca.subject());
        assert!(ca.is_ca() && !leaf.is_ca());
    }

    #[test]
    fn an_authority_is_followed_by_a_new_one_that_knows_the_old_one() {
        let first = authority_at(None, "edge", NOW).unwrap();
        let years = |years: i64| NOW + years * 365 * DAY;
        assert_eq!(authority_at(Some(&first), "edge", years(6)).unwrap(), first);
        let blocks = |pair: &Pair| -> Vec<Vec<u8>> {
            let blocks = Pem::iter_from_buffer(pair.certificate.as_bytes());
            blocks.map(|block| block.unwrap().contents).collect()
        };
        let second = authority_at(Some(&first), "edge", years(7)).unwrap();
        assert!(belong_together(&second) && second.key != first.key);
        assert_eq!(blocks(&second)[1..], blocks(&first));
        let signed = leaf(&second, "edge-peers.mail.svc", years(7)).unwrap();
        assert!(belong_together(&signed));
        // Of those before, the last one alone.
        let third = authority_at(Some(&second), "edge", years(14)).unwrap();
        assert_eq!(blocks(&third)[1..], blocks(&second)[..1]);
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let facts = Facts {
            serial: String::new(),
            not_before: 0,
            not_after: 1,
            names: vec!["*.example.com".into()],
            tlsa: vec![],
        };
        assert!(
            facts.covers("mail.example.com")
                && !facts.covers("a.mail.example.com")
                && !facts.covers("example.com")
        );
        assert!(super::facts("no certificate").is_none());
    }
}
