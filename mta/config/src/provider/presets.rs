//! The table of providers: where they are reached and what they take.
//!
//! Pure data. `limits` hold what a server was said to enforce on a connection or a transaction; quotas of a day are not
//! paced by us: mail leaves until the provider says so, and then the route rests (`replies.rs`).

use super::sources::{
    AWS, EE, EXIM, G_ERR, G_LIMITS, G_RELAY, MC, MG, MS_EXO, MS_HVE, MS_SUP, POSTFIX, S2G, TW,
};
use super::{Fact, Provider, fact};
use crate::file::TlsMode;

/// Where a provider is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// One host for everybody.
    One(&'static str),
    /// A host for each region, which has to be said; `{}` is the region. Regions that begin so have the second one.
    Region(&'static str, (&'static str, &'static str)),
    /// A host, and others by region where one is said; the words mean the first.
    MaybeRegion(&'static str, &'static str, &'static [&'static str]),
    /// A host for each tenant; `{}` is the tenant, with hyphens for its dots.
    Tenant(&'static str),
    /// One's own.
    Own,
}

/// A limit on what an account may send over a longer time. Not paced by us; told in words.
pub type Quota = &'static str;

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Whose it is.
    pub provider: Provider,
    /// Its host.
    pub host: Fact<Host>,
    /// The port that is used unless another is said.
    pub port: u16,
    /// The other ports that speak STARTTLS.
    pub other_ports: &'static [u16],
    /// Ports where TLS comes first (RFC 8314).
    pub implicit_ports: &'static [u16],
    /// How TLS is used.
    pub tls: TlsMode,
    /// Who says so of ports and TLS.
    pub ports_by: super::Evidence,
    /// Connections at once.
    pub connections: Option<Fact<u32>>,
    /// Messages in so many seconds, and the port that it is about.
    pub rate: Option<Fact<(u32, u64, Option<u16>)>>,
    /// Recipients in so many seconds, where the provider counts those.
    pub recipient_rate: Option<Fact<(u32, u64)>>,
    /// Recipients of a transaction.
    pub recipients: Option<Fact<u32>>,
    /// Messages of a connection.
    pub messages_per_connection: Option<Fact<u32>>,
    /// Octets of a message.
    pub message_size: Option<Fact<u64>>,
    /// What an account may send.
    pub quota: Option<Fact<Quota>>,
    /// `domain` is a domain of the account, by whose EHLO name the provider knows it.
    pub knows_hello: bool,
    /// `domain` has a meaning, in words.
    pub domain: Option<&'static str>,
    /// It takes mail for recipients of the own organisation only.
    pub internal_only: bool,
}

