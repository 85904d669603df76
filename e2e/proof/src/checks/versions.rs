//! Checks 33 and 34: two versions of the operator on the same objects, there and back and at the same time; and objects that were
//! stored by a version with other fields.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::case::{Case, Verdict};
use crate::objects::Objects;
use crate::operation::{Operation, Reference, domain, listener, policy};
use crate::rig::{QUIET, Rig, World};
use crate::server::{Said, Server};

/// Domains and policies beside those of the listener: 50 objects with it.
const DOMAINS: usize = 41;
const POLICIES: usize = 6;

/// All cases.
pub fn cases(created: &Arc<Reference>, renamed: &Arc<Reference>) -> Vec<Case> {
    let (renamed, created) = (renamed.clone(), created.clone());
    vec![
        Case::new(
            "check_33_from_version_to_version_and_back",
            "50 objects, there and back",
            there_and_back,
        ),
        Case::new(
            "check_33_two_versions_at_the_same_time",
            "each leads in its turn",
            move |world| side_by_side(world, renamed),
        ),
        Case::new(
            "check_34_objects_of_other_versions",
            "fields that a newer version has, and that were dropped",
            move |world| other_fields(world, created),
        ),
    ]
}

/// Why a case is not played without another version.
fn none() -> Verdict {
    Verdict::Skipped(
        "give another version of the operator: --other, --other-commit, or POSTROAD_OPERATOR_OTHER".into(),
    )
}

/// What must be the same with either version: what people wrote, and what pods are made of.
#[derive(PartialEq)]
struct Kept {
    objects: BTreeMap<String, Value>,
    pods: BTreeMap<String, Value>,
    template: Value,
}

impl Kept {
    async fn of(rig: &Rig) -> Said<Self> {
        let mut kept = Self {
            objects: BTreeMap::new(),
            pods: BTreeMap::new(),
            template: Value::Null,
        };
        for (name, object) in rig.raw().await? {
            let kind = name.split('/').next().unwrap_or_default();
            match kind {
                "smtplisteners" | "maildomains" | "relaypolicies" => {
                    let written = json!([
                        object["spec"],
                        object["metadata"]["generation"],
                        object["metadata"]["labels"]
                    ]);
                    kept.objects.insert(name, written);
                }
                "pods" => {
                    kept.pods.insert(name, object["metadata"]["uid"].clone());
                }
                "statefulsets" => kept.template = object["spec"]["template"].clone(),
                _ => {}
            }
        }
        Ok(kept)
    }

    /// What is not the same any more.
    fn lost(&self, now: &Self) -> Option<String> {
        if self.template != now.template {
            return Some(format!(
                "the template of pods: {} became {}",
                self.template, now.template
            ));
        }
        if self.pods != now.pods {
            return Some("pods were replaced".into());
        }
        let mut changed = self
            .objects
            .iter()
            .filter(|(name, object)| now.objects.get(*name) != Some(object));
        changed
            .next()
            .map(|(name, object)| format!("{name}: {object} became {:?}", now.objects.get(name)))
    }
}

async fn there_and_back(world: Arc<World>) -> Said<Verdict> {
    let Some(other) = world.other.clone() else {
        return Ok(none());
    };
    let rig = Rig::new(&world).await?;
    rig.operator.become_program(&other).await;
    Operation::ScaleUp.prepare(&rig).await?;
    fill(&rig).await?;
    settled(&rig).await?;
    let before = Kept::of(&rig).await?;
    if before.objects.len() != 50 || before.template.is_null() {
        return Err(format!("{} objects are there", before.objects.len()));
    }
    for program in [&world.program, &other, &world.program] {
        change_version(&rig, program).await?;
        if let Some(lost) = before.lost(&Kept::of(&rig).await?) {
            return Err(format!("{}: {lost}", program.display()));
        }
    }
    Ok(Verdict::Held)
}

