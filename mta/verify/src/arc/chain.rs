//! The sets of a chain (RFC 8617 sections 4.1, 4.2 and 5.2, steps 1 to 3): each complete, numbered from 1 without a gap.

use super::verify::Problem;
use crate::dkim::tags::Tags;
use crate::dkim::{Field, Header};

/// Sets that a chain may have (RFC 8617 section 4.2.1).
pub const MOST_SETS: u8 = 50;

/// Three fields of one instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'h> {
    /// `i=`
    pub(super) instance: u8,
    pub(super) results: &'h Field<'h>,
    pub(super) message: &'h Field<'h>,
    /// Position of `message` in the header.
    pub(super) message_at: usize,
    pub(super) seal: &'h Field<'h>,
}

/// The sets of a message, the oldest first. Empty: there is no chain. Error: it is broken.
pub(super) fn sets<'h>(header: &'h Header<'h>) -> Result<Vec<Fields<'h>>, Problem> {
    let results = numbered(header, RESULTS, results_instance)?;
    let messages = numbered(header, MESSAGE_SIGNATURE, tagged_instance)?;
    let seals = numbered(header, SEAL, tagged_instance)?;
    let count = results.len().max(messages.len()).max(seals.len());
    let mut sets = Vec::with_capacity(count);
    for at in 0..count {
        let instance = u8::try_from(at + 1).unwrap_or(u8::MAX);
        let field = |list: &[(u8, usize)]| match list.get(at) {
            Some((number, position)) if *number == instance => Ok(*position),
            _ => Err(Problem::Incomplete(instance)),
        };
        let found = |position| header.fields().get(position).ok_or(Problem::Incomplete(instance));
        let message_at = field(&messages)?;
        sets.push(Fields {
            instance,
            results: found(field(&results)?)?,
            message: found(message_at)?,
            message_at,
            seal: found(field(&seals)?)?,
        });
    }
    Ok(sets)
}

/// Instance and position of each field of a name, sorted.
fn numbered(
    header: &Header<'_>,
    name: &'static str,
    instance: fn(&[u8]) -> Result<u8, Problem>,
) -> Result<Vec<(u8, usize)>, Problem> {
    let positions = header.positions(name.as_bytes());
    if positions.len() > usize::from(MOST_SETS) {
        return Err(Problem::TooMany);
    }
    let mut numbered = Vec::with_capacity(positions.len());
    for position in positions {
        if let Some(field) = header.fields().get(*position) {
            if field.raw().len() > MOST_OCTETS {
                return Err(Problem::TooLarge(name));
            }
            numbered.push((instance(field.value())?, *position));
        }
    }
    numbered.sort_unstable();
    let twice = numbered
        .iter()
        .zip(numbered.iter().skip(1))
        .find(|(one, next)| one.0 == next.0);
    match twice {
        Some((one, _)) => Err(Problem::Twice(one.0)),
        None => Ok(numbered),
    }
}

/// The highest instance that any seal names, in a chain that may be broken; zero where none names one.
pub(super) fn highest(header: &Header<'_>) -> u8 {
    header
        .named(SEAL)
        .filter_map(|field| tagged_instance(field.value()).ok())
        .max()
        .unwrap_or(0)
}

fn tagged_instance(value: &[u8]) -> Result<u8, Problem> {
    let tags = Tags::parse(value)?;
    number(tags.value("i").ok_or(Problem::Instance)?)
}

/// `i=N;` stands before all else (section 4.1.1).
fn results_instance(value: &[u8]) -> Result<u8, Problem> {
    let (first, _) = results(value).ok_or(Problem::Instance)?;
    let tags = Tags::parse(first)?;
    number(tags.value("i").ok_or(Problem::Instance)?)
}

/// What stands before and behind the first semicolon of an `ARC-Authentication-Results`.
pub(super) fn results(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b';', value)?;
    Some((value.get(..at)?, value.get(at + 1..)?))
}

fn number(text: &str) -> Result<u8, Problem> {
    let digits = (1..=2).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number
        .filter(|number| (1..=MOST_SETS).contains(number))
        .ok_or(Problem::Instance)
}

/// Octets of one field of a chain.
const MOST_OCTETS: usize = 32 * 1024;

pub(super) const SEAL: &str = "ARC-Seal";
pub(super) const MESSAGE_SIGNATURE: &str = "ARC-Message-Signature";
pub(super) const RESULTS: &str = "ARC-Authentication-Results";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dkim::TagError;

    fn count(section: &str) -> Result<usize, Problem> {
        let header = Header::parse(section.as_bytes());
        sets(&header).map(|sets| sets.len())
    }

    fn set(number: &str) -> String {
        format!(
            "ARC-Seal: i={number}\r\nARC-Message-Signature: i={number}\r\nARC-Authentication-Results: i={number}; x\r\n"
        )
    }

    #[test]
    fn sets_are_complete_and_numbered_without_a_gap() {
        let chain: String = (1..=50).rev().map(|number| set(&number.to_string())).collect();
        assert_eq!(count(&chain), Ok(50));
        assert_eq!(count(""), Ok(0));
        for (section, want) in [
            (set("2"), Problem::Incomplete(1)),
            (set("1") + &set("3"), Problem::Incomplete(2)),
            (set("1") + &set("1"), Problem::Twice(1)),
            (set("0"), Problem::Instance),
            (set("51"), Problem::Instance),
            (set("+1"), Problem::Instance),
            (set("001"), Problem::Instance),
            (set(""), Problem::Instance),
            (set("1") + "ARC-Seal: i=1", Problem::Twice(1)),
            (set("1") + "ARC-Seal: i=2", Problem::Incomplete(2)),
            (
                set("1").replace("Results: i=1;", "Results: i=1"),
                Problem::Instance,
            ),
            (
                set("1").replace("Results: i=1; x", "Results: x; i=1"),
                Problem::Tags(TagError::NoTag("x".to_owned())),
            ),
            ((1..=51).map(|_| set("1")).collect(), Problem::TooMany),
        ] {
            assert_eq!(count(&section), Err(want), "{section}");
        }
    }
}
