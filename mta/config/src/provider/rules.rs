//! What providers document of their replies, a rule a line. The first that fits decides.
//!
//! Data. Codes that a provider does not publish are not guessed: then the rules for all servers hold, and words of quota.

use std::time::Duration;

use super::replies::{Reaction, Said, SaidAt};
use super::sources::{
    AWS, AWS_SEEN, EXIM, G_ERR, G_RELAY, MG_SEEN, MS_EXO, MS_HVE, MS_SUP, MS_TC, POSTFIX, RULES as RFC, S2G,
    TW,
};
use super::{Evidence, Provider, by};
use Provider::{
    AmazonSes, ExchangeServer, Exim, Gmail, GoogleWorkspaceRelay, Mailgun, Microsoft365,
    Microsoft365Connector, Microsoft365Hve, Postfix, SendGrid, Smtp2go,
};
use Reaction::{Concurrency, Configuration, Message, Quota, Recipient, Retry, Sender, Split, Throttle};

/// All that is given has to fit.
#[derive(Debug)]
pub(super) struct Rule {
    /// Whose replies it is about.
    pub(super) of: &'static [Provider],
    /// First and last code.
    codes: (u16, u16),
    /// Subject, and first and last detail, of the enhanced code; empty: any, or none.
    status: &'static [(u16, u16, u16)],
    /// One of them is in the text, in lower case; empty: any text.
    pub(super) words: &'static [&'static str],
    /// From here on in the dialogue.
    from: SaidAt,
    /// Up to here.
    to: SaidAt,
    pub(super) reaction: Reaction,
    pub(super) by: Evidence,
}

impl Rule {
    /// In words, for the documentation.
    pub(super) fn told(&self) -> ToldRule {
        let code = match self.codes {
            (first, last) if first == last => first.to_string(),
            (400, 599) => "4xx, 5xx".to_owned(),
            (first, _) if first % 100 == 0 => format!("{}xx", first / 100),
            (first, last) => format!("{first} to {last}"),
        };
        let status = self.status.iter().map(|(subject, first, last)| {
            if first == last {
                format!("x.{subject}.{first}")
            } else {
                format!("x.{subject}.{first} to {last}")
            }
        });
        ToldRule {
            of: self.of,
            code,
            status: status.collect(),
            words: self.words,
            after_rcpt: self.from == SaidAt::Rcpt,
            reaction: self.reaction,
            by: self.by,
        }
    }

    /// `text`: in lower case.
    pub(super) fn fits(&self, said: Said<'_>, text: &str) -> bool {
        let is_status = |(subject, detail): (u16, u16)| {
            let mut known = self.status.iter();
            known.any(|(of, first, last)| *of == subject && (*first..=*last).contains(&detail))
        };
        (self.codes.0..=self.codes.1).contains(&said.code)
            && (self.from..=self.to).contains(&said.at)
            && (self.status.is_empty() || said.status.is_some_and(is_status))
            && (self.words.is_empty() || self.words.iter().any(|word| text.contains(word)))
    }
}

/// A rule, as a row of the documentation.
#[derive(Debug)]
pub struct ToldRule {
    /// Whose replies it is about; empty: everybody's.
    pub of: &'static [Provider],
    /// The code, or its range.
    pub code: String,
    /// Enhanced codes, one of which is there; empty: any, or none.
    pub status: Vec<String>,
    /// Words, one of which is there; empty: any text.
    pub words: &'static [&'static str],
    /// It holds from RCPT on.
    pub after_rcpt: bool,
    /// What is to be done.
    pub reaction: Reaction,
    /// Who says so.
    pub by: Evidence,
}

/// All rules in the order in which they are tried, those for all servers last.
pub fn told_rules() -> Vec<ToldRule> {
    RULES.iter().chain(&GENERIC).map(Rule::told).collect()
}

const fn rule(
    of: &'static [Provider],
    code: u16,
    status: &'static [(u16, u16, u16)],
    words: &'static [&'static str],
    reaction: Reaction,
    by: Evidence,
) -> Rule {
    Rule {
        of,
        codes: (code, code),
        status,
        words,
        from: SaidAt::Session,
        to: SaidAt::Data,
        reaction,
        by,
    }
}

/// The same for any final code.
const fn any_final(
    of: &'static [Provider],
    status: &'static [(u16, u16, u16)],
    words: &'static [&'static str],
    reaction: Reaction,
    by: Evidence,
) -> Rule {
    Rule {
        codes: (500, 599),
        ..rule(of, 500, status, words, reaction, by)
    }
}

const SHORT: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_mins(1);
const TEN_MINUTES: Duration = Duration::from_mins(10);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

