//! `access.allow` and `access.deny`: which rule holds for a recipient of a stranger's mail. Pure.

use std::net::IpAddr;

use postroad_config::{Access, AccessRule, DomainName, Mailbox};

use crate::policy::Address;

/// Where a mail comes from and goes to, as rules compare it.
#[derive(Clone, Debug)]
pub struct Subject {
    client: IpAddr,
    helo: Option<DomainName>,
    sender: Option<Address>,
    recipient: Option<Address>,
}

/// The rule that holds, by its place in its list. `allow` goes before `deny`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Nothing more is asked.
    Allowed(usize),
    /// Refused.
    Denied(usize),
}

impl Subject {
    /// Paths without brackets; what is no domain name, such as an address literal, is in no domain and nobody's address.
    pub fn new(client: IpAddr, helo: &str, reverse_path: &str, forward_path: &str) -> Self {
        Self {
            client: client.to_canonical(),
            helo: helo.parse().ok(),
            sender: Address::parse(reverse_path),
            recipient: Address::parse(forward_path),
        }
    }
}

/// The rule that holds, if one does.
pub fn ruling(access: &Access, subject: &Subject) -> Option<Ruling> {
    let first = |rules: &[AccessRule]| rules.iter().position(|rule| holds(rule, subject));
    first(&access.allow)
        .map(Ruling::Allowed)
        .or_else(|| first(&access.deny).map(Ruling::Denied))
}

fn holds(rule: &AccessRule, subject: &Subject) -> bool {
    let in_network = || {
        rule.networks
            .iter()
            .any(|network| network.contains(&subject.client))
    };
    let (sender, recipient) = (subject.sender.as_ref(), subject.recipient.as_ref());
    (rule.networks.is_empty() || in_network())
        && is_in(&rule.helo_domains, subject.helo.as_ref())
        && is_in(&rule.sender_domains, domain(sender))
        && is_in(&rule.recipient_domains, domain(recipient))
        && is_one(&rule.senders, sender)
        && is_one(&rule.recipients, recipient)
}

fn domain(address: Option<&Address>) -> Option<&DomainName> {
    address.and_then(|address| address.domain.as_ref())
}

/// Whether it is one of these; none of them = no condition.
fn is_one(mailboxes: &[Mailbox], address: Option<&Address>) -> bool {
    let is = |address: &Address| {
        let domain = address.domain.as_ref();
        domain.is_some_and(|domain| mailboxes.iter().any(|one| one.is(&address.local, domain)))
    };
    mailboxes.is_empty() || address.is_some_and(is)
}

/// Whether the name is one of these domains or below one; no domains = no condition.
fn is_in(domains: &[DomainName], name: Option<&DomainName>) -> bool {
    let covers = |domain: &DomainName, name: &DomainName| {
        name.as_str()
            .strip_suffix(domain.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    domains.is_empty() || name.is_some_and(|name| domains.iter().any(|domain| covers(domain, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(section: &str) -> Access {
        serde_saphyr::from_str(section).unwrap()
    }

    fn of(client: &str, helo: &str, from: &str, to: &str) -> Subject {
        Subject::new(client.parse().unwrap(), helo, from, to)
    }

    #[test]
    fn each_term_holds_for_its_own_part_and_all_given_ones_together() {
        let access = access(
            "deny:\n\
             - {networks: [192.0.2.0/24, '2001:db8::/32']}\n\
             - {heloDomains: [bad.example]}\n\
             - {senderDomains: [spam.example]}\n\
             - {recipientDomains: [closed.example]}\n\
             - {networks: [198.51.100.0/24], senderDomains: [half.example]}\n",
        );
        let denied = |subject: &Subject| match ruling(&access, subject) {
            Some(Ruling::Denied(at)) => Some(at),
            _ => None,
        };
        for (client, helo, from, to, rule) in [
            (
                "192.0.2.7",
                "mx.good.example",
                "a@good.example",
                "b@us.example",
                Some(0),
            ),
            ("::ffff:192.0.2.7", "x", "", "b@us.example", Some(0)),
            ("2001:db8::9", "x", "", "b@us.example", Some(0)),
            (
                "203.0.113.1",
                "mx.bad.example",
                "a@good.example",
                "b@us.example",
                Some(1),
            ),
            (
                "203.0.113.1",
                "BAD.example",
                "a@good.example",
                "b@us.example",
                Some(1),
            ),
            (
                "203.0.113.1",
                "verybad.example",
                "a@good.example",
                "b@us.example",
                None,
            ),
            ("203.0.113.1", "x", "a@SPAM.example", "b@us.example", Some(2)),
            ("203.0.113.1", "x", "a@x.spam.example", "b@us.example", Some(2)),
            (
                "203.0.113.1",
                "x",
                "\"a@spam.example\"@good.example",
                "b@us.example",
                None,
            ),
            ("203.0.113.1", "x", "", "b@closed.example", Some(3)),
            ("198.51.100.1", "x", "a@half.example", "b@us.example", Some(4)),
            ("198.51.100.1", "x", "a@other.example", "b@us.example", None),
            ("203.0.113.1", "x", "a@half.example", "b@us.example", None),
            (
                "203.0.113.1",
                "[192.0.2.1]",
                "a@[192.0.2.1]",
                "b@us.example",
                None,
            ),
        ] {
            let subject = of(client, helo, from, to);
            assert_eq!(denied(&subject), rule, "{subject:?}");
        }
    }

    #[test]
    fn one_address_is_that_one_and_no_other() {
        let access = access(
            "deny:\n\
             - {senders: [ann@spam.example, bob@spam.example]}\n\
             - {recipients: [gone@us.example]}\n\
             - {senders: [eve@a.example], recipients: [alice@us.example]}\n\
             - {senders: [eve@b.example], recipientDomains: [us.example]}\n",
        );
        for (from, to, rule) in [
            ("ann@spam.example", "x@us.example", Some(0)),
            ("BOB@Spam.example", "x@us.example", Some(0)),
            ("\"ann\"@spam.example", "x@us.example", Some(0)),
            ("ann+x@spam.example", "x@us.example", None),
            ("ann@sub.spam.example", "x@us.example", None),
            ("ann@[192.0.2.1]", "x@us.example", None),
            ("", "x@us.example", None),
            ("", "Gone@us.example", Some(1)),
            ("eve@a.example", "alice@us.example", Some(2)),
            ("eve@a.example", "x@us.example", None),
            ("eve@b.example", "x@us.example", Some(3)),
        ] {
            let subject = of("203.0.113.1", "x", from, to);
            assert_eq!(ruling(&access, &subject), rule.map(Ruling::Denied), "{subject:?}");
        }
    }

    #[test]
    fn what_is_allowed_is_not_denied() {
        let access = access(
            "allow: [{networks: [192.0.2.7/32]}, {recipientDomains: [abuse.example]}]\ndeny: [{networks: [192.0.2.0/24]}]",
        );
        let ruled = |client: &str, to: &str| ruling(&access, &of(client, "x", "", to));
        assert_eq!(ruled("192.0.2.7", "a@us.example"), Some(Ruling::Allowed(0)));
        assert_eq!(ruled("192.0.2.8", "a@abuse.example"), Some(Ruling::Allowed(1)));
        assert_eq!(ruled("192.0.2.8", "a@us.example"), Some(Ruling::Denied(0)));
        assert_eq!(ruled("198.51.100.1", "a@us.example"), None);
    }
}
