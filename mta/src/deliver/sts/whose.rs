//! Whose policy is kept: a domain's, on the word of those who vouched for its policy host.
//!
//! Pure. A route may name authorities of its own (`tls.authorities`). A host that one of them vouched for is nobody to a route
//! that believes the public ones, and the other way round: each finds what its own authorities let in.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// A domain, and who vouches for its policy host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Whose {
    /// As it is asked for.
    pub(super) domain: String,
    /// Digest of the authorities in place of the public ones, in hexadecimal.
    pub(super) authorities: Option<String>,
}

impl Whose {
    /// `authorities`: PEM. The same certificates are the same authorities, in whatever order and with whatever text between.
    pub(super) fn new(domain: &str, authorities: Option<&str>) -> Self {
        Self {
            domain: domain.to_owned(),
            authorities: authorities.map(digest_of),
        }
    }

    /// A name of fixed form, whatever octets the domain has.
    pub(super) fn file_name(&self) -> String {
        // No domain has a NUL: no two are one.
        let named = self.authorities.iter().flat_map(|named| ["\0", named]);
        let text: String = std::iter::once(self.domain.as_str()).chain(named).collect();
        hexadecimal(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
    }
}

fn digest_of(authorities: &str) -> String {
    let read = CertificateDer::pem_slice_iter(authorities.as_bytes()).filter_map(Result::ok);
    let mut each: Vec<_> = read
        .map(|certificate| digest::digest(&digest::SHA256, &certificate).as_ref().to_vec())
        .collect();
    each.sort_unstable();
    each.dedup();
    hexadecimal(digest::digest(&digest::SHA256, &each.concat()).as_ref())
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(octets: &str) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{octets}\n-----END CERTIFICATE-----\n")
    }

    #[test]
    fn the_same_certificates_are_the_same_authorities() {
        let (one, other) = (pem("AAAA"), pem("BBBB"));
        let both = Whose::new("a.example", Some(&format!("{one}{other}")));
        let turned = format!("# ours\n{other}\n{one}{one}");
        assert_eq!(Whose::new("a.example", Some(&turned)), both);
        let others = [
            Whose::new("a.example", None),
            Whose::new("a.example", Some(&one)),
            Whose::new("a.example", Some("")),
            Whose::new("b.example", Some(&format!("{one}{other}"))),
        ];
        for different in others {
            assert_ne!(different, both);
            assert_ne!(different.file_name(), both.file_name());
        }
        assert_eq!(both.file_name().len(), 64);
    }
}
