//! Durations and sizes as people write them: `90s`, `5m`, `4h`, `5d`; `50Mi`, `64Ki`, `1000`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a duration or size could not be read. The text names the value and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a {what}: write {example}")]
pub struct TextError {
    value: String,
    what: &'static str,
    example: &'static str,
}

/// A length of time, whole seconds or milliseconds, written as one number and one unit (`ms`, `s`, `m`, `h`, `d`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(Duration);

impl Period {
    /// A period of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The same as the standard library's type.
    pub const fn get(self) -> Duration {
        self.0
    }
}

/// Longest period that is accepted: ten years. Beyond it sums with the clock could overflow.
const LONGEST_SECONDS: u64 = 10 * 366 * 86_400;

impl FromStr for Period {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let refuse = || TextError {
            value: shorten(text),
            what: "duration",
            example: "a whole number and a unit, such as 90s, 5m, 4h or 5d (at most ten years)",
        };
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| refuse())?;
        let factor = match unit {
            "ms" => return Self::bounded(Duration::from_millis(number)).ok_or_else(refuse),
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(refuse()),
        };
        let seconds = number.checked_mul(factor).ok_or_else(refuse)?;
        Self::bounded(Duration::from_secs(seconds)).ok_or_else(refuse)
    }
}

impl Period {
    fn bounded(duration: Duration) -> Option<Self> {
        (duration.as_secs() <= LONGEST_SECONDS).then_some(Self(duration))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_millis() != 0 {
            return write!(f, "{}ms", self.0.as_millis());
        }
        let seconds = self.0.as_secs();
        match seconds {
            s if s > 0 && s % 86_400 == 0 => write!(f, "{}d", s / 86_400),
            s if s > 0 && s % 3_600 == 0 => write!(f, "{}h", s / 3_600),
            s if s > 0 && s % 60 == 0 => write!(f, "{}m", s / 60),
            s => write!(f, "{s}s"),
        }
    }
}

/// A number of octets, written plain or with `Ki`, `Mi`, `Gi`, `Ti`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Octets(pub u64);

impl FromStr for Octets {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let refuse = || TextError {
            value: shorten(text),
            what: "size",
            example: "a whole number of octets, plain or with Ki, Mi, Gi or Ti, such as 50Mi",
        };
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| refuse())?;
        let shift = match unit {
            "" => 0,
            "Ki" => 10,
            "Mi" => 20,
            "Gi" => 30,
            "Ti" => 40,
            _ => return Err(refuse()),
        };
        number.checked_mul(1 << shift).map(Self).ok_or_else(refuse)
    }
}

impl fmt::Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")] {
            if self.0 > 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// At most 40 characters of a value that is shown back to its writer.
pub(crate) fn shorten(text: &str) -> String {
    if text.chars().count() <= 40 {
        text.to_owned()
    } else {
        text.chars().take(40).chain(['…']).collect()
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write_back() {
        for (text, seconds) in [
            ("90s", 90),
            ("5m", 300),
            ("4h", 14_400),
            ("5d", 432_000),
            ("0s", 0),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.get().as_secs(), seconds, "{text}");
            assert_eq!(period.to_string().parse::<Period>().unwrap(), period);
        }
        assert_eq!("250ms".parse::<Period>().unwrap().to_string(), "250ms");
    }

    #[test]
    fn bad_durations_are_refused_with_the_value_and_the_mend() {
        for text in [
            "",
            "5",
            "m",
            "-1s",
            "1.5h",
            "1h30m",
            " 5m",
            "99999999999999999999d",
            "5000000000d",
            "3660000d",
        ] {
            let error = text.parse::<Period>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("90s"), "{error}");
        }
    }

    #[test]
    fn sizes_read_and_write_back() {
        for (text, octets) in [
            ("1000", 1_000),
            ("64Ki", 65_536),
            ("50Mi", 52_428_800),
            ("1Gi", 1 << 30),
            ("0", 0),
        ] {
            let size: Octets = text.parse().unwrap();
            assert_eq!(size.0, octets);
            assert_eq!(size.to_string(), text);
        }
        for text in ["", "Mi", "5M", "99999999999Ti", "1e3", "-5"] {
            assert!(text.parse::<Octets>().is_err(), "{text}");
        }
    }
}
