//! What each provider says, and what it means: a table of the replies that the rules are for.

use super::*;
use Provider::{
    AmazonSes, ElasticEmail, ExchangeServer, Exim, Gmail, GoogleWorkspaceRelay, Mailgun, Mandrill,
    Microsoft365, Microsoft365Connector, Microsoft365Hve, Postfix, SendGrid, Smtp2go,
};
use SaidAt::{Data, Mail, Rcpt, Session};

fn what(
    provider: impl Into<Option<Provider>>,
    at: SaidAt,
    code: u16,
    status: Option<(u16, u16)>,
    text: &str,
) -> &'static str {
    judge(
        provider.into(),
        Said {
            at,
            code,
            status,
            text,
        },
    )
    .name()
}

/// The table of what providers document, a line for each.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_documented_reply_is_read_as_it_is_meant() {
    for (provider, at, code, status, text, want) in [
        (
            AmazonSes,
            Data,
            454,
            None,
            "Throttling failure: Maximum sending rate exceeded.",
            "Throttle",
        ),
        (
            AmazonSes,
            Data,
            454,
            None,
            "Throttling failure: Daily message quota exceeded.",
            "Quota",
        ),
        (
            AmazonSes,
            Session,
            421,
            None,
            "Too many concurrent SMTP connections",
            "Concurrency",
        ),
        (
            AmazonSes,
            Session,
            454,
            None,
            "Temporary authentication failure",
            "Retry",
        ),
        (AmazonSes, Data, 451, None, "Temporary service failure", "Retry"),
        (
            AmazonSes,
            Session,
            535,
            None,
            "Authentication Credentials Invalid",
            "Configuration",
        ),
        (
            AmazonSes,
            Mail,
            530,
            None,
            "Authentication required",
            "Configuration",
        ),
        (
            AmazonSes,
            Data,
            554,
            None,
            "Message rejected: Email address is not verified.",
            "Sender",
        ),
        (
            AmazonSes,
            Data,
            554,
            None,
            "Access denied: User is not authorized",
            "Sender",
        ),
        (AmazonSes, Data, 552, None, "Message is too long.", "Message"),
        (AmazonSes, Rcpt, 553, None, "Invalid email address", "Recipient"),
        (
            GoogleWorkspaceRelay,
            Mail,
            450,
            Some((2, 1)),
            "Peak SMTP relay limit exceeded for customer.",
            "Throttle",
        ),
        (
            GoogleWorkspaceRelay,
            Rcpt,
            550,
            Some((7, 1)),
            "Daily SMTP relay limit exceeded for customer.",
            "Quota",
        ),
        (
            GoogleWorkspaceRelay,
            Rcpt,
            550,
            Some((7, 1)),
            "Daily SMTP relay sending limit exceeded for customer.",
            "Quota",
        ),
        (
            GoogleWorkspaceRelay,
            Rcpt,
            550,
            Some((4, 5)),
            "Daily SMTP relay limit exceeded for user.",
            "Quota",
        ),
        (
            GoogleWorkspaceRelay,
            Rcpt,
            550,
            Some((7, 0)),
            "Mail relay denied [192.0.2.1].",
            "Configuration",
        ),
        (
            GoogleWorkspaceRelay,
            Mail,
            550,
            Some((7, 1)),
            "Invalid credentials for relay [192.0.2.1].",
            "Configuration",
        ),
        (
            GoogleWorkspaceRelay,
            Session,
            421,
            Some((7, 28)),
            "Our system has detected an unusual rate of mail",
            "Throttle",
        ),
        (
            Gmail,
            Data,
            550,
            Some((4, 5)),
            "Daily user sending limit exceeded.",
            "Quota",
        ),
        (
            Gmail,
            Session,
            534,
            Some((7, 9)),
            "Application-specific password required.",
            "Configuration",
        ),
        (
            Gmail,
            Session,
            534,
            Some((7, 14)),
            "Please log in via your web browser",
            "Configuration",
        ),
        (
            Gmail,
            Session,
            535,
            Some((7, 8)),
            "Username and Password not accepted.",
            "Configuration",
        ),
        (
            Gmail,
            Session,
            530,
            Some((7, 0)),
            "Must issue a STARTTLS command first",
            "Configuration",
        ),
        (
            Gmail,
            Data,
            421,
            Some((7, 28)),
            "unusual rate of unsolicited mail",
            "Throttle",
        ),
        (
            Gmail,
            Data,
            421,
            Some((7, 0)),
            "Try again later, closing connection.",
            "Retry",
        ),
        (
            Gmail,
            Data,
            421,
            Some((7, 26)),
            "This mail is unauthenticated",
            "Sender",
        ),
        (
            Gmail,
            Data,
            451,
            Some((7, 24)),
            "The SPF record of the sending domain has one or more suspicious entries.",
            "Sender",
        ),
        (Gmail, Data, 451, Some((7, 23)), "no PTR record", "Sender"),
        // Class 4 by its code, class 5 by its enhanced code: the code counts.
        (
            Gmail,
            Data,
            421,
            Some((7, 32)),
            "From: header is not aligned",
            "Sender",
        ),
        (
            Gmail,
            Data,
            421,
            None,
            "5.7.32 From: header is not aligned",
            "Sender",
        ),
        (Gmail, Data, 421, Some((7, 40)), "no DMARC record", "Sender"),
        (
            Gmail,
            Data,
            550,
            Some((7, 26)),
            "This mail has been blocked because the sender is unauthenticated.",
            "Message",
        ),
        (
            Gmail,
            Rcpt,
            450,
            Some((2, 1)),
            "The user you are trying to contact is receiving mail too quickly.",
            "Retry",
        ),
        (
            Gmail,
            Rcpt,
            452,
            Some((5, 3)),
            "Your message has too many recipients.",
            "Split",
        ),
        (
            Gmail,
            Rcpt,
            451,
            Some((3, 0)),
            "Multiple destination domains per transaction is unsupported.",
            "Split",
        ),
        (
            Gmail,
            Session,
            454,
            Some((7, 0)),
            "Too many login attempts, please try again later.",
            "Throttle",
        ),
        (
            Gmail,
            Data,
            552,
            Some((3, 4)),
            "Your message exceeded Google's message size limits.",
            "Message",
        ),
        (
            Gmail,
            Data,
            550,
            Some((7, 1)),
            "The IP you're using to send mail is not authorized",
            "Message",
        ),
        (
            Microsoft365,
            Data,
            432,
            Some((3, 2)),
            "STOREDRV.ClientSubmit; sender thread limit exceeded",
            "Concurrency",
        ),
        (
            Microsoft365,
            Data,
            554,
            Some((2, 0)),
            "STOREDRV.Submission.Exception:SubmissionQuotaExceededException",
            "Quota",
        ),
        (
            Microsoft365,
            Data,
            550,
            Some((1, 90)),
            "Your message can't be sent because you've reached your daily limit for message recipients",
            "Quota",
        ),
        (
            Microsoft365,
            Data,
            550,
            Some((7, 233)),
            "Your message can't be sent because your tenant exceeded its daily limit",
            "Quota",
        ),
        (Microsoft365, Data, 550, Some((7, 232)), "trial tenant", "Quota"),
        (Microsoft365, Data, 554, Some((2, 2)), "mailbox full", "Sender"),
        (
            Microsoft365,
            Session,
            550,
            Some((7, 30)),
            "Basic authentication is not supported for Client Submission.",
            "Configuration",
        ),
        (
            Microsoft365,
            Session,
            535,
            Some((7, 139)),
            "Authentication unsuccessful, SmtpClientAuthentication is disabled",
            "Configuration",
        ),
        (
            Microsoft365,
            Session,
            535,
            Some((7, 3)),
            "Authentication unsuccessful",
            "Configuration",
        ),
        (
            Microsoft365,
            Mail,
            530,
            Some((7, 57)),
            "Client not authenticated to send mail",
            "Configuration",
        ),
        (
            Microsoft365,
            Data,
            554,
            Some((7, 60)),
            "Client does not have permissions to send as this sender",
            "Message",
        ),
        (Microsoft365, Data, 550, Some((7, 60)), "SendAsDenied", "Message"),
        (
            Microsoft365,
            Data,
            550,
            Some((7, 705)),
            "tenant has exceeded threshold",
            "Configuration",
        ),
        (
            Microsoft365,
            Data,
            550,
            Some((7, 708)),
            "traffic not accepted from this IP",
            "Configuration",
        ),
        (
            Microsoft365,
            Data,
            550,
            Some((7, 750)),
            "unregistered domain",
            "Configuration",
        ),
        (
            Microsoft365Connector,
            Mail,
            550,
            Some((7, 64)),
            "TenantAttribution; Relay Access Denied",
            "Configuration",
        ),
        (
            Microsoft365Connector,
            Rcpt,
            550,
            Some((7, 68)),
            "TenantInboundAttribution; Direct Send not allowed",
            "Configuration",
        ),
        (
            Microsoft365Connector,
            Mail,
            550,
            Some((7, 606)),
            "Access denied, banned sending IP",
            "Configuration",
        ),
        (
            Microsoft365Connector,
            Mail,
            451,
            Some((7, 500)),
            "Server busy. Please try again later (AS1)",
            "Retry",
        ),
        (
            Microsoft365Connector,
            Mail,
            451,
            Some((7, 699)),
            "Server busy (AS2)",
            "Retry",
        ),
        (
            Microsoft365Connector,
            Rcpt,
            452,
            Some((5, 3)),
            "Too many recipients",
            "Split",
        ),
        (
            Microsoft365Connector,
            Data,
            550,
            Some((7, 515)),
            "Access denied, sending domain does not meet the required authentication level",
            "Sender",
        ),
        (
            Microsoft365Connector,
            Data,
            550,
            Some((7, 509)),
            "sending domain does not pass DMARC",
            "Sender",
        ),
        (
            Microsoft365Connector,
            Rcpt,
            550,
            Some((1, 1)),
            "Recipient not found",
            "Recipient",
        ),
        (
            Microsoft365Connector,
            Rcpt,
            552,
            Some((2, 2)),
            "mailbox quota exceeded",
            "Retry",
        ),
        (
            Microsoft365Hve,
            Session,
            535,
            Some((7, 3)),
            "Authentication unsuccessful",
            "Configuration",
        ),
        (
            ExchangeServer,
            Data,
            452,
            Some((3, 1)),
            "Insufficient system resources",
            "Retry",
        ),
        (
            ExchangeServer,
            Session,
            421,
            Some((3, 2)),
            "Service not available",
            "Retry",
        ),
        (
            ExchangeServer,
            Data,
            421,
            Some((4, 2)),
            "Connection dropped due to timeout",
            "Retry",
        ),
        (
            ExchangeServer,
            Rcpt,
            550,
            Some((7, 1)),
            "Unable to relay",
            "Sender",
        ),
        (
            ExchangeServer,
            Mail,
            530,
            Some((7, 1)),
            "Client was not authenticated",
            "Configuration",
        ),
        (
            ExchangeServer,
            Session,
            535,
            Some((7, 3)),
            "Authentication unsuccessful",
            "Configuration",
        ),
        (
            ExchangeServer,
            Rcpt,
            452,
            Some((5, 3)),
            "Too many recipients",
            "Split",
        ),
        (
            SendGrid,
            Session,
            451,
            None,
            "Authentication failed: Maximum credits exceeded",
            "Quota",
        ),
        (
            SendGrid,
            Session,
            535,
            None,
            "Authentication failed: Bad username / password",
            "Configuration",
        ),
        (
            SendGrid,
            Mail,
            550,
            None,
            "Unauthenticated senders not allowed",
            "Sender",
        ),
        (
            SendGrid,
            Data,
            550,
            None,
            "The from address does not match a verified Sender Identity.",
            "Sender",
        ),
        (
            SendGrid,
            Data,
            452,
            None,
            "Too many recipients received this hour",
            "Retry",
        ),
        (
            Mailgun,
            Rcpt,
            550,
            None,
            "Domain example.com is over its sending limit",
            "Quota",
        ),
        (
            Mailgun,
            Session,
            535,
            Some((7, 0)),
            "Mailgun is not loving your login or password",
            "Configuration",
        ),
        (Mandrill, Data, 550, None, "your hourly quota is used up", "Quota"),
        (
            Mandrill,
            Session,
            535,
            None,
            "Incorrect authentication data",
            "Configuration",
        ),
        (
            Smtp2go,
            Session,
            535,
            None,
            "Incorrect authentication data",
            "Configuration",
        ),
        (
            Smtp2go,
            Rcpt,
            550,
            None,
            "Relay access denied - please authenticate",
            "Configuration",
        ),
        (
            Smtp2go,
            Data,
            550,
            None,
            "that smtp account's From header sender domain is not verified",
            "Sender",
        ),
        (ElasticEmail, Data, 554, None, "Account credits exceeded", "Quota"),
        (
            ElasticEmail,
            Session,
            535,
            None,
            "Authentication failed",
            "Configuration",
        ),
        (
            Postfix,
            Mail,
            450,
            Some((7, 1)),
            "Error: too much mail from 192.0.2.1",
            "Throttle",
        ),
        (
            Postfix,
            Rcpt,
            450,
            Some((7, 1)),
            "Error: too many recipients from 192.0.2.1",
            "Throttle",
        ),
        (
            Postfix,
            Session,
            421,
            Some((7, 0)),
            "mx Error: too many connections from 192.0.2.1",
            "Concurrency",
        ),
        (
            Postfix,
            Data,
            421,
            Some((7, 0)),
            "mx Error: too many errors",
            "Retry",
        ),
        (
            Postfix,
            Session,
            454,
            Some((7, 0)),
            "Error: too many new TLS sessions from 192.0.2.1",
            "Throttle",
        ),
        (
            Postfix,
            Session,
            454,
            Some((7, 0)),
            "Temporary authentication failure",
            "Retry",
        ),
        (
            Postfix,
            Rcpt,
            454,
            Some((7, 1)),
            "<a@b.example>: Relay access denied",
            "Sender",
        ),
        (
            Postfix,
            Rcpt,
            554,
            Some((7, 1)),
            "<a@b.example>: Relay access denied",
            "Sender",
        ),
        (
            Postfix,
            Rcpt,
            452,
            Some((5, 3)),
            "Error: too many recipients",
            "Split",
        ),
        (
            Postfix,
            Data,
            552,
            Some((3, 4)),
            "Error: message file too big",
            "Message",
        ),
        (
            Postfix,
            Session,
            530,
            Some((7, 0)),
            "Must issue a STARTTLS command first",
            "Configuration",
        ),
        (
            Exim,
            Session,
            421,
            None,
            "Too many concurrent SMTP connections; please try again later.",
            "Concurrency",
        ),
        (Exim, Rcpt, 452, None, "too many recipients", "Split"),
        (Exim, Rcpt, 552, None, "too many recipients", "Split"),
        (
            Exim,
            Session,
            435,
            None,
            "Unable to authenticate at present",
            "Retry",
        ),
        (
            Exim,
            Session,
            535,
            None,
            "Incorrect authentication data",
            "Configuration",
        ),
        (Exim, Session, 454, None, "TLS currently unavailable", "Retry"),
        (Exim, Rcpt, 550, None, "relay not permitted", "Sender"),
    ] {
        assert_eq!(
            what(provider, at, code, status, text),
            want,
            "{provider} {code} {status:?} {text}"
        );
    }
}

