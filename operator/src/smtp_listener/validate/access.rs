//! Who is let in: each value of the object in the words of the file.

use postroad_config::{
    Access, AccessRates, AccessRule, DnsBlocklist, DomainName, Greylisting, Mailbox, Period, Rate,
    ReverseDns, ReverseDnsMode, SendingRates,
};
use postroad_crds::smtp_listener as crd;

use super::verification::temporary_error;
use super::{Invalid, networks, or_usual, parsed};

/// Errors: an address, a name or a time that is none. What the file's own rules say is asked of them later.
pub(super) fn of(given: Option<&crd::Access>) -> Result<Access, Invalid> {
    let Some(given) = given else {
        return Ok(Access::default());
    };
    let rules = |field: &str, given: &[crd::AccessRule]| -> Result<Vec<AccessRule>, Invalid> {
        given.iter().map(|given| rule(field, given)).collect()
    };
    Ok(Access {
        trusted_peers: networks("spec.access.trustedPeers", &given.trusted_peers)?,
        allow: rules("spec.access.allow", &given.allow)?,
        deny: rules("spec.access.deny", &given.deny)?,
        dns_blocklists: given.dns_blocklists.iter().map(list).collect::<Result<_, _>>()?,
        dns_blocklist_threshold: positive(given.dns_blocklist_threshold).unwrap_or(1),
        reverse_dns: given
            .reverse_dns
            .as_ref()
            .map_or_else(ReverseDns::default, reverse_dns),
        greylisting: given.greylisting.as_ref().map(greylisting).transpose()?,
        rates: given
            .rates
            .as_ref()
            .map_or_else(|| Ok(AccessRates::default()), rates)?,
    })
}

fn rule(field: &str, given: &crd::AccessRule) -> Result<AccessRule, Invalid> {
    let domains = |term: &str, given: &[String]| -> Result<Vec<DomainName>, Invalid> {
        given
            .iter()
            .map(|text| domain(&format!("{field}.{term}"), text))
            .collect()
    };
    let mailboxes = |term: &str, given: &[String]| -> Result<Vec<Mailbox>, Invalid> {
        given
            .iter()
            .map(|text| mailbox(&format!("{field}.{term}"), text))
            .collect()
    };
    Ok(AccessRule {
        networks: networks(&format!("{field}.networks"), &given.networks)?,
        helo_domains: domains("heloDomains", &given.helo_domains)?,
        sender_domains: domains("senderDomains", &given.sender_domains)?,
        recipient_domains: domains("recipientDomains", &given.recipient_domains)?,
        senders: mailboxes("senders", &given.senders)?,
        recipients: mailboxes("recipients", &given.recipients)?,
    })
}

fn domain(field: &str, text: &str) -> Result<DomainName, Invalid> {
    text.parse()
        .map_err(|error: postroad_config::DomainNameError| Invalid::new(field, error.to_string()))
}

fn mailbox(field: &str, text: &str) -> Result<Mailbox, Invalid> {
    text.parse()
        .map_err(|error: postroad_config::MailboxError| Invalid::new(field, error.to_string()))
}

fn list(given: &crd::DnsBlocklist) -> Result<DnsBlocklist, Invalid> {
    Ok(DnsBlocklist {
        zone: domain("spec.access.dnsBlocklists.zone", &given.zone)?,
        name: given.name.clone(),
        score: positive(given.score).unwrap_or(1),
        answers: networks("spec.access.dnsBlocklists.answers", &given.answers)?,
        temporary_error: temporary_error(given.temporary_error),
    })
}

fn reverse_dns(given: &crd::ReverseDns) -> ReverseDns {
    ReverseDns {
        mode: match given.mode {
            crd::ReverseDnsMode::Disabled => ReverseDnsMode::Disabled,
            crd::ReverseDnsMode::Named => ReverseDnsMode::Named,
            crd::ReverseDnsMode::Confirmed => ReverseDnsMode::Confirmed,
        },
        temporary_error: temporary_error(given.temporary_error),
    }
}

fn greylisting(given: &crd::Greylisting) -> Result<Greylisting, Invalid> {
    let usual = Greylisting::default();
    let at = |field: &str| format!("spec.access.greylisting.{field}");
    Ok(Greylisting {
        delay: or_usual(&at("delay"), given.delay.as_ref(), usual.delay)?,
        retry_within: or_usual(
            &at("retryWithin"),
            given.retry_within.as_ref(),
            usual.retry_within,
        )?,
        lifetime: or_usual(&at("lifetime"), given.lifetime.as_ref(), usual.lifetime)?,
        allow_clients_after: positive(given.allow_clients_after).unwrap_or(usual.allow_clients_after),
    })
}

fn rates(given: &crd::AccessRates) -> Result<AccessRates, Invalid> {
    let of = |whose: &str, given: Option<&crd::SendingRates>| {
        given.map_or_else(
            || Ok(SendingRates::default()),
            |given| sending_rates(whose, given),
        )
    };
    Ok(AccessRates {
        client: of("client", given.client.as_ref())?,
        user: of("user", given.user.as_ref())?,
    })
}

