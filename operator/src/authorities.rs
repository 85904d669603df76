//! Authorities that an owner names in place of the public ones. Pure.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Certificates in PEM that can vouch for others. None: there is none, or something else is among them.
pub fn trusted(pem: &str) -> Option<RootCertStore> {
    let mut trusted = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        trusted.add(certificate.ok()?).ok()?;
    }
    (!trusted.is_empty()).then_some(trusted)
}

/// What is wrong with a field of which there are none.
pub const UNSOUND: &str =
    "holds no certificates in PEM that can vouch for others; give those of the authorities";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_vouch() {
        let own = rcgen::generate_simple_self_signed(vec!["ca.example".to_owned()]).unwrap();
        let pem = own.cert.pem();
        assert_eq!(trusted(&pem.repeat(2)).map(|roots| roots.len()), Some(2));
        let broken = pem.replace("MII", "MIJ");
        for text in [
            "",
            "-----BEGIN CERTIFICATE-----\n",
            &broken,
            &(pem.clone() + &broken),
        ] {
            assert!(trusted(text).is_none(), "{text}");
        }
    }
}