#[test]
fn a_smart_host_without_a_name_is_read_by_the_rules_for_all() {
    for (at, code, status, text, want) in [
        (Rcpt, 452, Some((5, 3)), "too many recipients", "Split"),
        (Rcpt, 452, Some((3, 1)), "insufficient system storage", "Retry"),
        (
            Session,
            421,
            None,
            "too many concurrent connections",
            "Concurrency",
        ),
        (Session, 421, Some((3, 2)), "shutting down", "Retry"),
        (
            Mail,
            530,
            Some((7, 0)),
            "authentication required",
            "Configuration",
        ),
        (Session, 534, None, "mechanism too weak", "Configuration"),
        (Session, 535, None, "no", "Configuration"),
        (Data, 552, Some((3, 4)), "too big", "Message"),
        (Rcpt, 550, Some((1, 1)), "no such user", "Recipient"),
        (Rcpt, 553, Some((1, 3)), "bad address", "Recipient"),
        (Rcpt, 550, None, "no", "Recipient"),
        (Rcpt, 550, Some((7, 1)), "blocked", "Message"),
        // Whoever has to mend it sits here or there; no recipient is to blame, and nothing comes back.
        (
            Rcpt,
            554,
            Some((7, 1)),
            "<b@x.example>: Relay access denied",
            "Sender",
        ),
        (Rcpt, 550, Some((7, 1)), "Relaying denied", "Sender"),
        (Rcpt, 550, None, "relay not permitted", "Sender"),
        (Rcpt, 550, Some((7, 1)), "Unable to relay", "Sender"),
        (Rcpt, 454, Some((7, 1)), "Relay access denied", "Sender"),
        (Mail, 550, None, "Relaying denied", "Sender"),
        (Rcpt, 550, Some((1, 1)), "relay@x.example denied", "Recipient"),
        (Data, 554, None, "spam", "Message"),
        (Rcpt, 450, Some((2, 0)), "busy", "Retry"),
        // Nobody knows whose quota that is.
        (Rcpt, 552, None, "quota exceeded", "Retry"),
        (Rcpt, 550, Some((2, 2)), "quota exceeded", "Recipient"),
    ] {
        assert_eq!(
            what(None::<Provider>, at, code, status, text),
            want,
            "{code} {status:?} {text}"
        );
    }
}