async fn fill(rig: &Rig) -> Said<()> {
    for number in 0..DOMAINS {
        let mut object = domain();
        object["metadata"]["name"] = json!(format!("d{number}"));
        object["metadata"]["labels"] = json!({"example.com/team": "post"});
        object["spec"]["domain"] = json!(format!("d{number}.example"));
        rig.apply("maildomains", &object).await?;
    }
    for number in 0..POLICIES {
        let mut object = policy();
        object["metadata"]["name"] = json!(format!("p{number}"));
        object["spec"]["priority"] = json!(number + 1);
        rig.apply("relaypolicies", &object).await?;
    }
    Ok(())
}

/// Each object is told of as it is now, and the operator is quiet.
async fn settled(rig: &Rig) -> Said<()> {
    rig.until("each object is told of", async |rig| {
        let objects = rig.raw().await?;
        let mut ours = objects.iter().filter(|(name, _)| is_kind(name));
        Ok(
            ours.all(|(_, object)| {
                object["status"]["observedGeneration"] == object["metadata"]["generation"]
            }),
        )
    })
    .await?;
    rig.quiet(1).await
}

fn is_kind(name: &str) -> bool {
    ["smtplisteners/", "maildomains/", "relaypolicies/"]
        .iter()
        .any(|kind| name.starts_with(kind))
}

/// Another version takes over, and looks at each object.
async fn change_version(rig: &Rig, program: &Path) -> Said<()> {
    rig.operator.down().await;
    rig.proxy.begin(Vec::new(), None);
    rig.operator.become_program(program).await;
    rig.until("the other version leads and has looked", async |rig| {
        // Not reached: it is starting.
        let figures = rig.operator.metrics().await.unwrap_or_default();
        let looked = |kind: &str| {
            figures.contains(&format!(
                "postroad_operator_reconciles_total{{kind=\"{kind}\",outcome=\"ok\"}}"
            ))
        };
        Ok(looked("SmtpListener") && looked("MailDomain") && looked("RelayPolicy"))
    })
    .await?;
    settled(rig).await
}

/// The Lease goes from one version to the other and back; each does what is asked while it leads.
async fn side_by_side(world: Arc<World>, renamed: Arc<Reference>) -> Said<Verdict> {
    let Some(other) = world.other.clone() else {
        return Ok(none());
    };
    let rig = Rig::new(&world).await?;
    rig.operator.become_program(&other).await;
    Operation::Rename.prepare(&rig).await?;
    let before = Kept::of(&rig).await?;
    let (second, newer) = rig.another().await?;
    rig.operator.down().await;
    Operation::Rename.act(&rig).await?;
    // What both versions come to is what one comes to.
    reached(&rig, &renamed.objects, &second).await?;
    rig.operator.up();
    newer.down().await;
    let back = json!({"spec": {"hostname": "mx.example.com"}});
    rig.api.merge(&rig.path("smtplisteners", "edge"), &back).await?;
    rig.until("the older version does it", async |rig| {
        let listener = rig.api.get(&rig.path("smtplisteners", "edge")).await?;
        Ok(listener["status"]["observedGeneration"] == listener["metadata"]["generation"])
    })
    .await?;
    // Who stands by does not write.
    newer.up();
    second.begin(Vec::new(), None);
    rig.until("the newer version stands by", async |_| {
        // Not reached: it is starting.
        let figures = newer.metrics().await.unwrap_or_default();
        Ok(figures.contains("postroad_operator_leader 0"))
    })
    .await?;
    rig.quiet(1).await?;
    if let Some(write) = second.seen().iter().find(|seen| seen.call.writes()) {
        return Err(format!("who stands by wrote {}", write.path));
    }
    let now = Kept::of(&rig).await?;
    if before.template != now.template || before.pods != now.pods {
        return Err("pods are others than before".into());
    }
    Ok(Verdict::Held)
}

