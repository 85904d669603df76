//! How long a client may take for one command, and we for its message. Pure: the caller has the clock.
//!
//! ```text
//!   reply ─► a command, octet by octet ─► reply ─► …      counted from reply to reply: an octet now and then buys no time
//! ```
//!
//! A message on its way in has a pace and a deadline of its own ([`super::pace`]).

use std::time::Duration;

/// The times of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a command, from the reply before it to its end.
    pub command: Duration,
    /// The same while sessions are about to run out.
    pub crowded: Duration,
    /// For the spool, from the last octet of a message to the reply.
    pub commit: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            // RFC 5321 section 4.5.3.2.7: five minutes at least.
            command: Duration::from_mins(5),
            // Shorter than the RFC asks for: everybody else would wait in front of the door for somebody silent.
            crowded: Duration::from_secs(30),
            // RFC 5321 section 4.5.3.2.6: clients wait for ten minutes.
            commit: Duration::from_mins(9),
        }
    }
}

impl Patience {
    /// How long a command may take while so many sessions are open, of which there may be `most`.
    pub(super) fn of(self, open: u64, most: u32) -> Duration {
        if open.saturating_mul(4) >= u64::from(most).saturating_mul(3) {
            self.crowded.min(self.command)
        } else {
            self.command
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_gets_less_time_while_three_quarters_of_the_sessions_are_open() {
        let patience = Patience::default();
        for (open, most, short) in [
            (1, 2_000, false),
            (1_499, 2_000, false),
            (1_500, 2_000, true),
            (9, 4, true),
        ] {
            let want = if short { patience.crowded } else { patience.command };
            assert_eq!(patience.of(open, most), want, "{open} of {most}");
        }
    }
}
