//! One complete configuration out of a base file and its shards.
//!
//! A set is used whole or not at all: while a shard is missing or is of another version than the base names, the
//! daemon stays on the set that it has (the files of a projected volume may arrive one after the other).

use std::collections::{BTreeMap, BTreeSet};

use crate::check::{self, Problems};
use crate::file::{ConfigFile, FORMAT};
use crate::shard::{ShardFile, hash, shard_file_name, shard_of};

/// A complete, checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigSet {
    /// The base with the domains of all shards in `domains`, sorted by name.
    pub file: ConfigFile,
    /// SHA-256 of the base file's text, in hex: names the whole set, as the base names its shards.
    pub hash: String,
}

/// Why there is no set.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AssembleError {
    /// The text is not YAML, or not of this shape.
    #[error("{file}: {reason}")]
    Unreadable {
        /// File name, `base` for the base.
        file: String,
        /// What the parser said, with line and column.
        reason: String,
    },
    /// A format that this version does not read.
    #[error("format {0} is not known to this version, which reads format {FORMAT}; run a newer version")]
    Format(u32),
    /// A shard is not there yet, or not the one that the base names. Wait for it.
    #[error("{0} is missing or of another generation; waiting for it")]
    Incomplete(String),
    /// The set is complete and wrong.
    #[error(transparent)]
    Invalid(#[from] Problems),
}

/// Puts a set together. `shards`: number → text, as far as they were found.
///
/// Errors: see [`AssembleError`]; the set that runs stays.
pub fn assemble(base: &str, shards: &BTreeMap<u8, String>) -> Result<ConfigSet, AssembleError> {
    assemble_onto(base, shards, None)
}

/// The same. `known`: a set that was assembled before, of a base that names no domains itself; its shards that have the wanted hash
/// are not read again.
pub fn assemble_onto(
    base: &str,
    shards: &BTreeMap<u8, String>,
    known: Option<&ConfigFile>,
) -> Result<ConfigSet, AssembleError> {
    let mut file: ConfigFile = read("base", base)?;
    check_format(file.format)?;
    let kept = |number: u8| known.is_some_and(|known| known.shards.get(&number) == file.shards.get(&number));
    let kept: BTreeSet<u8> = file
        .shards
        .keys()
        .copied()
        .filter(|number| kept(*number))
        .collect();
    for domain in known.into_iter().flat_map(|known| &known.domains) {
        if kept.contains(&shard_of(&domain.name)) {
            file.domains.push(domain.clone());
        }
    }
    for (&number, wanted) in file.shards.iter().filter(|(number, _)| !kept.contains(*number)) {
        let name = shard_file_name(number);
        let text = shards.get(&number).filter(|text| hash(text) == *wanted);
        let text = text.ok_or_else(|| AssembleError::Incomplete(name.clone()))?;
        let shard: ShardFile = read(&name, text)?;
        check_format(shard.format)?;
        file.domains.extend(shard.domains);
    }
    file.domains.sort_by(|a, b| a.name.cmp(&b.name));
    check::check(&file)?;
    Ok(ConfigSet {
        file,
        hash: hash(base),
    })
}

fn read<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> Result<T, AssembleError> {
    serde_saphyr::from_str(text).map_err(|error| AssembleError::Unreadable {
        file: name.to_owned(),
        // The first line has the place and the mistake; those below show the text around it, which may hold secrets.
        reason: error.to_string().lines().next().unwrap_or_default().to_owned(),
    })
}