/// The objects are these, and the operator behind this proxy is quiet with them.
async fn reached(rig: &Rig, wanted: &Objects, proxy: &crate::proxy::Proxy) -> Said<()> {
    rig.until("the other version has done it, and is quiet", async |rig| {
        let is_quiet = proxy.last_write().is_some_and(|at| at.elapsed() > QUIET);
        Ok(is_quiet && crate::objects::differences(wanted, &rig.objects().await?).is_empty())
    })
    .await
}

/// On a server of its own: the definitions are everybody's.
async fn other_fields(world: Arc<World>, created: Arc<Reference>) -> Said<Verdict> {
    let own = World::new(Server::start().await?, world.program.clone(), None);
    let rig = Rig::new(&own).await?;
    define(&rig, true).await?;
    Operation::Create.prepare(&rig).await?;
    Operation::Create.act(&rig).await?;
    let theirs = json!({"spec": {"future": {"word": "kept"}}});
    for (kind, name) in OBJECTS {
        rig.api.merge(&rig.path(kind, name), &theirs).await?;
    }
    let without = |objects: Objects| -> Objects { objects.into_iter().map(stripped).collect() };
    reaches_so(&rig, &created.objects, without).await?;
    for (kind, name) in OBJECTS {
        let object = rig.api.get(&rig.path(kind, name)).await?;
        if object["spec"]["future"] != theirs["spec"]["future"] {
            return Err(format!(
                "{kind}/{name} lost a field that this version does not know"
            ));
        }
    }
    // The field is dropped: what is stored has it still.
    define(&rig, false).await?;
    rig.operator.down().await;
    rig.proxy.begin(Vec::new(), None);
    rig.operator.up();
    rig.reaches(&created.objects).await?;
    let change = json!({"spec": {"hostname": "mx7.example.com"}});
    let path = rig.path("smtplisteners", "edge");
    rig.api.merge(&path, &change).await?;
    rig.until("a change is taken up", async |rig| {
        let listener = rig.api.get(&path).await?;
        Ok(
            listener["status"]["observedGeneration"] == listener["metadata"]["generation"]
                && listener["spec"]["future"].is_null(),
        )
    })
    .await?;
    rig.quiet(1).await?;
    Ok(Verdict::Held)
}

/// What [`Operation::Create`] makes.
const OBJECTS: [(&str, &str); 3] = [
    ("smtplisteners", "edge"),
    ("maildomains", "moor"),
    ("relaypolicies", "out"),
];

fn stripped((name, mut object): (String, Value)) -> (String, Value) {
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.remove("future");
    }
    (name, object)
}

async fn reaches_so(rig: &Rig, wanted: &Objects, shown: impl Fn(Objects) -> Objects) -> Said<()> {
    rig.until("all but the field is as ever", async |rig| {
        Ok(crate::objects::differences(wanted, &shown(rig.objects().await?)).is_empty())
    })
    .await?;
    rig.quiet(1).await
}

/// Definitions with a field more, or as they are; returns when the API server goes by them.
async fn define(rig: &Rig, with_future: bool) -> Said<()> {
    let field = if with_future {
        json!({"type": "object", "properties": {"word": {"type": "string"}}})
    } else {
        Value::Null
    };
    for (kind, _) in OBJECTS {
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind}.postroad.dev");
        let mut definition = rig.api.get(&path).await?;
        let spec = definition
            .pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties")
            .and_then(Value::as_object_mut)
            .ok_or("a definition without fields")?;
        if with_future {
            spec.insert("future".into(), field.clone());
        } else {
            spec.remove("future");
        }
        rig.api.replace(&path, &definition).await??;
    }
    let mut probes = [
        ("smtplisteners", listener()),
        ("maildomains", domain()),
        ("relaypolicies", policy()),
    ];
    for (_, probe) in &mut probes {
        probe["metadata"]["name"] = json!("probe");
        probe["spec"]["future"] = json!({"word": "probe"});
    }
    rig.until("the definitions are in force", async |rig| {
        for (kind, probe) in &probes {
            let path = format!("{}?dryRun=All", rig.path(kind, ""));
            if rig.api.create(&path, probe).await?["spec"]["future"].is_object() != with_future {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await
}
