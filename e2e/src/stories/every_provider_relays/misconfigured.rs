//! Policies that somebody set up wrong, in the ways in which people do: each says which field it is and what to do, the mail of each
//! is kept, and goes once it is mended. So does that of a provider whose TLS is wrong all at once.
//!
//! ```text
//!   all faults at once ─► a mail each ─► a condition each, with the field ─► nothing was taken, all of it is queued ─► mended ─► it goes
//! ```

use std::time::Instant;

use serde_json::{Value, json};

use super::{LIMIT, Play, expect};
use crate::kubectl::{Outcome, condition};
use crate::mail::Mail;
use crate::mailroom::LISTENER;
use crate::report::seconds;
use crate::stories::relay_cases::Case;

/// A policy with a fault, and what has to be said of it.
struct Fault {
    name: &'static str,
    /// The case that it is of.
    of: &'static str,
    /// Spoils the route, and the entries of the Secret.
    spoil: fn(&mut Value, &mut Value),
    kind: &'static str,
    reason: &'static str,
    /// Field, and what to do.
    words: [&'static str; 2],
}

impl Play<'_> {
    /// All faults at once; then the TLS of a provider that was good.
    pub(super) fn faults_are_told(&mut self) -> Outcome {
        let begun = Instant::now();
        // Tokens that were got before are over as well, so that the authorities are asked.
        let strict = json!([{"delegated": false}, {"entraAhead": AN_HOUR}, {"endTokens": true}, {"provider": TLS_OF.0, "mistaken": true}]);
        self.stand_ins.order(&strict)?;
        self.apply(&self.faulty(true)?)?;
        let configured = |fault: &&Fault| fault.kind != "Accepted";
        let served: Vec<_> = FAULTS.iter().filter(configured).map(|fault| fault.name).collect();
        // The pods have them, and the invalid one, which came first, with them: mail comes to what is wrong, not to what is not there yet.
        self.await_condition(&served, "Reconciling", "False")?;
        let mails = FAULTS.iter().map(|fault| fault.name).chain([TLS_OF.1]);
        let mails: Vec<_> = mails.map(|name| self.faulty_mail(name)).collect::<Outcome<_>>()?;
        let (count, all) = (mails.len(), names());
        self.submit(mails)?;
        self.are_told()?;
        eprintln!(
            "    {} faults were told after {}",
            FAULTS.len() + 1,
            seconds(begun.elapsed())
        );
        self.none_came("faulty", &all)?;
        self.room.await_held(&["edge-0"], count, LIMIT)?;
        self.mend(&all)
    }

    /// Each condition names the field and says what to do.
    fn are_told(&self) -> Outcome {
        for fault in &FAULTS {
            let found = self.await_policies(&[fault.name], fault.kind, |_, policy| {
                condition(policy, fault.kind)
                    .is_some_and(|found| found["status"] == "False" && found["reason"] == fault.reason)
            })?;
            for word in fault.words {
                expect(&found[0], fault.kind, fault.reason, word)?;
            }
        }
        // What mail finds is told at once: the next test of a route that was good is five minutes away.
        let found = self.await_condition(&[TLS_OF.1], "UpstreamSecured", "False")?;
        expect(&found[0], "UpstreamSecured", "TlsFailed", "spec.routes[0].tls: ")
    }

    /// What is mended goes.
    fn mend(&self, all: &[&str]) -> Outcome {
        let good = json!([{"delegated": true}, {"entraAhead": 0}, {"provider": TLS_OF.0, "mistaken": false}]);
        self.stand_ins.order(&good)?;
        self.apply(&self.faulty(false)?)?;
        let mended: Vec<_> = FAULTS.iter().map(|fault| fault.name).collect();
        self.await_condition(&mended, "Ready", "True")?;
        self.try_now()?;
        self.await_mail("faulty", all, 1)?;
        self.room.await_queue(0, LIMIT)?;
        let gone = ["delete", "relaypolicies", "--selector=act=faulty"];
        self.room.namespace().kubectl(gone).map(drop)
    }

    /// The policies and their Secrets, spoilt or as they should be.
    fn faulty(&self, spoilt: bool) -> Outcome<Vec<Value>> {
        let mut objects = Vec::new();
        for fault in &FAULTS {
            let case = self.case(fault.of)?;
            let mut policy = case.policy(self.domain, LISTENER, self.authority());
            policy["metadata"] = json!({"name": fault.name, "labels": {"act": "faulty"}});
            policy["spec"]["match"] = json!({"recipientDomains": [domain(fault.name)]});
            let route = &mut policy["spec"]["routes"][0];
            route["credentials"]["secretRef"] = json!({"name": fault.name});
            let mut entries = case.secret.clone();
            if spoilt {
                (fault.spoil)(route, &mut entries);
            }
            objects.push(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": fault.name}, "stringData": entries,
            }));
            objects.push(policy);
        }
        Ok(objects)
    }

    fn faulty_mail(&self, name: &str) -> Outcome<Mail> {
        let fault = FAULTS.iter().find(|fault| fault.name == name);
        let case: &Case = self.case(fault.map_or(name, |fault| fault.of))?;
        let to = fault.map_or_else(|| case.to(self.domain), |fault| domain(fault.name));
        let mark = self.room.mark(&format!("faulty-{name}.0."));
        let from = format!("{}@{}", case.from, self.domain);
        Ok(Mail::plain(&mark, &from, &format!("b@{to}")))
    }
}