#[test]
fn before_rcpt_it_is_never_the_recipients_fault() {
    for provider in Provider::ALL.into_iter().map(Some).chain([None]) {
        for at in [Session, Mail] {
            for code in 400..600 {
                for status in [None, Some((1, 1)), Some((1, 10)), Some((2, 1)), Some((7, 1))] {
                    let found = what(provider, at, code, status, "user unknown");
                    assert_ne!(found, "Recipient", "{provider:?} {at:?} {code}");
                }
            }
        }
    }
}

#[test]
fn a_temporary_code_is_never_final_and_a_quota_never_a_bounce() {
    for provider in Provider::ALL {
        for status in [None, Some((1, 1)), Some((7, 26)), Some((7, 32)), Some((3, 4))] {
            for code in [421, 450, 451, 452, 454] {
                let said = Said {
                    at: Rcpt,
                    code,
                    status,
                    text: "no",
                };
                assert!(
                    !judge(Some(provider), said).is_final(),
                    "{provider} {code} {status:?}"
                );
            }
        }
        let said = Said {
            at: Rcpt,
            code: 550,
            status: Some((5, 0)),
            text: "Daily sending limit reached: quota",
        };
        let found = judge(Some(provider), said);
        assert_eq!(
            matches!(found, Reaction::Quota(_)),
            !provider.is_own_server(),
            "{provider}"
        );
    }
}