/// The row of a provider.
#[expect(clippy::too_many_lines, reason = "a table")]
pub fn preset(provider: Provider) -> Preset {
    let usual = |host, by| Preset {
        provider,
        host: fact(host, by),
        port: 587,
        other_ports: &[25],
        implicit_ports: &[],
        tls: TlsMode::Verified,
        ports_by: by,
        connections: None,
        rate: None,
        recipient_rate: None,
        recipients: None,
        messages_per_connection: None,
        message_size: None,
        quota: None,
        knows_hello: false,
        domain: None,
        internal_only: false,
    };
    let own = |by| Preset {
        // A certificate of one's own authority is the rule there; `tls.mode` asks for more.
        tls: TlsMode::Encrypted,
        implicit_ports: &[465],
        ..usual(Host::Own, by)
    };
    match provider {
        Provider::GoogleWorkspaceRelay => Preset {
            // It says no more than that the port is there; RFC 8314 section 7.3 says what it is for.
            implicit_ports: &[465],
            recipient_rate: Some(fact((319_444, 600), G_RELAY)),
            recipients: Some(fact(100, G_RELAY)),
            quota: Some(fact(
                "10,000 recipients a day for a user, 4.6 million for an organisation",
                G_RELAY,
            )),
            knows_hello: true,
            domain: Some(
                "a domain of the account, which is said in EHLO: that is how mail without a sender is known to be yours",
            ),
            ..usual(Host::One("smtp-relay.gmail.com"), G_RELAY)
        },
        Provider::Gmail => Preset {
            other_ports: &[],
            implicit_ports: &[465],
            recipients: Some(fact(100, G_LIMITS)),
            quota: Some(fact("2,000 messages a day, 500 for a personal account", G_LIMITS)),
            ..usual(Host::One("smtp.gmail.com"), G_ERR)
        },
        Provider::Microsoft365 => Preset {
            connections: Some(fact(3, MS_SUP)),
            rate: Some(fact((30, 60, None), MS_SUP)),
            recipients: Some(fact(500, MS_SUP)),
            quota: Some(fact(
                "10,000 recipients a day for a mailbox, and the tenant's limit of external recipients",
                MS_SUP,
            )),
            ..usual(Host::One("smtp.office365.com"), MS_EXO)
        },
        Provider::Microsoft365Connector => Preset {
            port: 25,
            other_ports: &[],
            ..usual(Host::Tenant("{}.mail.protection.outlook.com"), MS_EXO)
        },
        Provider::Microsoft365Hve => Preset {
            other_ports: &[],
            internal_only: true,
            ..usual(Host::One("smtp.hve.mx.microsoft"), MS_HVE)
        },
        Provider::ExchangeServer => Preset {
            connections: Some(fact(20, MS_EXO)),
            rate: Some(fact((5, 60, Some(587)), MS_EXO)),
            recipients: Some(fact(500, MS_EXO)),
            implicit_ports: &[],
            ..own(MS_EXO)
        },
        Provider::AmazonSes => Preset {
            other_ports: &[25, 2587],
            implicit_ports: &[465, 2465],
            recipients: Some(fact(50, AWS)),
            message_size: Some(fact(40 << 20, AWS)),
            quota: Some(fact(
                "what the account shows as Max24HourSend; 200 recipients a day in the sandbox",
                AWS,
            )),
            domain: Some("the custom MAIL FROM domain, where the account has one"),
            // The European Sovereign Cloud has a domain of its own (the partitions of AWS' SDKs, 2026).
            ..usual(
                Host::Region(
                    "email-smtp.{}.amazonaws.com",
                    ("eusc-", "email-smtp.{}.amazonaws.eu"),
                ),
                AWS,
            )
        },
        Provider::SendGrid => Preset {
            other_ports: &[25, 2525],
            implicit_ports: &[465],
            messages_per_connection: Some(fact(5_000, TW)),
            message_size: Some(fact(30 << 20, TW)),
            quota: Some(fact("the credits of the plan", TW)),
            ..usual(Host::One("smtp.sendgrid.net"), TW)
        },
        Provider::Mailgun => Preset {
            other_ports: &[25, 2525],
            implicit_ports: &[465],
            message_size: Some(fact(25 << 20, MG)),
            quota: Some(fact(
                "300 messages a day until the domain is verified, then the plan",
                MG,
            )),
            domain: Some("the sending domain at Mailgun, where it is not the sender's own"),
            ..usual(
                Host::MaybeRegion("smtp.mailgun.org", "smtp.{}.mailgun.org", &["us"]),
                MG,
            )
        },
        Provider::Mandrill => Preset {
            other_ports: &[25, 2525],
            implicit_ports: &[465],
            quota: Some(fact(
                "an hourly quota by reputation; mail over it is taken and waits there",
                MC,
            )),
            ..usual(Host::One("smtp.mandrillapp.com"), MC)
        },
        Provider::Smtp2go => Preset {
            port: 2525,
            other_ports: &[25, 80, 587, 8025],
            implicit_ports: &[443, 465, 8465],
            message_size: Some(fact(50 << 20, S2G)),
            quota: Some(fact(
                "the plan; 1,000 a month and 200 a day where it is free",
                S2G,
            )),
            ..usual(
                Host::MaybeRegion("mail.smtp2go.com", "mail-{}.smtp2go.com", &[]),
                S2G,
            )
        },
        Provider::ElasticEmail => Preset {
            port: 2525,
            other_ports: &[25, 587],
            // As for Google's relay.
            implicit_ports: &[465],
            message_size: Some(fact(20 << 20, EE)),
            quota: Some(fact("the plan", EE)),
            ..usual(Host::One("smtp.elasticemail.com"), EE)
        },
        Provider::Postfix => Preset {
            connections: Some(fact(20, POSTFIX)),
            recipients: Some(fact(50, POSTFIX)),
            ..own(POSTFIX)
        },
        Provider::Exim => Preset {
            messages_per_connection: Some(fact(1_000, EXIM)),
            ..own(EXIM)
        },
    }
}
