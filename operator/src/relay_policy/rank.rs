//! Order of the policies of a listener: higher priority first, then more terms in the match, then the older object,
//! then the name. That a policy is for the mail of its own namespace alone counts as a term. Always the same for the same objects, in whatever order they come.

use std::cmp::Reverse;

use jiff::Timestamp;
use postroad_config::{DomainName, Match, Within};

/// What an object's rank is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// `namespace/name`.
    pub name: String,
    /// `spec.priority`.
    pub priority: i32,
    /// The match, its lists in any order.
    pub matches: Match,
    /// Mail that it may be for at all.
    pub within: Option<Within>,
    /// When the object was made.
    pub created: Option<Timestamp>,
}

impl Standing {
    /// Key to sort by: what is tried first is smallest.
    pub fn key(&self) -> impl Ord {
        let age = (self.created.is_none(), self.created, self.name.clone());
        (Reverse(self.priority), Reverse(self.terms()), age)
    }

    /// Whether another object has the same rank and is for the same mail, so that only one of the two ever decides.
    fn collides_with(&self, other: &Self) -> bool {
        self.priority == other.priority
            && self.namespace() == other.namespace()
            && canonical(&self.matches) == canonical(&other.matches)
    }

    /// Whether another object of the same rank is for some of the same mail: what both want, age decides.
    fn overlaps_with(&self, other: &Self) -> bool {
        let share = |(mine, others): (Vec<&str>, Vec<&str>)| {
            mine.is_empty() == others.is_empty()
                && (mine.is_empty() || mine.iter().any(|entry| others.contains(entry)))
        };
        let lists = canonical(&self.matches)
            .into_iter()
            .zip(canonical(&other.matches));
        self.priority == other.priority
            && self.namespace() == other.namespace()
            && lists.into_iter().all(share)
    }

    /// Number of terms that it gives.
    fn terms(&self) -> usize {
        let matches = &self.matches;
        [
            !matches.sender_domains.is_empty(),
            !matches.recipient_domains.is_empty(),
            !matches.identities.is_empty(),
            self.within.is_some(),
        ]
        .into_iter()
        .filter(|given| *given)
        .count()
    }

    /// The namespace whose mail alone it may be for.
    fn namespace(&self) -> Option<&str> {
        self.within.as_ref().map(|within| within.namespace.as_str())
    }
}

/// The lists of a match in one order, each entry once.
fn canonical(matches: &Match) -> [Vec<&str>; 3] {
    [
        names(&matches.sender_domains),
        names(&matches.recipient_domains),
        matches.identities.iter().map(String::as_str).collect(),
    ]
    .map(|mut list| {
        list.sort_unstable();
        list.dedup();
        list
    })
}

fn names(domains: &[DomainName]) -> Vec<&str> {
    domains.iter().map(DomainName::as_str).collect()
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

/// The older object of the same rank that decides first about some of the mail of `one`, and leaves it the rest.
pub fn first_over<'a>(
    one: &Standing,
    objects: impl IntoIterator<Item = &'a Standing>,
) -> Option<&'a Standing> {
    in_order(objects).into_iter().find(|other| {
        let before = other.name != one.name && other.key() < one.key();
        before && other.overlaps_with(one) && !other.collides_with(one)
    })
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
                identities: vec![],
            },
            within: None,
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

    #[test]
    fn of_two_that_share_some_mail_the_older_is_named_and_the_other_keeps_the_rest() {
        let with = |name: &str, users: &[&str], created: i64| {
            let mut standing = standing(name, 5, &["a.example"], &[], created);
            standing.matches.identities = users.iter().map(|&user| user.to_owned()).collect();
            standing
        };
        let young = with("m/young", &["ann", "bob"], 9);
        for (other, want) in [
            (with("m/old", &["bob", "carl"], 1), Some("m/old")),
            (with("m/old", &["carl"], 1), None),
            (with("m/old", &[], 1), None),
            (with("m/younger", &["bob"], 10), None),
            // The same mail altogether: that is another matter.
            (with("m/old", &["bob", "ann"], 1), None),
            (
                Standing {
                    priority: 6,
                    ..with("m/old", &["bob"], 1)
                },
                None,
            ),
        ] {
            let objects = [young.clone(), other];
            assert_eq!(first_over(&young, &objects).map(|one| one.name.as_str()), want);
        }
        let names = standing("m/old", 5, &["A.EXAMPLE", "b.example"], &[], 1);
        let other = standing("m/young", 5, &["a.example", "c.example"], &[], 2);
        assert_eq!(
            first_over(&other, [&names]).map(|one| one.name.as_str()),
            Some("m/old")
        );
    }

    #[test]
    fn those_who_logged_in_and_the_bounds_of_a_namespace_are_terms() {
        let within = |namespace: &str| {
            Some(Within {
                namespace: namespace.to_owned(),
                sender_domains: vec![],
            })
        };
        let default = standing("mail/default", 0, &[], &[], 1);
        let neighbour = Standing {
            within: within("shop"),
            ..standing("shop/all", 0, &[], &[], 9)
        };
        let mut account = standing("mail/orders", 0, &["a.example"], &[], 9);
        account.matches.identities = vec!["system:serviceaccount:shop:orders".to_owned()];
        let objects = [default.clone(), neighbour.clone(), account];
        let names: Vec<&str> = in_order(&objects).iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["mail/orders", "shop/all", "mail/default"]);
        // Neither takes the other's mail away: each has mail of its own.
        assert_eq!(winner_over(&neighbour, [&default]), None);
        assert_eq!(winner_over(&default, [&neighbour]), None);
        let other = Standing {
            within: within("crm"),
            ..standing("crm/all", 0, &[], &[], 2)
        };
        assert_eq!(winner_over(&neighbour, [&other]), None);
        let older = Standing {
            within: within("shop"),
            ..standing("shop/older", 0, &[], &[], 2)
        };
        assert_eq!(winner_over(&neighbour, [&older]), Some(&older));
    }
}
