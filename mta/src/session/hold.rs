//! FUTURERELEASE (RFC 4865): when a held message leaves. DELIVERBY (RFC 2852): until when it is to arrive.

use jiff::{SignedDuration, Timestamp};
use postroad_smtp::{By, ByMode, Hold};
use postroad_spool::{ByMode as KeptMode, DeliverBy};

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

/// Until when the message is to be delivered: counted from MAIL (RFC 2852 section 4), by the clock of the queue in
/// milliseconds.
pub(super) fn deadline(by: By, now: u64) -> DeliverBy {
    DeliverBy {
        deadline: now.saturating_add_signed(i64::from(by.seconds) * 1_000),
        mode: match by.mode {
            ByMode::Return => KeptMode::Return,
            ByMode::Notify => KeptMode::Notify,
        },
        trace: by.trace,
    }
}

/// It would leave when its time is over already.
pub(super) fn is_contrary(release: Option<u64>, deliver_by: Option<DeliverBy>) -> bool {
    matches!((release, deliver_by), (Some(release), Some(by)) if release >= by.deadline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_counts_from_now_and_lies_behind_the_release() {
        let by = |seconds, now| {
            let by = By {
                seconds,
                mode: ByMode::Notify,
                trace: true,
            };
            deadline(by, now)
        };
        assert_eq!(by(60, 1_000_000).deadline, 1_060_000);
        assert_eq!(by(-60, 1_000_000).deadline, 940_000);
        assert_eq!(by(-999_999_999, 0).deadline, 0);
        assert_eq!((by(1, 0).mode, by(1, 0).trace), (KeptMode::Notify, true));
        let within = Some(by(60, 0));
        assert!(is_contrary(Some(60_000), within) && !is_contrary(Some(59_999), within));
        assert!(!is_contrary(Some(60_000), None) && !is_contrary(None, Some(by(-1, 0))));
    }

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
