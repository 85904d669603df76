//! Header fields by which a sender steers a provider. They pass on that provider's routes; on all others they are taken
//! out, as they would show tags and data of the sender's to the recipients.
//!
//! Pure data.

use super::sources::{AWS, EE, MC, MG, TW};
use super::{Evidence, Provider};

/// Fields of one provider.
struct Fields {
    of: Provider,
    /// Whole names.
    names: &'static [&'static str],
    /// Beginnings of names.
    prefixes: &'static [&'static str],
    by: Evidence,
}

const FIELDS: [Fields; 5] = [
    Fields {
        of: Provider::AmazonSes,
        names: &[
            "x-ses-configuration-set",
            "x-ses-message-tags",
            "x-ses-list-management-options",
            "x-ses-source-arn",
            "x-ses-from-arn",
            "x-ses-return-path-arn",
            "x-ses-tenant",
        ],
        prefixes: &[],
        by: AWS,
    },
    Fields {
        of: Provider::SendGrid,
        names: &["x-smtpapi"],
        prefixes: &[],
        by: TW,
    },
    Fields {
        of: Provider::Mailgun,
        names: &[],
        prefixes: &["x-mailgun-"],
        by: MG,
    },
    Fields {
        of: Provider::Mandrill,
        names: &[],
        prefixes: &["x-mc-"],
        by: MC,
    },
    // `Channel` alone is too common a word to be taken out of mail that has nothing to do with them.
    Fields {
        of: Provider::ElasticEmail,
        names: &["x-elasticemail-channel", "x-elasticemail-postback", "x-postback"],
        prefixes: &[],
        by: EE,
    },
];

/// Whether a field steers a provider other than this one. `name`: without the colon, in any case.
pub fn is_control(name: &[u8], lane: Option<Provider>) -> bool {
    // All of them begin so; most fields of a message do not.
    if !name
        .get(..2)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"x-"))
    {
        return false;
    }
    FIELDS.iter().any(|fields| {
        let starts = |prefix: &&str| {
            let start = name.get(..prefix.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        };
        let is = |known: &&str| name.eq_ignore_ascii_case(known.as_bytes());
        Some(fields.of) != lane && (fields.names.iter().any(is) || fields.prefixes.iter().any(starts))
    })
}

/// The fields of a provider, in words for documents: names, and beginnings with a star; with who says so.
pub fn control_fields(provider: Provider) -> Option<(Vec<String>, Evidence)> {
    let fields = FIELDS.iter().find(|fields| fields.of == provider)?;
    let names = fields.names.iter().map(|name| (*name).to_owned());
    let beginnings = fields.prefixes.iter().map(|prefix| format!("{prefix}*"));
    Some((names.chain(beginnings).collect(), fields.by))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_passes_to_its_own_provider_alone() {
        for (name, of) in [
            ("X-SES-CONFIGURATION-SET", Provider::AmazonSes),
            ("X-SES-MESSAGE-TAGS", Provider::AmazonSes),
            ("X-SES-TENANT", Provider::AmazonSes),
            ("X-SMTPAPI", Provider::SendGrid),
            ("X-Mailgun-Tag", Provider::Mailgun),
            ("x-mailgun-template-variables", Provider::Mailgun),
            ("X-MC-Subaccount", Provider::Mandrill),
            ("X-ElasticEmail-Channel", Provider::ElasticEmail),
            ("X-PostBack", Provider::ElasticEmail),
        ] {
            assert!(!is_control(name.as_bytes(), Some(of)), "{name}");
            assert!(is_control(name.as_bytes(), None), "{name} by MX");
            for other in Provider::ALL.into_iter().filter(|other| *other != of) {
                assert!(is_control(name.as_bytes(), Some(other)), "{name} at {other}");
            }
        }
    }

    #[test]
    fn other_fields_are_nobodys() {
        for name in [
            "Subject",
            "X-Mailer",
            "X-SES-Outgoing",
            "X-SMTPAPI2",
            "Channel",
            "X-",
            "x",
            "",
        ] {
            assert!(!is_control(name.as_bytes(), None), "{name}");
        }
        for fields in &FIELDS {
            assert!(!fields.by.source.is_empty());
            let lower = |name: &&str| name.starts_with("x-") && name.to_lowercase() == **name;
            assert!(fields.names.iter().chain(fields.prefixes).all(lower));
        }
    }
}
