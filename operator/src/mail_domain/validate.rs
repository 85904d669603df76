//! A domain's spec, parsed once into what the pods are told. Pure.

use std::net::{IpAddr, SocketAddr};

use postroad_config::{
    Alias, Deliver, Dkim, Domain, DomainName, Inbound, RecipientMode, Recipients, Sender, service_account,
};
use postroad_crds::MailDomainSpec;
use postroad_crds::mail_domain as crd;

use crate::authorities;
use crate::smtp_listener::validate::endpoint;

pub use crate::smtp_listener::validate::Invalid;

/// Parses a spec. Errors: the first field that is wrong in a way that the schema cannot show.
pub fn validate(spec: &MailDomainSpec) -> Result<Domain, Invalid> {
    let name: DomainName = spec
        .domain
        .parse()
        .map_err(|error: postroad_config::DomainNameError| Invalid::new("spec.domain", error.to_string()))?;
    let inbound = spec.inbound.as_ref().map(parse_inbound).transpose()?;
    let senders = spec
        .senders
        .iter()
        .map(|sender| parse_sender(sender, &name))
        .collect::<Result<_, _>>()?;
    let named = spec
        .mta_sts
        .as_ref()
        .and_then(|policy| policy.authorities.as_ref());
    if named.is_some_and(|pem| authorities::trusted(pem).is_none()) {
        return Err(Invalid::new("spec.mtaSts.authorities", authorities::UNSOUND));
    }
    Ok(Domain {
        name,
        inbound,
        senders,
        dkim: Dkim::default(),
    })
}

/// The servers of `spec.dns.resolvers`.
pub fn resolvers(spec: &MailDomainSpec) -> Result<Vec<SocketAddr>, Invalid> {
    let one = |text: &String| {
        let address = text
            .parse()
            .ok()
            .or_else(|| text.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, 53)));
        address.ok_or_else(|| {
            Invalid::new(
                "spec.dns.resolvers",
                format!("`{text}` is no server; write an IP address, or IP:port"),
            )
        })
    };
    spec.dns.iter().flat_map(|dns| &dns.resolvers).map(one).collect()
}

fn parse_inbound(inbound: &crd::Inbound) -> Result<Inbound, Invalid> {
    let recipients = &inbound.recipients;
    for address in recipients
        .aliases
        .iter()
        .flat_map(|alias| &alias.to)
        .chain(&recipients.catch_all)
    {
        let whole = address
            .rsplit_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && domain.parse::<DomainName>().is_ok());
        if !whole {
            return Err(Invalid::new(
                "spec.inbound.recipients",
                format!("`{address}` is no address; write local-part@domain"),
            ));
        }
    }
    let deliver_to = match (&inbound.deliver_to.lmtp, &inbound.deliver_to.smtp) {
        (Some(host), None) => Deliver::Lmtp(endpoint("spec.inbound.deliverTo.lmtp", host)?),
        (None, Some(host)) => Deliver::Smtp(endpoint("spec.inbound.deliverTo.smtp", host)?),
        _ => {
            return Err(Invalid::new(
                "spec.inbound.deliverTo",
                "give exactly one of lmtp and smtp",
            ));
        }
    };
    Ok(Inbound {
        recipients: Recipients {
            mode: match recipients.mode {
                crd::RecipientMode::Listed => RecipientMode::Listed,
                crd::RecipientMode::Any => RecipientMode::Any,
                crd::RecipientMode::Callout => RecipientMode::Callout,
            },
            addresses: recipients.addresses.clone(),
            aliases: recipients
                .aliases
                .iter()
                .map(|alias| Alias {
                    name: alias.name.clone(),
                    to: alias.to.clone(),
                })
                .collect(),
            catch_all: recipients.catch_all.clone(),
        },
        deliver_to,
    })
}

fn parse_sender(sender: &crd::Sender, domain: &DomainName) -> Result<Sender, Invalid> {
    let who = match (&sender.user, &sender.service_account) {
        (Some(user), None) => user.clone(),
        (None, Some(account)) => service_account(&account.namespace, &account.name),
        _ => {
            return Err(Invalid::new(
                "spec.senders",
                "give exactly one of user and serviceAccount for each sender",
            ));
        }
    };
    for address in &sender.addresses {
        let own = address
            .rsplit_once('@')
            .and_then(|(_, name)| name.parse::<DomainName>().ok());
        if own.as_ref() != Some(domain) {
            return Err(Invalid::new(
                "spec.senders",
                format!("`{address}` of {who} is no address of {domain}; write local-part@{domain}"),
            ));
        }
    }
    Ok(Sender {
        user: who,
        addresses: sender.addresses.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(change: &serde_json::Value) -> MailDomainSpec {
        let mut value = json!({"domain": "example.com", "listenerRefs": [{"name": "edge"}]});
        for (key, field) in change.as_object().unwrap() {
            value[key] = field.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_domain_becomes_what_the_pods_are_told() {
        let lmtp = json!({"lmtp": {"host": "dovecot.mail.svc", "port": 24}});
        let change = json!({"domain": "Bücher.example", "inbound": {"recipients": {"mode": "Any"}, "deliverTo": lmtp},
            "senders": [{"user": "alice", "addresses": ["a@bücher.example"]},
                {"serviceAccount": {"namespace": "shop", "name": "orders"}}]});
        let domain = validate(&spec(&change)).unwrap();
        assert_eq!(domain.name.as_str(), "xn--bcher-kva.example");
        assert!(matches!(domain.inbound.unwrap().deliver_to, Deliver::Lmtp(endpoint) if endpoint.port == 24));
        let who: Vec<&str> = domain.senders.iter().map(|sender| sender.user.as_str()).collect();
        assert_eq!(who, ["alice", "system:serviceaccount:shop:orders"]);
    }

    #[test]
    fn each_mistake_names_field_value_and_mend() {
        let inbound = |recipients: serde_json::Value| json!({"inbound": {"recipients": recipients, "deliverTo": {"smtp": {"host": "h", "port": 25}}}});
        for (change, field, value) in [
            (json!({"domain": "10.1.2.3"}), "spec.domain", "10.1.2.3"),
            (
                json!({"senders": [{"user": "bob", "addresses": ["bob@other.example"]}]}),
                "spec.senders",
                "bob@other.example",
            ),
            (
                json!({"senders": [{"addresses": ["a@example.com"]}]}),
                "spec.senders",
                "exactly one",
            ),
            (
                inbound(json!({"mode": "Listed", "catchAll": "nobody"})),
                "spec.inbound.recipients",
                "nobody",
            ),
            (
                inbound(json!({"mode": "Any", "aliases": [{"name": "a", "to": ["b@"]}]})),
                "spec.inbound.recipients",
                "b@",
            ),
            (
                json!({"inbound": {"recipients": {"mode": "Any"}, "deliverTo": {"lmtp": {"host": "a..b", "port": 24}}}}),
                "spec.inbound.deliverTo.lmtp.host",
                "a..b",
            ),
        ] {
            let error = validate(&spec(&change)).unwrap_err();
            assert_eq!(error.field, field);
            assert!(error.sentence.contains(value), "{error}");
        }
        assert!(resolvers(&spec(&json!({"dns": {"resolvers": ["x"]}}))).is_err());
    }
}
