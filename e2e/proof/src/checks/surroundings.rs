//! Check 28: what surrounds the operator is broken, and mended: a quota, a webhook, its Lease, its permissions.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::case::{Case, Verdict};
use crate::operation::{Operation, Reference};
use crate::rig::{Rig, World};
use crate::server::{Said, text};

/// All cases.
pub fn cases(created: &Arc<Reference>, renamed: &Arc<Reference>) -> Vec<Case> {
    const CHECK: &str = "check_28_broken_surroundings_are_said_and_healed";
    let mut cases = Vec::new();
    for (what, obstacle) in [
        ("a quota of no Service", Obstacle::Quota),
        ("a webhook that cannot be reached", Obstacle::DeadWebhook),
        ("a webhook that never answers", Obstacle::SlowWebhook),
    ] {
        let reference = created.clone();
        cases.push(Case::new(CHECK, what, move |world| {
            refused(world, reference, obstacle)
        }));
    }
    let reference = renamed.clone();
    cases.push(Case::new(CHECK, "its Lease is deleted", move |world| {
        without_lease(world, reference)
    }));
    let reference = renamed.clone();
    cases.push(Case::new(CHECK, "its RoleBinding is emptied", move |world| {
        without_permission(world, reference)
    }));
    cases
}

#[derive(Clone, Copy)]
enum Obstacle {
    Quota,
    DeadWebhook,
    SlowWebhook,
}

impl Obstacle {
    /// Words of the API server about it.
    fn words(self) -> &'static str {
        match self {
            Self::Quota => "exceeded quota",
            Self::DeadWebhook | Self::SlowWebhook => "webhook",
        }
    }
}

async fn refused(world: Arc<World>, reference: Arc<Reference>, obstacle: Obstacle) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Create.prepare(&rig).await?;
    // Never accepts what it holds: connections are made, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.map_err(text)?;
    let path = match obstacle {
        Obstacle::Quota => quota(&rig).await?,
        Obstacle::DeadWebhook => webhook(&rig, 1).await?,
        Obstacle::SlowWebhook => webhook(&rig, silent.local_addr().map_err(text)?.port()).await?,
    };
    Operation::Create.act(&rig).await?;
    let said = rig
        .until(
            &format!("Ready=False/ApiError with `{}`", obstacle.words()),
            async |rig| {
                let listener = rig.api.get(&rig.path("smtplisteners", "edge")).await?;
                Ok(says(&listener, obstacle.words()))
            },
        )
        .await;
    rig.api.delete(&path).await?;
    said?;
    rig.reaches(&reference.objects).await?;
    Ok(Verdict::Held)
}

fn says(listener: &Value, words: &str) -> bool {
    let conditions = listener["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    conditions.iter().any(|condition| {
        condition["type"] == "Ready"
            && condition["status"] == "False"
            && condition["reason"] == "ApiError"
            && condition["message"]
                .as_str()
                .is_some_and(|message| message.contains(words))
    })
}

/// No Service may be made. Its controller does not run here: what it would say is said for it.
async fn quota(rig: &Rig) -> Said<String> {
    let all = format!("/api/v1/namespaces/{}/resourcequotas", rig.namespace);
    let hard = json!({"services": "0"});
    rig.api
        .create(
            &all,
            &json!({"metadata": {"name": "nothing"}, "spec": {"hard": hard}}),
        )
        .await?;
    let path = format!("{all}/nothing");
    let counted = json!({"status": {"hard": hard, "used": {"services": "0"}}});
    rig.api.merge(&format!("{path}/status"), &counted).await?;
    Ok(path)
}

/// Every Service of this namespace is to be judged by somebody at this port.
async fn webhook(rig: &Rig, port: u16) -> Said<String> {
    let all = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    let name = format!("judge-of-{}", rig.namespace);
    let object = json!({
        "metadata": {"name": name},
        "webhooks": [{
            "name": "judge.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "failurePolicy": "Fail", "timeoutSeconds": 2,
            "clientConfig": {"url": format!("https://127.0.0.1:{port}/")},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": rig.namespace}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["services"]}],
        }],
    });
    rig.api.create(all, &object).await?;
    let path = format!("{all}/{name}");
    // The API server learns of it by a watch of its own.
    let probe = json!({
        "metadata": {"name": "probe"}, "spec": {"selector": {"app": "x"}, "ports": [{"port": 1, "protocol": "TCP"}]},
    });
    rig.until("the webhook is in force", async |rig| {
        if let Err(refusal) = rig.api.create(&rig.path("services", ""), &probe).await {
            return Ok(refusal.contains("webhook"));
        }
        rig.api.delete(&rig.path("services", "probe")).await?;
        Ok(false)
    })
    .await?;
    Ok(path)
}

async fn without_lease(world: Arc<World>, reference: Arc<Reference>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Rename.prepare(&rig).await?;
    let path = format!(
        "/apis/coordination.k8s.io/v1/namespaces/{}/leases/postroad-operator",
        rig.namespace
    );
    let before = rig.api.get(&path).await?["metadata"]["uid"].clone();
    rig.api.delete(&path).await?;
    Operation::Rename.act(&rig).await?;
    rig.reaches(&reference.objects).await?;
    rig.until("another Lease", async |rig| {
        let lease = rig.api.find(&path).await?;
        Ok(lease.is_some_and(|lease| {
            lease["metadata"]["uid"] != before && lease["spec"]["holderIdentity"] == "operator-0"
        }))
    })
    .await?;
    Ok(Verdict::Held)
}

async fn without_permission(world: Arc<World>, reference: Arc<Reference>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Rename.prepare(&rig).await?;
    let all = format!(
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
        rig.namespace
    );
    let bindings = rig.api.get(&all).await?;
    for binding in bindings["items"].as_array().into_iter().flatten() {
        let name = binding["metadata"]["name"].as_str().unwrap_or_default();
        rig.api
            .merge(&format!("{all}/{name}"), &json!({"subjects": null}))
            .await?;
    }
    rig.proxy.begin(Vec::new(), None);
    Operation::Rename.act(&rig).await?;
    rig.until("the operator is refused", async |rig| {
        let refused = rig.proxy.seen().into_iter().filter(|seen| seen.status == 403);
        Ok(refused.count() > 3)
    })
    .await?;
    world.server.grant(&rig.namespace)?;
    rig.reaches(&reference.objects).await?;
    Ok(Verdict::Held)
}
