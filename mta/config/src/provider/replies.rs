//! What a reply of a provider asks of us: of the message, of the recipient, or of the whole route.
//!
//! Pure. Rules are data (`rules.rs`); this file reads them. Three things hold whatever a rule says:
//!
//! * The three-digit code decides the class (RFC 5321 section 4.2.1): `421 5.7.32` is temporary.
//! * What is refused before RCPT is never the recipient's fault.
//! * A refusal of a hosted provider in words of quota is a quota, whatever its code, unless its enhanced code is about an address.
//! * A refusal of a hosted provider that is about the account, or about who may send by it, returns no mail.
//! * Addresses that are echoed are no words of the provider: whoever sends chooses them.

use std::time::Duration;

use super::Provider;
use super::rules::{GENERIC, RULES, Rule};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Too fast: the route rests for so long, and longer each time.
    Throttle(Duration),
    /// Too many connections: fewer of them.
    Concurrency,
    /// What the account may send is used up: the route rests for so long, then a message is tried.
    Quota(Duration),
    /// The account or the route is not set up right: the route rests, and a person is told. Mail waits.
    Configuration,
    /// This sender, or where its mail goes, is not set up right at the provider: that mail waits, and a person is told. Other
    /// mail goes on.
    Sender,
    /// Enough recipients for one transaction: the others go in another.
    Split,
    /// The recipient is not there: the mail comes back.
    Recipient,
    /// The message is not taken: the mail comes back, and the recipient is not to blame.
    Message,
    /// Later.
    Retry,
}

/// A reaction without its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// See [`Reaction::Throttle`].
    Throttle,
    /// See [`Reaction::Concurrency`].
    Concurrency,
    /// See [`Reaction::Quota`].
    Quota,
    /// See [`Reaction::Configuration`].
    Configuration,
    /// See [`Reaction::Sender`].
    Sender,
    /// See [`Reaction::Split`].
    Split,
    /// See [`Reaction::Recipient`].
    Recipient,
    /// See [`Reaction::Message`].
    Message,
    /// See [`Reaction::Retry`].
    Retry,
}

impl Kind {
    /// The word for logs and figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Throttle => "Throttle",
            Self::Concurrency => "Concurrency",
            Self::Quota => "Quota",
            Self::Configuration => "Configuration",
            Self::Sender => "Sender",
            Self::Split => "Split",
            Self::Recipient => "Recipient",
            Self::Message => "Message",
            Self::Retry => "Retry",
        }
    }
}

impl Reaction {
    /// Without its numbers.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Throttle(_) => Kind::Throttle,
            Self::Concurrency => Kind::Concurrency,
            Self::Quota(_) => Kind::Quota,
            Self::Configuration => Kind::Configuration,
            Self::Sender => Kind::Sender,
            Self::Split => Kind::Split,
            Self::Recipient => Kind::Recipient,
            Self::Message => Kind::Message,
            Self::Retry => Kind::Retry,
        }
    }

    /// The word for logs and figures.
    pub const fn name(self) -> &'static str {
        self.kind().name()
    }

    /// Whether the mail comes back.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Recipient | Self::Message)
    }
}

/// Where in the dialogue it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SaidAt {
    /// Greeting, EHLO, STARTTLS, AUTH.
    Session,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA and after.
    Data,
}

/// A reply that is no success.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// Where.
    pub at: SaidAt,
    /// Three digits.
    pub code: u16,
    /// Subject and detail of the enhanced code (RFC 3463). Its class is not asked: the code has it.
    pub status: Option<(u16, u16)>,
    /// The text, without the codes.
    pub text: &'a str,
}

/// Decides. `provider`: whose reply it is; none for a smart host of another kind.
pub fn judge(provider: Option<Provider>, said: Said<'_>) -> Reaction {
    let text = said.text.to_ascii_lowercase();
    let said = Said {
        status: said.status.or_else(|| leading_status(&text)),
        ..said
    };
    let text = without_addresses(&text);
    let fits = |rule: &&Rule| rule.fits(said, &text);
    let own =
        provider.and_then(|provider| RULES.iter().filter(|rule| rule.of.contains(&provider)).find(fits));
    let found = match own {
        Some(rule) => rule.reaction,
        None if is_quota(provider, said, &text) => Reaction::Quota(USUAL_QUOTA),
        None if is_of_account(provider, said, &text) => Reaction::Sender,
        None => GENERIC
            .iter()
            .find(fits)
            .map_or_else(|| usual(said), |rule| rule.reaction),
    };
    match found {
        // The code has the last word on whether it is final, and the place on whose fault it is.
        Reaction::Recipient | Reaction::Message if said.code < 500 => Reaction::Retry,
        Reaction::Recipient if said.at < SaidAt::Rcpt => Reaction::Message,
        found => found,
    }
}

