//! What a person does to a listener, from which state, and what it comes to when nothing goes wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::objects::Objects;
use crate::rig::{Rig, World};
use crate::server::Said;

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A listener, a domain and a policy come.
    Create,
    /// One more pod.
    ScaleUp,
    /// One pod less.
    ScaleDown,
    /// No pod at all.
    Hibernate,
    /// Another host name: another certificate.
    Rename,
    /// The authority of the admin endpoints is made anew.
    Rotate,
    /// Larger volumes: the StatefulSet is made anew around its pods.
    Grow,
    /// Another image of the mail server, pod by pod.
    Upgrade,
    /// Mail of the domain is to be signed: keys are made.
    Sign,
    /// The listener goes.
    Delete,
}

/// All operations.
pub const ALL: [Operation; 10] = [
    Operation::Create,
    Operation::ScaleUp,
    Operation::ScaleDown,
    Operation::Hibernate,
    Operation::Rename,
    Operation::Rotate,
    Operation::Grow,
    Operation::Upgrade,
    Operation::Sign,
    Operation::Delete,
];

/// How an operation goes when nothing goes wrong.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The operation.
    pub operation: Operation,
    /// Numbered writes that it took.
    pub writes: usize,
    /// What is there at the end.
    pub objects: Objects,
    /// Verbs and kinds that it took, but for the Lease.
    pub used: BTreeSet<(String, String)>,
}

/// Objects that stay the same for this long are the end.
const SETTLED: Duration = Duration::from_secs(6);

impl Reference {
    /// Runs the operation undisturbed.
    pub async fn of(world: &World, operation: Operation) -> Said<Self> {
        let rig = Rig::new(world).await?;
        operation.prepare(&rig).await?;
        if operation != Operation::Create {
            rig.proxy.begin(Vec::new(), None);
        } // Before it nothing is written; what an operator asks for at its start is used as well.
        operation.act(&rig).await?;
        rig.quiet(1).await?;
        let used = used(&rig);
        // The controllers of the cluster come after: what is owned is collected, pods are made.
        let mut objects = rig.objects().await?;
        loop {
            tokio::time::sleep(SETTLED).await;
            let later = rig.objects().await?;
            let collected = operation != Operation::Delete || !later.contains_key("services/edge");
            if later == objects && collected {
                break;
            }
            objects = later;
        }
        Ok(Self {
            operation,
            writes: rig.proxy.writes(),
            objects,
            used,
        })
    }
}

fn used(rig: &Rig) -> BTreeSet<(String, String)> {
    let seen = rig.proxy.seen();
    let calls = seen.into_iter().map(|seen| seen.call);
    calls
        .filter(|call| !call.kind.is_empty() && call.kind != "leases")
        .map(|call| (format!("{:?}", call.verb), call.kind))
        .collect()
}

impl Operation {
    /// The state before.
    pub async fn prepare(self, rig: &Rig) -> Said<()> {
        secret(rig, "users", "users", "shop:$argon2id$v=19$canary-of-a-verifier").await?;
        if self == Self::Create {
            return Ok(());
        }
        create(rig).await?;
        rig.until("pods of the first listener", async |rig| {
            let pods = rig.api.get(&rig.path("pods", "")).await?;
            Ok(pods["items"].as_array().is_some_and(|pods| pods.len() == 2))
        })
        .await?;
        rig.settles().await
    }

    /// Does it.
    pub async fn act(self, rig: &Rig) -> Said<()> {
        let change = async |change: Value| {
            rig.api
                .merge(&rig.path("smtplisteners", "edge"), &change)
                .await
                .map(drop)
        };
        match self {
            Self::Create => create(rig).await,
            Self::ScaleUp => change(json!({"spec": {"replicas": 3}})).await,
            Self::ScaleDown => change(json!({"spec": {"replicas": 1}})).await,
            Self::Hibernate => change(json!({"spec": {"replicas": 0}})).await,
            Self::Rename => change(json!({"spec": {"hostname": "mx2.example.com"}})).await,
            Self::Rotate => rig.api.delete(&rig.path("secrets", "edge-ca")).await,
            Self::Grow => change(json!({"spec": {"queue": {"storage": {"size": "2Gi"}}}})).await,
            Self::Upgrade => {
                rig.operator.upgrade("proof/mta:2").await;
                Ok(())
            }
            Self::Sign => rig
                .api
                .merge(&rig.path("maildomains", "moor"), &signed())
                .await
                .map(drop),
            Self::Delete => rig.api.delete(&rig.path("smtplisteners", "edge")).await,
        }
    }
}

async fn create(rig: &Rig) -> Said<()> {
    rig.apply("smtplisteners", &listener()).await?;
    rig.apply("maildomains", &domain()).await?;
    rig.apply("relaypolicies", &policy()).await?;
    Ok(())
}

/// A Secret with one text.
pub async fn secret(rig: &Rig, name: &str, key: &str, text: &str) -> Said<()> {
    let data = base64::engine::general_purpose::STANDARD.encode(text);
    let object =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {key: data}});
    rig.apply("secrets", &object).await.map(drop)
}

/// The listener of most cases.
pub fn listener() -> Value {
    json!({
        "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener", "metadata": {"name": "edge"},
        "spec": {
            "hostname": "mx.example.com", "replicas": 2,
            "ports": [
                {"name": "smtp", "port": 25, "role": "Transfer", "tls": "Opportunistic"},
                {"name": "submission", "port": 587, "role": "Submission", "tls": "StartTls"},
            ],
            "tls": {"selfSigned": {}},
            "authentication": {"users": {"secretRef": {"name": "users"}}},
            "networkPolicy": {},
            "queue": {"storage": {"size": "1Gi"}},
        },
    })
}

/// Its domain.
pub fn domain() -> Value {
    json!({
        "apiVersion": "postroad.dev/v1alpha1", "kind": "MailDomain", "metadata": {"name": "moor"},
        "spec": {
            "domain": "moor.example", "listenerRefs": [{"name": "edge"}],
            "inbound": {"recipients": {"mode": "Any"}, "deliverTo": {"lmtp": {"host": "store.example", "port": 24}}},
        },
    })
}

/// The change that has its mail signed, with keys that wait for no record: there are no name servers here.
pub fn signed() -> Value {
    json!({"spec": {"dkim": {}, "dns": {"checks": {"dkim": "Ignored"}}}})
}

/// Its policy.
pub fn policy() -> Value {
    json!({
        "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy", "metadata": {"name": "out"},
        "spec": {
            "listenerRefs": [{"name": "edge"}],
            "routes": [{"direct": {}, "tls": {"mode": "Opportunistic"}}],
        },
    })
}