#[test]
fn each_rule_has_a_source_and_words_that_can_be_found() {
    for rule in RULES.iter().chain(&GENERIC) {
        assert!(!rule.by.source.is_empty() && !rule.by.dated.is_empty());
        assert!(
            rule.words.iter().all(|word| word.to_ascii_lowercase() == **word),
            "{rule:?}"
        );
    }
}

#[test]
fn an_address_that_is_echoed_decides_nothing() {
    for (provider, code, status, text, want) in [
        (Mailgun, 550, None, "no such user: quota@x.example", "Recipient"),
        (Mailgun, 550, None, "<quota@x.example>: no such user", "Recipient"),
        (
            Mailgun,
            550,
            None,
            "<\"daily limit a@b \\\" c\"@x.example> is \"not\" here",
            "Recipient",
        ),
        (
            Mailgun,
            550,
            None,
            "\"no\" says \"plan limit\"@x.example",
            "Recipient",
        ),
        (
            Microsoft365Connector,
            550,
            Some((1, 10)),
            "RESOLVER.ADR.RecipientNotFound; Recipient quota@contoso.example not found",
            "Recipient",
        ),
        (
            Microsoft365Connector,
            550,
            Some((1, 1)),
            "the quota of addresses like this is none",
            "Recipient",
        ),
        (
            ExchangeServer,
            550,
            Some((7, 1)),
            "relay@x.example is closed",
            "Message",
        ),
        // Of the account, beside an address.
        (
            Mailgun,
            550,
            None,
            "\"quota@x.example\" is over its sending limit",
            "Quota",
        ),
        (Mailgun, 550, None, "the quota of a@x.example is used up", "Quota"),
        (
            Postfix,
            554,
            Some((7, 1)),
            "<a@x.example>: Relay access denied",
            "Sender",
        ),
    ] {
        assert_eq!(what(provider, Rcpt, code, status, text), want, "{text}");
    }
}