/// RFC 5321 section 4.2.1, and for the session: what is wrong there is wrong with us or with now.
fn usual(said: Said<'_>) -> Reaction {
    match (said.code, said.at) {
        // RFC 5321 section 4.5.3.1.10: 552 to RCPT is to be treated as 452.
        (500.., SaidAt::Session) | (552, SaidAt::Rcpt) => Reaction::Retry,
        // RFC 3463 section 3.8: a matter of policy, and not of the mailbox.
        (500.., SaidAt::Rcpt) if said.status.is_some_and(|(subject, _)| subject == 7) => Reaction::Message,
        (500.., SaidAt::Rcpt) => Reaction::Recipient,
        (500.., _) => Reaction::Message,
        _ => Reaction::Retry,
    }
}

/// An enhanced code in front of the text: where its class is not that of the code, it was taken for text, and says what it is
/// about all the same.
fn leading_status(text: &str) -> Option<(u16, u16)> {
    let mut parts = text.split(' ').next()?.split('.');
    let class: u16 = parts.next()?.parse().ok()?;
    let (subject, detail) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (matches!(class, 2 | 4 | 5) && parts.next().is_none()).then_some((subject, detail))
}

fn is_hosted(provider: Option<Provider>) -> bool {
    provider.is_some_and(|provider| !provider.is_own_server())
}

/// The account does not send for now, or not for this sender. To RCPT, and with X.1.y or X.2.y (RFC 3463 sections 3.2 and 3.3), an
/// account is the recipient's.
fn is_of_account(provider: Option<Provider>, said: Said<'_>, text: &str) -> bool {
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let of_mailbox = said.status.is_some_and(|(subject, _)| matches!(subject, 1 | 2));
    let is_stopped = said.at != SaidAt::Rcpt && text.contains("account") && has(&STOPPED);
    is_hosted(provider)
        && said.code >= 500
        && said.at >= SaidAt::Mail
        && !of_mailbox
        && (is_stopped || has(&SENDER_WORDS))
}

fn is_quota(provider: Option<Provider>, said: Said<'_>, text: &str) -> bool {
    // X.1.y (RFC 3463 section 3.2) is about an address, and X.2.2 (section 3.3) a mailbox that is full: the recipient's.
    let of_address = said.status.is_some_and(|(subject, _)| subject == 1);
    let of_mailbox = said.status == Some((2, 2)) || text.contains("mailbox");
    // Words of size are about the message, and a rate is no quota.
    let is_said = QUOTA_WORDS.iter().any(|word| text.contains(word));
    is_hosted(provider) && said.code >= 500 && !of_address && !of_mailbox && is_said
}

/// A reply without the addresses in it, also where their local part is quoted (RFC 5321 section 4.1.2), its words a space apart.
pub fn without_addresses(text: &str) -> String {
    let (mut left, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, quoted)) = rest.split_once('"') {
        left.push_str(before);
        rest = domain_after(quoted).unwrap_or(quoted);
        left.push('"');
    }
    left.push_str(rest);
    let words = left.split_whitespace().filter(|word| !word.contains('@'));
    words.collect::<Vec<_>>().join(" ")
}

/// What follows a quoted local part, from its `@` on.
fn domain_after(quoted: &str) -> Option<&str> {
    let mut is_escaped = false;
    let end = quoted.find(|octet: char| {
        let ends = octet == '"' && !is_escaped;
        is_escaped = octet == '\\' && !is_escaped;
        ends
    })?;
    quoted.get(end + 1..).filter(|rest| rest.starts_with('@'))
}

const QUOTA_WORDS: [&str; 8] = [
    "quota",
    "credits exceeded",
    "sending limit",
    "daily limit",
    "hourly limit",
    "monthly limit",
    "limit exceeded for",
    "plan limit",
];

/// Beside the word account.
const STOPPED: [&str; 10] = [
    "suspended",
    "paused",
    "disabled",
    "deactivated",
    "terminated",
    "blocked",
    "banned",
    "inactive",
    "not active",
    "under review",
];

const SENDER_WORDS: [&str; 14] = [
    "sending paused",
    "sending is paused",
    "sending disabled",
    "sending is disabled",
    "not allowed to send from",
    "not allowed to send as",
    "sender not verified",
    "sender is not verified",
    "domain not verified",
    "domain is not verified",
    "address not verified",
    "address is not verified",
    "unverified sender",
    "unverified domain",
];

/// Where nobody says how long: an hour, and then a message is tried.
const USUAL_QUOTA: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests;
