//! BY of the MAIL command: within which time a message is to be delivered (RFC 2852 section 4).
//!
//! ```text
//!   BY=120;R    return it when it is not delivered in two minutes
//!   BY=120;NT   go on, but tell the sender; and tell of each relay
//!   BY=-30;N    the time was over half a minute ago, which a server before this one has told
//! ```

use std::fmt;

/// The time that a sender gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct By {
    /// Seconds that are left, within ± 999,999,999; more than 0 with [`ByMode::Return`].
    pub seconds: i32,
    /// What happens when they are over.
    pub mode: ByMode,
    /// Every relay is told to the sender.
    pub trace: bool,
}

/// What happens when the time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByMode {
    /// N: the sender is told, the delivery goes on.
    Notify,
    /// R: the message goes back.
    Return,
}

impl By {
    /// Reads `by-time ";" by-mode [by-trace]`. `None`: it is not of this form, or time is over before a return.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let (time, rest) = value.split_once(';')?;
        let seconds = seconds(time)?;
        let mut letters = rest.bytes().map(|letter| letter.to_ascii_uppercase());
        let mode = match letters.next()? {
            b'N' => ByMode::Notify,
            b'R' if seconds > 0 => ByMode::Return,
            _ => return None,
        };
        let trace = match (letters.next(), letters.next()) {
            (None, _) => false,
            (Some(b'T'), None) => true,
            _ => return None,
        };
        Some(Self { seconds, mode, trace })
    }
}

/// A sign or none, then 1 to 9 digits.
fn seconds(time: &str) -> Option<i32> {
    let digits = time.strip_prefix(['-', '+']).unwrap_or(time);
    let is_number = (1..=9).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| time.parse().ok()).flatten()
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            ByMode::Notify => 'N',
            ByMode::Return => 'R',
        };
        write!(
            f,
            "{};{mode}{}",
            self.seconds.clamp(-LONGEST, LONGEST),
            if self.trace { "T" } else { "" }
        )
    }
}

/// The most that nine digits say.
const LONGEST: i32 = 999_999_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_the_same() {
        for (value, seconds, mode, trace) in [
            ("1;R", 1, ByMode::Return, false),
            ("999999999;RT", LONGEST, ByMode::Return, true),
            ("0;N", 0, ByMode::Notify, false),
            ("-999999999;NT", -LONGEST, ByMode::Notify, true),
        ] {
            let by = By { seconds, mode, trace };
            assert_eq!(By::parse(value), Some(by), "{value}");
            assert_eq!(by.to_string(), value);
        }
        assert_eq!(
            By::parse("+007;nt").map(|by| by.to_string()).as_deref(),
            Some("7;NT")
        );
    }

    #[test]
    fn anything_else_is_no_time() {
        for value in [
            "",
            ";",
            "1",
            "1;",
            ";R",
            "1;X",
            "1;RR",
            "1;TR",
            "1;RTT",
            "1;T",
            "0;R",
            "-1;R",
            "-0;R",
            "--1;N",
            "+-1;N",
            "+;N",
            "1.5;N",
            " 1;N",
            "1 ;N",
            "1;N ",
            "1000000000;N",
            "0000000001;N",
            "0x1;N",
            "1;N;T",
            "\u{661};N",
        ] {
            assert_eq!(By::parse(value), None, "{value:?}");
        }
    }
}
