//! What a message demands of the connections it goes over (RFC 8689), and of who is at their end (RFC 2852).
//!
//! Pure.
//!
//! ```text
//!   envelope ─► Demand ─┬─ Usual    as the route says
//!                       ├─ Must     REQUIRETLS: a proven server inside TLS that promises the same, or it goes back
//!                       └─ Wish     the same of a null reverse-path: where it can be had, else as the route says
//! ```
//!
//! `TLS-Required: No` in a header (RFC 8689 section 3) waives what a recipient's domain asks for by DANE or MTA-STS; what a
//! route of ours asks for no header takes away (`protection.rs`).
//!
//! A server is proven when the name that its certificate is for did not come from an answer that anybody can forge.
//! Names of the configuration did not, nor did a domain that is its own mail server (by its MX record, or for want of
//! one). The name of another host in an MX record did, unless DNSSEC proves the record (RFC 7672) or the domain's MTA-STS
//! policy names the host (RFC 8461): mail with REQUIRETLS goes nowhere else.

use postroad_config::TlsMode;
use postroad_smtp::client::Capabilities;
use postroad_smtp::{By, ByMode};
use postroad_spool::{ByMode as KeptMode, Envelope};

use super::plan::{Protocol, To, Way};

/// What a message demands in TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// As the route says.
    Usual,
    /// REQUIRETLS (RFC 8689 section 4.2.1).
    Must,
    /// REQUIRETLS of a null reverse-path, which is not lost for want of it (RFC 8689 section 5).
    Wish,
}

/// How connections are made and used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How TLS is used.
    pub tls: TlsMode,
    /// The server is to be proven and to offer REQUIRETLS, and is told it.
    pub require_tls: bool,
}

impl Demand {
    /// What the envelope says.
    pub fn of(envelope: &Envelope) -> Self {
        match (envelope.require_tls, envelope.reverse_path.is_empty()) {
            (false, _) => Self::Usual,
            (true, false) => Self::Must,
            (true, true) => Self::Wish,
        }
    }

    /// On which terms the servers of a way are tried, one after the other.
    pub fn terms(self, way: &Way) -> Vec<Terms> {
        let with = |tls, require_tls| Terms { tls, require_tls };
        let proven = match way.tls {
            TlsMode::DaneOnly => TlsMode::DaneOnly,
            _ => TlsMode::Verified,
        };
        match self {
            Self::Usual => vec![with(way.tls, false)],
            Self::Must => vec![with(proven, true)],
            Self::Wish => vec![with(proven, true), with(way.tls, false)],
        }
    }
}

/// Whether a certificate for this host proves that it is the one meant, see the head of this file.
pub fn is_proven(to: &To, host: &str) -> bool {
    match to {
        To::Hosts { .. } => true,
        To::Exchanges { domain, .. } => domain == host,
    }
}

/// Whether a message says `TLS-Required: No`, in one field alone (RFC 8689 section 3). `message`: its header and what follows.
pub fn waives(message: &[u8]) -> bool {
    let mut fields = 0;
    let mut says_no = false;
    let mut lines = message.split(|octet| *octet == b'\n').peekable();
    while let Some(line) = lines.next() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = colon(line) else {
            continue;
        };
        if !name.trim_ascii_end().eq_ignore_ascii_case(b"TLS-Required") {
            continue;
        }
        fields += 1;
        let mut value = value.to_vec();
        while let Some(more) = lines.next_if(|next| next.starts_with(b" ") || next.starts_with(b"\t")) {
            value.extend_from_slice(more);
        }
        says_no = value.trim_ascii().eq_ignore_ascii_case(b"No");
    }
    says_no && fields == 1
}

/// Whether a message is a report about TLS, of ours or passed on (RFC 8460 section 5.3). `message`: as of [`waives`].
pub fn is_tls_report(message: &[u8]) -> bool {
    let lines = message.split(|octet| *octet == b'\n');
    lines
        .take_while(|line| !matches!(line, [] | [b'\r']))
        .filter_map(colon)
        .any(|(name, _)| name.trim_ascii_end().eq_ignore_ascii_case(b"TLS-Report-Domain"))
}

fn colon(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b':', line)?;
    Some((line.get(..at)?, line.get(at + 1..)?))
}

/// A promise that a message needs and a server does not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// REQUIRETLS.
    RequireTls,
    /// DELIVERBY, for a message that is to come back in time.
    DeliverBy,
    /// It takes such a message with so many seconds left, or more.
    LeastTime(u32),
}

/// What the server lacks. LMTP is the delivery itself, of which nothing more is to be promised in time.
pub fn lack(peer: &Capabilities, protocol: Protocol, require_tls: bool, by: Option<By>) -> Option<Lack> {
    if require_tls && !peer.require_tls {
        return Some(Lack::RequireTls);
    }
    let by = by.filter(|by| by.mode == ByMode::Return)?;
    match peer.deliver_by {
        None => (protocol == Protocol::Smtp).then_some(Lack::DeliverBy),
        Some(least) => (i64::from(by.seconds) < i64::from(least)).then_some(Lack::LeastTime(least)),
    }
}

/// The time that is left of the sender's, as the next hop is told it (RFC 2852 section 4.1.4).
pub fn time_left(envelope: &Envelope, now: u64) -> Option<By> {
    let by = envelope.deliver_by?;
    let left = i128::from(by.deadline) - i128::from(now);
    let seconds = left.div_euclid(1_000).clamp(-MOST_SECONDS, MOST_SECONDS);
    Some(By {
        seconds: i32::try_from(seconds).unwrap_or(0),
        mode: match by.mode {
            KeptMode::Return => ByMode::Return,
            KeptMode::Notify => ByMode::Notify,
        },
        trace: by.trace,
    })
}

