//! Configuration files: used or refused with places, and what is used is written and read back the same.

use std::collections::BTreeMap;

use postroad_config::{assemble, explain, hash, render};

/// A base file and, behind a NUL, a shard; `HASH` in the base stands for the shard's.
pub fn files(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    let (base, shard) = text.split_once('\0').unwrap_or((text, ""));
    let base = base.replace("HASH", &hash(shard));
    let shards = BTreeMap::from([(3, shard.to_owned())]);
    let told = explain("base.yaml", &base, &shards);
    match assemble(&base, &shards) {
        Ok(set) => {
            assert!(told.is_empty(), "used, and yet {told:?}");
            let mut file = set.file;
            file.shards.clear();
            let text = render(&file).expect("what was read can be written");
            assert_eq!(
                assemble(&text, &BTreeMap::new()).expect("and read again").file,
                file
            );
        }
        Err(_) => assert!(!told.is_empty(), "refused without a word"),
    }
    for mistake in told {
        assert!(
            mistake.line >= 1 && mistake.column >= 1 && !mistake.sentence.is_empty(),
            "{mistake:?}"
        );
    }
}
