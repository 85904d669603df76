//! One TLSA record (RFC 6698 section 2.1), and which of several count (RFC 7672 section 3.1, RFC 7671 section 9).

use std::fmt;

use aws_lc_rs::digest;

/// A record that can be used with SMTP.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tlsa {
    /// Which certificate of the chain it is about.
    pub usage: Usage,
    /// Which part of it.
    pub selector: Selector,
    matching: Matching,
    data: Vec<u8>,
}

/// Which certificate of the chain a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Usage {
    /// DANE-TA(2): an authority that issued the server's; its names and times are judged.
    Authority,
    /// DANE-EE(3): the server's own; neither its names nor its times are judged (RFC 7672 section 3.1.1).
    EndEntity,
}

/// Which part of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// Cert(0): all of it.
    Certificate,
    /// SPKI(1): its public key, with the algorithm.
    PublicKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Matching {
    /// Full(0).
    Whole,
    /// SHA2-256(1).
    Sha256,
    /// SHA2-512(2).
    Sha512,
}

impl Tlsa {
    /// Reads the data of a record. None: SMTP cannot use it. PKIX-TA(0) and PKIX-EE(1) cannot be (RFC 7672 section 3.1.3).
    pub fn read(octets: &[u8]) -> Option<Self> {
        let [usage, selector, matching, data @ ..] = octets else {
            return None;
        };
        let read = Self {
            usage: match usage {
                2 => Usage::Authority,
                3 => Usage::EndEntity,
                _ => return None,
            },
            selector: match selector {
                0 => Selector::Certificate,
                1 => Selector::PublicKey,
                _ => return None,
            },
            matching: match matching {
                0 => Matching::Whole,
                1 => Matching::Sha256,
                2 => Matching::Sha512,
                _ => return None,
            },
            data: data.to_vec(),
        };
        let fits = match read.matching {
            Matching::Whole => !data.is_empty(),
            Matching::Sha256 => data.len() == digest::SHA256_OUTPUT_LEN,
            Matching::Sha512 => data.len() == digest::SHA512_OUTPUT_LEN,
        };
        fits.then_some(read)
    }

    /// Those of a set that count. Of the digests of one usage and selector only the strongest does (RFC 7671 section 9).
    pub fn usable<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Vec<Self> {
        let mut found: Vec<_> = records
            .into_iter()
            .take(MOST_RECORDS)
            .filter_map(Self::read)
            .collect();
        found.sort_unstable();
        found.dedup();
        let strong: Vec<_> = found
            .iter()
            .filter(|record| record.matching == Matching::Sha512)
            .map(|record| (record.usage, record.selector))
            .collect();
        found.retain(|record| {
            record.matching != Matching::Sha256 || !strong.contains(&(record.usage, record.selector))
        });
        found
    }

    /// Whether it is about this certificate: `certificate` is its DER, `public_key` that of its subjectPublicKeyInfo.
    pub fn matches(&self, certificate: &[u8], public_key: &[u8]) -> bool {
        let part = match self.selector {
            Selector::Certificate => certificate,
            Selector::PublicKey => public_key,
        };
        match self.matching {
            Matching::Whole => self.data == part,
            Matching::Sha256 => digest::digest(&digest::SHA256, part).as_ref() == self.data,
            Matching::Sha512 => digest::digest(&digest::SHA512, part).as_ref() == self.data,
        }
    }
}

/// As a zone file has it (RFC 6698 section 2.2).
impl fmt::Display for Tlsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usage = match self.usage {
            Usage::Authority => 2,
            Usage::EndEntity => 3,
        };
        let selector = match self.selector {
            Selector::Certificate => 0,
            Selector::PublicKey => 1,
        };
        let matching = match self.matching {
            Matching::Whole => 0,
            Matching::Sha256 => 1,
            Matching::Sha512 => 2,
        };
        write!(f, "{usage} {selector} {matching} ")?;
        self.data.iter().try_for_each(|octet| write!(f, "{octet:02X}"))
    }
}

/// The three numbers: what they are about is public, and may be long.
impl fmt::Debug for Tlsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Tlsa({:?} {:?} {:?})",
            self.usage, self.selector, self.matching
        )
    }
}

/// Records of one name that are looked at: each is tried with each certificate of a chain.
const MOST_RECORDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(numbers: [u8; 3], data: &[u8]) -> Vec<u8> {
        [&numbers[..], data].concat()
    }

    fn sha256(part: &[u8]) -> Vec<u8> {
        digest::digest(&digest::SHA256, part).as_ref().to_vec()
    }

    fn sha512(part: &[u8]) -> Vec<u8> {
        digest::digest(&digest::SHA512, part).as_ref().to_vec()
    }

    #[test]
    fn each_usable_form_matches_its_part_and_nothing_else() {
        let (certificate, key) = (&b"a certificate"[..], &b"a key"[..]);
        for usage in [2, 3] {
            for (selector, part) in [(0, certificate), (1, key)] {
                for (matching, data) in [(0, part.to_vec()), (1, sha256(part)), (2, sha512(part))] {
                    let record = Tlsa::read(&octets([usage, selector, matching], &data)).unwrap();
                    assert!(record.matches(certificate, key), "{record:?}");
                    assert!(!record.matches(b"another", b"one"), "{record:?}");
                    assert!(!record.matches(key, certificate), "{record:?}");
                }
            }
        }
    }

    #[test]
    fn what_smtp_cannot_use_is_left_aside() {
        let digest = sha256(b"x");
        for record in [
            octets([0, 0, 1], &digest),
            octets([1, 1, 1], &digest),
            octets([4, 1, 1], &digest),
            octets([255, 1, 1], &digest),
            octets([3, 2, 1], &digest),
            octets([3, 1, 3], &digest),
            octets([3, 1, 1], &digest[1..]),
            octets([3, 1, 2], &digest),
            octets([3, 1, 0], b""),
            vec![3, 1],
            vec![],
        ] {
            assert_eq!(Tlsa::read(&record), None, "{record:?}");
        }
    }

    #[test]
    fn only_the_strongest_digest_of_a_kind_counts() {
        let weak = octets([3, 1, 1], &sha256(b"key"));
        let strong = octets([3, 1, 2], &sha512(b"other"));
        let whole = octets([3, 1, 0], b"key");
        let elsewhere = octets([2, 1, 1], &sha256(b"key"));
        let found = Tlsa::usable([&weak[..], &strong, &whole, &elsewhere, &whole]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(!found.contains(&Tlsa::read(&weak).unwrap()));
        assert_eq!(Tlsa::usable([&weak[..]]).len(), 1);
        assert_eq!(Tlsa::usable(std::iter::repeat_n(&weak[..], 1_000)).len(), 1);
    }
}
