//! What was wrong with the TLS of a server, told apart as reports tell it (RFC 8460 section 4.3).
//!
//! Pure.

use std::io;

use postroad_verify::tls_rpt::ResultType;
use rustls::{AlertDescription, CertificateError, Error};

/// What was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// STARTTLS is not offered.
    NotOffered,
    /// It is, and was refused.
    Refused,
    /// The certificate is for other names.
    Name,
    /// The certificate is of the past.
    Expired,
    /// The certificate is of the future, or our clock is behind.
    NotYetValid,
    /// No authority that is trusted issued the certificate, or not properly.
    Untrusted,
    /// No TLSA record tells of the certificate.
    NoRecord,
    /// Both sides have no version, suite or curve in common.
    Incompatible,
    /// The handshake failed otherwise.
    Handshake,
}

impl TlsFault {
    /// Out of what a handshake ended with.
    pub fn of_handshake(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        inner.map_or(Self::Handshake, Self::of)
    }

    /// Out of what TLS says is wrong.
    pub fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(fault) => match fault {
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    Self::Name
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::NotYetValid
                }
                // `dane_certificate.rs` says so.
                CertificateError::ApplicationVerificationFailure => Self::NoRecord,
                _ => Self::Untrusted,
            },
            Error::PeerIncompatible(_)
            | Error::AlertReceived(
                AlertDescription::HandshakeFailure
                | AlertDescription::ProtocolVersion
                | AlertDescription::InsufficientSecurity,
            ) => Self::Incompatible,
            _ => Self::Handshake,
        }
    }

    /// Whether it stays until somebody mends the server, the route or a clock. A handshake that breaks may be of the moment.
    pub const fn needs_mending(self) -> bool {
        !matches!(self, Self::Handshake)
    }

    /// What else is to be said to a person: clocks that are wrong look like this.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::NotYetValid => {
                "; its time has not come by our clock: set the clocks of the nodes by NTP, or wait"
            }
            Self::Expired => {
                "; its time is over by our clock: renew it, or set the clocks of the nodes by NTP"
            }
            _ => "",
        }
    }

    /// In the word of a report.
    pub fn result_type(self) -> ResultType {
        match self {
            Self::NotOffered => ResultType::StarttlsNotSupported,
            Self::Name => ResultType::CertificateHostMismatch,
            Self::Expired => ResultType::CertificateExpired,
            Self::Untrusted | Self::NotYetValid => ResultType::CertificateNotTrusted,
            Self::NoRecord => ResultType::TlsaInvalid,
            Self::Refused | Self::Incompatible | Self::Handshake => ResultType::ValidationFailure,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    #[test]
    fn what_tls_says_is_told_in_the_word_of_the_report() {
        let (now, then) = (
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(9)),
            UnixTime::now(),
        );
        let expected = ServerName::try_from("mx.example").unwrap().to_owned();
        for (error, want) in [
            (
                CertificateError::NotValidForName.into(),
                ResultType::CertificateHostMismatch,
            ),
            (
                CertificateError::NotValidForNameContext {
                    expected,
                    presented: vec![],
                }
                .into(),
                ResultType::CertificateHostMismatch,
            ),
            (CertificateError::Expired.into(), ResultType::CertificateExpired),
            (
                CertificateError::ExpiredContext {
                    time: then,
                    not_after: now,
                }
                .into(),
                ResultType::CertificateExpired,
            ),
            (
                CertificateError::UnknownIssuer.into(),
                ResultType::CertificateNotTrusted,
            ),
            (
                CertificateError::NotValidYet.into(),
                ResultType::CertificateNotTrusted,
            ),
            (
                CertificateError::BadEncoding.into(),
                ResultType::CertificateNotTrusted,
            ),
            (
                CertificateError::ApplicationVerificationFailure.into(),
                ResultType::TlsaInvalid,
            ),
            (
                Error::AlertReceived(AlertDescription::HandshakeFailure),
                ResultType::ValidationFailure,
            ),
            (Error::DecryptError, ResultType::ValidationFailure),
        ] {
            let error: Error = error;
            let text = error.to_string();
            let shown = io::Error::new(io::ErrorKind::InvalidData, error);
            assert_eq!(TlsFault::of_handshake(&shown).result_type(), want, "{text}");
        }
        let alert = |alert| TlsFault::of(&Error::AlertReceived(alert));
        assert!(alert(AlertDescription::ProtocolVersion).needs_mending());
        assert!(!alert(AlertDescription::InternalError).needs_mending());
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(TlsFault::of_handshake(&reset), TlsFault::Handshake);
        assert_eq!(
            TlsFault::NotOffered.result_type(),
            ResultType::StarttlsNotSupported
        );
        assert_eq!(TlsFault::Refused.result_type(), ResultType::ValidationFailure);
    }
}
