//! Order of the policies of a listener: higher priority first, then more terms in the match, then the older object,
//! then the name. Always the same for the same objects, in whatever order they come.

use std::cmp::Reverse;

use jiff::Timestamp;
use postroad_config::{DomainName, Match};

/// What an object's rank is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// `namespace/name`.
    pub name: String,
    /// `spec.priority`.
    pub priority: i32,
    /// The match, its lists in any order.
    pub matches: Match,
    /// When the object was made.
    pub created: Option<Timestamp>,
}

impl Standing {
    /// Key to sort by: what is tried first is smallest.
    pub fn key(&self) -> impl Ord {
        let age = (self.created.is_none(), self.created, self.name.clone());
        (Reverse(self.priority), Reverse(terms(&self.matches)), age)
    }

    /// Whether another object has the same rank and is for the same mail, so that only one of the two ever decides.
    fn collides_with(&self, other: &Self) -> bool {
        self.priority == other.priority && canonical(&self.matches) == canonical(&other.matches)
    }
}

/// Number of terms that a match gives.
fn terms(matches: &Match) -> usize {
    usize::from(!matches.sender_domains.is_empty()) + usize::from(!matches.recipient_domains.is_empty())
}

fn canonical(matches: &Match) -> [Vec<&DomainName>; 2] {
    [&matches.sender_domains, &matches.recipient_domains].map(|list| {
        let mut list: Vec<&DomainName> = list.iter().collect();
        list.sort();
        list.dedup();
        list
    })
}

/// The objects of one listener in the order in which they decide.
pub fn in_order<'a>(objects: impl IntoIterator<Item = &'a Standing>) -> Vec<&'a Standing> {
    let mut list: Vec<&Standing> = objects.into_iter().collect();
    list.sort_by_cached_key(|standing| standing.key());
    list
}

/// The older object that leaves nothing to decide for `one`, if there is any among those of the listener.
pub fn winner_over<'a>(
    one: &Standing,
    objects: impl IntoIterator<Item = &'a Standing>,
) -> Option<&'a Standing> {
    in_order(objects)
        .into_iter()
        .find(|other| other.name != one.name && other.collides_with(one) && other.key() < one.key())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(name: &str, priority: i32, senders: &[&str], recipients: &[&str], created: i64) -> Standing {
        let domains = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        Standing {
            name: name.to_owned(),
            priority,
            matches: Match {
                sender_domains: domains(senders),
                recipient_domains: domains(recipients),
            },
            created: Timestamp::from_second(created).ok(),
        }
    }

    #[test]
    fn rank_is_priority_then_terms_then_age_then_name() {
        let objects = [
            standing("m/default", 0, &[], &[], 1),
            standing("m/both", 0, &["a.example"], &["b.example"], 9),
            standing("m/young", 0, &["a.example"], &[], 5),
            standing("m/old", 0, &["c.example"], &[], 2),
            standing("m/old-too", 0, &["d.example"], &[], 2),
            standing("m/high", 7, &[], &[], 9),
        ];
        let names = |list: Vec<&Standing>| list.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        let want = ["m/high", "m/both", "m/old", "m/old-too", "m/young", "m/default"];
        assert_eq!(names(in_order(&objects)), want);
        assert_eq!(names(in_order(objects.iter().rev())), want);
    }

    #[test]
    fn the_older_of_two_with_the_same_rank_and_match_wins() {
        let old = standing("m/z-old", 5, &["b.example", "a.example"], &[], 1);
        let young = standing("m/young", 5, &["A.example", "b.example", "a.example"], &[], 2);
        for (other, want) in [
            (old.clone(), Some("m/z-old")),
            (standing("m/z-old", 6, &["b.example", "a.example"], &[], 1), None),
            (standing("m/z-old", 5, &["b.example"], &[], 1), None),
            (standing("m/z-old", 5, &[], &["b.example", "a.example"], 1), None),
            (young.clone(), None),
        ] {
            let objects = [other, young.clone()];
            assert_eq!(winner_over(&young, &objects).map(|one| one.name.as_str()), want);
        }
        assert_eq!(winner_over(&old, &[old.clone(), young]), None);
    }
}
