//! Channel binding (RFC 5056): what ties a login to the TLS connection that it is made on, so that nobody in the middle,
//! certificate or not, can pass it on.

use std::sync::Arc;

use super::exchange::Refusal;

/// What a login on this connection can be bound to. Empty: channel binding is not offered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelBindings {
    /// `tls-exporter` (RFC 9266): drawn from the keys of the connection.
    pub exporter: Option<[u8; 32]>,
    /// `tls-server-end-point` (RFC 5929 section 4): a digest of our certificate.
    pub server_end_point: Option<Arc<[u8]>>,
}

impl ChannelBindings {
    /// There is nothing to bind to.
    pub fn is_empty(&self) -> bool {
        self.exporter.is_none() && self.server_end_point.is_none()
    }

    fn named(&self, name: &str) -> Option<&[u8]> {
        match name {
            "tls-exporter" => self.exporter.as_ref().map(<[u8; 32]>::as_slice),
            "tls-server-end-point" => self.server_end_point.as_deref(),
            _ => None,
        }
    }

    /// Judges the flag of the client's first message (RFC 5802 section 6), and gives the octets that the client binds to.
    /// `plus`: the mechanism is the one with channel binding.
    pub(super) fn judge(&self, flag: &str, plus: bool) -> Result<&[u8], Refusal> {
        match (flag.strip_prefix("p="), plus) {
            (Some(name), true) => self.named(name).ok_or(Refusal::UnknownBinding),
            (Some(_), false) => Err(Refusal::NotPlus),
            (None, true) => Err(Refusal::Unbound),
            (None, false) if flag == "y" && !self.is_empty() => Err(Refusal::Downgrade),
            (None, false) => Ok(&[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal::{Downgrade, NotPlus, Unbound, UnknownBinding};
    use super::*;

    #[test]
    fn the_flag_is_judged_as_rfc_5802_has_it() {
        let none = ChannelBindings::default();
        let both = ChannelBindings {
            exporter: Some([7; 32]),
            server_end_point: Some(Arc::from([9; 3])),
        };
        let (exporter, end_point): (&[u8], &[u8]) = (&[7; 32], &[9; 3]);
        for (flag, plus, without, with) in [
            ("n", false, Ok(&[][..]), Ok(&[][..])),
            ("y", false, Ok(&[]), Err(Downgrade)),
            ("p=tls-exporter", false, Err(NotPlus), Err(NotPlus)),
            ("n", true, Err(Unbound), Err(Unbound)),
            ("y", true, Err(Unbound), Err(Unbound)),
            ("p=tls-exporter", true, Err(UnknownBinding), Ok(exporter)),
            ("p=tls-server-end-point", true, Err(UnknownBinding), Ok(end_point)),
            ("p=tls-unique", true, Err(UnknownBinding), Err(UnknownBinding)),
            ("p=", true, Err(UnknownBinding), Err(UnknownBinding)),
        ] {
            assert_eq!(none.judge(flag, plus), without, "{flag} {plus}");
            assert_eq!(both.judge(flag, plus), with, "{flag} {plus}");
        }
    }
}
