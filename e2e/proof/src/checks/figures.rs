//! Checks 42, 43 and 44: what an operator at rest costs, and what its figures say and do not say.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::case::{Case, Verdict};
use crate::operation::{Operation, Reference, secret, signed};
use crate::proxy::{Fault, Pick, Rule};
use crate::request::Verb;
use crate::rig::{Rig, World};
use crate::server::Said;

/// All cases.
pub fn cases(created: &Arc<Reference>) -> Vec<Case> {
    let mut cases = vec![
        Case::new(
            "check_42_rest_costs_little",
            "a listener that hibernates, 60 s",
            rest,
        ),
        Case::new(
            "check_43_figures_tell_no_secret",
            "canaries in all Secrets",
            canary,
        ),
    ];
    for (what, trouble) in [
        ("a write is refused for good", Trouble::Refused),
        ("a Secret is missing", Trouble::Missing),
    ] {
        let reference = created.clone();
        cases.push(Case::new(
            "check_44_figures_show_what_is_wrong",
            what,
            move |world| shown(world, reference, trouble),
        ));
    }
    cases
}

/// Most requests in a second, and most memory in MB, at rest. Source: the promises of the product.
const REQUESTS: f64 = 1.0;
const MEMORY: u64 = 60;

/// Pods never serve here, and a listener without a serving pod is looked at every second; one that hibernates is at rest.
async fn rest(world: Arc<World>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::ScaleUp.prepare(&rig).await?;
    let path = rig.path("smtplisteners", "edge");
    let sleeps = json!({"metadata": {"annotations": {"postroad.dev/hibernate": "true"}}});
    rig.api.merge(&path, &sleeps).await?;
    rig.until("the pods are gone", async |rig| {
        let pods = rig.api.get(&rig.path("pods", "")).await?;
        let is_empty = pods["items"].as_array().is_some_and(Vec::is_empty);
        let listener = rig.api.get(&path).await?;
        Ok(is_empty && listener.to_string().contains("\"Hibernated\""))
    })
    .await?;
    rig.quiet(1).await?;
    rig.proxy.begin(Vec::new(), None);
    tokio::time::sleep(Duration::from_mins(1)).await;
    let seen = rig.proxy.seen();
    if let Some(write) = seen.iter().find(|seen| seen.call.writes()) {
        return Err(format!("{:?} {}", write.call.verb, write.path));
    }
    #[expect(clippy::cast_precision_loss, reason = "a few requests")]
    let requests = seen.len() as f64 / 60.0;
    let (now, most) = rig.operator.memory()?;
    eprintln!("    at rest: {requests:.2} requests a second, {now} MB (at most {most} MB)");
    if requests >= REQUESTS {
        return Err(format!("{requests:.2} requests a second"));
    }
    if now >= MEMORY {
        return Err(format!("{now} MB of memory"));
    }
    Ok(Verdict::Held)
}

async fn canary(world: Arc<World>) -> Said<Verdict> {
    const CANARY: &str = "canary-of-a-verifier";
    let rig = Rig::new(&world).await?;
    Operation::Sign.prepare(&rig).await?;
    rig.api.merge(&rig.path("maildomains", "moor"), &signed()).await?;
    rig.quiet(1).await?;
    // What cannot be read is the likeliest to be quoted.
    secret(&rig, "users", "users", &format!("shop {CANARY}")).await?;
    rig.until("the listener says so", async |rig| {
        let listener = rig.api.get(&rig.path("smtplisteners", "edge")).await?;
        Ok(listener.to_string().contains("SecretInvalid"))
    })
    .await?;
    let mut values = vec![CANARY.to_owned()];
    for (name, object) in rig.raw().await? {
        if name.starts_with("secrets/") {
            let texts = crate::objects::texts(&object["data"]);
            let texts = texts.as_object().cloned().unwrap_or_default();
            let lines = texts
                .values()
                .filter_map(|text| text.as_str())
                .flat_map(str::lines);
            let keys = lines.filter(|line| line.len() > 40 && !line.contains(' '));
            values.extend(keys.map(str::to_owned));
        }
    }
    if values.len() < 10 {
        return Err(format!("only {} values to look for", values.len()));
    }
    let metrics = rig.operator.metrics().await?;
    let log = rig.operator.log();
    if !metrics.contains("postroad_operator_reconciles_total") {
        return Err(format!("no figures: {metrics}"));
    }
    for value in &values {
        if metrics.contains(value.as_str()) || log.contains(value.as_str()) {
            return Err("a value of a Secret is in the figures, or in the log".into());
        }
    }
    for name in ["edge", "moor.example", "mx.example.com"] {
        if metrics.contains(&format!("\"{name}\"")) {
            return Err(format!("a label holds {name}"));
        }
    }
    Ok(Verdict::Held)
}

#[derive(Clone, Copy)]
enum Trouble {
    Refused,
    Missing,
}

async fn shown(world: Arc<World>, reference: Arc<Reference>, trouble: Trouble) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    let lines: &[&str] = match trouble {
        Trouble::Refused => {
            Operation::Create.prepare(&rig).await?;
            let rule = Rule {
                pick: Pick::Call(Verb::Patch, "services".into()),
                fault: Fault::Answer(500),
                times: usize::MAX,
            };
            rig.proxy.begin(vec![rule], None);
            &[
                "postroad_operator_reconciles_total{kind=\"SmtpListener\",outcome=\"ApiError\"} ",
                "postroad_operator_writes_total{outcome=\"refused\"} ",
                "postroad_operator_failing 1",
                "postroad_operator_objects{kind=\"SmtpListener\",ready=\"False\"} 1",
            ]
        }
        Trouble::Missing => &["postroad_operator_objects{kind=\"SmtpListener\",ready=\"False\"} 1"],
    };
    Operation::Create.act(&rig).await?;
    rig.until(&format!("figures with {lines:?}"), async |rig| {
        // Not reached: it is starting.
        let metrics = rig.operator.metrics().await.unwrap_or_default();
        let leads = metrics.contains("postroad_operator_leader 1");
        let takes_time = metrics.contains("postroad_operator_reconcile_seconds_count ");
        Ok(leads && takes_time && lines.iter().all(|line| metrics.contains(line)))
    })
    .await?;
    rig.proxy.heal();
    if matches!(trouble, Trouble::Missing) {
        Operation::Create.prepare(&rig).await?;
    }
    rig.reaches(&reference.objects).await?;
    rig.until("figures without failing objects", async |rig| {
        Ok(rig
            .operator
            .metrics()
            .await?
            .contains("postroad_operator_failing 0"))
    })
    .await?;
    Ok(Verdict::Held)
}
