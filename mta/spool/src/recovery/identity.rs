//! Whose directory it is: the file with the identity of the spool and its format version.

use std::io;
use std::path::Path;

use crate::errors::OpenError;
use crate::io::{Io, write_whole};
use crate::types::SpoolUuid;

const UUID_FILE: &str = "uuid";
const UUID_HEAD: &str = "postroad-spool 1\n";

pub fn read_uuid(io: &dyn Io, dir: &Path) -> Result<Option<SpoolUuid>, OpenError> {
    let Ok(file) = io.open(&dir.join(UUID_FILE)) else {
        return Ok(None);
    };
    let mut bytes = vec![0; 256];
    let read = file.read_at(&mut bytes, 0)?;
    let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
    if let Some(uuid) = text.strip_prefix(UUID_HEAD) {
        return Ok(uuid.trim().parse().ok());
    }
    let other = text
        .strip_prefix("postroad-spool ")
        .and_then(|rest| rest.split('\n').next()?.parse().ok());
    match other {
        Some(found) => Err(OpenError::Format { found }),
        None => Ok(None),
    }
}

pub fn write_uuid(io: &dyn Io, dir: &Path, uuid: SpoolUuid) -> Result<(), OpenError> {
    if read_uuid(io, dir)? == Some(uuid) {
        return Ok(());
    }
    Ok(write_whole(
        io,
        dir,
        UUID_FILE,
        format!("{UUID_HEAD}{uuid}\n").as_bytes(),
    )?)
}

pub fn new_uuid() -> io::Result<SpoolUuid> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no random numbers"))?;
    // Version 4, variant 1 (RFC 9562 section 5.4).
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(SpoolUuid(bytes))
}
