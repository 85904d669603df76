//! Domains are spread over a fixed number of files, so that thousands of them with their keys fit into Secrets of
//! bounded size, and one changed domain changes one file.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use crate::domain::DomainName;
use crate::file::Domain;

/// Number of shards. Fixed: another number would move every domain.
pub const SHARDS: u8 = 64;

/// The domains of one shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShardFile {
    /// Format, as in the base file.
    pub format: u32,
    /// The domains, sorted by name.
    pub domains: Vec<Domain>,
}

/// The shard of a domain: the first octet of the SHA-256 of its name, modulo [`SHARDS`].
pub fn shard_of(domain: &DomainName) -> u8 {
    digest::digest(&digest::SHA256, domain.as_str().as_bytes()).as_ref()[0] % SHARDS
}

/// Name of a shard's file beside the base file: `domains-07.yaml`.
pub fn shard_file_name(shard: u8) -> String {
    format!("domains-{shard:02}.yaml")
}

/// SHA-256 of a file's text, in lower-case hex.
pub fn hash(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest
        .as_ref()
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            for nibble in [byte >> 4, byte & 15] {
                hex.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
            hex
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_sha256_in_hex() {
        // FIPS 180-4, the message `abc`.
        assert_eq!(
            hash("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn every_domain_has_one_shard_for_good() {
        let domain: DomainName = "example.com".parse().unwrap();
        assert_eq!(shard_of(&domain), shard_of(&"EXAMPLE.com.".parse().unwrap()));
        assert!(shard_of(&domain) < SHARDS);
        assert_eq!(shard_file_name(7), "domains-07.yaml");
    }
}
