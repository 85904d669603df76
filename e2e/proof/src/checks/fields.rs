//! Checks 17 and 18: every field that the examples set (together they have every field) is taken out and put back, or changed;
//! what the operator makes of it follows, and comes back to the same.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postroad_e2e::place;
use serde_json::{Value, json};

use crate::case::{Case, Verdict};
use crate::logins;
use crate::objects::{self, Objects};
use crate::operation::{listener, secret};
use crate::rig::{Rig, World};
use crate::server::{Said, text};

/// Fields whose effect is seen elsewhere than in the objects: where, for each.
pub const ELSEWHERE: &[(&str, &str)] = &[
    (
        "smtplisteners/deletionPolicy",
        "at the end of the listener alone: stories",
    ),
    (
        "smtplisteners/queue/storage/whenDrained",
        "when a pod was drained: stories",
    ),
    (
        "smtplisteners/egress",
        "in what is said of SPF records: unit tests of `dns/spf`",
    ),
    (
        "smtplisteners/attach/domains",
        "in objects of other namespaces, and an operator here has one: unit tests of `tenancy`, and the story `neighbours`",
    ),
    (
        "smtplisteners/attach/selector",
        "in objects of other namespaces, and an operator here has one: unit tests of `tenancy`, and the story `neighbours`",
    ),
    (
        "smtplisteners/pod/tolerations/0/operator",
        "`Equal`, as where it is left out, and `Exists` takes no value: the second toleration of the example",
    ),
    (
        "smtplisteners/rollout/deadline",
        "when a new pod does not do well: unit tests of `smtp_listener/rollout`, and the story `image_rolled`",
    ),
    (
        "smtplisteners/service/publicAddresses",
        "in `status.addresses`: unit tests of `addresses`",
    ),
    (
        "smtplisteners/service/ipFamilies/1",
        "the second family of `PreferDualStack`, which the API server adds by itself",
    ),
    (
        "relaypolicies/priority",
        "in the order of two policies: unit tests of `relay_policy/rank`",
    ),
    (
        "relaypolicies/routes/0/provider/domain",
        "in the records that the provider wants: unit tests of `mail_domain/providers`",
    ),
    (
        "maildomains/dkim/secretRef",
        "in keys that sign, and in `DKIMKeysCurrent` where there are none: check 39",
    ),
    (
        "maildomains/dns",
        "in what is said of DNS records: unit tests of `dns`",
    ),
    (
        "maildomains/dmarc",
        "in what is said of DNS records: unit tests of `dns`",
    ),
    (
        "maildomains/mtaSts",
        "in what is said of DNS records: unit tests of `dns`",
    ),
    (
        "maildomains/tlsRpt",
        "in what is said of DNS records: unit tests of `dns`",
    ),
    (
        "maildomains/mx",
        "in what is said of DNS records: unit tests of `dns`",
    ),
];

/// Leaves of one example that one case looks at.
const CHUNK: usize = 6;

/// Values of a field that are tried until one has an effect.
const TRIED: usize = 3;

/// How long a field has until its effect is there.
const FOLLOWED: Duration = Duration::from_secs(12);

/// An example.
#[derive(Clone)]
struct Example {
    kind: &'static str,
    file: String,
    object: Value,
}

/// All cases.
pub fn cases() -> Said<Vec<Case>> {
    let mut cases = Vec::new();
    for kind in ["smtplisteners", "maildomains", "relaypolicies"] {
        for example in examples(kind)? {
            let leaves = objects::leaves(&example.object["spec"]).len();
            for chunk in 0..leaves.div_ceil(CHUNK) {
                let (example, what) = (
                    example.clone(),
                    format!("{}: fields from {}", example.file, chunk * CHUNK + 1),
                );
                cases.push(Case::new(
                    "check_17_every_field_is_followed",
                    what,
                    move |world| followed(world, example, chunk),
                ));
            }
            let what = example.file.clone();
            cases.push(Case::new("check_18_there_and_back", what, move |world| {
                round(world, example)
            }));
        }
    }
    Ok(cases)
}

