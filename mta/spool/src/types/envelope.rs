//! The envelope of an entry: what the commands of a transaction said.

/// Envelope of an entry: written once, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Envelope {
    /// The reverse-path without angle brackets; empty is the null reverse-path (RFC 5321 section 4.5.5).
    pub reverse_path: String,
    /// The recipients; their position is what [`crate::RecipientUpdate::index`] means.
    pub recipients: Vec<Recipient>,
    /// RET of the MAIL command (RFC 3461 section 4.3).
    pub ret: Option<Ret>,
    /// ENVID of the MAIL command, still as xtext (RFC 3461 section 4.4).
    pub envid: Option<String>,
    /// What the sender declared about the body.
    pub body: BodyKind,
    /// SMTPUTF8 was given (RFC 6531).
    pub smtputf8: bool,
    /// The authenticated user, if there was one.
    pub identity: Option<String>,
    /// Where the message came from, as text for logs and notices, e.g. `192.0.2.1`.
    pub client: String,
    /// When the message was first accepted.
    pub arrived: u64,
    /// When to give up.
    pub expires: u64,
    /// REQUIRETLS was given (RFC 8689 section 2): only over TLS to a server that says it too.
    pub require_tls: bool,
    /// BY of the MAIL command (RFC 2852 section 4).
    pub deliver_by: Option<DeliverBy>,
    /// What only the test build of the next format keeps.
    #[cfg(feature = "next-format")]
    pub remark: Option<String>,
}

/// BY of the MAIL command (RFC 2852 section 4): when the sender wants to know or have it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverBy {
    /// The by-time as a moment: milliseconds since 1970. Taken from the arrival, so that a hand-over does not move it.
    pub deadline: u64,
    /// What happens then.
    pub mode: ByMode,
    /// `T`: every relay tells the sender (RFC 2852 section 4.1.4).
    pub trace: bool,
}

/// What happens when the time of [`DeliverBy`] is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByMode {
    /// `R`: the message goes back.
    Return,
    /// `N`: the sender is told, the delivery goes on.
    Notify,
}

/// One recipient of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Recipient {
    /// The forward-path without angle brackets.
    pub forward_path: String,
    /// NOTIFY of the RCPT command.
    pub notify: Notify,
    /// ORCPT of the RCPT command, `addr-type;xtext` (RFC 3461 section 4.2).
    pub orcpt: Option<String>,
    /// The address the client gave, if an alias replaced it.
    pub original: Option<String>,
}

/// NOTIFY of a recipient (RFC 3461 section 4.1): a set of conditions, `NEVER`, or not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Notify(u8);

impl Notify {
    /// Not given: failure notices are sent (RFC 3461 section 4.1).
    pub const UNSET: Self = Self(0);
    /// `SUCCESS`.
    pub const SUCCESS: Self = Self(1);
    /// `FAILURE`.
    pub const FAILURE: Self = Self(2);
    /// `DELAY`.
    pub const DELAY: Self = Self(4);
    /// `NEVER`.
    pub const NEVER: Self = Self(8);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// All conditions of `other` are in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The set as bits, for an encoding.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set with these bits; unknown bits are dropped.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 15)
    }
}

/// RET (RFC 3461 section 4.3): how much of the message a failure notice returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// The whole message.
    Full,
    /// The header section only.
    Headers,
}

/// BODY of the MAIL command (RFC 6152, RFC 3030).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BodyKind {
    /// `7BIT`, or not given.
    #[default]
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
    /// `BINARYMIME`.
    BinaryMime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notify_is_a_set() {
        let set = Notify::SUCCESS.with(Notify::DELAY);
        assert!(set.contains(Notify::DELAY) && !set.contains(Notify::FAILURE));
        assert_eq!(Notify::from_bits(set.bits() | 0xf0), set);
    }
}
