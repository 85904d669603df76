//! The providers: what each says and takes, as it documents. Data, written from the documentation and not from the product.
//!
//! Words in brackets beside a fact: `unpublished` where no provider's text has it, and some reply had to be made up.

/// Where in the dialogue something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// In place of the greeting.
    Connect,
    /// To AUTH.
    Auth,
    /// To MAIL.
    Mail,
    /// To RCPT.
    Rcpt,
    /// After the message.
    Data,
}

/// A reply, and where it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Saying {
    pub(crate) at: At,
    pub(crate) text: &'static str,
}

/// How a customer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// By AUTH.
    Login,
    /// By AUTH, or by a domain of the customer in EHLO or MAIL.
    LoginOrDomain,
    /// By a client certificate for the sender's domain.
    Certificate,
}

/// One provider.
#[derive(Debug)]
pub(crate) struct Stand {
    /// As a `RelayPolicy` names it.
    pub(crate) name: &'static str,
    /// Its host names.
    pub(crate) hosts: &'static [&'static str],
    /// Ports that begin in the clear and offer STARTTLS.
    pub(crate) clear: &'static [u16],
    /// Ports where TLS comes first.
    pub(crate) implicit: &'static [u16],
    /// Ports where an address is enough, and nobody logs in.
    pub(crate) by_address: &'static [u16],
    pub(crate) known: Known,
    pub(crate) greeting: &'static str,
    /// EHLO keywords besides STARTTLS and AUTH.
    pub(crate) keywords: &'static [&'static str],
    /// AUTH mechanisms, inside TLS.
    pub(crate) mechanisms: &'static [&'static str],
    /// What MAIL gets outside of TLS.
    pub(crate) needs_tls: &'static str,
    /// What MAIL gets from nobody.
    pub(crate) needs_login: &'static str,
    pub(crate) login_refused: &'static str,
    /// A password, where passwords are taken no more.
    pub(crate) no_passwords: Option<&'static str>,
    /// A sender who is not the customer's.
    pub(crate) foreign_sender: Option<Saying>,
    /// More than the account may send; `None`: it says nothing, and keeps the mail until it may.
    pub(crate) quota: Option<Saying>,
    /// Too fast.
    pub(crate) throttle: Saying,
    /// Recipients of a transaction, and what one more gets.
    pub(crate) recipients: (usize, &'static str),
    /// Connections at once, and what one more gets.
    pub(crate) connections: Option<(usize, Saying)>,
    /// Messages of a connection, and what one more gets.
    pub(crate) messages: Option<(usize, &'static str)>,
    /// Octets of a message.
    pub(crate) size: usize,
    /// What a message that is taken gets.
    pub(crate) taken: &'static str,
}

const MIB: usize = 1 << 20;
const TOO_MANY: &str = "452 4.5.3 Too many recipients";

const fn at(at: At, text: &'static str) -> Saying {
    Saying { at, text }
}

/// What most have in common; each row says what is its own.
const USUAL: Stand = Stand {
    name: "",
    hosts: &[],
    clear: &[25, 587],
    implicit: &[],
    by_address: &[],
    known: Known::Login,
    greeting: "",
    keywords: &["8BITMIME", "PIPELINING", "ENHANCEDSTATUSCODES"],
    mechanisms: &["PLAIN", "LOGIN"],
    needs_tls: "530 5.7.0 Must issue a STARTTLS command first",
    needs_login: "530 5.7.0 Authentication required",
    login_refused: "535 5.7.8 Error: authentication failed",
    no_passwords: None,
    foreign_sender: None,
    quota: None,
    throttle: at(At::Mail, "451 4.7.1 Please try again later"),
    recipients: (1_000, TOO_MANY),
    connections: None,
    messages: None,
    size: 25 * MIB,
    taken: "250 2.0.0 OK",
};

/// All of them.
pub(crate) static ALL: [Stand; 14] = [
    // support.google.com/a/answer/2956491 and 6140680; Gmail SMTP errors and codes.
    Stand {
        name: "GoogleWorkspaceRelay",
        hosts: &["smtp-relay.gmail.com"],
        implicit: &[465],
        known: Known::LoginOrDomain,
        greeting: "220 smtp-relay.gmail.com ESMTP - gsmtp",
        keywords: &[
            "SIZE 26214400",
            "8BITMIME",
            "ENHANCEDSTATUSCODES",
            "PIPELINING",
            "SMTPUTF8",
        ],
        mechanisms: &["LOGIN", "PLAIN"],
        needs_login: "550 5.7.0 Mail relay denied",
        login_refused: "535 5.7.8 Username and Password not accepted",
        quota: Some(at(
            At::Rcpt,
            "550 5.4.5 Daily SMTP relay limit exceeded for user.",
        )),
        throttle: at(At::Mail, "450 4.2.1 Peak SMTP relay limit exceeded for customer."),
        recipients: (100, TOO_MANY),
        taken: "250 2.0.0 OK - gsmtp",
        ..USUAL
    },
    Stand {
        name: "Gmail",
        hosts: &["smtp.gmail.com"],
        clear: &[587],
        implicit: &[465],
        greeting: "220 smtp.gmail.com ESMTP - gsmtp",
        keywords: &[
            "SIZE 26214400",
            "8BITMIME",
            "ENHANCEDSTATUSCODES",
            "PIPELINING",
            "SMTPUTF8",
        ],
        mechanisms: &["LOGIN", "PLAIN", "XOAUTH2", "OAUTHBEARER"],
        login_refused: "535 5.7.8 Username and Password not accepted",
        quota: Some(at(At::Data, "550 5.4.5 Daily user sending limit exceeded.")),
        throttle: at(
            At::Data,
            "421 4.7.28 Our system has detected an unusual rate of mail",
        ),
        recipients: (100, TOO_MANY),
        taken: "250 2.0.0 OK - gsmtp",
        ..USUAL
    },
    // MicrosoftDocs on SMTP AUTH client submission; the message limits of Exchange Online.
    Stand {
        name: "Microsoft365",
        hosts: &["smtp.office365.com"],
        greeting: "220 smtp.office365.com Microsoft ESMTP MAIL Service ready",
        keywords: &[
            "SIZE 36700160",
            "PIPELINING",
            "DSN",
            "ENHANCEDSTATUSCODES",
            "8BITMIME",
            "SMTPUTF8",
        ],
        mechanisms: &["LOGIN", "XOAUTH2"],
        needs_login: "530 5.7.57 Client not authenticated to send mail.",
        login_refused: "535 5.7.3 Authentication unsuccessful",
        no_passwords: Some("550 5.7.30 Basic authentication is not supported for Client Submission."),
        foreign_sender: Some(at(
            At::Data,
            "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
        )),
        quota: Some(at(
            At::Data,
            "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message",
        )),
        throttle: at(
            At::Data,
            "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded",
        ),
        recipients: (500, TOO_MANY),
        connections: Some((
            3,
            at(
                At::Mail,
                "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded",
            ),
        )),
        size: 35 * MIB,
        taken: "250 2.0.0 OK [Hostname=x.prod.outlook.com]",
        ..USUAL
    },
    Stand {
        name: "Microsoft365Connector",
        hosts: &["contoso-com.mail.protection.outlook.com"],
        clear: &[25],
        known: Known::Certificate,
        greeting: "220 x.mail.protection.outlook.com Microsoft ESMTP MAIL Service ready",
        keywords: &[
            "SIZE 157286400",
            "PIPELINING",
            "DSN",
            "ENHANCEDSTATUSCODES",
            "8BITMIME",
            "SMTPUTF8",
        ],
        mechanisms: &[],
        needs_login: "550 5.7.64 TenantAttribution; Relay Access Denied",
        quota: Some(at(
            At::Rcpt,
            "550 5.7.233 Tenant has exceeded its external recipient limit",
        )),
        throttle: at(
            At::Mail,
            "451 4.7.500 Server busy. Please try again later (AS77712)",
        ),
        recipients: (500, TOO_MANY),
        size: 150 * MIB,
        taken: "250 2.6.0 Queued mail for delivery",
        ..USUAL
    },
    // Microsoft Learn on High Volume Email; its limits are unpublished.
    Stand {
        name: "Microsoft365HVE",
        hosts: &["smtp.hve.mx.microsoft"],
        clear: &[587],
        greeting: "220 smtp.hve.mx.microsoft Microsoft ESMTP MAIL Service ready",
        keywords: &["SIZE 10485760", "PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME"],
        mechanisms: &["LOGIN", "XOAUTH2"],
        needs_login: "530 5.7.57 Client not authenticated to send mail.",
        login_refused: "535 5.7.3 Authentication unsuccessful",
        quota: Some(at(
            At::Data,
            "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message",
        )),
        throttle: at(
            At::Mail,
            "451 4.7.500 Server busy. Please try again later (AS77712)",
        ),
        size: 10 * MIB,
        taken: "250 2.6.0 Queued mail for delivery",
        ..USUAL
    },
    // MicrosoftDocs on receive connectors. It has no quota for senders.
    Stand {
        name: "ExchangeServer",
        hosts: &["exchange.corp.example"],
        by_address: &[25],
        greeting: "220 exchange.corp.example Microsoft ESMTP MAIL Service ready",
        keywords: &[
            "SIZE 37748736",
            "PIPELINING",
            "DSN",
            "ENHANCEDSTATUSCODES",
            "8BITMIME",
        ],
        mechanisms: &["NTLM", "GSSAPI", "LOGIN"],
        needs_login: "530 5.7.1 Client was not authenticated",
        login_refused: "535 5.7.3 Authentication unsuccessful",
        throttle: at(At::Mail, "452 4.3.1 Insufficient system resources"),
        recipients: (500, TOO_MANY),
        connections: Some((
            20,
            at(
                At::Connect,
                "421 4.3.2 The maximum number of concurrent connections has exceeded a limit",
            ),
        )),
        size: 36 * MIB,
        taken: "250 2.6.0 Queued mail for delivery",
        ..USUAL
    },
    // awsdocs/amazon-ses-developer-guide.
    Stand {
        name: "AmazonSES",
        hosts: &["email-smtp.eu-west-1.amazonaws.com"],
        clear: &[25, 587, 2587],
        implicit: &[465, 2465],
        greeting: "220 email-smtp.amazonaws.com ESMTP SimpleEmailService-x",
        keywords: &["8BITMIME", "SIZE 41943040"],
        needs_tls: "530 Must issue a STARTTLS command first",
        needs_login: "530 Authentication required",
        login_refused: "535 Authentication Credentials Invalid",
        foreign_sender: Some(at(
            At::Data,
            "554 Message rejected: Email address is not verified.",
        )),
        quota: Some(at(
            At::Data,
            "454 Throttling failure: Daily message quota exceeded.",
        )),
        throttle: at(At::Data, "454 Throttling failure: Maximum sending rate exceeded."),
        // The limit is documented, the reply is unpublished.
        recipients: (50, "452 Too many recipients"),
        connections: Some((500, at(At::Connect, "421 Too many concurrent SMTP connections"))),
        size: 40 * MIB,
        taken: "250 Ok 0102018a-stand-in",
        ..USUAL
    },
    // twilio.com/docs/sendgrid.
    Stand {
        name: "SendGrid",
        hosts: &["smtp.sendgrid.net"],
        clear: &[25, 587, 2525],
        implicit: &[465],
        greeting: "220 SG ESMTP service ready",
        keywords: &["8BITMIME", "SIZE 31457280"],
        needs_login: "550 Unauthenticated senders not allowed",
        login_refused: "535 Authentication failed: Bad username / password",
        foreign_sender: Some(at(
            At::Data,
            "550 The from address does not match a verified Sender Identity.",
        )),
        quota: Some(at(
            At::Auth,
            "451 Authentication failed: Maximum credits exceeded",
        )),
        // Unpublished besides the code.
        throttle: at(At::Mail, "421 Too many requests, try again later"),
        messages: Some((5_000, "421 Too many messages in this connection")),
        size: 30 * MIB,
        taken: "250 Ok: queued as x",
        ..USUAL
    },
    // documentation.mailgun.com; its codes on SMTP are unpublished, the words are those of its HTTP API.
    Stand {
        name: "Mailgun",
        hosts: &["smtp.eu.mailgun.org"],
        clear: &[25, 587, 2525],
        implicit: &[465],
        greeting: "220 Mailgun Influx ready",
        keywords: &["8BITMIME", "SIZE 52428800", "SMTPUTF8"],
        login_refused: "535 5.7.0 Mailgun: authentication failed",
        quota: Some(at(
            At::Data,
            "550 5.7.1 The daily limit is exceeded, try again after Mon, 30 Nov 2026 00:00:00 GMT",
        )),
        throttle: at(At::Data, "421 4.7.0 Limit exceeded, try again later"),
        taken: "250 Great success",
        ..USUAL
    },
    // mailchimp.com/developer/transactional: mail over the quota is taken, and waits there.
    Stand {
        name: "Mandrill",
        hosts: &["smtp.mandrillapp.com"],
        clear: &[25, 587, 2525],
        implicit: &[465],
        greeting: "220 smtp.mandrillapp.com ESMTP",
        keywords: &["PIPELINING", "SIZE 26214400", "8BITMIME"],
        login_refused: "535 5.7.8 Error: authentication failed: invalid API key",
        taken: "250 2.0.0 Ok: queued as x",
        ..USUAL
    },
    // developers.smtp2go.com; the reply over the plan is unpublished.
    Stand {
        name: "SMTP2GO",
        hosts: &["mail-eu.smtp2go.com"],
        clear: &[25, 80, 587, 2525, 8025],
        implicit: &[443, 465, 8465],
        greeting: "220 mail.smtp2go.com ESMTP",
        keywords: &["SIZE 52428800", "8BITMIME", "PIPELINING"],
        needs_login: "550 Relay access denied - please authenticate",
        login_refused: "535 Incorrect authentication data",
        foreign_sender: Some(at(At::Mail, "550 From header sender domain not verified")),
        quota: Some(at(At::Rcpt, "550 Monthly quota of the plan is used up")),
        throttle: at(At::Rcpt, "450 Too fast, please slow down"),
        size: 50 * MIB,
        taken: "250 OK id=x",
        ..USUAL
    },
    // elasticemail.com; its codes are unpublished.
    Stand {
        name: "ElasticEmail",
        hosts: &["smtp.elasticemail.com"],
        clear: &[25, 587, 2525],
        implicit: &[465],
        greeting: "220 smtp.elasticemail.com ESMTP",
        keywords: &["SIZE 20971520", "8BITMIME"],
        login_refused: "535 5.7.8 Authentication failed",
        quota: Some(at(At::Data, "550 5.7.1 Account quota exceeded")),
        throttle: at(At::Data, "421 4.7.0 Throttled, try again later"),
        size: 20 * MIB,
        taken: "250 OK",
        ..USUAL
    },
    // Postfix 3.12, smtpd. It has no quota for senders.
    Stand {
        name: "Postfix",
        hosts: &["postfix.corp.example"],
        clear: &[25, 587],
        implicit: &[465],
        greeting: "220 postfix.corp.example ESMTP Postfix",
        keywords: &[
            "PIPELINING",
            "SIZE 10240000",
            "ETRN",
            "ENHANCEDSTATUSCODES",
            "8BITMIME",
            "DSN",
            "SMTPUTF8",
        ],
        needs_login: "554 5.7.1 Relay access denied",
        throttle: at(At::Mail, "450 4.7.1 Error: too much mail from 192.0.2.1"),
        recipients: (1_000, "452 4.5.3 Error: too many recipients"),
        connections: Some((
            50,
            at(
                At::Connect,
                "421 4.7.0 postfix.corp.example Error: too many connections from 192.0.2.1",
            ),
        )),
        size: 10_240_000,
        taken: "250 2.0.0 Ok: queued as x",
        ..USUAL
    },
    // Exim 4.99. It has no quota for senders.
    Stand {
        name: "Exim",
        hosts: &["exim.corp.example"],
        clear: &[25, 587],
        implicit: &[465],
        by_address: &[25],
        greeting: "220 exim.corp.example ESMTP Exim 4.99",
        keywords: &["SIZE 52428800", "8BITMIME", "PIPELINING"],
        needs_login: "550 relay not permitted",
        login_refused: "535 Incorrect authentication data",
        throttle: at(At::Mail, "451 Temporary local problem - please try later"),
        recipients: (50_000, "452 too many recipients"),
        connections: Some((
            20,
            at(
                At::Connect,
                "421 Too many concurrent SMTP connections; please try again later.",
            ),
        )),
        messages: Some((1_000, "421 too many messages in this connection")),
        size: 50 * MIB,
        taken: "250 OK id=x",
        ..USUAL
    },
];

impl Stand {
    /// The provider of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|stand| stand.name == name)
    }

    /// Its ports, the clear ones first, each with whether TLS comes first there, and the port of this program that plays it.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (u16, bool, u16)> + '_ {
        let place = ALL.iter().position(|stand| stand.name == self.name).unwrap_or(0);
        let clear = self.clear.iter().map(|port| (*port, false));
        let implicit = self.implicit.iter().map(|port| (*port, true));
        let own = (FIRST_PORT..)
            .step_by(usize::from(PORTS_EACH))
            .nth(place)
            .unwrap_or(FIRST_PORT);
        clear
            .chain(implicit)
            .zip(own..)
            .map(|((port, implicit), own)| (port, implicit, own))
    }

    /// Whether nobody need log in at a port.
    pub(crate) fn knows_address(&self, port: u16) -> bool {
        self.by_address.contains(&port)
    }
}

