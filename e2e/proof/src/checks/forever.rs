//! Check 13, for ever: a write that is always refused is tried later and later, said in a condition, and made good once it is
//! taken again. The long count, ten minutes, is `operator/tests/calm.rs` on a paused clock.

use std::sync::Arc;
use std::time::Duration;

use crate::case::{Case, Verdict};
use crate::operation::{Operation, Reference};
use crate::proxy::{Fault, Pick, Rule};
use crate::request::Verb;
use crate::rig::{Rig, World};
use crate::server::Said;

/// One case for each code.
pub fn cases(created: &Arc<Reference>) -> Vec<Case> {
    let faults = [403, 409, 422, 429, 500, 504]
        .map(Fault::Answer)
        .into_iter()
        .chain([Fault::Cut]);
    let one = |fault| {
        let reference = created.clone();
        Case::new(
            "check_13_a_fault_that_stays_is_said",
            format!("apply of the Service: {fault:?}"),
            move |world| stays(world, reference, fault),
        )
    };
    faults.map(one).collect()
}

async fn stays(world: Arc<World>, reference: Arc<Reference>, fault: Fault) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Create.prepare(&rig).await?;
    let pick = Pick::Call(Verb::Patch, "services".into());
    rig.proxy.begin(
        vec![Rule {
            pick,
            fault,
            times: usize::MAX,
        }],
        None,
    );
    Operation::Create.act(&rig).await?;
    rig.until("Ready=False ApiError", async |rig| {
        let object = rig.api.get(&rig.path("smtplisteners", "edge")).await?;
        let conditions = object["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        Ok(conditions.iter().any(|condition| {
            condition["type"] == "Ready"
                && condition["status"] == "False"
                && condition["reason"] == "ApiError"
        }))
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let tries = rig.proxy.fired();
    // Two at once, then after 1, 2, 4, 8, 16 s; each change of an object around it is a reason to look again.
    if tries > 20 {
        return Err(format!("{tries} tries within half a minute"));
    }
    rig.proxy.heal();
    rig.reaches(&reference.objects).await?;
    Ok(Verdict::Held)
}
