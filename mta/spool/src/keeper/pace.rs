//! What the keeper takes of the device while mail comes in. Pure.
//!
//! Copies are made in steps of a megabyte or a thousand records at most. Behind a step during which mail was stored, the
//! device is left to the mail for three times as long as the step took: copies get a quarter of it. No rest when no
//! mail comes, and none when free segments run short: then the copies are what makes room.
//!
//! New segments are filled with zeros, which makes the syncs of mail cheaper and doubles what is written while the queue
//! grows. Where mail needs all of the device it does without: its batches are large then, and syncs few.

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

/// How the filling of a segment goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filling {
    /// Octets so far.
    pub octets: u64,
    /// Time in which they were written, without rests.
    took: Duration,
}

/// Octets before which nothing is concluded: the first writes tell little.
const FIRST_LOOK: u64 = 4 << 20;
/// Zeros that are written no faster than twice the mail take from it what it needs: the device gives no more.
const ROOM: f64 = 2.0;
/// Mail that waits for a segment is not made to wait longer for its zeros.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

impl Filling {
    /// So many octets more, which took so long.
    pub fn step(&mut self, octets: u64, took: Duration) {
        self.octets += octets;
        self.took += took;
    }

    /// Zeros are written no faster than [`ROOM`] times the speed at which mail comes. `mail`: octets of it that were committed
    /// in `elapsed`, since the filling began.
    #[expect(clippy::cast_precision_loss, reason = "a comparison of speeds")]
    pub fn is_in_the_way(self, mail: u64, elapsed: Duration) -> bool {
        let speed = |octets: u64, time: Duration| octets as f64 / time.as_secs_f64().max(1e-9);
        self.octets >= FIRST_LOOK && speed(self.octets, self.took) < ROOM * speed(mail, elapsed)
    }

    /// At this pace, so many octets more take too long for somebody who waits.
    #[expect(clippy::cast_precision_loss, reason = "a comparison of times")]
    pub fn keeps_waiting(self, left: u64) -> bool {
        let rest = self.took.as_secs_f64() * left as f64 / self.octets.max(1) as f64;
        self.octets >= FIRST_LOOK && rest > LONGEST_WAIT.as_secs_f64()
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

    #[test]
    fn zeros_make_way_where_the_device_takes_them_hardly_faster_than_mail_comes() {
        let second = Duration::from_secs(1);
        let filling = |octets, took| {
            let mut filling = Filling::default();
            filling.step(octets, took);
            filling
        };
        let mebi = 1 << 20;
        assert!(filling(100 * mebi, second).is_in_the_way(60 * mebi, second));
        assert!(
            !filling(900 * mebi, second).is_in_the_way(200 * mebi, second),
            "a fast device"
        );
        assert!(!filling(60 * mebi, second).is_in_the_way(0, second), "no mail");
        assert!(
            !filling(2 * mebi, second).is_in_the_way(60 * mebi, second),
            "too early to tell"
        );
        // Rests are no sign of a slow device.
        assert!(!filling(60 * mebi, second / 10).is_in_the_way(60 * mebi, second));
    }

    #[test]
    fn who_waits_is_not_made_to_wait_for_zeros_on_a_slow_device() {
        let filling = |octets, milliseconds| {
            let mut filling = Filling::default();
            filling.step(octets, Duration::from_millis(milliseconds));
            filling
        };
        let mebi = 1 << 20;
        assert!(filling(4 * mebi, 32).keeps_waiting(60 * mebi), "125 MB/s");
        assert!(!filling(4 * mebi, 4).keeps_waiting(60 * mebi), "a fast device");
        assert!(!filling(60 * mebi, 480).keeps_waiting(4 * mebi), "nearly done");
        assert!(
            !filling(2 * mebi, 32).keeps_waiting(62 * mebi),
            "too early to tell"
        );
    }
}
