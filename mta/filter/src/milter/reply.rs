//! What a filter says, packet by packet. Each is read whole or not at all: too little or too much in it is an error.

use super::options::{Options, word};
use super::packet::Packet;
use crate::answer::{Change, Malformed, Refusal};
use crate::header::{is_name, value};

/// One packet of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Options.
    Options(Options),
    /// Go on.
    Continue,
    /// Take the message, ask no more.
    Accept,
    /// Refuse it for good.
    Reject,
    /// Refuse it for now.
    TempFail,
    /// Take it, and throw it away.
    Discard,
    /// Refuse it in these words.
    Refuse(Refusal),
    /// Spare me the rest of the body.
    Skip,
    /// Still at work.
    Progress,
    /// It cannot serve.
    Unable,
    /// Make this change.
    Change(Change),
    /// The next octets of another body.
    Body(Vec<u8>),
    /// Hold it, for this reason.
    Quarantine(String),
}

impl Reply {
    /// Reads a packet. Errors: no filter may say that.
    pub fn parse(packet: &Packet) -> Result<Self, Malformed> {
        let data = packet.data.as_slice();
        let plain = |reply| {
            if data.is_empty() {
                Ok(reply)
            } else {
                Err(Malformed("a packet without data has data"))
            }
        };
        match packet.command {
            b'O' => Options::parse(data).map(Self::Options),
            b'c' => plain(Self::Continue),
            b'a' => plain(Self::Accept),
            b'r' => plain(Self::Reject),
            b't' => plain(Self::TempFail),
            b'd' => plain(Self::Discard),
            b's' => plain(Self::Skip),
            b'p' => plain(Self::Progress),
            b'4' | b'f' => plain(Self::Unable),
            b'y' => Refusal::parse(only(data)?).map(Self::Refuse),
            b'q' => Ok(Self::Quarantine(crate::answer::printable(only(data)?))),
            b'b' => Ok(Self::Body(data.to_vec())),
            b'h' => {
                let (name, value) = field(data)?;
                Ok(Self::Change(Change::Add { name, value }))
            }
            b'i' => {
                let (index, data) = word(data).ok_or(SHORT)?;
                let (name, value) = field(data)?;
                Ok(Self::Change(Change::Insert { index, name, value }))
            }
            b'm' => changed(data).map(Self::Change),
            b'e' => Ok(Self::Change(Change::From(address(first(data)?)?))),
            b'+' => Ok(Self::Change(Change::AddRecipient(recipient(only(data)?)?))),
            b'2' => Ok(Self::Change(Change::AddRecipient(recipient(first(data)?)?))),
            b'-' => Ok(Self::Change(Change::RemoveRecipient(recipient(only(data)?)?))),
            _ => Err(Malformed("a packet of an unknown kind")),
        }
    }
}

/// A text up to its zero octet, and what stands behind.
pub(super) fn text(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, data)?;
    Some((&data[..end], &data[end + 1..]))
}

/// One text and nothing else.
fn only(data: &[u8]) -> Result<&[u8], Malformed> {
    match text(data) {
        Some((text, [])) => Ok(text),
        Some(_) => Err(LONG),
        None => Err(SHORT),
    }
}

/// One text, and perhaps parameters of ESMTP behind it, which have no effect here.
fn first(data: &[u8]) -> Result<&[u8], Malformed> {
    let (first, rest) = text(data).ok_or(SHORT)?;
    match rest {
        [] => Ok(first),
        rest => only(rest).map(|_| first),
    }
}

fn field(data: &[u8]) -> Result<(String, Vec<u8>), Malformed> {
    let (name, data) = text(data).ok_or(SHORT)?;
    if !is_name(name) {
        return Err(Malformed("a field has a name that no field may have"));
    }
    let name = String::from_utf8_lossy(name).into_owned();
    Ok((name, value(only(data)?)?))
}

/// An empty value means that the field goes.
fn changed(data: &[u8]) -> Result<Change, Malformed> {
    let (index, data) = word(data).ok_or(SHORT)?;
    let (name, value) = field(data)?;
    Ok(if value.is_empty() {
        Change::Remove {
            index: i64::from(index.max(1)),
            name,
        }
    } else {
        Change::Replace { index, name, value }
    })
}