/// The examples of a kind, in the namespace of the case.
fn examples(kind: &'static str) -> Said<Vec<Example>> {
    let folder = match kind {
        "smtplisteners" => "smtplistener",
        "maildomains" => "maildomain",
        _ => "relaypolicy",
    };
    let folder = place::tree().join("docs/examples").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map_err(|error| format!("{}: {error}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let content = std::fs::read_to_string(&file).map_err(text)?;
        let mut object: Value = serde_saphyr::from_str(&content).map_err(text)?;
        // One listener is called like the other, so that it can be changed into it and back.
        let name = if kind == "smtplisteners" {
            json!("edge")
        } else {
            object["metadata"]["name"].take()
        };
        object["metadata"] = json!({"name": name});
        if object["spec"]["dkim"].is_object() {
            // There are no name servers here: a key that is to be seen in the DNS first would never sign.
            object["spec"]["dns"]["checks"]["dkim"] = json!("Ignored");
        }
        let references = object["spec"]
            .get_mut("listenerRefs")
            .and_then(Value::as_array_mut);
        for reference in references.into_iter().flatten() {
            *reference = json!({"name": "edge"});
        }
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        found.push(Example {
            kind,
            file: format!("{kind} {name}"),
            object,
        });
    }
    Ok(found)
}

impl Example {
    fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// The listener that it belongs to, its Secrets, and itself.
    async fn place(&self, rig: &Rig) -> Said<()> {
        let users = "shop:$argon2id$v=19$canary-of-a-verifier";
        // Of the usual listener, and of the example.
        let given = self.object["spec"]["authentication"]["users"]["secretRef"]["name"].as_str();
        for name in ["users"].into_iter().chain(given.filter(|name| *name != "users")) {
            secret(rig, name, "users", users).await?;
        }
        if let Some(name) = self.object["spec"]["tls"]["secretName"].as_str() {
            let host = self.object["spec"]["hostname"].as_str().unwrap_or_default();
            let own = rcgen::generate_simple_self_signed([host.to_owned()]).map_err(text)?;
            let pair = json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls",
                "stringData": {"tls.crt": own.cert.pem(), "tls.key": own.signing_key.serialize_pem()},
            });
            rig.apply("secrets", &pair).await?;
        }
        for login in logins::secrets(&logins::named(&self.object))? {
            rig.apply("secrets", &login).await?;
        }
        if self.kind != "smtplisteners" {
            rig.apply("smtplisteners", &listener()).await?;
        }
        Ok(())
    }

    async fn settle(&self, rig: &Rig) -> Said<Objects> {
        rig.quiet(1).await?;
        made(rig).await
    }

    /// The same once the keys are there that the example has made: that takes longer than an operator may be quiet.
    async fn settle_with_keys(&self, rig: &Rig) -> Said<Objects> {
        let dkim = &self.object["spec"]["dkim"];
        if dkim.is_object() && dkim["secretRef"].is_null() {
            let path = rig.path("secrets", &format!("{}-dkim", self.name()));
            rig.until("signing keys are made", async |rig| {
                Ok(rig.api.find(&path).await?.is_some())
            })
            .await?;
        }
        self.settle(rig).await
    }
}

/// What the operator made of what people wrote: the objects, and what it says is in its way.
async fn made(rig: &Rig) -> Said<Objects> {
    let mut objects = rig.objects().await?;
    objects.retain(|name, object| {
        let kind = name.split('/').next().unwrap_or_default();
        if matches!(kind, "smtplisteners" | "maildomains" | "relaypolicies") {
            *object = obstacle(object);
        }
        !matches!(kind, "pods" | "persistentvolumeclaims") && !object.is_null()
    });
    Ok(objects)
}

/// Why an object is not ready, where a person has to mend it; what only takes time is none.
fn obstacle(object: &Value) -> Value {
    const LASTING: [&str; 9] = [
        "SecretNotFound",
        "SecretInvalid",
        "Invalid",
        "CertManagerMissing",
        "CertificatePending",
        "ListenerNotFound",
        "NotPermitted",
        "Conflict",
        // What the API server refuses for good: it does not change the first family of a Service.
        "ApiError",
    ];
    let reason = &object["conditions"]["Ready"][1];
    if LASTING.iter().any(|lasting| reason == lasting) {
        reason.clone()
    } else {
        Value::Null
    }
}

