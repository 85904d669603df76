//! How fast survivors are copied: a bounded share of the device while mail comes in. Pure.
//!
//! Copies are made in steps of a megabyte or a thousand records at most. Behind a step during which mail was stored, the
//! device is left to the mail for three times as long as the step took: copies get a quarter of it. No rest when no
//! mail comes, and none when free segments run short: then the copies are what makes room.

use std::time::Duration;

/// The rest for each unit of work.
const REST: u32 = 3;
/// A step that took long (a device that is busy otherwise) does not stop the copying altogether.
const LONGEST_REST: Duration = Duration::from_millis(250);

/// What a step of copying met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// How long it took.
    pub took: Duration,
    /// Mail was stored meanwhile.
    pub mail: bool,
    /// Free segments are short, or somebody waits for one.
    pub short: bool,
}

impl Step {
    /// How long to leave the device alone behind it.
    pub fn rest(self) -> Duration {
        if self.mail && !self.short {
            (self.took * REST).min(LONGEST_REST)
        } else {
            Duration::ZERO
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_rest_while_mail_comes_and_space_is_not_short() {
        let took = Duration::from_millis(5);
        for (mail, short, rest) in [
            (true, false, Duration::from_millis(15)),
            (true, true, Duration::ZERO),
            (false, false, Duration::ZERO),
            (false, true, Duration::ZERO),
        ] {
            assert_eq!(
                Step { took, mail, short }.rest(),
                rest,
                "mail {mail}, short {short}"
            );
        }
        let slow = Step {
            took: Duration::from_secs(5),
            mail: true,
            short: false,
        };
        assert_eq!(slow.rest(), LONGEST_REST);
    }
}