const GOOGLE: &[Provider] = &[GoogleWorkspaceRelay, Gmail];
const MICROSOFT: &[Provider] = &[Microsoft365, Microsoft365Connector, Microsoft365Hve];

/// Rules of providers.
pub(super) static RULES: &[Rule] = &[
    // Amazon SES.
    rule(
        &[AmazonSes],
        454,
        &[],
        &["maximum sending rate"],
        Throttle(SHORT),
        AWS,
    ),
    rule(&[AmazonSes], 454, &[], &["daily message quota"], Quota(HOUR), AWS),
    rule(&[AmazonSes], 421, &[], &["too many concurrent"], Concurrency, AWS),
    rule(&[AmazonSes], 454, &[], &["authentication"], Retry, AWS),
    rule(
        &[AmazonSes],
        554,
        &[],
        &["not verified", "access denied"],
        Sender,
        AWS,
    ),
    rule(
        &[AmazonSes],
        554,
        &[],
        &["sending paused", "configuration set"],
        Sender,
        AWS_SEEN,
    ),
    rule(&[AmazonSes], 552, &[], &[], Message, AWS),
    // Google, its relay and as a user.
    rule(
        &[GoogleWorkspaceRelay],
        450,
        &[(2, 1, 1)],
        &["peak smtp relay"],
        Throttle(TEN_MINUTES),
        G_RELAY,
    ),
    any_final(GOOGLE, &[(4, 5, 5)], &[], Quota(DAY), G_ERR),
    any_final(
        GOOGLE,
        &[],
        &["daily smtp relay", "daily user sending", "sending limit exceeded"],
        Quota(DAY),
        G_RELAY,
    ),
    rule(
        &[GoogleWorkspaceRelay],
        550,
        &[(7, 0, 0)],
        &[],
        Configuration,
        G_RELAY,
    ),
    rule(
        &[GoogleWorkspaceRelay],
        550,
        &[(7, 1, 1)],
        &["credentials", "relay denied"],
        Configuration,
        G_RELAY,
    ),
    rule(GOOGLE, 421, &[(7, 28, 28)], &[], Throttle(MINUTE), G_ERR),
    rule(GOOGLE, 450, &[(2, 1, 1)], &[], Retry, G_ERR),
    rule(
        GOOGLE,
        451,
        &[(3, 0, 0)],
        &["multiple destination domains", "destination domains"],
        Split,
        G_ERR,
    ),
    rule(GOOGLE, 454, &[(7, 0, 0)], &[], Throttle(MINUTE), G_ERR),
    rule(
        GOOGLE,
        421,
        &[(7, 26, 27), (7, 29, 30), (7, 32, 32), (7, 40, 40)],
        &[],
        Sender,
        G_ERR,
    ),
    rule(GOOGLE, 451, &[(7, 23, 24)], &[], Sender, G_ERR),
    rule(
        GOOGLE,
        550,
        &[(7, 25, 30), (7, 40, 40), (7, 1, 1)],
        &[],
        Message,
        G_ERR,
    ),
    // Microsoft 365.
    rule(MICROSOFT, 432, &[], &[], Concurrency, MS_SUP),
    any_final(MICROSOFT, &[(1, 90, 90), (7, 232, 233)], &[], Quota(DAY), MS_SUP),
    any_final(MICROSOFT, &[], &["submissionquotaexceeded"], Quota(DAY), MS_SUP),
    rule(
        &[Microsoft365, Microsoft365Hve],
        554,
        &[(2, 2, 2)],
        &[],
        Sender,
        MS_SUP,
    ),
    any_final(MICROSOFT, &[(7, 30, 30), (7, 68, 68)], &[], Configuration, MS_TC),
    any_final(
        MICROSOFT,
        &[(7, 57, 57), (7, 64, 64), (7, 139, 139)],
        &[],
        Configuration,
        MS_SUP,
    ),
    any_final(
        MICROSOFT,
        &[(7, 606, 649), (7, 705, 705), (7, 708, 708), (7, 750, 750)],
        &[],
        Configuration,
        MS_SUP,
    ),
    any_final(MICROSOFT, &[(7, 60, 60)], &[], Message, MS_SUP),
    any_final(MICROSOFT, &[(7, 509, 509), (7, 515, 515)], &[], Sender, MS_SUP),
    rule(MICROSOFT, 451, &[(7, 500, 699)], &[], Retry, MS_SUP),
    // It takes recipients of the own organisation alone: `match` of the policy lets others through.
    Rule {
        from: SaidAt::Rcpt,
        ..any_final(&[Microsoft365Hve], &[(7, 1, 1), (7, 54, 54)], &[], Sender, MS_HVE)
    },
    // Exchange on one's own premises. It, Postfix and Exim say so of one recipient, where they relay for some domains: a whole
    // route does not rest for that.
    rule(&[ExchangeServer], 550, &[(7, 1, 1)], &["relay"], Sender, MS_EXO),
    // SendGrid.
    rule(
        &[SendGrid],
        451,
        &[],
        &["maximum credits exceeded"],
        Quota(HOUR),
        TW,
    ),
    any_final(&[SendGrid], &[], &["maximum credits exceeded"], Quota(HOUR), TW),
    rule(
        &[SendGrid],
        550,
        &[],
        &["unauthenticated sender", "verified sender identity", "unverified"],
        Sender,
        TW,
    ),
    rule(&[SendGrid], 452, &[], &[], Retry, TW),
    // Mailgun, of a domain that is not activated, or an account that is disabled.
    Rule {
        codes: (400, 599),
        ..rule(&[Mailgun], 400, &[], &["is not allowed to send"], Sender, MG_SEEN)
    },
    // SMTP2GO.
    rule(&[Smtp2go], 550, &[], &["relay access denied"], Configuration, S2G),
    rule(&[Smtp2go], 550, &[], &["not verified"], Sender, S2G),
    // Postfix.
    rule(
        &[Postfix],
        450,
        &[(7, 1, 1)],
        &["too much mail", "too many"],
        Throttle(MINUTE),
        POSTFIX,
    ),
    rule(
        &[Postfix],
        421,
        &[(7, 0, 0)],
        &["too many connections"],
        Concurrency,
        POSTFIX,
    ),
    rule(
        &[Postfix],
        454,
        &[(7, 0, 0)],
        &["too many new tls"],
        Throttle(MINUTE),
        POSTFIX,
    ),
    rule(
        &[Postfix],
        454,
        &[(7, 1, 1)],
        &["relay access denied"],
        Sender,
        RELAY_DENIED,
    ),
    rule(
        &[Postfix],
        554,
        &[(7, 1, 1)],
        &["relay access denied"],
        Sender,
        RELAY_DENIED,
    ),
    // Exim.
    rule(&[Exim], 421, &[], &["too many concurrent"], Concurrency, EXIM),
    rule(&[Exim], 552, &[], &["too many recipients"], Split, EXIM),
    rule(&[Exim], 554, &[], &["too many recipients"], Split, EXIM),
    rule(&[Exim], 452, &[], &["too many recipients"], Split, EXIM),
    rule(&[Exim], 550, &[], &["relay not permitted"], Sender, RELAY_DENIED),
];

