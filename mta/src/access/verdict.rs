//! What follows from what is known: the refusal of a recipient, with its sentence, and the words of the log. Pure.

use postroad_config::{Access, ReverseDnsMode};

use super::blocklist::Tally;
use super::rates::{Excess, What};
use super::reverse::{self, Standing};
use super::shared::Whose;
use crate::metrics::Check;
use crate::policy::Refusal;

/// A recipient that is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// By what.
    pub check: Check,
    /// The reply.
    pub refusal: Refusal,
    /// What follows its sentence in brackets; empty = nothing.
    pub detail: String,
}

/// What the DNS says of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its name.
    pub standing: Standing,
    /// Lists that have it.
    pub tally: Tally,
}

impl Denied {
    fn new(check: Check, refusal: Refusal, detail: String) -> Self {
        Self {
            check,
            refusal,
            detail,
        }
    }

    /// By a rule of `access.deny`.
    pub fn by_rule() -> Self {
        Self::new(Check::Deny, DENIED, String::new())
    }

    /// By greylisting, for so many seconds.
    pub fn until(seconds: u64) -> Self {
        Self::new(Check::Greylisting, GREYLISTED, format!("in {seconds} seconds"))
    }

    /// By a rate.
    pub fn by_rate(whose: Whose, excess: Excess) -> Self {
        let refusal = match (whose, excess.what) {
            (Whose::Client, What::Messages) => CLIENT_MESSAGES,
            (Whose::Client, What::Recipients) => CLIENT_RECIPIENTS,
            (Whose::User, What::Messages) => USER_MESSAGES,
            (Whose::User, What::Recipients) => USER_RECIPIENTS,
        };
        Self::new(Check::Rate, refusal, format!("in {} seconds", excess.wait))
    }

    /// The text of the reply.
    pub fn text(&self) -> String {
        if self.detail.is_empty() {
            self.refusal.text.to_owned()
        } else {
            format!("{} ({})", self.refusal.text, self.detail)
        }
    }
}

impl Facts {
    /// The refusal that the settings ask for.
    pub fn denied(&self, access: &Access) -> Option<Denied> {
        let (check, refusal) = match reverse::verdict(access.reverse_dns, &self.standing) {
            reverse::Verdict::Fine => return self.listed(access),
            reverse::Verdict::NoName => (Check::ReverseDns, NO_NAME),
            reverse::Verdict::Unconfirmed => (Check::ReverseDns, UNCONFIRMED),
            reverse::Verdict::Later => (Check::ReverseDns, NAME_UNKNOWN),
        };
        Some(Denied::new(check, refusal, String::new()))
    }

    fn listed(&self, access: &Access) -> Option<Denied> {
        if self.tally.score >= u64::from(access.dns_blocklist_threshold) {
            return Some(Denied::new(Check::DnsBlocklist, LISTED, self.tally.by.join(", ")));
        }
        let list = self.tally.waits_for.clone()?;
        Some(Denied::new(Check::DnsBlocklist, LIST_SILENT, list))
    }

    /// As the log tells it.
    pub fn told(&self, access: &Access) -> String {
        let mut told = Vec::new();
        if access.reverse_dns.mode != ReverseDnsMode::Disabled {
            told.push(format!("name: {}", self.standing.told()));
        }
        if !access.dns_blocklists.is_empty() {
            let (score, of) = (self.tally.score, access.dns_blocklist_threshold);
            told.push(format!("lists: {}, {score} of {of}", self.tally.told));
        }
        told.join("; ")
    }
}

