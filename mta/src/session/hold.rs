//! FUTURERELEASE (RFC 4865): when a held message leaves.

use jiff::{SignedDuration, Timestamp};
use postroad_smtp::Hold;

/// Longest time that a message is held, in seconds.
pub(super) const LONGEST: u32 = 7 * 86_400;

/// The end of the longest hold that begins now, as EHLO offers it (RFC 4865 section 4).
pub(super) fn latest(now: Timestamp) -> String {
    let latest = now
        .checked_add(SignedDuration::from_secs(i64::from(LONGEST)))
        .unwrap_or(now);
    latest.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// When the message leaves. `None`: that is in the past, too late, or no time.
pub(super) fn release(hold: &Hold, now: Timestamp) -> Option<Timestamp> {
    let at = match hold {
        Hold::For(seconds) => now
            .checked_add(SignedDuration::from_secs(i64::from(*seconds)))
            .ok()?,
        Hold::Until(text) => text.parse().ok()?,
    };
    let longest = SignedDuration::from_secs(i64::from(LONGEST));
    (at >= now && at.duration_since(now) <= longest).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_ends_within_the_longest_and_never_in_the_past() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let until = |text: &str| release(&Hold::Until(text.to_owned()), now).map(|at| at.to_string());
        assert_eq!(
            until("2026-01-02T01:00:00+01:00").as_deref(),
            Some("2026-01-02T00:00:00Z")
        );
        assert_eq!(latest(now), "2026-01-08T00:00:00Z");
        assert!(until(&latest(now)).is_some());
        for bad in ["2025-12-31T23:59:59Z", "2026-01-08T00:00:01Z", "2026-01-02", ""] {
            assert_eq!(until(bad), None, "{bad}");
        }
        assert_eq!(release(&Hold::For(0), now), Some(now));
        assert_eq!(release(&Hold::For(LONGEST + 1), now), None);
    }
}
