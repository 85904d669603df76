//! A domain asks for signatures, a policy of DMARC and reports about TLS: the operator makes the keys and says which records to
//! publish; once they are seen, mail that users submit is signed, and a verifier of others that asks DNS is content;
//! so is one of seals (ARC) with what an alias takes elsewhere. A lost Secret changes nothing until a person says so.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::desk::{Desk, header_of};
use crate::kubectl::{Failure, Outcome, condition, is};
use crate::mail::Mail;
use crate::mail::submit::Security;
use crate::mailroom::{LISTENER, Mailroom, zone};
use crate::peers;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let mut room = Mailroom::new(scene, 1);
    room.domain["spec"]["dkim"] = json!({});
    room.domain["spec"]["dmarc"] = json!({"policy": "Reject", "reportTo": ["mailto:dmarc@signed.example"]});
    room.domain["spec"]["tlsRpt"] = json!({"reportTo": ["mailto:tls@signed.example"]});
    room.apply()?;
    room.await_ready()?;
    let desk = Desk::new(&room, scene)?;
    let records = desk.records_to_publish()?;
    let unsigned = desk.sent("before")?;
    if header_of(&unsigned).contains("DKIM-Signature:") {
        return Err(Failure::wrong("a key signs whose record nobody has seen"));
    }
    let mut wanted = records;
    for (name, judged, missing) in ASKED_OF_OTHERS {
        wanted.push(desk.record_that_is_missing(name, judged, missing)?);
    }
    desk.publish_keys(&wanted)?;
    for (_, judged, _) in ASKED_OF_OTHERS {
        scene.namespace.wait_condition(DOMAIN, judged, "True", SEEN)?;
    }
    desk.is_signed("published")?;
    desk.goes_on_sealed()?;
    desk.lost_keys_are_not_made_anew()?;
    desk.same_process()
}

impl Desk<'_> {
    /// A record for each of two keys, whose Secret belongs to the domain.
    pub(super) fn records_to_publish(&self) -> Outcome<Vec<Value>> {
        let namespace = self.room.namespace();
        let found = namespace.wait_for(DOMAIN, "the keys' records", LIMIT, |domain| {
            key_records(domain).len() == 2 && reason(domain) == "RecordNotSeen"
        })?;
        let secret = namespace.get([SECRET])?;
        let owner = &secret["metadata"]["ownerReferences"][0]["uid"];
        if *owner != found["metadata"]["uid"] {
            return Err(Failure::wrong(format!("the Secret is {owner}'s")));
        }
        Ok(key_records(&found))
    }

    /// A row that is shown, and of which the condition says that it is not in the DNS.
    fn record_that_is_missing(&self, name: &str, judged: &str, missing: &str) -> Outcome<Value> {
        let namespace = self.room.namespace();
        let found = namespace.wait_for(DOMAIN, &format!("{judged}=False/{missing}"), LIMIT, |domain| {
            condition(domain, judged)
                .is_some_and(|found| found["status"] == "False" && found["reason"] == missing)
        })?;
        let mut rows = found["status"]["records"].as_array().into_iter().flatten();
        let is_it = |row: &&Value| row["name"].as_str().is_some_and(|its| its.starts_with(name));
        let row = rows.find(is_it).cloned();
        row.ok_or_else(|| Failure::wrong(format!("no record {name} is shown: {:#}", found["status"])))
    }

    /// Publishes them as the status has them, and waits until the domain says that all is well.
    pub(super) fn publish_keys(&self, records: &[Value]) -> Outcome {
        let namespace = self.room.namespace();
        let mut zone = zone(&self.scene.domain, &peers::address(namespace, LISTENER)?);
        for record in records {
            let text = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
            zone = zone.record(format!("{}. IN TXT {}", text("name"), text("expected")));
        }
        self.scene.world.publish(&[zone])?;
        for judged in ["DKIMValid", "DKIMKeysCurrent", "Ready"] {
            namespace.wait_condition(DOMAIN, judged, "True", SEEN)?;
        }
        Ok(())
    }

    /// A mail that the user submits, as it lies in the far mailbox.
    fn sent(&self, mark: &str) -> Outcome<Vec<u8>> {
        let to = self.room.far_user();
        let mail = Mail::with_attachment(&self.room.mark(mark), &self.room.sender(), &to);
        self.room.send(&self.room.server(Security::StartTls)?, &mail)?;
        self.arrived(&to, &mail)
    }

    /// Both signatures pass at dkimpy, which asks DNS for the keys.
    fn is_signed(&self, mark: &str) -> Outcome {
        self.signatures_hold(&self.sent(mark)?)
    }

    /// The message has the domain's two signatures, and both pass.
    pub(super) fn signatures_hold(&self, message: &[u8]) -> Outcome {
        let said = self.dkimpy(VERIFIER, message)?;
        let wanted = format!("{0}=pass {0}=pass", self.scene.domain);
        if said != wanted {
            let header = header_of(message);
            return Err(Failure::wrong(format!("dkimpy says `{said}`: {header}")));
        }
        Ok(())
    }

    /// What a script for dkimpy says of a message. It has `message`, and `look_up`, which asks DNS for keys.
    pub(super) fn dkimpy(&self, script: &str, message: &[u8]) -> Outcome<String> {
        let peers = &self.scene.world.peers;
        let input = json!({"dns": peers.dns, "message": STANDARD.encode(message)}).to_string();
        let script = format!("{LOOK_UP}{script}");
        let said = peers
            .namespace
            .exec("client", &["python3", "-c", &script], input.as_bytes())?;
        Ok(said.trim().to_owned())
    }

    /// The Secret goes, the pods sign on, nothing new is made; the Secret comes back, and all is well.
    fn lost_keys_are_not_made_anew(&self) -> Outcome {
        let namespace = self.room.namespace();
        let mut secret = namespace.get([SECRET])?;
        namespace.kubectl(["delete", SECRET])?;
        namespace.wait_for(DOMAIN, "the loss of the keys", LIMIT, |domain| {
            reason(domain) == "KeysLost" && is(domain, "Ready", "False")
        })?;
        self.is_signed("lost")?;
        if namespace.exists(SECRET)? {
            return Err(Failure::wrong("new keys were made that DNS does not know"));
        }
        if let Some(about) = secret["metadata"].as_object_mut() {
            about.retain(|field, _| ["name", "labels", "ownerReferences"].contains(&field.as_str()));
        }
        namespace.apply(&secret.to_string())?;
        for judged in ["DKIMKeysCurrent", "Ready"] {
            namespace.wait_condition(DOMAIN, judged, "True", LIMIT)?;
        }
        self.is_signed("restored")
    }
}