const FIRST_PORT: u16 = 20_000;
const PORTS_EACH: u16 = 16;

/// Where tokens are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authority {
    /// Google, for service accounts.
    Google,
    /// Microsoft Entra.
    Entra,
}

impl Authority {
    pub(crate) const ALL: [Self; 2] = [Self::Google, Self::Entra];

    pub(crate) const fn host(self) -> &'static str {
        match self {
            Self::Google => "oauth2.googleapis.com",
            Self::Entra => "login.microsoftonline.com",
        }
    }

    /// The port of this program that plays it.
    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::Google => 21_000,
            Self::Entra => 21_001,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_provider_has_a_row_of_its_own() {
        let names: BTreeSet<_> = ALL.iter().map(|stand| stand.name).collect();
        let hosts: BTreeSet<_> = ALL.iter().flat_map(|stand| stand.hosts).collect();
        let ports: BTreeSet<_> = ALL.iter().flat_map(Stand::ports).map(|(_, _, own)| own).collect();
        let count = ALL.iter().map(|stand| stand.ports().count()).sum::<usize>();
        assert_eq!((names.len(), hosts.len(), ports.len()), (14, 14, count));
        for stand in &ALL {
            assert!(stand.greeting.starts_with("220 "), "{}", stand.name);
            assert!(stand.taken.starts_with("250 "), "{}", stand.name);
            assert!(stand.ports().count() <= usize::from(PORTS_EACH));
        }
        assert!(ports.iter().all(|port| *port < Authority::Google.port()));
    }
}
