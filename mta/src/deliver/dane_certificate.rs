//! Whether the certificate that a server shows is the one that its TLSA records tell of (RFC 7672 section 3, RFC 7671).
//!
//! ```text
//!   DANE-EE(3) ─► the server's own certificate or key is in a record: names and times do not matter
//!   DANE-TA(2) ─► one above it in the chain is: it issued the server's, in time, for one of its names
//! ```

use std::sync::Arc;

use postroad_verify::dane::Usage;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::protection::Anchors;

/// Takes the certificates that records tell of.
#[derive(Debug)]
pub struct Recorded {
    anchors: Arc<Anchors>,
    provider: Arc<CryptoProvider>,
}

impl Recorded {
    /// Of one server.
    pub fn new(anchors: Arc<Anchors>, provider: Arc<CryptoProvider>) -> Self {
        Self { anchors, provider }
    }

    fn tells_of(&self, certificate: &CertificateDer<'_>, usage: Usage) -> bool {
        let key = X509Certificate::from_der(certificate)
            .map(|(_, parsed)| parsed.tbs_certificate.subject_pki.raw)
            .unwrap_or_default();
        let mut records = self.anchors.records.iter();
        records.any(|record| record.usage == usage && record.matches(certificate, key))
    }

    /// Errors: no recorded authority issued the certificate, or not for this server, or not for now.
    fn is_issued(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        for certificate in chain.iter().take(LONGEST_CHAIN) {
            if self.tells_of(certificate, Usage::Authority) {
                roots.add(certificate.clone().into_owned())?;
            }
        }
        if roots.is_empty() {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, chain, now, algorithms)?;
        let names = self.anchors.names.iter();
        names
            .filter_map(|name| ServerName::try_from(name.as_str()).ok())
            .map(|name| verify_server_name(&parsed, &name))
            .reduce(Result::or)
            .unwrap_or(Err(CertificateError::NotValidForName.into()))
    }
}

impl ServerCertVerifier for Recorded {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.tells_of(leaf, Usage::EndEntity) {
            self.is_issued(leaf, chain, now)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Certificates above the server's own that are looked at.
const LONGEST_CHAIN: usize = 10;

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest;
    use postroad_verify::dane::Tlsa;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    struct Chain {
        authority: CertificateDer<'static>,
        leaf: CertificateDer<'static>,
        key: Vec<u8>,
        authority_key: Vec<u8>,
    }

    /// An authority and a certificate of a server by it, valid from then on.
    fn chain(name: &str, year: i32) -> Chain {
        let mut above = CertificateParams::new(vec![]).unwrap();
        above.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(above, KeyPair::generate().unwrap()).unwrap();
        let mut below = CertificateParams::new(vec![name.to_owned()]).unwrap();
        below.not_before = rcgen::date_time_ymd(year, 1, 1);
        below.not_after = rcgen::date_time_ymd(year + 10, 1, 1);
        let key = KeyPair::generate().unwrap();
        let leaf = below.signed_by(&key, &authority).unwrap();
        let public = |octets: &CertificateDer<'_>| {
            let (_, parsed) = X509Certificate::from_der(octets).unwrap();
            parsed.tbs_certificate.subject_pki.raw.to_vec()
        };
        Chain {
            key: public(leaf.der()),
            authority_key: public(authority.der()),
            leaf: leaf.der().clone(),
            authority: authority.der().clone(),
        }
    }

    fn record(usage: u8, selector: u8, matching: u8, part: &[u8]) -> Tlsa {
        let data = match matching {
            0 => part.to_vec(),
            1 => digest::digest(&digest::SHA256, part).as_ref().to_vec(),
            _ => digest::digest(&digest::SHA512, part).as_ref().to_vec(),
        };
        Tlsa::read(&[&[usage, selector, matching][..], &data].concat()).unwrap()
    }

    /// In the year 2030.
    fn holds(chain: &Chain, shown: &[CertificateDer<'_>], names: &[&str], records: Vec<Tlsa>) -> bool {
        let anchors = Anchors {
            base: "mx.example".into(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            records,
        };
        let verifier = Recorded::new(Arc::new(anchors), crate::tls::provider());
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_900_000_000));
        let name = ServerName::try_from("mx.example").unwrap();
        verifier
            .verify_server_cert(&chain.leaf, shown, &name, &[], now)
            .is_ok()
    }

    #[test]
    fn the_servers_own_certificate_needs_no_name_and_no_time() {
        let (good, old, misnamed) = (
            chain("mx.example", 2026),
            chain("mx.example", 2000),
            chain("x.example", 2026),
        );
        for chain in [&good, &old, &misnamed] {
            for (selector, part) in [(0, chain.leaf.as_ref()), (1, &chain.key)] {
                for matching in [0, 1, 2] {
                    let records = vec![record(3, 1, 1, b"another"), record(3, selector, matching, part)];
                    assert!(
                        holds(chain, &[], &["mx.example"], records),
                        "{selector} {matching}"
                    );
                }
            }
        }
        assert!(!holds(
            &good,
            &[],
            &["mx.example"],
            vec![record(3, 1, 1, &old.key)]
        ));
        // What an authority may be is no word about the server's own.
        assert!(!holds(
            &good,
            &[],
            &["mx.example"],
            vec![record(2, 1, 1, &good.key)]
        ));
    }

    #[test]
    fn an_authority_vouches_for_names_in_their_time() {
        let (good, old, misnamed, stranger) = (
            chain("mx.example", 2026),
            chain("mx.example", 2000),
            chain("x.example", 2026),
            chain("mx.example", 2026),
        );
        let by = |chain: &Chain| vec![record(2, 1, 1, &chain.authority_key)];
        let whole = |chain: &Chain| vec![record(2, 0, 1, &chain.authority)];
        let shown = |chain: &Chain| vec![chain.authority.clone()];
        let names = ["other.example", "mx.example"];
        assert!(holds(&good, &shown(&good), &names, by(&good)));
        assert!(holds(&good, &shown(&good), &names, whole(&good)));
        assert!(
            !holds(&good, &shown(&good), &["other.example"], by(&good)),
            "no name"
        );
        assert!(
            !holds(&misnamed, &shown(&misnamed), &names, by(&misnamed)),
            "another name"
        );
        assert!(!holds(&old, &shown(&old), &names, by(&old)), "expired");
        assert!(!holds(&good, &[], &names, by(&good)), "it is not shown");
        assert!(
            !holds(&good, &shown(&stranger), &names, by(&stranger)),
            "it did not issue it"
        );
        assert!(
            !holds(&good, &shown(&good), &names, by(&stranger)),
            "of no record"
        );
        // An authority is no server.
        let as_server = vec![record(3, 1, 1, &good.authority_key)];
        assert!(!holds(&good, &shown(&good), &names, as_server));
    }
}