fn names() -> Vec<&'static str> {
    FAULTS.iter().map(|fault| fault.name).chain([TLS_OF.1]).collect()
}

fn domain(name: &str) -> String {
    format!("{name}.faulty.example")
}

/// The half of a text: what is left of a file that was copied badly.
fn cut(text: &mut Value) {
    let whole = text.as_str().unwrap_or_default();
    let half = whole.get(..whole.len() / 2).unwrap_or_default();
    *text = json!(half);
}

fn cut_google_key(_: &mut Value, entries: &mut Value) {
    let text = entries["key.json"].as_str().unwrap_or_default();
    let mut key: Value = serde_json::from_str(text).unwrap_or_default();
    cut(&mut key["private_key"]);
    entries["key.json"] = json!(key.to_string());
}

const fn nothing(_: &mut Value, _: &mut Value) {}

fn by_password(route: &mut Value, entries: &mut Value) {
    route["credentials"] = json!({"type": "Password", "secretRef": {"name": BY_PASSWORD}});
    *entries = json!({"username": "ann", "password": "not taken at Microsoft 365"});
}

const BY_PASSWORD: &str = "password-in-place-of-a-token";

const FAULTS: [Fault; 10] = [
    Fault {
        name: "region-of-another-host",
        of: "amazon-ses",
        spoil: |route, _| route["credentials"]["region"] = json!("eu-central-1"),
        kind: "Accepted",
        reason: "Invalid",
        words: ["spec.routes.credentials.region", "`eu-west-1`"],
    },
    Fault {
        name: "region-without-host",
        of: "amazon-ses",
        spoil: |route, _| route["provider"]["region"] = json!("eu-west-9"),
        kind: "UpstreamReachable",
        reason: "HostUnreachable",
        words: [
            "email-smtp.eu-west-9.amazonaws.com",
            "check spec.routes[0].provider (region",
        ],
    },
    Fault {
        name: "google-key-cut",
        of: "gmail",
        spoil: cut_google_key,
        kind: "UpstreamAuthenticated",
        reason: "SecretInvalid",
        words: [
            "spec.routes.credentials.secretRef: the entry `key.json`",
            "give the file as Google offered it",
        ],
    },
    Fault {
        name: "entra-key-cut",
        of: "microsoft-365-certificate",
        spoil: |_, entries| cut(&mut entries["tls.key"]),
        kind: "UpstreamAuthenticated",
        reason: "SecretInvalid",
        words: [
            "spec.routes.credentials.secretRef: the entry `tls.key`",
            "BEGIN PRIVATE KEY",
        ],
    },
    Fault {
        name: "account-without-delegation",
        of: "gmail",
        spoil: nothing,
        kind: "UpstreamAuthenticated",
        reason: "DelegationMissing",
        words: ["spec.routes[0].credentials.user", "domain-wide delegation"],
    },
    Fault {
        name: "clock-behind",
        of: "microsoft-365-certificate",
        spoil: nothing,
        kind: "UpstreamAuthenticated",
        reason: "ClockSkew",
        words: ["spec.routes[0].credentials", "set the clocks of the nodes by NTP"],
    },
    Fault {
        name: "client-of-nobody",
        of: "microsoft-365",
        spoil: |route, _| route["credentials"]["clientId"] = json!("00000000-0000-4000-8000-000000000000"),
        kind: "UpstreamAuthenticated",
        reason: "ClientUnknown",
        words: ["spec.routes[0].credentials.clientId", "correct the client id"],
    },
    Fault {
        name: "tenant-of-nobody",
        of: "microsoft-365",
        spoil: |route, _| route["credentials"]["tenant"] = json!("nobody.example"),
        kind: "UpstreamAuthenticated",
        reason: "TenantUnknown",
        words: ["spec.routes[0].credentials.tenant", "correct the tenant"],
    },
    Fault {
        name: BY_PASSWORD,
        of: "microsoft-365",
        spoil: by_password,
        kind: "UpstreamAuthenticated",
        reason: "BasicAuthenticationDisabled",
        words: [
            "spec.routes[0].credentials.type",
            "use credentials of type OAuthClient",
        ],
    },
    Fault {
        name: "secret-of-other-entries",
        of: "sendgrid",
        spoil: |_, entries| *entries = json!({"user": "apikey", "token": "x"}),
        kind: "UpstreamAuthenticated",
        reason: "SecretInvalid",
        words: [
            "spec.routes.credentials.secretRef: the entry `username`",
            "it has token, user); add it",
        ],
    },
];
/// A provider that shows the certificate of another host, and its case.
const TLS_OF: (&str, &str) = ("Postfix", "postfix");
/// Seconds.
const AN_HOUR: i64 = 3_600;