/// With brackets or without; the grammar is for whoever uses it.
fn address(text: &[u8]) -> Result<String, Malformed> {
    let text = std::str::from_utf8(text).map_err(|_| Malformed("an address is no UTF-8"))?;
    let text = text.trim();
    let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
    let address = inner.unwrap_or(text);
    if address.chars().any(char::is_control) || address.len() > MOST_ADDRESS {
        return Err(Malformed("an address is none"));
    }
    Ok(address.to_owned())
}

fn recipient(text: &[u8]) -> Result<String, Malformed> {
    let address = address(text)?;
    if address.is_empty() {
        return Err(Malformed("a recipient is empty"));
    }
    Ok(address)
}

const SHORT: Malformed = Malformed("a packet is too short");
const LONG: Malformed = Malformed("a packet is too long for what it says");
/// RFC 5321 section 4.5.3.1.3 allows 256.
const MOST_ADDRESS: usize = 320;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(command: u8, data: &[u8]) -> Result<Reply, Malformed> {
        Reply::parse(&Packet {
            command,
            data: data.to_vec(),
        })
    }

    #[test]
    fn every_reply_is_read() {
        let x = || "X".to_owned();
        for (command, data, want) in [
            (b'c', &b""[..], Reply::Continue),
            (b'a', b"", Reply::Accept),
            (b'r', b"", Reply::Reject),
            (b't', b"", Reply::TempFail),
            (b'd', b"", Reply::Discard),
            (b's', b"", Reply::Skip),
            (b'p', b"", Reply::Progress),
            (b'4', b"", Reply::Unable),
            (b'f', b"", Reply::Unable),
            (b'b', b"octets\0", Reply::Body(b"octets\0".to_vec())),
            (b'q', b"odd\x01\0", Reply::Quarantine("odd?".into())),
            (
                b'y',
                b"550 5.7.1 no\0",
                Reply::Refuse(Refusal {
                    code: 550,
                    text: "5.7.1 no".into(),
                }),
            ),
            (
                b'h',
                b"X\0 y\0",
                Reply::Change(Change::Add {
                    name: x(),
                    value: b" y".to_vec(),
                }),
            ),
            (
                b'i',
                b"\0\0\0\x01X\0y\0",
                Reply::Change(Change::Insert {
                    index: 1,
                    name: x(),
                    value: b"y".to_vec(),
                }),
            ),
            (
                b'm',
                b"\0\0\0\x02X\0y\0",
                Reply::Change(Change::Replace {
                    index: 2,
                    name: x(),
                    value: b"y".to_vec(),
                }),
            ),
            (
                b'm',
                b"\0\0\0\x02X\0\0",
                Reply::Change(Change::Remove { index: 2, name: x() }),
            ),
            (
                b'm',
                b"\0\0\0\0X\0\0",
                Reply::Change(Change::Remove { index: 1, name: x() }),
            ),
            (b'e', b"<a@b>\0", Reply::Change(Change::From("a@b".into()))),
            (b'e', b"<>\0SIZE=1\0", Reply::Change(Change::From(String::new()))),
            (
                b'+',
                b"<a@b>\0",
                Reply::Change(Change::AddRecipient("a@b".into())),
            ),
            (
                b'2',
                b"a@b\0NOTIFY=NEVER\0",
                Reply::Change(Change::AddRecipient("a@b".into())),
            ),
            (
                b'-',
                b"<a@b>\0",
                Reply::Change(Change::RemoveRecipient("a@b".into())),
            ),
        ] {
            assert_eq!(parse(command, data), Ok(want), "{}", char::from(command));
        }
    }

    #[test]
    fn too_little_too_much_and_nonsense_are_refused() {
        for (command, data) in [
            (b'c', &b"x"[..]),
            (b'a', b"\0"),
            (b'y', b"550 no zero"),
            (b'y', b"250 fine\0"),
            (b'y', b"550 a\0b\0"),
            (b'q', b""),
            (b'h', b"X\0y"),
            (b'h', b"X\0y\0z\0"),
            (b'h', b"X Y\0z\0"),
            (b'h', b"\0z\0"),
            (b'h', b"X\0a\rb\0"),
            (b'i', b"\0\0\0"),
            (b'm', b"\0\0\0\x01X"),
            (b'e', b""),
            (b'+', b"<>\0"),
            (b'+', b"<a\n@b>\0"),
            (b'-', b"\xff\0"),
            (b'z', b""),
            (0, b""),
            (b'C', b""),
        ] {
            assert!(parse(command, data).is_err(), "{} {data:?}", char::from(command));
        }
    }
}