const DENIED: Refusal = Refusal::new(550, "5.7.1", "Mail of this client or sender is not taken here");
/// RFC 7372 section 3.4: X.7.25.
const NO_NAME: Refusal = Refusal::new(550, "5.7.25", "Your address has no name in the DNS (PTR)");
const UNCONFIRMED: Refusal = Refusal::new(
    550,
    "5.7.25",
    "The name of your address in the DNS does not lead back to it",
);
const NAME_UNKNOWN: Refusal = Refusal::new(
    451,
    "4.4.3",
    "The DNS does not give the name of your address, try again later",
);
const LISTED: Refusal = Refusal::new(
    554,
    "5.7.1",
    "Your address is on a list of senders of unwanted mail",
);
const LIST_SILENT: Refusal = Refusal::new(
    451,
    "4.4.3",
    "A list of senders of unwanted mail gives no answer, try again later",
);
/// RFC 6647 section 2.1: a reply of the 4yz series, and 4.7.1 as policy.
const GREYLISTED: Refusal = Refusal::new(451, "4.7.1", "This sender is new here, try again later");
/// RFC 5248: X.7.28, too much of it.
const CLIENT_MESSAGES: Refusal = Refusal::new(
    450,
    "4.7.28",
    "Too many messages from your address, try again later",
);
const CLIENT_RECIPIENTS: Refusal = Refusal::new(
    450,
    "4.7.28",
    "Too many recipients from your address, try again later",
);
const USER_MESSAGES: Refusal = Refusal::new(450, "4.7.28", "Too many messages of this user, try again later");
const USER_RECIPIENTS: Refusal =
    Refusal::new(450, "4.7.28", "Too many recipients of this user, try again later");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::blocklist::{Word, tally};

    fn facts(access: &Access, standing: Standing, words: &[Word]) -> Facts {
        Facts {
            standing,
            tally: tally(&access.dns_blocklists, words),
        }
    }

    #[test]
    fn the_threshold_decides_and_the_reply_names_the_lists() {
        let access: Access = serde_saphyr::from_str(
            "dnsBlocklists: [{zone: a.example}, {zone: key.b.example, name: b, score: 2, temporaryError: Defer}]\n\
             dnsBlocklistThreshold: 2",
        )
        .unwrap();
        let on = || Word::Listed([127, 0, 0, 2].into());
        let denied = |words: &[Word]| facts(&access, Standing::NotAsked, words).denied(&access);
        assert_eq!(denied(&[on(), Word::NotListed]), None);
        let both = denied(&[on(), on()]).unwrap();
        assert_eq!((both.check, both.refusal.code), (Check::DnsBlocklist, 554));
        assert!(both.text().ends_with("mail (a.example, b)"), "{}", both.text());
        assert_eq!(denied(&[on(), Word::Unknown]).unwrap().refusal.code, 451);
        assert_eq!(denied(&[Word::Unknown, Word::NotListed]), None);
        let told = facts(&access, Standing::NotAsked, &[on(), Word::NotListed]).told(&access);
        assert_eq!(told, "lists: a.example=127.0.0.2 (1) b=no, 1 of 2");
    }

    #[test]
    fn a_name_is_judged_first() {
        let access: Access =
            serde_saphyr::from_str("{reverseDns: {mode: Confirmed}, dnsBlocklists: [{zone: a.example}]}")
                .unwrap();
        let on = [Word::Listed([127, 0, 0, 2].into())];
        for (standing, enhanced) in [
            (Standing::NoName, "5.7.25"),
            (Standing::Unconfirmed("x.example".into()), "5.7.25"),
            (Standing::Unknown, "5.7.1"),
            (Standing::Confirmed("x.example".into()), "5.7.1"),
        ] {
            let denied = facts(&access, standing, &on).denied(&access).unwrap();
            assert_eq!(denied.refusal.enhanced, enhanced);
        }
        let told = facts(
            &access,
            Standing::Unconfirmed("x.example".into()),
            &[Word::NotListed],
        )
        .told(&access);
        assert_eq!(
            told,
            "name: x.example (does not lead back); lists: a.example=no, 0 of 1"
        );
    }

    #[test]
    fn who_waits_is_told_how_long() {
        assert_eq!(
            Denied::until(300).text(),
            "This sender is new here, try again later (in 300 seconds)"
        );
        let excess = Excess {
            what: What::Recipients,
            wait: 7,
        };
        let user = Denied::by_rate(Whose::User, excess);
        assert_eq!(
            user.text(),
            "Too many recipients of this user, try again later (in 7 seconds)"
        );
        assert!(
            Denied::by_rate(Whose::Client, excess)
                .text()
                .contains("your address")
        );
        assert_eq!(Denied::by_rule().text(), DENIED.text);
    }
}
