//! Checks 9 and 12: a view of the past, from which nothing live may be taken away; lists in small pages and watches without
//! bookmarks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::case::{Case, Verdict};
use crate::operation::{Operation, Reference};
use crate::proxy::View;
use crate::request::Verb;
use crate::rig::{Rig, World};
use crate::server::Said;

/// All cases. `created`, `grown`: how a creation and one more pod go undisturbed.
pub fn cases(created: &Arc<Reference>, grown: &Arc<Reference>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, past, reference) in [
        ("nothing was there", Past::Nothing, created),
        ("there was a pod less", Past::FewerPods, grown),
        (
            "a listener of that name was being deleted",
            Past::ItsDeletion,
            created,
        ),
    ] {
        let reference = reference.clone();
        cases.push(Case::new(
            "check_09_a_view_of_the_past_takes_nothing_away",
            what,
            move |world| past_seen(world, reference, past),
        ));
    }
    let reference = created.clone();
    cases.push(Case::new(
        "check_12_small_pages_and_no_bookmarks",
        "pages of one",
        move |world| small_pages(world, reference),
    ));
    cases
}

#[derive(Clone, Copy)]
enum Past {
    Nothing,
    FewerPods,
    ItsDeletion,
}

/// How long the operator works with the old view.
const FROZEN: Duration = Duration::from_secs(15);

/// The version that everything is at now.
async fn version(rig: &Rig) -> Said<String> {
    let list = rig.api.get(&rig.path("smtplisteners", "")).await?;
    let version = list["metadata"]["resourceVersion"].as_str();
    version
        .map(str::to_owned)
        .ok_or_else(|| "a list without a version".to_owned())
}

/// Who is there: identities by kind and name.
async fn identities(rig: &Rig) -> Said<BTreeMap<String, Value>> {
    let all = rig.raw().await?;
    let uid = |object: Value| object["metadata"]["uid"].clone();
    Ok(all
        .into_iter()
        .map(|(name, object)| (name, uid(object)))
        .collect())
}

async fn past_seen(world: Arc<World>, reference: Arc<Reference>, past: Past) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Create.prepare(&rig).await?;
    let old = match past {
        Past::Nothing => {
            let old = version(&rig).await?;
            Operation::Create.act(&rig).await?;
            old
        }
        Past::FewerPods => {
            Operation::ScaleUp.prepare(&rig).await?;
            let old = version(&rig).await?;
            Operation::ScaleUp.act(&rig).await?;
            old
        }
        Past::ItsDeletion => {
            Operation::Delete.prepare(&rig).await?;
            rig.operator.down().await;
            Operation::Delete.act(&rig).await?;
            let old = version(&rig).await?;
            rig.operator.up();
            rig.until("the first listener is gone", async |rig| {
                Ok(rig.api.find(&rig.path("smtplisteners", "edge")).await?.is_none())
            })
            .await?;
            Operation::Create.act(&rig).await?;
            old
        }
    };
    rig.reaches(&reference.objects).await?;
    let before = identities(&rig).await?;
    rig.operator.down().await;
    rig.proxy.begin(Vec::new(), None);
    rig.proxy.view(View {
        frozen_at: Some(old),
        ..View::default()
    });
    rig.operator.up();
    rig.until("the operator sees the past", async |rig| {
        let seen = rig.proxy.seen();
        Ok(seen.iter().any(|seen| {
            seen.call.verb == Verb::List && seen.call.kind == "smtplisteners" && seen.status == 200
        }))
    })
    .await?;
    // Not a wait for a state: there is none to wait for. The operator has this long to do harm.
    tokio::time::sleep(FROZEN).await;
    let deletes: Vec<String> = rig
        .proxy
        .seen()
        .into_iter()
        .filter(|seen| seen.call.verb == Verb::Delete && seen.status == 200)
        .map(|seen| seen.path)
        .collect();
    if !deletes.is_empty() {
        return Err(format!("deleted by an old view: {deletes:?}"));
    }
    let now = identities(&rig).await?;
    if let Some((name, _)) = before.iter().find(|(name, uid)| now.get(*name) != Some(*uid)) {
        return Err(format!("{name} is gone, or another, by an old view"));
    }
    rig.proxy.heal();
    rig.reaches(&reference.objects).await?;
    if identities(&rig).await? != before {
        return Err("other objects are there than before".into());
    }
    Ok(Verdict::Held)
}

async fn small_pages(world: Arc<World>, reference: Arc<Reference>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    reference.operation.prepare(&rig).await?;
    rig.operator.down().await;
    // Objects that are there before are listed.
    reference.operation.act(&rig).await?;
    rig.proxy.begin(Vec::new(), None);
    rig.proxy.view(View {
        pages_of: Some(1),
        without_bookmarks: true,
        ..View::default()
    });
    rig.operator.up();
    rig.reaches(&reference.objects).await?;
    let seen = rig.proxy.seen();
    if !seen.iter().any(|seen| seen.path.contains("continue=")) {
        return Err("no list had a second page".into());
    }
    Ok(Verdict::Held)
}
