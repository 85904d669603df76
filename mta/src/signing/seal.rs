//! Which mail of strangers is sealed, and by whom (ARC, RFC 8617).
//!
//! ```text
//!   alias of a domain of ours ─► recipient elsewhere ─┬─► the domain that it was sent to seals, where it has keys and says so
//!   domain delivered by SMTP  ─► another server      ─┘
//!   mailbox store (LMTP)      ─► the way ends here: nobody reads a seal
//! ```
//!
//! Pure. A message has one seal, whatever number of recipients: that of the first domain which asks for one.

use std::sync::Arc;

use postroad_config::{Deliver, DomainName};
use postroad_spool::Recipient;
use postroad_verify::arc;
use postroad_verify::dkim::Header;

use super::Keys;
use crate::settings::Settings;

/// What a seal says of a message: what was found when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// What its chain came to.
    pub outcome: arc::Outcome,
    /// From the authserv-id on (RFC 8601 section 2.2).
    pub results: String,
}

impl Chain {
    /// None where the look-up of a key failed: another time the chain may pass, and a seal would say for good that it failed.
    pub fn new(outcome: arc::Outcome, results: &str) -> Option<Self> {
        let is_known = !outcome.problem.as_ref().is_some_and(arc::Problem::is_temporary);
        let results = results.split_once(':').map_or(results, |(_, value)| value);
        is_known.then(|| Self {
            outcome,
            results: results.trim().to_owned(),
        })
    }

    /// Whether this header still has the chain that was judged: a filter may have taken it out, or put one in.
    pub fn is_of(&self, section: &[u8]) -> bool {
        let sets = Header::parse(section).named("ARC-Seal").count();
        match self.outcome.verdict {
            arc::Verdict::None => sets == 0,
            arc::Verdict::Pass => sets == self.outcome.sets.len(),
            arc::Verdict::Fail => true,
        }
    }
}

/// The keys of the domain that seals mail to these recipients.
pub fn sealer_for(settings: &Settings, recipients: &[Recipient]) -> Option<Arc<Keys>> {
    recipients
        .iter()
        .filter(|to| goes_on(settings, &to.forward_path))
        .find_map(|to| {
            let asked = to.original.as_deref().unwrap_or(&to.forward_path);
            let keys = settings.signers().of(&domain_of(asked)?)?;
            keys.sealer.is_some().then(|| Arc::clone(keys))
        })
}

fn goes_on(settings: &Settings, path: &str) -> bool {
    let domain = domain_of(path).and_then(|name| settings.domain(&name));
    let inbound = domain.and_then(|domain| domain.inbound.as_ref());
    !inbound.is_some_and(|inbound| matches!(inbound.deliver_to, Deliver::Lmtp(_)))
}

fn domain_of(path: &str) -> Option<DomainName> {
    path.rsplit_once('@')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use postroad_config::assemble;
    use postroad_spool::Notify;
    use postroad_verify::dkim::{self, Algorithm, PrivateKey};
    use postroad_verify::dns::{Kind, Question};

    use super::*;

    fn settings() -> Settings {
        let key = PrivateKey::generate(Algorithm::Ed25519Sha256).unwrap();
        let pem = serde_json::to_string(&*key.to_pem().unwrap()).unwrap();
        let domain = |name: &str, way: &str, arc: &str| {
            format!(
                "  - name: {name}\n    inbound:\n      recipients: {{mode: Any}}\n      \
                 deliverTo: {{{way}: {{host: h.example, port: 24}}}}\n    \
                 dkim: {{keys: [{{selector: a, key: {pem}}}], arc: {arc}}}\n"
            )
        };
        let text = format!(
            "format: 1\nhostname: mail.example.com\nspool: {{directory: /nowhere}}\ndomains:\n{}{}{}",
            domain("store.example", "lmtp", "Forwarded"),
            domain("inner.example", "smtp", "Forwarded"),
            domain("plain.example", "smtp", "Disabled"),
        );
        Settings::new(assemble(&text, &BTreeMap::new()).unwrap()).unwrap()
    }

    fn to(path: &str, original: &str) -> Recipient {
        Recipient {
            forward_path: path.to_owned(),
            notify: Notify::UNSET,
            orcpt: None,
            original: Some(original.to_owned()).filter(|original| !original.is_empty()),
        }
    }

    #[test]
    fn mail_that_goes_on_is_sealed_by_the_domain_that_it_was_sent_to() {
        let settings = settings();
        for (recipients, want) in [
            (vec![to("a@store.example", "")], None),
            (vec![to("a@store.example", "b@inner.example")], None),
            (
                vec![to("a@far.example", "b@store.example")],
                Some("store.example"),
            ),
            (vec![to("a@INNER.example", "")], Some("inner.example")),
            (vec![to("a@plain.example", "")], None),
            (vec![to("a@far.example", "b@plain.example")], None),
            (vec![to("a@far.example", "")], None),
            (vec![to("a@[192.0.2.1]", "")], None),
            (
                vec![to("a@plain.example", ""), to("b@inner.example", "")],
                Some("inner.example"),
            ),
        ] {
            let keys = sealer_for(&settings, &recipients);
            let sealer = keys.as_ref().map(|keys| keys.signer.domain());
            assert_eq!(sealer, want, "{recipients:?}");
        }
    }

    #[test]
    fn a_header_that_lost_its_chain_is_not_the_one_that_was_judged() {
        let of = |verdict, section: &str| {
            let outcome = arc::Outcome {
                verdict,
                sets: vec![],
                author_signed: true,
                problem: None,
            };
            Chain::new(outcome, "").unwrap().is_of(section.as_bytes())
        };
        let (bare, set) = ("From: a@b.example\r\n", "ARC-Seal: i=1\r\nFrom: a@b.example\r\n");
        assert!(of(arc::Verdict::None, bare) && !of(arc::Verdict::None, set));
        assert!(of(arc::Verdict::Fail, bare) && of(arc::Verdict::Fail, set));
        assert!(!of(arc::Verdict::Pass, set));
    }

    #[test]
    fn a_chain_that_cannot_be_judged_now_is_left_as_it_is() {
        let failed = |problem| arc::Outcome {
            verdict: arc::Verdict::Fail,
            sets: vec![],
            author_signed: false,
            problem: Some(problem),
        };
        let text = "Authentication-Results: mail.example.com;\r\n\tarc=fail\r\n";
        let known = Chain::new(failed(arc::Problem::Incomplete(1)), text).unwrap();
        assert_eq!(known.results, "mail.example.com;\r\n\tarc=fail");
        let question = Question {
            name: "s._domainkey.list.example".to_owned(),
            kind: Kind::Txt,
        };
        let unknown = failed(arc::Problem::Seal(1, dkim::Problem::NoAnswer(question)));
        assert_eq!(Chain::new(unknown, text), None);
    }
}