async fn followed(world: Arc<World>, example: Example, chunk: usize) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    example.place(&rig).await?;
    rig.put(example.kind, &example.object).await?;
    let before = example.settle_with_keys(&rig).await?;
    if !before.contains_key("secrets/edge-config") {
        if example.object["spec"]["tls"]["issuerRef"].is_object() {
            return Ok(Verdict::Skipped("needs what is not here (cert-manager)".into()));
        }
        let listener = rig.api.get(&rig.path("smtplisteners", "edge")).await?;
        return Err(format!("nothing is served: {}", listener["status"]));
    }
    let spec = example.object["spec"].clone();
    let mut idle = Vec::new();
    for leaf in objects::leaves(&spec).iter().skip(chunk * CHUNK).take(CHUNK) {
        if is_elsewhere(example.kind, leaf) {
            continue;
        }
        let mut taken = 0;
        let mut seen = false;
        for other in others(&spec, leaf) {
            let mut object = example.object.clone();
            object["spec"] = other;
            if rig.put(example.kind, &object).await.is_err() {
                continue;
            }
            taken += 1;
            if taken > TRIED {
                break;
            }
            seen = differs(&rig, &before).await?;
            rig.put(example.kind, &example.object).await?;
            if seen {
                break;
            }
        }
        // No other value is taken: nothing can be followed.
        if taken > 0 && !seen {
            idle.push(leaf.clone());
        }
        if seen && !comes_back(&rig, &before).await? {
            let now = made(&rig).await?;
            let left = objects::differences(&before, &now);
            return Err(format!("{leaf} was put back, and {}", left.join("; ")));
        }
    }
    if idle.is_empty() {
        Ok(Verdict::Held)
    } else {
        Err(format!("nothing follows {}", idle.join(", ")))
    }
}

fn is_elsewhere(kind: &str, leaf: &str) -> bool {
    ELSEWHERE
        .iter()
        .any(|(known, _)| format!("{kind}{leaf}").starts_with(known))
}

async fn differs(rig: &Rig, before: &Objects) -> Said<bool> {
    within(async || Ok(!objects::differences(before, &made(rig).await?).is_empty())).await
}

async fn comes_back(rig: &Rig, before: &Objects) -> Said<bool> {
    within(async || Ok(objects::differences(before, &made(rig).await?).is_empty())).await
}

async fn within(holds: impl AsyncFn() -> Said<bool>) -> Said<bool> {
    let started = Instant::now();
    loop {
        if holds().await? {
            return Ok(true);
        }
        if started.elapsed() > FOLLOWED {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The spec without a leaf, and with other values of it.
fn others(spec: &Value, leaf: &str) -> Vec<Value> {
    let mut without = spec.clone();
    let was = objects::take(&mut without, leaf).unwrap_or_default();
    let mut found = vec![without];
    let mut values = match &was {
        Value::Bool(is) => vec![json!(!is)],
        // One more may be the same share of each pod.
        Value::Number(number) => {
            let number = number.as_i64().unwrap_or_default();
            vec![json!(number + 1), json!(number.saturating_mul(2) + 2)]
        }
        Value::String(text) => {
            let words = [
                "3m",
                "5h",
                "3Gi",
                "7Mi",
                "10.9.0.0/16",
                "Cluster",
                "Local",
                "All",
                "Any",
                "Required",
                "Encrypted",
                "Disabled",
                "Delete",
                "Relaxed",
                "Defer",
            ];
            let mut values = vec![json!(format!("{text}x")), json!(format!("x{text}"))];
            values.extend(words.iter().filter(|word| *word != text).map(|word| json!(word)));
            values
        }
        _ => Vec::new(),
    };
    for value in values.drain(..) {
        let mut other = spec.clone();
        if let Some(place) = other.pointer_mut(leaf) {
            *place = value;
            found.push(other);
        }
    }
    found
}

/// From the smallest listener to the example and back: nothing is left over.
async fn round(world: Arc<World>, mut example: Example) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    example.place(&rig).await?;
    rig.put("smtplisteners", &listener()).await?;
    let before = example.settle(&rig).await?;
    rig.proxy.begin(Vec::new(), None);
    if example.kind == "smtplisteners" {
        // A volume cannot shrink.
        example.object["spec"]["queue"]["storage"]["size"] = json!("1Gi");
    }
    if let Err(error) = rig.put(example.kind, &example.object).await {
        // What cannot change cannot come back.
        return Ok(Verdict::Skipped(error));
    }
    example.settle_with_keys(&rig).await?;
    if example.kind == "smtplisteners" {
        rig.put("smtplisteners", &listener()).await?;
    } else {
        rig.api.delete(&rig.path(example.kind, example.name())).await?;
    }
    if !comes_back(&rig, &before).await? {
        let left = objects::differences(&before, &made(&rig).await?);
        return Err(left.join("; "));
    }
    rig.quiet(0).await?;
    Ok(Verdict::Held)
}
