//! Check 20: what the schema lets pass and cannot be met: a spec that is wrong, and a configuration that does not fit. It is said, and
//! what ran before stays.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::case::{Case, Verdict};
use crate::objects;
use crate::operation::{Operation, Reference, listener};
use crate::rig::{Rig, World};
use crate::server::Said;

/// All cases.
pub fn cases(created: &Arc<Reference>) -> Vec<Case> {
    let (for_domain, for_policy) = (created.clone(), created.clone());
    vec![
        Case::new(
            "check_20_a_wrong_spec_keeps_what_was_served",
            "a domain whose catchAll is no address",
            move |world| {
                let wrong = json!({"spec": {"inbound": {"recipients": {"mode": "Listed", "addresses": ["ann"], "catchAll": "nobody"}}}});
                let right = json!({"spec": {"inbound": {"recipients": {"mode": "Any", "addresses": null, "catchAll": null}}}});
                kept(world, for_domain, ("maildomains", "moor"), wrong, right)
            },
        ),
        Case::new(
            "check_20_a_wrong_spec_keeps_what_was_served",
            "a policy for a domain that is none",
            move |world| {
                let wrong = json!({"spec": {"match": {"senderDomains": ["10.1.2.3"]}}});
                let right = json!({"spec": {"match": null}});
                kept(world, for_policy, ("relaypolicies", "out"), wrong, right)
            },
        ),
        Case::new(
            "check_20_a_configuration_that_does_not_fit_is_said",
            "three domains of one shard with 5,000 recipients each",
            too_large,
        ),
    ]
}

/// Reason and message of `Ready=False`.
async fn refused(rig: &Rig, kind: &str, name: &str) -> Said<Option<(String, String)>> {
    let object = rig.api.get(&rig.path(kind, name)).await?;
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let is_now = object["status"]["observedGeneration"] == object["metadata"]["generation"];
    let ready = conditions.find(|known| known["type"] == "Ready" && known["status"] == "False");
    let part = |of: &Value, name: &str| of[name].as_str().unwrap_or_default().to_owned();
    Ok(ready
        .filter(|_| is_now)
        .map(|ready| (part(ready, "reason"), part(ready, "message"))))
}

/// What is in the configuration: the texts of its Secrets.
async fn configuration(rig: &Rig) -> Said<Vec<Value>> {
    let mut texts = Vec::new();
    for (name, object) in rig.raw().await? {
        if name == "secrets/edge-config" || name.starts_with("secrets/edge-domains-") {
            texts.push(objects::texts(&object["data"]));
        }
    }
    Ok(texts)
}

async fn kept(
    world: Arc<World>,
    reference: Arc<Reference>,
    (kind, name): (&'static str, &'static str),
    wrong: Value,
    right: Value,
) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Create.prepare(&rig).await?;
    Operation::Create.act(&rig).await?;
    rig.reaches(&reference.objects).await?;
    let before = configuration(&rig).await?;
    rig.api.merge(&rig.path(kind, name), &wrong).await?;
    rig.until("Ready=False/Invalid", async |rig| {
        let refused = refused(rig, kind, name).await?;
        Ok(refused.is_some_and(|(reason, _)| reason == "Invalid"))
    })
    .await?;
    rig.quiet(0).await?;
    // An operator that knows nothing of before has the Secrets.
    rig.operator.down().await;
    rig.proxy.begin(Vec::new(), None);
    rig.operator.up();
    rig.quiet(1).await?;
    if configuration(&rig).await? != before {
        return Err("the configuration is another one".into());
    }
    rig.api.merge(&rig.path(kind, name), &right).await?;
    rig.reaches(&reference.objects).await?;
    Ok(Verdict::Held)
}

/// Names of one shard: the SHA-256 of each begins with the same octet, modulo 64.
const ONE_SHARD: [&str; 3] = ["d0.large.example", "d119.large.example", "d152.large.example"];

fn large(name: &str) -> Value {
    let addresses: Vec<String> = (0..5_000).map(|number| format!("{number:064}")).collect();
    json!({
        "apiVersion": "postroad.dev/v1alpha1", "kind": "MailDomain",
        "metadata": {"name": name.split('.').next().unwrap_or_default()},
        "spec": {
            "domain": name, "listenerRefs": [{"name": "edge"}],
            "inbound": {
                "recipients": {"mode": "Listed", "addresses": addresses},
                "deliverTo": {"lmtp": {"host": "store.example", "port": 24}},
            },
        },
    })
}

async fn too_large(world: Arc<World>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Create.prepare(&rig).await?;
    rig.apply("smtplisteners", &listener()).await?;
    let [first, second, third] = ONE_SHARD;
    for name in [first, second] {
        rig.apply("maildomains", &large(name)).await?;
    }
    rig.until("two of them are served", async |rig| {
        let texts = configuration(rig).await?;
        let has = |name: &str| texts.iter().any(|text| text.to_string().contains(name));
        Ok(has(first) && has(second))
    })
    .await?;
    rig.quiet(1).await?;
    let before = configuration(&rig).await?;
    rig.apply("maildomains", &large(third)).await?;
    rig.until("Ready=False/ConfigTooLarge, which names a domain", async |rig| {
        let refused = refused(rig, "smtplisteners", "edge").await?;
        Ok(refused.is_some_and(|(reason, message)| {
            reason == "ConfigTooLarge" && ONE_SHARD.iter().any(|name| message.contains(name))
        }))
    })
    .await?;
    rig.quiet(0).await?;
    if configuration(&rig).await? != before {
        return Err("the configuration is another one".into());
    }
    let name = third.split('.').next().unwrap_or_default();
    rig.api.delete(&rig.path("maildomains", name)).await?;
    rig.until("it is over", async |rig| {
        let refused = refused(rig, "smtplisteners", "edge").await?;
        Ok(refused.is_none_or(|(reason, _)| reason != "ConfigTooLarge"))
    })
    .await?;
    rig.quiet(0).await?;
    Ok(Verdict::Held)
}
