//! Authorities that the configuration names, as certificates. Each text is read once: a route may open many connections a
//! second, and what vouches for them changes once a year.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// What was read. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Vouchers(Arc<Mutex<HashMap<Arc<str>, Arc<RootCertStore>>>>);

impl Vouchers {
    /// The certificates of this text (PEM). What is none vouches for nobody.
    pub(super) fn of(&self, pem: &str) -> Arc<RootCertStore> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(roots) = known.get(pem) {
            return Arc::clone(roots);
        }
        // What is no longer in the configuration goes with the rest, and what is still there is read again.
        if known.len() >= MOST {
            known.clear();
        }
        let roots = Arc::new(read(pem));
        known.insert(pem.into(), Arc::clone(&roots));
        roots
    }
}

fn read(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
    roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    roots
}

/// Texts that are kept: more than a fleet has routes with authorities of their own.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> String {
        rcgen::generate_simple_self_signed(["ca.example".to_owned()])
            .unwrap()
            .cert
            .pem()
    }

    #[test]
    fn a_text_is_read_once_by_all_and_another_one_is_another() {
        let vouchers = Vouchers::default();
        let (one, other) = (certificate(), certificate());
        let read = vouchers.of(&one);
        assert_eq!(read.len(), 1);
        assert!(Arc::ptr_eq(&read, &vouchers.clone().of(&one)));
        assert!(!Arc::ptr_eq(&read, &vouchers.of(&other)));
        assert_eq!(vouchers.of(&format!("{one}{other}")).len(), 2);
        assert!(vouchers.of("no certificate").is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let vouchers = Vouchers::default();
        for number in 0..2 * MOST {
            vouchers.of(&number.to_string());
            assert!(vouchers.0.lock().unwrap().len() <= MOST);
        }
    }
}