fn check_format(format: u32) -> Result<(), AssembleError> {
    if format == FORMAT {
        Ok(())
    } else {
        Err(AssembleError::Format(format))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Domain, render};

    const LAPTOP: &str = "\
format: 1
hostname: mail.example.com
spool: {directory: /var/spool/postroad}
ports:
  - {name: smtp, address: '127.0.0.1:2525', role: Transfer, tls: Disabled}
domains:
  - name: example.com
    inbound:
      recipients: {mode: Listed, addresses: [alice]}
      deliverTo: {lmtp: {host: 127.0.0.1, port: 24}}
";

    fn domain(name: &str) -> Domain {
        Domain {
            name: name.parse().unwrap(),
            inbound: None,
            senders: vec![],
            dkim: crate::Dkim::default(),
        }
    }

    fn sharded(names: &[&str]) -> (ConfigFile, BTreeMap<u8, String>) {
        let mut by_shard: BTreeMap<u8, Vec<Domain>> = BTreeMap::new();
        for name in names {
            by_shard
                .entry(shard_of(&name.parse().unwrap()))
                .or_default()
                .push(domain(name));
        }
        let mut base = assemble(LAPTOP, &BTreeMap::new()).unwrap().file;
        base.domains.clear();
        let mut texts = BTreeMap::new();
        for (number, domains) in by_shard {
            let text = render(&ShardFile {
                format: FORMAT,
                domains,
            })
            .unwrap();
            base.shards.insert(number, hash(&text));
            texts.insert(number, text);
        }
        (base, texts)
    }

    #[test]
    fn a_short_file_is_enough() {
        let set = assemble(LAPTOP, &BTreeMap::new()).unwrap();
        assert_eq!(set.file.limits, crate::Limits::default());
        assert_eq!(set.file.domains.len(), 1);
        assert_eq!(set.hash.len(), 64);
    }

    #[test]
    fn what_is_rendered_reads_back_the_same() {
        let set = assemble(LAPTOP, &BTreeMap::new()).unwrap();
        let text = render(&set.file).unwrap();
        assert_eq!(assemble(&text, &BTreeMap::new()).unwrap().file, set.file);
    }

    #[test]
    fn shards_are_joined_and_sorted() {
        let (base, texts) = sharded(&["b.example", "a.example", "c.example"]);
        let set = assemble(&render(&base).unwrap(), &texts).unwrap();
        let names: Vec<_> = set.file.domains.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["a.example", "b.example", "c.example"]);
    }

    #[test]
    fn shards_that_are_known_are_not_read_again_and_the_others_are() {
        let (base, texts) = sharded(&["a.example", "b.example", "c.example"]);
        let known = assemble(&render(&base).unwrap(), &texts).unwrap().file;
        let (more, mut all) = sharded(&["a.example", "b.example", "c.example", "d.example"]);
        let text = render(&more).unwrap();
        let whole = assemble(&text, &all).unwrap();
        assert_eq!(assemble_onto(&text, &all, Some(&known)).unwrap(), whole);
        // What is known needs no text; what is not known, does.
        let changed = shard_of(&"d.example".parse().unwrap());
        all.retain(|number, _| *number == changed);
        assert_eq!(assemble_onto(&text, &all, Some(&known)).unwrap(), whole);
        all.clear();
        assert!(assemble_onto(&text, &all, Some(&known)).is_err());
    }

    #[test]
    fn a_missing_or_stale_shard_makes_the_set_incomplete() {
        let (base, mut texts) = sharded(&["a.example"]);
        let text = render(&base).unwrap();
        let number = *texts.keys().next().unwrap();
        texts.get_mut(&number).unwrap().push('\n');
        assert!(matches!(
            assemble(&text, &texts),
            Err(AssembleError::Incomplete(_))
        ));
        texts.clear();
        assert!(matches!(
            assemble(&text, &texts),
            Err(AssembleError::Incomplete(_))
        ));
    }

    #[test]
    fn a_misspelt_field_and_an_unknown_format_are_refused() {
        let misspelt = LAPTOP.replace("hostname:", "hostnam:");
        assert!(matches!(
            assemble(&misspelt, &BTreeMap::new()),
            Err(AssembleError::Unreadable { .. })
        ));
        let near_a_key = LAPTOP.replace("hostname:", "tls: {certificate: c, key: SECRET}\nhostnam:");
        let told = assemble(&near_a_key, &BTreeMap::new()).unwrap_err().to_string();
        assert!(told.contains("line 3") && !told.contains("SECRET"), "{told}");
        let newer = LAPTOP.replace("format: 1", "format: 9");
        assert_eq!(assemble(&newer, &BTreeMap::new()), Err(AssembleError::Format(9)));
    }
}
