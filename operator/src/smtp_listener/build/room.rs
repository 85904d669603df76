//! Whether the files of a configuration fit into Secrets, and who is told when little room is left. Pure.

use std::collections::BTreeMap;

use postroad_config::{Domain, render, shard_file_name, shard_of};

use crate::smtp_listener::names::BASE;

/// Octets of a file: what a Secret can take (1 MiB), with room for its metadata.
pub const MOST_OCTETS: usize = 900 << 10;
/// From here on the condition says so.
const NEARLY: usize = MOST_OCTETS / 10 * 8;
/// Domains of a full shard that are named.
const NAMED: usize = 3;

/// A file that does not fit. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TooLarge(String);

/// Looks at the fullest file. Gives a sentence where it has little room left.
pub fn room(
    base: &str,
    shards: &BTreeMap<u8, String>,
    domains: &[Domain],
) -> Result<Option<String>, TooLarge> {
    let fullest = shards
        .iter()
        .map(|(number, text)| (Some(*number), text.len()))
        .chain([(None, base.len())])
        .max_by_key(|(_, octets)| *octets);
    match fullest {
        Some((number, octets)) if octets > MOST_OCTETS => Err(TooLarge(sentence(number, octets, domains))),
        Some((number, octets)) if octets > NEARLY => Ok(Some(sentence(number, octets, domains))),
        _ => Ok(None),
    }
}

fn sentence(shard: Option<u8>, octets: usize, domains: &[Domain]) -> String {
    let (octets, most) = (octets >> 10, MOST_OCTETS >> 10);
    let mend = "spread them over more listeners";
    let Some(number) = shard else {
        return format!("{BASE}, with all users and policies, has {octets} of {most} KiB; {mend}");
    };
    let mut largest: Vec<(usize, &str)> = domains
        .iter()
        .filter(|domain| shard_of(&domain.name) == number)
        .map(|domain| (render(domain).map_or(0, |text| text.len()), domain.name.as_str()))
        .collect();
    largest.sort_unstable_by(|a, b| b.cmp(a));
    let named = largest
        .iter()
        .take(NAMED)
        .map(|(octets, name)| format!("{name} ({} KiB)", octets >> 10));
    let named = named.collect::<Vec<_>>().join(", ");
    format!(
        "{} has {octets} of {most} KiB, most of it {named}; give them fewer recipients, or mode Callout, or {mend}",
        shard_file_name(number)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(octets: usize) -> BTreeMap<u8, String> {
        BTreeMap::from([(3, "x".repeat(10)), (7, "x".repeat(octets))])
    }

    fn domain(name: &str, senders: usize) -> Domain {
        let sender = postroad_config::Sender {
            user: "alice".into(),
            addresses: vec![],
        };
        Domain {
            name: name.parse().unwrap(),
            inbound: None,
            senders: vec![sender; senders],
            dkim: postroad_config::Dkim::default(),
        }
    }

    #[test]
    fn a_full_file_is_refused_and_one_that_nears_it_is_told() {
        assert_eq!(room("base", &shard(NEARLY), &[]), Ok(None));
        let near = room("base", &shard(NEARLY + 1), &[]).unwrap().unwrap();
        assert!(near.contains("domains-07.yaml has 720 of 900 KiB"), "{near}");
        assert!(room("base", &shard(MOST_OCTETS), &[]).is_ok());
        let over = room("base", &shard(MOST_OCTETS + 1), &[]).unwrap_err();
        assert!(over.to_string().starts_with("domains-07.yaml"), "{over}");
        let base = room(&"x".repeat(MOST_OCTETS + 1), &shard(1), &[]).unwrap_err();
        assert!(base.to_string().starts_with("base.yaml"), "{base}");
    }

    #[test]
    fn the_largest_domains_of_a_full_shard_are_named_first_and_no_others() {
        let number = shard_of(&"a.example".parse().unwrap());
        let sibling = (0..1_000)
            .map(|index| format!("d{index}.example"))
            .find(|name| shard_of(&name.parse().unwrap()) == number)
            .unwrap();
        let stranger = (0..1_000)
            .map(|index| format!("s{index}.example"))
            .find(|name| shard_of(&name.parse().unwrap()) != number)
            .unwrap();
        let domains = [
            domain("a.example", 1),
            domain(&sibling, 200),
            domain(&stranger, 900),
        ];
        let shards = BTreeMap::from([(number, "x".repeat(NEARLY + 1))]);
        let told = room("base", &shards, &domains).unwrap().unwrap();
        let places = (told.find(&sibling).unwrap(), told.find("a.example").unwrap());
        assert!(places.0 < places.1 && !told.contains(&stranger), "{told}");
    }
}
