//! Check 24: two objects want the same domain, the same mail, or the same host name. The older has it, the other says so and names
//! it, takes over when the first goes, and is not driven out by a younger one of the first's name.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::case::{Case, Verdict};
use crate::operation::{Operation, domain, listener, policy};
use crate::rig::{Rig, World};
use crate::server::Said;

/// What two objects are after.
#[derive(Clone)]
struct Rivals {
    kind: &'static str,
    object: Value,
    /// Condition, status and reason of who lost.
    lost: (&'static str, &'static str, &'static str),
}

/// One case for each kind.
pub fn cases() -> Vec<Case> {
    let rivals = [
        ("smtplisteners", listener(), ("Conflicted", "True", "Conflict")),
        ("maildomains", domain(), ("Ready", "False", "DomainConflict")),
        ("relaypolicies", policy(), ("Conflicted", "True", "Conflict")),
    ];
    let one = |(kind, object, lost): (&'static str, Value, _)| {
        let rivals = Rivals { kind, object, lost };
        Case::new("check_24_who_lost_takes_over", kind, move |world| {
            handed_over(world, rivals)
        })
    };
    let mut cases: Vec<Case> = rivals.into_iter().map(one).collect();
    cases.push(Case::new(
        "check_24_who_cannot_be_served_gives_way",
        "smtplisteners",
        gives_way,
    ));
    cases
}

/// A listener that is wrong holds no name: the younger that can be served has it, and keeps it when the other is put right.
async fn gives_way(world: Arc<World>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Create.prepare(&rig).await?;
    let mut rivals = Rivals {
        kind: "smtplisteners",
        object: listener(),
        lost: ("Conflicted", "True", "Conflict"),
    };
    rivals.object["spec"]["pod"] = json!({"labels": {"no key": "x"}});
    rivals.come(&rig, "first").await?;
    let invalid = Rivals {
        lost: ("Ready", "False", "Invalid"),
        ..rivals.clone()
    };
    invalid.says(&rig, "first", Some("spec.pod.labels")).await?;
    rivals.object = listener();
    tokio::time::sleep(A_SECOND).await;
    rivals.come(&rig, "second").await?;
    rivals.says(&rig, "second", None).await?;
    rig.until("the second is served", async |rig| {
        let config = rig.api.find(&rig.path("secrets", "second-config")).await?;
        Ok(config.is_some())
    })
    .await?;
    rivals.says(&rig, "first", Some("second")).await?;
    invalid.says(&rig, "first", Some("spec.pod.labels")).await?;
    rivals.object["metadata"]["name"] = json!("first");
    rig.put("smtplisteners", &rivals.object).await?;
    invalid.says(&rig, "first", None).await?;
    rivals.says(&rig, "first", Some("second")).await?;
    rivals.says(&rig, "second", None).await?;
    rig.quiet(1).await?;
    Ok(Verdict::Held)
}

async fn handed_over(world: Arc<World>, rivals: Rivals) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Create.prepare(&rig).await?;
    if rivals.kind != "smtplisteners" {
        rig.apply("smtplisteners", &listener()).await?;
    }
    rivals.come(&rig, "first").await?;
    rig.settles().await?;
    rivals.come(&rig, "second").await?;
    rivals.says(&rig, "second", Some("first")).await?;
    rivals.says(&rig, "first", None).await?;
    rig.quiet(1).await?;
    rig.api.delete(&rig.path(rivals.kind, "first")).await?;
    rivals.says(&rig, "second", None).await?;
    rig.until("the first is gone", async |rig| {
        let left = rig.api.find(&rig.path(rivals.kind, "first")).await?;
        Ok(left.is_none())
    })
    .await?;
    // By name it would win; it is the younger now.
    tokio::time::sleep(A_SECOND).await;
    rivals.come(&rig, "first").await?;
    rivals.says(&rig, "first", Some("second")).await?;
    rivals.says(&rig, "second", None).await?;
    rig.quiet(1).await?;
    Ok(Verdict::Held)
}

/// Times of creation are whole seconds.
const A_SECOND: std::time::Duration = std::time::Duration::from_millis(1_100);

impl Rivals {
    async fn come(&self, rig: &Rig, name: &str) -> Said<()> {
        let mut object = self.object.clone();
        object["metadata"]["name"] = json!(name);
        rig.apply(self.kind, &object).await.map(drop)
    }

    /// Waits until the object says that it lost, and to whom, or, where nobody is named, that it did not.
    async fn says(&self, rig: &Rig, name: &str, winner: Option<&str>) -> Said<()> {
        let path = rig.path(self.kind, name);
        let what = format!("{name} says what it is, beside {winner:?}");
        rig.until(&what, async |rig| {
            let object = rig.api.get(&path).await?;
            let (kind, status, reason) = self.lost;
            let conditions = object["status"]["conditions"].as_array();
            let mut conditions = conditions.into_iter().flatten();
            let Some(found) = conditions.find(|condition| condition["type"] == kind) else {
                return Ok(false);
            };
            let is_of_now = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            let has_lost = found["status"] == status && found["reason"] == reason;
            let is_named = |winner: &str| {
                found["message"]
                    .as_str()
                    .is_some_and(|said| said.contains(winner))
            };
            Ok(is_of_now && has_lost == winner.is_some() && winner.is_none_or(is_named))
        })
        .await
    }
}
