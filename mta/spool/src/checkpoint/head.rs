//! The first block: whose checkpoint it is, up to where it goes, and what is not about one entry.

use std::collections::HashSet;

use crate::format::BLOCK_U32;
use crate::format::codec::{Reader, Writer};
use crate::index::{Epoch, Index, Tail};
use crate::shared::Counters;
use crate::types::{Damage, SealState, SpoolUuid};

/// Version of the file. Another one is not read: the log is. The first one did not name the files of the segments.
const VERSION: u32 = 2;
const NAMELESS: u32 = 1;

/// A segment in use at the time of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    pub epoch: Epoch,
    /// Its file; 0 if the checkpoint does not say.
    pub number: u32,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub uuid: SpoolUuid,
    pub tail: Tail,
    pub next: Counters,
    pub next_entry: u64,
    pub seal: SealState,
    /// The file of the tail; 0 if it is not said.
    pub tail_number: u32,
    /// Segments to which nothing is written any more.
    pub closed: Vec<Named>,
    pub damage: Vec<(Epoch, Damage)>,
}

/// Why a head cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// Not of this form.
    Damaged,
    /// Of another version.
    Version,
}

impl Head {
    /// What the index says now; `None` if nothing was ever committed.
    pub fn of(uuid: SpoolUuid, index: &Index, next: Counters) -> Option<Self> {
        let tail = index.tail?;
        // A segment that was begun and has no batch yet is none that is known.
        let begun = index
            .segments
            .iter()
            .filter(|(_, segment)| segment.used > BLOCK_U32);
        let closed = begun
            .map(|(epoch, segment)| Named {
                epoch: *epoch,
                number: segment.number,
            })
            .filter(|named| named.epoch != tail.epoch);
        let tail_number = index
            .segments
            .get(&tail.epoch)
            .map_or(0, |segment| segment.number);
        let damage = index.damage.iter().filter(|(epoch, _)| index.exists(*epoch));
        Some(Self {
            uuid,
            tail,
            next,
            next_entry: index.next_entry,
            seal: index.seal,
            tail_number,
            closed: closed.collect(),
            damage: damage.copied().collect(),
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u32(VERSION);
        out.0.extend_from_slice(&self.uuid.0);
        out.u64(self.tail.batch);
        for value in [self.tail.epoch, self.tail.last, self.tail.used] {
            out.u32(value);
        }
        for value in [self.next.entry, self.next.epoch, self.next.batch, self.next_entry] {
            out.u64(value);
        }
        out.u8(u8::from(self.seal.sealed));
        out.u64(self.seal.number);
        out.u32(self.tail_number);
        out.count(self.closed.len());
        for named in &self.closed {
            out.u32(named.epoch);
            out.u32(named.number);
        }
        out.count(self.damage.len());
        for (epoch, place) in &self.damage {
            for value in [*epoch, place.segment, place.from, place.to] {
                out.u32(value);
            }
        }
        out.0
    }

    pub fn decode(payload: &[u8]) -> Result<Self, HeadError> {
        let mut input = Reader(payload);
        let version = input.u32().ok_or(HeadError::Damaged)?;
        if ![VERSION, NAMELESS].contains(&version) {
            return Err(HeadError::Version);
        }
        fields(&mut input, version == VERSION).ok_or(HeadError::Damaged)
    }

    /// All segments in use, the tail last.
    pub fn named(&self) -> impl Iterator<Item = Named> {
        let tail = Named {
            epoch: self.tail.epoch,
            number: self.tail_number,
        };
        self.closed.iter().copied().chain([tail])
    }

    /// The files of the segments in use.
    pub fn numbers(&self) -> HashSet<u32> {
        self.named().map(|named| named.number).collect()
    }
}

fn fields(input: &mut Reader<'_>, with_names: bool) -> Option<Head> {
    let uuid = input.uuid()?;
    let tail = Tail {
        batch: input.u64()?,
        epoch: input.u32()?,
        last: input.u32()?,
        used: input.u32()?,
    };
    let next = Counters {
        entry: input.number()?,
        epoch: input.u64()?,
        batch: input.number()?,
    };
    let next_entry = input.number()?;
    let seal = SealState {
        sealed: input.u8()? == 1,
        number: input.u64()?,
    };
    let number = |input: &mut Reader<'_>| if with_names { input.u32() } else { Some(0) };
    let tail_number = number(input)?;
    let count = input.count(4)?;
    let mut closed = Vec::new();
    for _ in 0..count {
        closed.push(Named {
            epoch: input.u32()?,
            number: number(input)?,
        });
    }
    let count = input.count(16)?;
    let damage = (0..count).map(|_| damage(input)).collect::<Option<_>>()?;
    input.0.is_empty().then_some(Head {
        uuid,
        tail,
        next,
        next_entry,
        seal,
        tail_number,
        closed,
        damage,
    })
}

fn damage(input: &mut Reader<'_>) -> Option<(Epoch, Damage)> {
    let epoch = input.u32()?;
    let place = Damage {
        segment: input.u32()?,
        from: input.u32()?,
        to: input.u32()?,
    };
    Some((epoch, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn named(epoch: Epoch, number: u32) -> Named {
        Named { epoch, number }
    }

    #[test]
    fn a_head_reads_back_and_another_version_does_not() {
        let head = Head {
            uuid: SpoolUuid([3; 16]),
            tail: Tail {
                batch: 9,
                epoch: 4,
                last: 4096,
                used: 8192,
            },
            next: Counters {
                entry: 1,
                epoch: 2,
                batch: 3,
            },
            next_entry: 77,
            seal: SealState {
                sealed: true,
                number: 2,
            },
            tail_number: 2,
            closed: vec![named(1, 7), named(3, 5)],
            damage: vec![(
                1,
                Damage {
                    segment: 5,
                    from: 4096,
                    to: 8192,
                },
            )],
        };
        let mut bytes = head.encode();
        assert_eq!(head.numbers(), HashSet::from([7, 5, 2]));
        assert_eq!(Head::decode(&bytes), Ok(head));
        assert_eq!(Head::decode(&bytes[..bytes.len() - 1]), Err(HeadError::Damaged));
        bytes[0] += 7;
        assert_eq!(Head::decode(&bytes), Err(HeadError::Version));
    }
}
