//! Where the queue is on disk, and in which format it is written.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The queue's place on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpoolSection {
    /// Directory of the spool; made when absent. Exactly one daemon at a time uses it.
    pub directory: PathBuf,
    /// Above this share of the volume in use, new mail gets 452 (RFC 5321 section 4.2.3). Percent, 50 to 99.
    #[serde(default = "default_high_water")]
    pub high_water_percent: u8,
    /// Format of what is written from now on, see `docs/reference/spool-format.md`. Default: the older of the two that
    /// this version reads, so that the version before can still be started on the spool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_format: Option<u32>,
}

impl SpoolSection {
    /// The format that is written.
    pub fn format(&self) -> u32 {
        self.write_format.unwrap_or(OLDEST_SPOOL_FORMAT)
    }
}

/// The newest format of the spool that this version reads and writes. The feature `next-format` makes a version of the
/// format behind it, for tests.
pub const NEWEST_SPOOL_FORMAT: u32 = if cfg!(feature = "next-format") { 3 } else { 2 };

/// The oldest format of the spool that this version reads and writes.
pub const OLDEST_SPOOL_FORMAT: u32 = NEWEST_SPOOL_FORMAT - 1;

fn default_high_water() -> u8 {
    90
}
