//! Mail providers by name: where they are reached, what they take, what their replies mean, which header fields are
//! theirs and which DNS records they need. Data, with the source and its date beside each fact.
//!
//! Pure. The operator makes routes from it; the daemon reads replies by it.
//!
//! ```text
//!   presets.rs  host, port, TLS, limits ─► resolve.rs ─► a route            (operator)
//!   replies.rs  rules in order          ─► judge()    ─► Reaction           (daemon)
//!   headers.rs  control fields          ─► is_control()                     (daemon)
//!   records.rs  SPF, DKIM, MX, TXT      ─► wanted()                         (operator)
//! ```
//!
//! A number that a provider may change for one account is a default that the route overrides, never a rule. Facts that
//! nobody confirms are not here; regions are an open list, as providers open new ones.

mod headers;
mod presets;
mod records;
mod replies;
mod resolve;
mod rules;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use headers::{control_fields, is_control};
pub use presets::{Host, Preset, Quota, preset};
pub use records::{Known, WantedRecord, wanted};
pub use replies::{Kind, Reaction, Said, SaidAt, judge, without_addresses};
pub use resolve::{Given, Refused, Resolved, resolve};
pub use rules::{ToldRule, told_rules};

/// A provider, or a kind of server with habits of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Provider {
    /// `smtp-relay.gmail.com`: the relay service of Google Workspace.
    GoogleWorkspaceRelay,
    /// `smtp.gmail.com`: as one user of Gmail or Workspace.
    Gmail,
    /// `smtp.office365.com`: as one mailbox of Microsoft 365.
    Microsoft365,
    /// The MX host of a Microsoft 365 tenant, by an inbound connector.
    Microsoft365Connector,
    /// High Volume Email of Microsoft 365: recipients of the own organisation only.
    #[serde(rename = "Microsoft365HVE")]
    Microsoft365Hve,
    /// Microsoft Exchange on one's own premises.
    ExchangeServer,
    /// Amazon Simple Email Service.
    #[serde(rename = "AmazonSES")]
    AmazonSes,
    /// Twilio `SendGrid`.
    SendGrid,
    /// Mailgun.
    Mailgun,
    /// Mailchimp Transactional.
    Mandrill,
    /// SMTP2GO.
    #[serde(rename = "SMTP2GO")]
    Smtp2go,
    /// Elastic Email.
    ElasticEmail,
    /// A smart host that runs Postfix.
    Postfix,
    /// A smart host that runs Exim.
    Exim,
}

impl Provider {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 14] = [
        Self::GoogleWorkspaceRelay,
        Self::Gmail,
        Self::Microsoft365,
        Self::Microsoft365Connector,
        Self::Microsoft365Hve,
        Self::ExchangeServer,
        Self::AmazonSes,
        Self::SendGrid,
        Self::Mailgun,
        Self::Mandrill,
        Self::Smtp2go,
        Self::ElasticEmail,
        Self::Postfix,
        Self::Exim,
    ];

    /// The name, as configurations write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GoogleWorkspaceRelay => "GoogleWorkspaceRelay",
            Self::Gmail => "Gmail",
            Self::Microsoft365 => "Microsoft365",
            Self::Microsoft365Connector => "Microsoft365Connector",
            Self::Microsoft365Hve => "Microsoft365HVE",
            Self::ExchangeServer => "ExchangeServer",
            Self::AmazonSes => "AmazonSES",
            Self::SendGrid => "SendGrid",
            Self::Mailgun => "Mailgun",
            Self::Mandrill => "Mandrill",
            Self::Smtp2go => "SMTP2GO",
            Self::ElasticEmail => "ElasticEmail",
            Self::Postfix => "Postfix",
            Self::Exim => "Exim",
        }
    }

    /// A server of one's own: what it says of quotas is about mailboxes, not about an account.
    pub const fn is_own_server(self) -> bool {
        matches!(self, Self::ExchangeServer | Self::Postfix | Self::Exim)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who says so, and when. `V`: the provider or its own software; `V3`: somebody else; `U`: commonly known, unconfirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Kind and source.
    pub source: &'static str,
    /// Date of the source, as far as it has one.
    pub dated: &'static str,
}

/// A value with its evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact<T> {
    /// The value.
    pub value: T,
    /// Who says so.
    pub by: Evidence,
}

/// A fact in one line of a table.
const fn fact<T>(value: T, by: Evidence) -> Fact<T>
where
    T: Copy,
{
    Fact { value, by }
}

const fn by(source: &'static str, dated: &'static str) -> Evidence {
    Evidence { source, dated }
}

/// Sources that several rows name.
mod sources {
    use super::{Evidence, by};

    pub(super) const G_RELAY: Evidence = by("V support.google.com/a/answer/2956491 and 6140680", "undated");
    pub(super) const G_ERR: Evidence = by("V Gmail SMTP errors and codes", "2026-02-12");
    pub(super) const G_LIMITS: Evidence = by("V3 support.google.com/a/answer/166852", "undated");
    pub(super) const G_DNS: Evidence = by("V3 mxio and guides of Google Workspace", "2026");
    pub(super) const MS_EXO: Evidence = by("V MicrosoftDocs/OfficeDocs-Exchange", "2021-07");
    pub(super) const MS_SUP: Evidence = by("V MicrosoftDocs/OfficeDocs-Support", "2024-10");
    pub(super) const MS_TC: Evidence = by("V techcommunity.microsoft.com", "2025 to 2026");
    pub(super) const MS_HVE: Evidence = by("V3 texts on High Volume Email", "2026");
    pub(super) const MS_DEF: Evidence = by("V3 Defender documents of Microsoft", "undated");
    pub(super) const AWS: Evidence = by("V awsdocs/amazon-ses-developer-guide", "2023-05");
    pub(super) const AWS_SEEN: Evidence = by("V3 replies that customers show", "2019 to 2026");
    pub(super) const TW: Evidence = by(
        "V twilio.com/docs/sendgrid and sendgrid/docs",
        "2021-06 and later",
    );
    pub(super) const MG: Evidence = by("V mailgun/documentation", "2024-07 and later");
    pub(super) const MG_SEEN: Evidence = by("V3 replies that customers show", "2022 to 2026");
    pub(super) const MC: Evidence = by("V mailchimp.com/developer/transactional", "2026-04");
    pub(super) const S2G: Evidence = by("V developers.smtp2go.com", "2026-08");
    pub(super) const EE: Evidence = by("V elasticemail.com", "mixed");
    pub(super) const POSTFIX: Evidence = by("V Postfix 3.12 development", "2026-08-21");
    pub(super) const EXIM: Evidence = by("V Exim 4.99.1", "2025-12");
    pub(super) const RULES: Evidence = by("V RFC 3463, RFC 4954, RFC 5321", "2007 to 2008");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_is_written_and_each_provider_has_a_row() {
        for provider in Provider::ALL {
            let written = serde_json::to_value(provider).unwrap();
            assert_eq!(written, provider.name());
            assert_eq!(preset(provider).provider, provider);
        }
        let unknown: Result<Provider, _> = serde_json::from_value("Sendgrid".into());
        assert!(unknown.is_err());
    }
}