/// Rules for all servers, after those of a provider.
pub(super) static GENERIC: [Rule; 9] = [
    // RFC 3463 section 3.6: X.5.3, too many recipients.
    rule(&[], 452, &[(5, 3, 3)], &[], Split, RFC),
    rule(&[], 552, &[(5, 3, 3)], &[], Split, RFC),
    // RFC 4954 section 6.
    rule(&[], 530, &[], &[], Configuration, RFC),
    Rule {
        codes: (534, 535),
        ..rule(&[], 534, &[], &[], Configuration, RFC)
    },
    rule(
        &[],
        421,
        &[],
        &["too many connections", "concurrent"],
        Concurrency,
        RFC,
    ),
    // RFC 3463 section 3.4: X.3.4, message too big.
    rule(&[], 552, &[(3, 4, 4)], &[], Message, RFC),
    // It does not know us, or not for this recipient: what has to be mended is here or there, and no recipient is to blame.
    Rule {
        codes: (400, 599),
        from: SaidAt::Mail,
        ..rule(&[], 400, &[], RELAY_DENIALS, Sender, RELAY_DENIED)
    },
    // RFC 3463 section 3.2: X.1.y, the address.
    Rule {
        codes: (550, 553),
        from: SaidAt::Rcpt,
        ..rule(&[], 550, &[(1, 0, 99)], &[], Recipient, RFC)
    },
    Rule {
        codes: (400, 499),
        ..rule(&[], 400, &[], &[], Retry, RFC)
    },
];

/// How servers say that they do not relay for us.
const RELAY_DENIALS: &[&str] = &[
    "relay access denied",
    "relay denied",
    "relaying denied",
    "relay not permitted",
    "relaying not permitted",
    "not permitted to relay",
    "relay is prohibited",
    "relaying is prohibited",
    "relay prohibited",
    "relaying prohibited",
    "relay not allowed",
    "relaying not allowed",
    "not allowed to relay",
    "unable to relay",
    "do not relay",
];

/// What these servers say by default; not in the texts that were read.
const RELAY_DENIED: Evidence = by("U commonly seen", "undated");
