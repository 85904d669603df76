//! Which objects of which namespaces a listener lets in (`SmtpListener.spec.attach`). Pure.
//!
//! ```text
//!   object of the listener's namespace ─► yes
//!   of another ─► does `from` let the namespace in? ─┬─► RelayPolicy: yes, for mail of its own namespace alone
//!                                                    └─► MailDomain: is the domain in `domains`, or proven in DNS?
//! ```
//!
//! Default is no: whoever writes objects in some namespace gets no hold of a neighbour's listener by it.

use std::collections::BTreeMap;

use postroad_config::DomainName;
use postroad_crds::SmtpListener;
use postroad_crds::smtp_listener::{Attach, AttachFrom};

/// Labels of a namespace.
pub type Labels = BTreeMap<String, String>;

/// What a listener lets in. `labels`: those of a namespace by its name, empty where there is none.
#[derive(Clone, Copy)]
pub struct Door<'a> {
    listener: &'a SmtpListener,
    labels: &'a dyn Fn(&str) -> Labels,
}

impl<'a> Door<'a> {
    /// The door of a listener.
    pub fn new(listener: &'a SmtpListener, labels: &'a dyn Fn(&str) -> Labels) -> Self {
        Self { listener, labels }
    }

    /// The listener.
    pub fn listener(&self) -> &'a SmtpListener {
        self.listener
    }

    /// Namespace of the listener.
    pub fn namespace(&self) -> &'a str {
        self.listener.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Name of the listener.
    pub fn name(&self) -> &'a str {
        self.listener.metadata.name.as_deref().unwrap_or_default()
    }

    /// Judges an object's namespace. Errors: a sentence with what is missing, for the status of the object.
    pub fn namespace_may(&self, namespace: &str) -> Result<(), String> {
        if namespace == self.namespace() {
            return Ok(());
        }
        let attach = self.listener.spec.attach.clone().unwrap_or_default();
        if self.lets_in(&attach, namespace) {
            return Ok(());
        }
        Err(format!(
            "SmtpListener {} lets no objects of namespace {namespace} in; its owner decides by spec.attach.from",
            self.shown()
        ))
    }

    /// Judges a domain of an object's namespace. `proven`: a record in DNS says that it is that object's. Errors: as above.
    pub fn domain_may(&self, namespace: &str, domain: &DomainName, proven: bool) -> Result<(), String> {
        self.namespace_may(namespace)?;
        if proven || !self.asks_for_proof(namespace, domain) {
            return Ok(());
        }
        Err(format!(
            "SmtpListener {} gives {domain} to no other namespace; its owner decides by spec.attach.domains, or its name \
             servers prove it (see OwnershipProven)",
            self.shown()
        ))
    }

    /// Whether an object of a namespace that is let in needs a proof for its domain.
    pub fn asks_for_proof(&self, namespace: &str, domain: &DomainName) -> bool {
        let mut given = self
            .listener
            .spec
            .attach
            .iter()
            .flat_map(|attach| &attach.domains);
        namespace != self.namespace()
            && self.namespace_may(namespace).is_ok()
            && !given.any(|pattern| covers(pattern, domain))
    }

    fn lets_in(&self, attach: &Attach, namespace: &str) -> bool {
        match attach.from {
            AttachFrom::Same => false,
            AttachFrom::All => true,
            AttachFrom::Selector => {
                let wanted = attach.selector.clone().unwrap_or_default().match_labels;
                let has = (self.labels)(namespace);
                // No label at all would be every namespace: that is written `All`.
                !wanted.is_empty() && wanted.iter().all(|(key, value)| has.get(key) == Some(value))
            }
        }
    }

    fn shown(&self) -> String {
        format!("{}/{}", self.namespace(), self.name())
    }
}

/// `example.com` is that domain, `*.example.com` are those below it.
fn covers(pattern: &str, domain: &DomainName) -> bool {
    let (below, name) = match pattern.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, pattern),
    };
    let Ok(name) = name.parse::<DomainName>() else {
        return false;
    };
    if !below {
        return name == *domain;
    }
    domain
        .as_str()
        .strip_suffix(name.as_str())
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn listener(attach: &Value) -> SmtpListener {
        serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener",
            "metadata": {"name": "edge", "namespace": "mail"},
            "spec": {
                "hostname": "mx.example.com", "queue": {"storage": {"size": "1Gi"}}, "attach": attach,
                "ports": [{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Disabled"}],
            },
        }))
        .unwrap()
    }

    fn labels(namespace: &str) -> Labels {
        match namespace {
            "shop" => BTreeMap::from([("mail".to_owned(), "yes".to_owned())]),
            "crm" => BTreeMap::from([("mail".to_owned(), "no".to_owned())]),
            _ => Labels::new(),
        }
    }

    #[test]
    fn a_namespace_is_let_in_as_attach_says_and_its_own_always() {
        let yes = json!({"mail": "yes"});
        for (attach, shop, crm, other) in [
            (json!(null), false, false, false),
            (json!({}), false, false, false),
            (json!({"from": "Same"}), false, false, false),
            (json!({"from": "All"}), true, true, true),
            (
                json!({"from": "Selector", "selector": {"matchLabels": yes}}),
                true,
                false,
                false,
            ),
            (
                json!({"from": "Selector", "selector": {"matchLabels": {"mail": "yes", "a": "b"}}}),
                false,
                false,
                false,
            ),
            (
                json!({"from": "Selector", "selector": {"matchLabels": {}}}),
                false,
                false,
                false,
            ),
        ] {
            let listener = listener(&attach);
            let door = Door::new(&listener, &labels);
            assert_eq!(door.namespace_may("mail"), Ok(()), "{attach}");
            for (namespace, want) in [("shop", shop), ("crm", crm), ("other", other)] {
                let judged = door.namespace_may(namespace);
                assert_eq!(judged.is_ok(), want, "{attach} {namespace}");
                if let Err(sentence) = judged {
                    assert!(
                        sentence.contains("mail/edge") && sentence.contains(namespace),
                        "{sentence}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_domain_of_another_namespace_must_be_given() {
        let domains = json!(["shop.example", "*.crm.example", "*.b\u{fc}cher.example"]);
        let listener = listener(&json!({"from": "All", "domains": domains}));
        let door = Door::new(&listener, &labels);
        for (domain, want) in [
            ("shop.example", true),
            ("SHOP.example", true),
            ("a.shop.example", false),
            ("crm.example", false),
            ("a.crm.example", true),
            ("a.b.crm.example", true),
            ("notcrm.example", false),
            ("x.notcrm.example", false),
            ("a.xn--bcher-kva.example", true),
            ("gmail.com", false),
        ] {
            let domain: DomainName = domain.parse().unwrap();
            assert_eq!(door.domain_may("shop", &domain, false).is_ok(), want, "{domain}");
            assert_eq!(door.asks_for_proof("shop", &domain), !want, "{domain}");
            assert_eq!(door.domain_may("shop", &domain, true), Ok(()), "{domain}");
            assert_eq!(door.domain_may("mail", &domain, false), Ok(()), "{domain}");
            assert!(!door.asks_for_proof("mail", &domain), "{domain}");
        }
        let closed = self::listener(&json!({"from": "Same", "domains": ["shop.example"]}));
        let door = Door::new(&closed, &labels);
        for proven in [false, true] {
            let judged = door.domain_may("shop", &"shop.example".parse().unwrap(), proven);
            assert!(judged.is_err(), "a proof opens no door that its owner keeps shut");
        }
    }
}