fn sending_rates(whose: &str, given: &crd::SendingRates) -> Result<SendingRates, Invalid> {
    let rates = |what: &str, given: &[crd::SendingRate]| -> Result<Vec<Rate>, Invalid> {
        let field = format!("spec.access.rates.{whose}.{what}.per");
        let rate = |given: &crd::SendingRate| {
            Ok(Rate {
                count: positive(Some(given.count)).unwrap_or(1),
                per: parsed::<Period>(&field, &given.per.0)?,
            })
        };
        given.iter().map(rate).collect()
    };
    Ok(SendingRates {
        messages: rates("messages", &given.messages)?,
        recipients: rates("recipients", &given.recipients)?,
    })
}

fn positive(given: Option<i32>) -> Option<u32> {
    given.and_then(|number| u32::try_from(number).ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_in_result, reason = "a test's input")]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(spec: serde_json::Value) -> Result<Access, Invalid> {
        let given: crd::Access = serde_json::from_value(spec).unwrap();
        of(Some(&given))
    }

    #[test]
    fn what_is_given_reaches_the_file() {
        let access = read(json!({
            "trustedPeers": ["192.0.2.1"],
            "allow": [{"networks": ["192.0.2.0/24"], "heloDomains": ["Mx.Example"]}],
            "deny": [
                {"senderDomains": ["b\u{fc}cher.example"], "recipientDomains": ["us.example"]},
                {"senders": ["Ann@b\u{fc}cher.example"], "recipients": ["sales@us.example"]},
            ],
            "dnsBlocklists": [
                {"zone": "key.bl.example", "name": "bl", "score": 3, "answers": ["127.0.0.2"], "temporaryError": "Defer"},
            ],
            "dnsBlocklistThreshold": 2,
            "reverseDns": {"mode": "Confirmed", "temporaryError": "Defer"},
            "greylisting": {"delay": "1m", "retryWithin": "2d", "lifetime": "10d", "allowClientsAfter": 2},
            "rates": {
                "client": {"messages": [{"count": 10, "per": "1m"}]},
                "user": {"recipients": [{"count": 500, "per": "1h"}]},
            },
        }))
        .unwrap();
        let written = postroad_config::render(&access).unwrap();
        let expected: Access = serde_json::from_value(json!({
            "trustedPeers": ["192.0.2.1/32"],
            "allow": [{"networks": ["192.0.2.0/24"], "heloDomains": ["mx.example"]}],
            "deny": [
                {"senderDomains": ["xn--bcher-kva.example"], "recipientDomains": ["us.example"]},
                {"senders": ["ann@xn--bcher-kva.example"], "recipients": ["sales@us.example"]},
            ],
            "dnsBlocklists": [
                {"zone": "key.bl.example", "name": "bl", "score": 3, "answers": ["127.0.0.2/32"], "temporaryError": "Defer"},
            ],
            "dnsBlocklistThreshold": 2,
            "reverseDns": {"mode": "Confirmed", "temporaryError": "Defer"},
            "greylisting": {"delay": "1m", "retryWithin": "2d", "lifetime": "10d", "allowClientsAfter": 2},
            "rates": {
                "client": {"messages": [{"count": 10, "per": "1m"}]},
                "user": {"recipients": [{"count": 500, "per": "1h"}]},
            },
        }))
        .unwrap();
        assert_eq!(access, expected, "{written}");
    }

    #[test]
    fn the_defaults_are_those_of_the_file_and_nothing_is_nothing() {
        assert_eq!(of(None).unwrap(), Access::default());
        assert_eq!(read(json!({})).unwrap(), Access::default());
        let access =
            read(json!({"greylisting": {}, "dnsBlocklists": [{"zone": "bl.example"}], "rates": {}})).unwrap();
        assert_eq!(access.greylisting, Some(Greylisting::default()));
        assert_eq!(
            (access.dns_blocklists[0].score, access.dns_blocklist_threshold),
            (1, 1)
        );
        assert_eq!(access.rates, AccessRates::default());
        assert_eq!(access.reverse_dns, ReverseDns::default());
    }

    #[test]
    fn what_is_none_is_told_with_its_field() {
        for (spec, field) in [
            (
                json!({"deny": [{"networks": ["300.0.0.1"]}]}),
                "spec.access.deny.networks",
            ),
            (
                json!({"allow": [{"heloDomains": ["a..b"]}]}),
                "spec.access.allow.heloDomains",
            ),
            (
                json!({"dnsBlocklists": [{"zone": "-"}]}),
                "spec.access.dnsBlocklists.zone",
            ),
            (
                json!({"greylisting": {"lifetime": "999999999d"}}),
                "spec.access.greylisting.lifetime",
            ),
            (
                json!({"rates": {"user": {"messages": [{"count": 1, "per": "x"}]}}}),
                "spec.access.rates.user.messages.per",
            ),
        ] {
            assert_eq!(read(spec).unwrap_err().field, field);
        }
    }
}
