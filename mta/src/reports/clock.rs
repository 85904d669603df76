//! Days in UTC, and when the report of one is due. Pure; seconds are since 1970.

use super::Subject;
use crate::access::greylist::Key;

/// The day that this second is in, since 1970.
pub fn day_of(seconds: u64) -> u32 {
    u32::try_from(seconds / DAY).unwrap_or(u32::MAX)
}

/// Its first second.
pub fn first_second(day: u32) -> u64 {
    u64::from(day) * DAY
}

/// Its last second.
pub fn last_second(day: u32) -> u64 {
    first_second(day) + DAY - 1
}

/// As `2026-11-28`.
pub fn date(day: u32) -> String {
    let second = i64::try_from(first_second(day)).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(second).map_or_else(
        |_| day.to_string(),
        |time| time.to_zoned(jiff::tz::TimeZone::UTC).date().to_string(),
    )
}

/// When the report about a day is sent: behind its end and the time that other pods take to give their rows away, and not by
/// all servers to all domains at once (RFC 8460 section 4.1 has up to four hours).
pub fn due(of: &Subject, hostname: &str) -> u64 {
    let key = Key::of(&[hostname, of.kind.as_str(), of.domain.as_str()]);
    let offset = u64::try_from(key.0 % u128::from(SPREAD)).unwrap_or_default();
    first_second(of.day.saturating_add(1)) + LEAST + offset
}

const DAY: u64 = 86_400;
/// Pods look at what is not theirs every half minute.
const LEAST: u64 = 15 * 60;
const SPREAD: u64 = 4 * 3_600 - LEAST;

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    #[test]
    fn a_day_has_its_seconds_and_its_name() {
        assert_eq!((day_of(0), day_of(86_399), day_of(86_400)), (0, 0, 1));
        assert_eq!(
            (first_second(20_785), last_second(20_785)),
            (1_795_824_000, 1_795_910_399)
        );
        assert_eq!(date(20_785), "2026-11-28");
        assert_eq!(day_of(u64::MAX), u32::MAX);
        assert!(!date(u32::MAX).is_empty());
    }

    #[test]
    fn reports_are_spread_over_four_hours_and_come_at_the_same_time_each_day() {
        let at = |number: u32, day| {
            let of = Subject {
                kind: Kind::Dmarc,
                domain: format!("d{number}.example"),
                day,
            };
            due(&of, "mail.example.com") - first_second(day + 1)
        };
        let mut times: Vec<u64> = (0..400).map(|number| at(number, 20_000)).collect();
        assert!(times.iter().all(|time| (900..14_400).contains(time)));
        for (number, time) in times.iter().enumerate() {
            assert_eq!(at(u32::try_from(number).unwrap(), 20_001), *time);
        }
        times.sort_unstable();
        assert!(times[40] < 4_000 && times[360] > 11_000, "{times:?}");
    }
}
