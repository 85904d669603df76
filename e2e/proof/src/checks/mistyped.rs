//! Check 22: values as people write them in YAML, where YAML 1.1, JSON or Rust have an opinion of their own: each is taken as what it
//! looks like, or refused with the field named. Judged by a real API server, by the way that `kubectl apply` goes.

use std::sync::Arc;

use serde_json::{Value, json};

use super::confirmed::condition;
use crate::case::{Case, Verdict};
use crate::rig::{Rig, World};
use crate::server::Said;

/// All cases.
pub fn cases() -> Vec<Case> {
    vec![Case::new(
        "check_22_what_yaml_and_rust_mistype_is_refused_or_meant_so",
        "numbers, booleans, quantities, durations, labels and names",
        judged,
    )]
}

/// What comes of it.
enum Wanted {
    /// Stored so at this place.
    Stored(&'static str, Value),
    /// Refused, with this in the refusal.
    Refused(&'static str),
    /// Taken, and told by the operator: `Ready=False`, with this in the message.
    Told(&'static str),
}

use Wanted::{Refused, Stored, Told};

/// A kind's short name, the lines of its spec that are not the usual ones, and what comes of it.
type Row = (&'static str, &'static str, Wanted);

/// Of the listener: under `spec`, but for what begins with `metadata`.
#[expect(clippy::too_many_lines, reason = "a table")]
fn rows() -> Vec<Row> {
    let replicas = |value: i64| Stored("/spec/replicas", json!(value));
    let lifetime = |value: &str| Stored("/spec/queue/lifetime", json!(value));
    let label = |value: &str| Stored("/spec/pod/labels/a.example~1b", json!(value));
    vec![
        // Numbers.
        ("listener", "replicas: 3", replicas(3)),
        ("listener", "replicas: 0x3", replicas(3)),
        ("listener", "replicas: 2.0", replicas(2)),
        ("listener", "replicas: \"3\"", Refused("spec.replicas")),
        ("listener", "replicas: \"0x3\"", Refused("spec.replicas")),
        ("listener", "replicas: 1e3", Refused("spec.replicas")),
        ("listener", "replicas: 2.5", Refused("spec.replicas")),
        ("listener", "replicas: yes", Refused("spec.replicas")),
        ("listener", "replicas: -1", Refused("spec.replicas")),
        ("listener", "replicas: .nan", Refused("NaN")),
        ("policy", "priority: 0x10", Stored("/spec/priority", json!(16))),
        ("policy", "priority: 1e2", Stored("/spec/priority", json!(100))),
        ("policy", "priority: \"1e2\"", Refused("spec.priority")),
        ("policy", "priority: 99999999999", Refused("spec.priority")),
        // An int where an int-or-string might be expected, and the other way round.
        (
            "listener",
            "ports: [{name: smtp, port: \"25\", role: Transfer, tls: Disabled}]",
            Refused("spec.ports[0].port"),
        ),
        (
            "listener",
            "ports: [{name: 25, port: 25, role: Transfer, tls: Disabled}]",
            Refused("spec.ports[0].name"),
        ),
        // Booleans of YAML 1.1.
        ("listener", "hostname: yes", Refused("spec.hostname")),
        ("listener", "hostname: no", Refused("spec.hostname")),
        (
            "listener",
            "hostname: on.example.com",
            Stored("/spec/hostname", json!("on.example.com")),
        ),
        (
            "listener",
            "ports: [{name: on, port: 25, role: Transfer, tls: Disabled}]",
            Refused("spec.ports[0].name"),
        ),
        (
            "listener",
            "ports: [{name: smtp, port: 25, role: Transfer, tls: off}]",
            Refused("spec.ports[0].tls"),
        ),
        (
            "domain",
            "inbound: {recipients: {mode: Listed, addresses: [no, ann]}, deliverTo: {lmtp: {host: h, port: 24}}}",
            Refused("spec.inbound.recipients.addresses[0]"),
        ),
        (
            "domain",
            "inbound: {recipients: {mode: Listed, addresses: [\"no\", ann]}, deliverTo: {lmtp: {host: h, port: 24}}}",
            Stored("/spec/inbound/recipients/addresses/0", json!("no")),
        ),
        // Numbers where a text is meant.
        ("listener", "hostname: 08", Refused("spec.hostname")),
        ("listener", "hostname: 1e3", Refused("spec.hostname")),
        ("listener", "hostname: 1.1", Refused("spec.hostname")),
        ("domain", "domain: 1e3", Refused("spec.domain")),
        (
            "domain",
            "domain: 08.example",
            Stored("/spec/domain", json!("08.example")),
        ),
        (
            "domain",
            "domain: 1e3.example",
            Stored("/spec/domain", json!("1e3.example")),
        ),
        (
            "domain",
            "inbound: {recipients: {mode: Listed, addresses: [08]}, deliverTo: {lmtp: {host: h, port: 24}}}",
            Refused("spec.inbound.recipients.addresses[0]"),
        ),
        // Quantities.
        (
            "listener",
            "queue: {storage: {size: 0.5Gi}}",
            Refused("spec.queue.storage.size"),
        ),
        (
            "listener",
            "queue: {storage: {size: 1e9}}",
            Refused("spec.queue.storage.size"),
        ),
        (
            "listener",
            "queue: {storage: {size: 1073741824}}",
            Refused("spec.queue.storage.size"),
        ),
        (
            "listener",
            "queue: {storage: {size: \"0x10\"}}",
            Refused("spec.queue.storage.size"),
        ),
        (
            "listener",
            "queue: {storage: {size: 1GB}}",
            Refused("spec.queue.storage.size"),
        ),
        (
            "listener",
            "queue: {storage: {size: 1 Gi}}",
            Refused("spec.queue.storage.size"),
        ),
        (
            "listener",
            "queue: {storage: {size: -1Gi}}",
            Refused("spec.queue.storage.size"),
        ),
        // Durations. Sexagesimal numbers are YAML 1.1 too.
        (
            "listener",
            "queue: {storage: {size: 1Gi}, lifetime: 90m}",
            lifetime("90m"),
        ),
        (
            "listener",
            "queue: {storage: {size: 1Gi}, lifetime: 90}",
            Refused("spec.queue.lifetime"),
        ),
        (
            "listener",
            "queue: {storage: {size: 1Gi}, lifetime: \"90\"}",
            Refused("spec.queue.lifetime"),
        ),
        (
            "listener",
            "queue: {storage: {size: 1Gi}, lifetime: 1.5h}",
            Refused("spec.queue.lifetime"),
        ),
        (
            "listener",
            "queue: {storage: {size: 1Gi}, lifetime: 1e3s}",
            Refused("spec.queue.lifetime"),
        ),
        (
            "listener",
            "queue: {storage: {size: 1Gi}, lifetime: 90M}",
            Refused("spec.queue.lifetime"),
        ),
        (
            "listener",
            "queue: {storage: {size: 1Gi}, lifetime: 1:30:00}",
            Refused("spec.queue.lifetime"),
        ),
        // Labels.
        ("listener", "pod: {labels: {a.example/b: \"yes\"}}", label("yes")),
        (
            "listener",
            "pod: {labels: {a.example/b: yes}}",
            Refused("spec.pod.labels.a.example/b"),
        ),
        (
            "listener",
            "pod: {labels: {a.example/b: 08}}",
            Refused("spec.pod.labels.a.example/b"),
        ),
        ("listener", LONG_LABEL, Told("spec.pod.labels")),
        // Names.
        ("listener", "metadata: {name: edge.eu}", Refused("metadata.name")),
        ("listener", "metadata: {name: \"08\"}", Refused("metadata.name")),
        ("listener", "metadata: {name: 2edge}", Refused("metadata.name")),
        (
            "listener",
            "metadata: {name: edge-peers}",
            Refused("metadata.name"),
        ),
        (
            "listener",
            "metadata: {name: edge-2}",
            Stored("/metadata/name", json!("edge-2")),
        ),
        ("listener", "metadata: {name: 8}", Refused("name")),
        ("listener", "metadata: {name: Edge}", Refused("name")),
        (
            "listener",
            "metadata: {name: abcdefghij-abcdefghij-abcdefghij-abcdefghij-abcdefghij}",
            Refused("name"),
        ),
        (
            "domain",
            "metadata: {name: shop.example.com}",
            Stored("/metadata/name", json!("shop.example.com")),
        ),
        (
            "policy",
            "metadata: {name: via.ses}",
            Stored("/metadata/name", json!("via.ses")),
        ),
    ]
}

/// A value of 64 letters.
const LONG_LABEL: &str =
    "pod: {labels: {a.example/b: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}}";

/// The object in YAML, with these lines in place of the usual ones.
fn object(kind: &str, line: &str) -> String {
    let (kind, usual): (&str, &[&str]) = match kind {
        "listener" => (
            "SmtpListener",
            &[
                "hostname: mx.example.com",
                "ports: [{name: smtp, port: 25, role: Transfer, tls: Disabled}]",
                "queue: {storage: {size: 1Gi}}",
            ],
        ),
        "domain" => (
            "MailDomain",
            &["domain: a.example", "listenerRefs: [{name: edge}]"],
        ),
        _ => (
            "RelayPolicy",
            &["listenerRefs: [{name: edge}]", "routes: [{direct: {}}]"],
        ),
    };
    let field = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    let (metadata, line) = match line.strip_prefix("metadata: ") {
        Some(metadata) => (metadata, ""),
        None => ("{name: judged}", line),
    };
    let lines: Vec<&str> = usual
        .iter()
        .copied()
        .filter(|known| field(known) != field(line))
        .chain([line])
        .collect();
    format!(
        "apiVersion: postroad.dev/v1alpha1\nkind: {kind}\nmetadata: {metadata}\nspec:\n  {}\n",
        lines.join("\n  ")
    )
}

async fn judged(world: Arc<World>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    let mut wrong = Vec::new();
    for (kind, line, wanted) in rows() {
        let said = world.server.would_apply(&rig.namespace, &object(kind, line));
        let holds = match (&said, &wanted) {
            (Ok(stored), Stored(place, value)) => stored.pointer(place) == Some(value),
            (Err(said), Refused(part)) => said.contains(part),
            (Ok(stored), Told(part)) => {
                told(&rig, stored, part).await?;
                true
            }
            _ => false,
        };
        if !holds {
            let said = said.map(|stored| format!("{} {}", stored["metadata"]["name"], stored["spec"]));
            wrong.push(format!("{kind} `{line}`: {said:?}"));
        }
    }
    if wrong.is_empty() {
        Ok(Verdict::Held)
    } else {
        Err(wrong.join("\n        "))
    }
}

/// Applies a listener for good, and waits for the word of the operator.
async fn told(rig: &Rig, stored: &Value, part: &str) -> Said<()> {
    let name = stored["metadata"]["name"].as_str().unwrap_or_default();
    let object = json!({
        "apiVersion": stored["apiVersion"], "kind": stored["kind"], "metadata": {"name": name}, "spec": stored["spec"],
    });
    rig.apply("smtplisteners", &object).await?;
    rig.until("Ready=False names the field", async |rig| {
        let [status, _, message] = condition(rig, "smtplisteners", name, "Ready").await?;
        Ok(status == "False" && message.contains(part))
    })
    .await?;
    rig.api.delete(&rig.path("smtplisteners", name)).await
}
