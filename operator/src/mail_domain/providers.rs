//! DNS records that providers need of a domain whose mail leaves through them. Pure.
//!
//! They are shown as wanted and not judged: most hold names or keys of the account, which the provider alone can check. What an
//! SPF record needs is put into the record that is proposed.

use std::collections::BTreeSet;

use kube::ResourceExt;
use postroad_config::provider::{Known, WantedRecord, wanted};
use postroad_crds::{MailDomain, RelayPolicy, SmtpListener};

use super::records::Row;
use crate::dns::judge::{self, Judgement, Ruling};
use crate::relay_policy::provider::named;

/// What is wanted for the providers of these policies. `serving`: listeners of the domain.
pub fn records(
    object: &MailDomain,
    domain: &str,
    serving: &[SmtpListener],
    policies: &[&RelayPolicy],
) -> Vec<WantedRecord> {
    let mut list: Vec<WantedRecord> = Vec::new();
    for policy in policies
        .iter()
        .filter(|policy| concerns(policy, object, domain, serving))
    {
        for provider in policy
            .spec
            .routes
            .iter()
            .filter_map(|route| route.provider.as_ref())
        {
            let of = wanted(
                named(provider.name),
                domain,
                provider.region.as_deref(),
                provider.domain.as_deref(),
            );
            for record in of {
                if !list.contains(&record) {
                    list.push(record);
                }
            }
        }
    }
    list
}

/// Whether mail from the domain may leave by the policy.
fn concerns(policy: &RelayPolicy, object: &MailDomain, domain: &str, serving: &[SmtpListener]) -> bool {
    let namespace = policy.namespace().unwrap_or_default();
    let uses = |listener: &SmtpListener| {
        let (of, name) = (listener.namespace().unwrap_or_default(), listener.name_any());
        let refers = policy.spec.listener_refs.iter().any(|reference| {
            reference.name == name && reference.namespace.as_deref().unwrap_or(&namespace) == of
        });
        // A policy of another namespace is for the domains of that one alone.
        refers && (of == namespace || object.namespace().unwrap_or_default() == namespace)
    };
    let senders = policy.spec.matches.as_ref().map(|terms| &terms.sender_domains);
    let is_sender = |known: &String| {
        let known = known.parse::<postroad_config::DomainName>();
        known.is_ok_and(|known| known.as_str() == domain)
    };
    policy.spec.routes.iter().any(|route| route.provider.is_some())
        && senders.is_none_or(|senders| senders.is_empty() || senders.iter().any(is_sender))
        && serving.iter().any(uses)
}

/// Names that the SPF record of the domain itself has to include.
pub fn includes(records: &[WantedRecord], domain: &str) -> Vec<&'static str> {
    let of_domain = records.iter().filter(|record| record.name == domain);
    let names = of_domain.filter_map(|record| match record.value {
        Known::Includes(name) => Some(name),
        Known::Exactly(_) | Known::Described(_) => None,
    });
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What is shown of the others: nobody is asked about them.
pub fn judgements(records: &[WantedRecord], domain: &str) -> Vec<Judgement> {
    let others = records.iter().filter(|record| {
        // That one is in the domain's own SPF row.
        record.name != domain || !matches!(record.value, Known::Includes(_))
    });
    others
        .map(|record| {
            let expected = match &record.value {
                Known::Exactly(value) => value.clone(),
                Known::Includes(name) => format!("v=spf1 include:{name} ~all"),
                Known::Described(words) => format!("({words})"),
            };
            Judgement {
                kind: record.kind,
                ..judge::unasked(&record.name, expected)
            }
        })
        .collect()
}

/// The row that was shown of it before. Another record of the same name and type is not it.
pub fn before<'a>(rows: &'a [Row], judgement: &Judgement) -> Option<&'a Row> {
    rows.iter().find(|row| {
        row.kind == judgement.kind
            && row.name == judgement.name
            && row.expected == judgement.expected
            && row.verdict == Ruling::Unknown
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn domain(namespace: &str) -> MailDomain {
        serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "MailDomain",
            "metadata": {"name": "d", "namespace": namespace},
            "spec": {"domain": "d.example", "listenerRefs": [{"name": "edge", "namespace": "mail"}]},
        }))
        .unwrap()
    }

    fn listener() -> SmtpListener {
        serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener",
            "metadata": {"name": "edge", "namespace": "mail"},
            "spec": {"hostname": "mail.example.com", "queue": {"storage": {"size": "1Gi"}}, "ports": []},
        }))
        .unwrap()
    }

    fn policy(namespace: &str, senders: &[&str], provider: &serde_json::Value) -> RelayPolicy {
        serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy",
            "metadata": {"name": "p", "namespace": namespace},
            "spec": {
                "listenerRefs": [{"name": "edge", "namespace": "mail"}],
                "match": {"senderDomains": senders},
                "routes": [{"provider": provider}, {"direct": {}}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_domain_is_concerned_by_the_policies_that_may_take_its_mail() {
        let gmail = json!({"name": "Gmail"});
        for (of_domain, of_policy, senders, want) in [
            ("mail", "mail", &[][..], true),
            ("mail", "mail", &["D.example"], true),
            ("mail", "mail", &["other.example"], false),
            ("shop", "mail", &[], true),
            ("shop", "shop", &[], true),
            ("mail", "shop", &[], false),
        ] {
            let policy = policy(of_policy, senders, &gmail);
            let found = records(&domain(of_domain), "d.example", &[listener()], &[&policy]);
            assert_eq!(!found.is_empty(), want, "{of_domain} {of_policy} {senders:?}");
        }
        let policy = policy("mail", &[], &gmail);
        assert!(records(&domain("mail"), "d.example", &[], &[&policy]).is_empty());
    }

    #[test]
    fn spf_is_one_record_and_the_rest_has_rows_of_its_own() {
        let ses = json!({"name": "AmazonSES", "region": "eu-west-1", "domain": "bounce.d.example"});
        let policies = [
            policy("mail", &[], &json!({"name": "Gmail"})),
            policy("mail", &[], &ses),
        ];
        let policies: Vec<&RelayPolicy> = policies.iter().collect();
        let found = records(&domain("mail"), "d.example", &[listener()], &policies);
        assert_eq!(includes(&found, "d.example"), ["_spf.google.com"]);
        let shown = judgements(&found, "d.example");
        let row = |kind: &str, name: &str| {
            let mut rows = shown.iter().filter(|row| row.kind == kind && row.name == name);
            rows.next().map(|row| row.expected.as_str())
        };
        assert_eq!(row("TXT", "d.example"), None);
        assert_eq!(
            row("TXT", "bounce.d.example"),
            Some("v=spf1 include:amazonses.com ~all")
        );
        assert_eq!(
            row("MX", "bounce.d.example"),
            Some("10 feedback-smtp.eu-west-1.amazonses.com")
        );
        assert!(row("TXT", "google._domainkey.d.example").is_some_and(|words| words.starts_with('(')));
    }
}
