//! When a domain is looked at again. DNS changes without telling us, so it is asked anew: seldom while all is well,
//! soon after something went wrong, since the owner is then mending it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// Between looks while every condition is True.
const CALM: Duration = Duration::from_mins(5);
/// First look after one is not.
const SOON: Duration = Duration::from_secs(15);

/// Time to the next look. `not_true_for`: how long a DNS condition has not been True, none when all are.
///
/// The wait is half of the time that the trouble lasts, between the two bounds: it grows without a counter to keep.
/// Spread by up to a tenth, differently for each object, so that thousands of domains do not ask at once.
pub fn next_look(not_true_for: Option<Duration>, uid: &str) -> Duration {
    let wait = match not_true_for {
        None => CALM,
        Some(lasting) => (lasting / 2).clamp(SOON, CALM),
    };
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    let share = u32::try_from(hasher.finish() % 100).unwrap_or(0);
    wait + wait * share / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_seldom_in_calm_and_slow_down_in_lasting_trouble() {
        let within = |not_true_for: Option<u64>, seconds: u64| {
            let wait = next_look(not_true_for.map(Duration::from_secs), "uid");
            let low = Duration::from_secs(seconds);
            assert!(
                wait >= low && wait <= low + low / 10,
                "{not_true_for:?}: {wait:?}"
            );
        };
        within(None, 300);
        within(Some(0), 15);
        within(Some(60), 30);
        within(Some(100_000), 300);
    }

    #[test]
    fn objects_are_spread() {
        let waits: std::collections::BTreeSet<Duration> = (0..50)
            .map(|number| next_look(None, &format!("uid-{number}")))
            .collect();
        assert!(waits.len() > 10);
    }
}