/// RFC 2852 section 4: nine digits.
const MOST_SECONDS: i128 = 999_999_999;

#[cfg(test)]
mod tests {
    use super::*;
    use postroad_config::RouteLimits;
    use postroad_spool::DeliverBy;

    fn way(to: To, tls: TlsMode) -> Way {
        Way {
            to,
            tls,
            credentials: None,
            limits: RouteLimits::default(),
            habits: super::super::plan::Habits::default(),
        }
    }

    fn by_mx(domain: &str) -> To {
        To::Exchanges {
            domain: domain.to_owned(),
            allowed: vec![],
        }
    }

    fn smart_host() -> To {
        To::Hosts {
            hosts: vec![],
            protocol: Protocol::Smtp,
        }
    }

    #[test]
    fn requiretls_is_never_less_than_verified_whatever_the_route_says() {
        for tls in [
            TlsMode::Disabled,
            TlsMode::Opportunistic,
            TlsMode::Encrypted,
            TlsMode::Verified,
        ] {
            let terms = Demand::Must.terms(&way(smart_host(), tls));
            assert!(
                terms
                    .iter()
                    .all(|terms| terms.tls == TlsMode::Verified && terms.require_tls),
                "{tls:?}"
            );
        }
    }

    #[test]
    fn a_null_reverse_path_wishes_and_is_not_lost() {
        let mut envelope = Envelope {
            require_tls: true,
            ..Envelope::default()
        };
        assert_eq!(Demand::of(&envelope), Demand::Wish);
        let terms = Demand::Wish.terms(&way(smart_host(), TlsMode::Opportunistic));
        let required: Vec<_> = terms.iter().map(|terms| terms.require_tls).collect();
        assert_eq!(required, [true, false]);
        envelope.reverse_path = "a@b.example".into();
        assert_eq!(Demand::of(&envelope), Demand::Must);
    }

    #[test]
    fn a_name_out_of_an_mx_record_proves_nothing_unless_it_is_the_domain() {
        assert!(is_proven(&smart_host(), "hub.example"));
        assert!(is_proven(&by_mx("d.example"), "d.example"));
        assert!(!is_proven(&by_mx("d.example"), "mx.d.example"));
        assert!(!is_proven(&by_mx("[192.0.2.1]"), "192.0.2.1"));
    }

    #[test]
    fn one_field_alone_waives_tls() {
        for (header, want) in [
            ("TLS-Required: No\r\nSubject: x\r\n\r\n", true),
            ("Received: x\r\n y: z\r\ntls-required:no\r\n\r\n", true),
            ("TLS-Required:\r\n No\r\n\r\n", true),
            ("TLS-Required: Yes\r\n\r\n", false),
            ("TLS-Required: No, thanks\r\n\r\n", false),
            ("TLS-Required: No\r\n more\r\n\r\n", false),
            ("TLS-Required: No\r\nTLS-Required: No\r\n\r\n", false),
            ("X-TLS-Required: No\r\n\r\n", false),
            ("Subject: x\r\n\r\nTLS-Required: No\r\n", false),
            ("Subject: x\r\n TLS-Required: No\r\n\r\n", false),
            ("", false),
        ] {
            assert_eq!(waives(header.as_bytes()), want, "{header:?}");
        }
    }

    #[test]
    fn a_return_in_time_is_promised_by_all_or_by_the_last() {
        let peer = |deliver_by| Capabilities {
            deliver_by,
            ..Capabilities::default()
        };
        let by = |seconds, mode| {
            Some(By {
                seconds,
                mode,
                trace: false,
            })
        };
        for (offer, protocol, by, want) in [
            (None, Protocol::Smtp, by(9, ByMode::Return), Some(Lack::DeliverBy)),
            (None, Protocol::Smtp, by(9, ByMode::Notify), None),
            (None, Protocol::Lmtp, by(9, ByMode::Return), None),
            (
                Some(10),
                Protocol::Smtp,
                by(9, ByMode::Return),
                Some(Lack::LeastTime(10)),
            ),
            (Some(10), Protocol::Smtp, by(9, ByMode::Notify), None),
            (Some(9), Protocol::Smtp, by(9, ByMode::Return), None),
            (None, Protocol::Smtp, None, None),
        ] {
            assert_eq!(lack(&peer(offer), protocol, false, by), want, "{offer:?} {by:?}");
        }
        assert_eq!(
            lack(&peer(None), Protocol::Lmtp, true, None),
            Some(Lack::RequireTls)
        );
    }

    #[test]
    fn the_time_that_is_left_grows_less_and_may_be_over() {
        let envelope = |deadline| Envelope {
            deliver_by: Some(DeliverBy {
                deadline,
                mode: KeptMode::Notify,
                trace: true,
            }),
            ..Envelope::default()
        };
        for (deadline, now, seconds) in [
            (10_000, 0, 10),
            (10_000, 1, 9),
            (10_000, 10_000, 0),
            (10_000, 10_001, -1),
            (u64::MAX, 0, 999_999_999),
            (0, u64::MAX, -999_999_999),
        ] {
            let left = time_left(&envelope(deadline), now).unwrap();
            assert_eq!((left.seconds, left.trace), (seconds, true), "{deadline} {now}");
        }
        assert_eq!(time_left(&Envelope::default(), 0), None);
    }
}
