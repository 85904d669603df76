//! What later formats added to the envelope, as a list of tagged values: absent ones take nothing.
//!
//! ```text
//! extensions   count 1 | (tag 1 | length 4 | value)*
//!   1          REQUIRETLS       no value                                format 2
//!   2          DELIVERBY        deadline 8 | 1: R, 2: N | 1: trace      format 2
//! ```
//!
//! A tag that is not known makes the record unreadable. The version of the segment sees to it that none ever is.

use crate::format::FIRST;
use crate::format::codec::{Reader, Writer};
use crate::types::{ByMode, DeliverBy, Envelope};

const REQUIRE_TLS: u8 = 1;
const DELIVER_BY: u8 = 2;
#[cfg(feature = "next-format")]
const REMARK: u8 = 3;

/// The oldest format that can say this envelope.
pub const fn format_of(envelope: &Envelope) -> u32 {
    #[cfg(feature = "next-format")]
    if envelope.remark.is_some() {
        return 3;
    }
    if envelope.require_tls || envelope.deliver_by.is_some() {
        2
    } else {
        FIRST
    }
}

/// Writes what the envelope has of extensions.
pub fn put(out: &mut Writer, envelope: &Envelope) {
    let mut values = Vec::new();
    if envelope.require_tls {
        values.push((REQUIRE_TLS, Writer::default()));
    }
    if let Some(by) = envelope.deliver_by {
        values.push((DELIVER_BY, deliver_by(by)));
    }
    #[cfg(feature = "next-format")]
    if let Some(remark) = &envelope.remark {
        let mut value = Writer::default();
        value.text(remark);
        values.push((REMARK, value));
    }
    out.u8(u8::try_from(values.len()).unwrap_or(u8::MAX));
    for (tag, value) in values {
        out.u8(tag);
        out.count(value.0.len());
        out.0.extend_from_slice(&value.0);
    }
}

/// Reads extensions into the envelope; `None` if they are not of this form.
pub fn read(input: &mut Reader<'_>, envelope: &mut Envelope) -> Option<()> {
    for _ in 0..input.u8()? {
        let tag = input.u8()?;
        let length = input.count(1)?;
        let mut value = Reader(input.take(length)?);
        match tag {
            REQUIRE_TLS => envelope.require_tls = true,
            DELIVER_BY => envelope.deliver_by = Some(by(&mut value)?),
            #[cfg(feature = "next-format")]
            REMARK => envelope.remark = Some(value.text()?),
            _ => return None,
        }
        if !value.0.is_empty() {
            return None;
        }
    }
    Some(())
}

fn deliver_by(by: DeliverBy) -> Writer {
    let mut out = Writer::default();
    out.u64(by.deadline);
    out.u8(match by.mode {
        ByMode::Return => 1,
        ByMode::Notify => 2,
    });
    out.u8(u8::from(by.trace));
    out
}

fn by(input: &mut Reader<'_>) -> Option<DeliverBy> {
    Some(DeliverBy {
        deadline: input.u64()?,
        mode: match input.u8()? {
            1 => ByMode::Return,
            2 => ByMode::Notify,
            _ => return None,
        },
        trace: input.u8()? == 1,
    })
}
