//! What is done with a policy that was fetched before, when mail for its domain is due (RFC 8461 sections 3.3 and 5.1).
//!
//! ```text
//!   kept and in its time? ─┬─ yes ─ the record names ─┬─ the same version, young ─► it decides
//!                          │                          ├─ the same version, old ───► it decides, and is fetched again meanwhile
//!                          │                          ├─ another version ─────────► fetch; if that fails, it decides
//!                          │                          └─ nothing, or no answer ───► it decides: to hide it takes nothing away
//!                          └─ no ── a version ────────► fetch; if that fails, there is no policy
//!                                └─ none ─────────────► there is no policy
//! ```

use super::policy::Policy;
use super::record::Record;

/// A policy that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The version that the record named then.
    pub id: String,
    /// The policy.
    pub policy: Policy,
    /// When, in seconds since 1970.
    pub fetched: u64,
}

impl Kept {
    /// Whether it still holds. `now`: seconds since 1970.
    pub fn holds(&self, now: u64) -> bool {
        now < self.fetched.saturating_add(self.policy.max_age.into())
    }

    /// Old enough to be fetched again before its time is over, so that one who blocks us has to do so for long.
    fn is_old(&self, now: u64) -> bool {
        let age = now.saturating_sub(self.fetched);
        age >= DAY.min(u64::from(self.policy.max_age) / 2)
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is no policy.
    Nothing,
    /// What is kept decides.
    Use,
    /// What is kept decides, and this version is fetched meanwhile.
    UseAndFetch(String),
    /// This version is fetched. Where that fails, what is kept decides while it holds.
    Fetch(String),
}

/// Decides. `now`: seconds since 1970.
pub fn step(kept: Option<&Kept>, record: &Record, now: u64) -> Step {
    let kept = kept.filter(|kept| kept.holds(now));
    match (kept, record) {
        (None, Record::Id(id)) => Step::Fetch(id.clone()),
        (None, Record::Absent | Record::Unknown) => Step::Nothing,
        (Some(kept), Record::Id(id)) if kept.id != *id => Step::Fetch(id.clone()),
        (Some(kept), Record::Id(id)) if kept.is_old(now) => Step::UseAndFetch(id.clone()),
        (Some(_), _) => Step::Use,
    }
}

/// Seconds.
const DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: u64 = 7 * DAY;

    fn kept(max_age: u64) -> Kept {
        let policy = format!("version: STSv1\nmode: enforce\nmx: a.example\nmax_age: {max_age}\n");
        Kept {
            id: "1".into(),
            policy: Policy::parse(policy.as_bytes()).unwrap(),
            fetched: 1_000,
        }
    }

    #[test]
    fn the_whole_table() {
        let id = |text: &str| Record::Id(text.into());
        let (one, two) = (|| "1".to_owned(), || "2".to_owned());
        for (record, at, with, without) in [
            (id("1"), 1_000, Step::Use, Step::Fetch(one())),
            (id("1"), 1_000 + DAY - 1, Step::Use, Step::Fetch(one())),
            (id("1"), 1_000 + DAY, Step::UseAndFetch(one()), Step::Fetch(one())),
            (id("2"), 1_000, Step::Fetch(two()), Step::Fetch(two())),
            (id("1"), 1_000 + WEEK, Step::Fetch(one()), Step::Fetch(one())),
            (Record::Absent, 1_000 + WEEK - 1, Step::Use, Step::Nothing),
            (Record::Unknown, 1_000 + WEEK - 1, Step::Use, Step::Nothing),
            (Record::Absent, 1_000 + WEEK, Step::Nothing, Step::Nothing),
            (Record::Unknown, 1_000 + WEEK, Step::Nothing, Step::Nothing),
            // A clock that went back.
            (id("1"), 0, Step::Use, Step::Fetch(one())),
        ] {
            assert_eq!(step(Some(&kept(WEEK)), &record, at), with, "{record:?} {at}");
            assert_eq!(step(None, &record, at), without, "{record:?} {at}");
        }
    }

    #[test]
    fn a_short_one_is_fetched_again_at_half_of_its_time() {
        let record = Record::Id("1".into());
        assert_eq!(step(Some(&kept(100)), &record, 1_049), Step::Use);
        assert_eq!(
            step(Some(&kept(100)), &record, 1_050),
            Step::UseAndFetch("1".into())
        );
        assert_eq!(step(Some(&kept(100)), &record, 1_100), Step::Fetch("1".into()));
        assert!(!kept(0).holds(1_000));
    }
}
