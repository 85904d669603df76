//! Refusals as they are counted: the class of each negative reply, by its code and enhanced status code.

use crate::metrics::Refused;

/// The class of one negative reply to a command other than AUTH.
pub(super) fn class(code: u16, enhanced: &str) -> Refused {
    match (code, enhanced) {
        // Too many recipients, too large, too slow, and 421 after too many of something.
        (_, "4.5.3" | "5.3.4" | "4.4.2" | "4.7.28") | (421, "4.7.0") => Refused::Limit,
        // Greylisting.
        (_, "4.7.1") => Refused::Policy,
        (400..500, _) => Refused::Unable,
        (_, "5.1.1") => Refused::Recipient,
        // Syntax and order of RFC 5321 section 4.2.4, a body that is no text, and addresses that need SMTPUTF8.
        (500..=504 | 555, _) | (_, "5.5.1" | "5.6.7" | "5.6.11") => Refused::Protocol,
        _ => Refused::Policy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_has_one_class() {
        for (code, enhanced, expected) in [
            (452, "4.5.3", Refused::Limit),
            (552, "5.3.4", Refused::Limit),
            (421, "4.4.2", Refused::Limit),
            (421, "4.7.0", Refused::Limit),
            (450, "4.7.28", Refused::Limit),
            (451, "4.7.1", Refused::Policy),
            (421, "4.3.2", Refused::Unable),
            (451, "4.4.3", Refused::Unable),
            (550, "5.1.1", Refused::Recipient),
            (500, "5.5.2", Refused::Protocol),
            (501, "5.5.4", Refused::Protocol),
            (503, "5.5.1", Refused::Protocol),
            (554, "5.5.1", Refused::Protocol),
            (553, "5.6.7", Refused::Protocol),
            (550, "5.6.11", Refused::Protocol),
            (555, "5.5.4", Refused::Protocol),
            (530, "5.7.0", Refused::Policy),
            (550, "5.7.1", Refused::Policy),
            (554, "5.6.0", Refused::Policy),
            (554, "5.4.6", Refused::Policy),
        ] {
            assert_eq!(class(code, enhanced), expected, "{code} {enhanced}");
        }
    }
}