/// Rows of `status.records` that are about keys.
fn key_records(domain: &Value) -> Vec<Value> {
    let rows = domain["status"]["records"].as_array().into_iter().flatten();
    let is_key = |row: &&Value| row["name"].as_str().unwrap_or_default().contains("._domainkey.");
    rows.filter(is_key).cloned().collect()
}

/// Reason of `DKIMKeysCurrent`.
fn reason(domain: &Value) -> &str {
    condition(domain, "DKIMKeysCurrent").map_or("", |found| found["reason"].as_str().unwrap_or_default())
}

/// Before each script: it takes what is given, and asks the DNS server of the peers for keys.
const LOOK_UP: &str = r#"
import base64, json, sys
import dkim, dns.resolver

given = json.load(sys.stdin)
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers = [given["dns"]]


def look_up(name, timeout=5):
    return b"".join(resolver.resolve(name.decode(), "TXT")[0].strings)


message = base64.b64decode(given["message"])
"#;

/// Says for each signature of a message its domain and what it came to.
const VERIFIER: &str = r#"
verifier = dkim.DKIM(message)
count = sum(name.lower() == b"dkim-signature" for name, _ in verifier.headers)
said = []
for at in range(count):
    passed = verifier.verify(idx=at, dnsfunc=look_up)
    said.append(verifier.domain.decode() + ("=pass" if passed else "=fail"))
print(*said)
"#;

/// Records beside those of keys: their names' beginning, the condition about them, and why it is False at first.
const ASKED_OF_OTHERS: [(&str, &str, &str); 2] = [
    ("_dmarc.", "DMARCValid", "DMARCMissing"),
    ("_smtp._tls.", "TLSRPTValid", "TLSRPTMissing"),
];
const DOMAIN: &str = "maildomain/domain";
const SECRET: &str = "secret/domain-dkim";
/// How long the operator may take for what it is told of at once.
const LIMIT: Duration = Duration::from_mins(2);
/// How long it may take to look at DNS again: at most half of the time that the record was missing.
const SEEN: Duration = Duration::from_mins(4);
