//! How long a next hop may take (RFC 5321 section 4.5.3.2); never less than the RFC says, and never for ever.
//!
//! ```text
//!   connect ─► handshake ─► greeting ─► MAIL, RCPT, DATA ─► blocks of data ─► end of data
//!     each: silence of the peer       `longest`: all octets of one reply        `slowest`: the whole body
//!     └────────── `attempt`: all of it, over all servers ──────────┘
//! ```
//!
//! Without the last one a peer that says an octet now and then, and its neighbours in the DNS, would hold an attempt for hours.

use std::time::Duration;

/// Bounds of the waits for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the greeting and EHLO: section 4.5.3.2.1.
    pub greeting: Duration,
    /// For MAIL, RCPT and DATA: sections 4.5.3.2.2 to 4.5.3.2.4.
    pub envelope: Duration,
    /// For a block of data to be taken: section 4.5.3.2.5.
    pub block: Duration,
    /// For the reply to the end of the data: section 4.5.3.2.6.
    pub end: Duration,
    /// For one reply as a whole, from a peer that sends an octet now and then.
    pub longest: Duration,
    /// For all of an attempt until a server asks for the data: look-ups and servers in vain included; anew for each further
    /// transaction.
    pub attempt: Duration,
    /// Octets per second of the slowest peer to which a message goes on.
    pub slowest: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            handshake: Duration::from_mins(1),
            greeting: Duration::from_mins(5),
            envelope: Duration::from_mins(5),
            block: Duration::from_mins(3),
            end: Duration::from_mins(10),
            longest: Duration::from_mins(30),
            attempt: Duration::from_mins(20),
            slowest: 2_048,
        }
    }
}

impl Patience {
    /// For the body of a message of this size.
    pub fn body(&self, size: u64) -> Duration {
        self.longest + Duration::from_secs(size / self.slowest.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_left_sooner_than_the_rfc_says() {
        let patience = Patience::default();
        let minutes = |minutes| Duration::from_mins(minutes);
        assert!(patience.greeting >= minutes(5) && patience.envelope >= minutes(5));
        assert!(patience.block >= minutes(3) && patience.end >= minutes(10));
        // Greeting, EHLO, MAIL and RCPT of one server, each as slow as it may be.
        assert!(patience.attempt >= 2 * patience.greeting + 2 * patience.envelope);
        assert!(patience.longest >= patience.end && patience.body(0) >= patience.block);
        assert!(patience.body(50 << 20) < Duration::from_hours(24));
        let odd = Patience {
            slowest: 0,
            ..patience
        };
        assert!(odd.body(1) > Duration::ZERO);
    }
}
