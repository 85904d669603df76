//! The section `tls`: the certificate that the ports show, and the oldest version of TLS that they take.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Certificate of the ports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct TlsSection {
    /// Where chain and key are.
    pub source: TlsSource,
    /// The oldest version that clients may use.
    pub minimum_version: TlsVersion,
}

/// Where chain and key are.
#[derive(Clone, PartialEq)]
pub enum TlsSource {
    /// PEM text in this file.
    Inline {
        /// Certificate chain, leaf first.
        certificate: String,
        /// Private key.
        key: String,
    },
    /// PEM files, read at start and again when they change.
    Files {
        /// Certificate chain, leaf first.
        certificate_file: PathBuf,
        /// Private key.
        key_file: PathBuf,
    },
}

/// A version of TLS. Older ones are spoken by nobody (RFC 8996).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// The section as it is written: one pair or the other. A version that says nothing is not written, so that a daemon that
/// does not know it yet reads the file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Fields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "crate::file::unset")]
    minimum_version: TlsVersion,
}

impl TryFrom<Fields> for TlsSection {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let source = match (
            fields.certificate,
            fields.key,
            fields.certificate_file,
            fields.key_file,
        ) {
            (Some(certificate), Some(key), None, None) => TlsSource::Inline { certificate, key },
            (None, None, Some(certificate_file), Some(key_file)) => TlsSource::Files {
                certificate_file,
                key_file,
            },
            _ => {
                return Err(
                    "needs one whole pair; write certificateFile and keyFile, or certificate and key",
                );
            }
        };
        Ok(Self {
            source,
            minimum_version: fields.minimum_version,
        })
    }
}

impl From<TlsSection> for Fields {
    fn from(section: TlsSection) -> Self {
        let none = Self {
            certificate: None,
            key: None,
            certificate_file: None,
            key_file: None,
            minimum_version: section.minimum_version,
        };
        match section.source {
            TlsSource::Inline { certificate, key } => Self {
                certificate: Some(certificate),
                key: Some(key),
                ..none
            },
            TlsSource::Files {
                certificate_file,
                key_file,
            } => Self {
                certificate_file: Some(certificate_file),
                key_file: Some(key_file),
                ..none
            },
        }
    }
}

impl std::fmt::Debug for TlsSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline { .. } => f.write_str("Inline(…)"),
            Self::Files { certificate_file, .. } => write!(f, "Files({})", certificate_file.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TlsSection, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_usual_version_is_not_written_and_another_is() {
        let usual = read("{certificateFile: /a, keyFile: /b}").unwrap();
        assert_eq!(usual.minimum_version, TlsVersion::Tls12);
        let text = crate::render(&usual).unwrap();
        assert!(!text.contains("minimumVersion"), "{text}");
        let newest = read("{certificate: a, key: b, minimumVersion: Tls13}").unwrap();
        assert_eq!(newest.minimum_version, TlsVersion::Tls13);
        assert_eq!(read(&crate::render(&newest).unwrap()).unwrap(), newest);
        assert!(read("{certificateFile: /a, keyFile: /b, minimumVersion: Tls11}").is_err());
    }

    #[test]
    fn half_a_pair_is_refused() {
        for half in [
            "{certificate: a}",
            "{certificate: a, keyFile: /b}",
            "{minimumVersion: Tls13}",
        ] {
            let error = read(half).unwrap_err();
            assert!(error.contains("one whole pair"), "{half}: {error}");
        }
    }
}