#[test]
fn an_account_that_may_not_send_for_now_returns_no_mail() {
    let paused =
        "Message rejected: Sending paused for this account. For more information, please check the inbox";
    for (provider, at, code, status, text, want) in [
        (AmazonSes, Data, 554, None, paused, "Sender"),
        (
            AmazonSes,
            Data,
            554,
            None,
            "Configuration set <shop> does not exist.",
            "Sender",
        ),
        (
            Mailgun,
            Data,
            421,
            None,
            "Domain mg.shop.example is not allowed to send: Please activate your Mailgun account.",
            "Sender",
        ),
        (
            Mailgun,
            Rcpt,
            550,
            Some((7, 1)),
            "Domain mg.shop.example is not allowed to send: Account disabled",
            "Sender",
        ),
        (
            Microsoft365Hve,
            Rcpt,
            550,
            Some((7, 1)),
            "Recipients outside of the organization are not allowed",
            "Sender",
        ),
        (
            Microsoft365Hve,
            Rcpt,
            550,
            Some((1, 1)),
            "Recipient not found",
            "Recipient",
        ),
        (Mandrill, Mail, 550, None, "Your account is suspended", "Sender"),
        (
            ElasticEmail,
            Data,
            554,
            Some((7, 1)),
            "The account has been disabled",
            "Sender",
        ),
        (
            ElasticEmail,
            Mail,
            550,
            None,
            "Sending domain is not verified",
            "Sender",
        ),
        (Smtp2go, Data, 550, None, "This account is under review", "Sender"),
        // A quota first: it takes the next route.
        (
            Mandrill,
            Data,
            550,
            None,
            "account paused: the daily limit is reached",
            "Quota",
        ),
        // The recipient's account, and a server of one's own.
        (
            Gmail,
            Data,
            550,
            Some((2, 1)),
            "The email account that you tried to reach is disabled",
            "Message",
        ),
        (Mandrill, Rcpt, 550, None, "that account is disabled", "Recipient"),
        (Postfix, Data, 554, Some((7, 1)), "account suspended", "Message"),
        (Mandrill, Data, 550, None, "spam: blocked", "Message"),
        (Mandrill, Data, 450, None, "account suspended", "Retry"),
        (
            Mandrill,
            Data,
            550,
            None,
            "no mail for account@x.example: blocked",
            "Message",
        ),
    ] {
        assert_eq!(what(provider, at, code, status, text), want, "{provider} {text}");
    }
    let said = what(None::<Provider>, Data, 554, None, paused);
    assert_eq!(said, "Message", "whose account it is, nobody knows");
}
