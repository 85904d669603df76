//! Packets: four octets of length, one of the command, and its data.
//!
//! The length is judged before anything is held for it, so that a filter's word never makes us hold more than [`LONGEST`].

use crate::answer::Malformed;

/// One packet of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub command: u8,
    /// Its data.
    pub data: Vec<u8>,
}

/// Cuts a stream into packets.
#[derive(Debug, Default)]
pub struct Packets {
    held: Vec<u8>,
    /// Octets of `held` that are used up.
    used: usize,
}

impl Packets {
    /// Before the first octet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what came.
    pub fn feed(&mut self, octets: &[u8]) {
        self.held.drain(..self.used);
        self.used = 0;
        self.held.extend_from_slice(octets);
    }

    /// The next whole packet. Errors: its length is none that a packet may have; nothing after it can be read.
    pub fn take(&mut self) -> Result<Option<Packet>, Malformed> {
        let held = self.held.get(self.used..).unwrap_or_default();
        let Some((length, rest)) = held.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length == 0 {
            return Err(Malformed("a packet is empty"));
        }
        if length > LONGEST {
            return Err(Malformed("a packet is too long"));
        }
        let Some((command, data)) = rest.get(..length).and_then(<[u8]>::split_first) else {
            return Ok(None);
        };
        let packet = Packet {
            command: *command,
            data: data.to_vec(),
        };
        self.used += 4 + length;
        Ok(Some(packet))
    }

    /// Whether octets are left that are no packet yet, or one that nobody waits for.
    pub fn is_empty(&self) -> bool {
        self.used == self.held.len()
    }

    /// Octets that are held.
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

/// Writes a packet behind `out`.
pub(super) fn write(out: &mut Vec<u8>, command: u8, data: &[&[u8]]) {
    let length = 1 + data.iter().map(|part| part.len()).sum::<usize>();
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    out.push(command);
    for part in data {
        out.extend_from_slice(part);
    }
}

/// Most octets of a packet of a filter, its command included. Those of libmilter have 64 KiB of data at most.
pub const LONGEST: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_whatever_the_pieces() {
        let mut stream = Vec::new();
        write(&mut stream, b'c', &[]);
        write(&mut stream, b'h', &[b"X\0", b"y\0"]);
        let want = [
            Packet {
                command: b'c',
                data: vec![],
            },
            Packet {
                command: b'h',
                data: b"X\0y\0".to_vec(),
            },
        ];
        for piece in 1..=stream.len() {
            let mut packets = Packets::new();
            let mut found = Vec::new();
            for octets in stream.chunks(piece) {
                packets.feed(octets);
                while let Some(packet) = packets.take().unwrap() {
                    found.push(packet);
                }
            }
            assert_eq!(found, want, "pieces of {piece}");
            assert!(packets.is_empty());
        }
    }

    #[test]
    fn a_length_is_judged_before_anything_is_held_for_it() {
        for length in [0, u32::try_from(LONGEST).unwrap() + 1, u32::MAX] {
            let mut packets = Packets::new();
            packets.feed(&length.to_be_bytes());
            assert!(packets.take().is_err(), "{length}");
        }
        let mut packets = Packets::new();
        packets.feed(&u32::try_from(LONGEST).unwrap().to_be_bytes());
        assert_eq!(packets.take(), Ok(None));
        assert_eq!(packets.held(), 4);
    }
}
