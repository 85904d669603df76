//! Drained records as they are kept: a small file that is replaced as a whole. Pure.
//!
//! ```text
//! postroad-drained 1
//! <spool uuid> <seal>        one line for each spool
//! end <CRC-32C of all lines before, hex>
//! ```
//!
//! A spool that was answered for by such a record is refused for good: what was dropped or forgotten because of it must
//! not be taken anew after a restart, when nobody knows the transfer any more.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::types::SpoolUuid;

/// Name of the file in the spool's directory.
pub const FILE: &str = "drained";

const HEAD: &str = "postroad-drained 1\n";

/// The file.
pub fn encode(drained: &HashMap<SpoolUuid, u64>) -> String {
    let mut lines: Vec<_> = drained.iter().collect();
    lines.sort_unstable();
    let mut text = HEAD.to_owned();
    for (spool, seal) in lines {
        // A String takes everything.
        let _ = writeln!(text, "{spool} {seal}");
    }
    let crc = crc32c::crc32c(text.as_bytes());
    let _ = writeln!(text, "end {crc:08x}");
    text
}

/// What the file says; `None` where it is damaged.
pub fn decode(text: &str) -> Option<HashMap<SpoolUuid, u64>> {
    let (lines, end) = text.rsplit_once("end ")?;
    let crc = u32::from_str_radix(end.trim_end(), 16).ok()?;
    if crc32c::crc32c(lines.as_bytes()) != crc {
        return None;
    }
    let line = |line: &str| {
        let (spool, seal) = line.split_once(' ')?;
        Some((spool.parse().ok()?, seal.parse().ok()?))
    };
    lines.strip_prefix(HEAD)?.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> HashMap<SpoolUuid, u64> {
        HashMap::from([(SpoolUuid([1; 16]), 7), (SpoolUuid([2; 16]), u64::MAX)])
    }

    #[test]
    fn it_reads_back() {
        assert_eq!(decode(&encode(&some())), Some(some()));
        assert_eq!(decode(&encode(&HashMap::new())), Some(HashMap::new()));
    }

    #[test]
    fn a_file_that_is_cut_or_changed_is_damage_and_never_a_shorter_list() {
        let text = encode(&some());
        for end in 0..text.len() - 1 {
            assert_eq!(decode(&text[..end]), None, "cut at {end}");
        }
        assert_eq!(decode(&text.replace(" 7\n", " 8\n")), None);
    }
}
