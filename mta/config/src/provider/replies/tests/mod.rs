//! What each provider says, and what it means: tables of the replies that the rules are for, and what holds for all of them.

mod google;
mod hosted;
mod microsoft;
mod own;

use super::*;
use Provider::{
    AmazonSes, ElasticEmail, ExchangeServer, Gmail, Mailgun, Mandrill, Microsoft365Connector,
    Microsoft365Hve, Postfix, Smtp2go,
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

/// A reply, and what is done: provider, place, code, enhanced code, text, and the word for it.
type Row = (
    Provider,
    SaidAt,
    u16,
    Option<(u16, u16)>,
    &'static str,
    &'static str,
);

fn all_hold(rows: &[Row]) {
    for &(provider, at, code, status, text, want) in rows {
        assert_eq!(
            what(provider, at, code, status, text),
            want,
            "{provider} {code} {status:?} {text}"
        );
    }
}

#[test]
fn each_provider_has_replies_that_are_read() {
    let rows = [google::ROWS, hosted::ROWS, microsoft::ROWS, own::ROWS].concat();
    for provider in Provider::ALL {
        assert!(rows.iter().any(|row| row.0 == provider), "{provider}");
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
