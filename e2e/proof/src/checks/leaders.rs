//! Check 3: two operators, one of them stopped in its tracks while it leads, and continued when the other does.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::case::{Case, Verdict};
use crate::operation::{Operation, Reference};
use crate::rig::{Rig, World};
use crate::server::Said;

/// One case.
pub fn cases(created: &Arc<Reference>) -> Vec<Case> {
    let reference = created.clone();
    vec![Case::new(
        "check_03_a_leader_that_was_paused_does_not_write",
        "SIGSTOP, SIGCONT",
        move |world| paused(world, reference),
    )]
}

async fn holder(rig: &Rig) -> Said<String> {
    let path = format!(
        "/apis/coordination.k8s.io/v1/namespaces/{}/leases/postroad-operator",
        rig.namespace
    );
    let lease = rig.api.find(&path).await?.unwrap_or_default();
    Ok(lease["spec"]["holderIdentity"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

/// Times that a computer which stands still for longer than a Lease lasts may spoil it.
const TRIES: usize = 3;

async fn paused(world: Arc<World>, reference: Arc<Reference>) -> Said<Verdict> {
    for _ in 0..TRIES {
        if once(&world, &reference).await? {
            return Ok(Verdict::Held);
        }
    }
    Err(format!(
        "{TRIES} times the second operator lost its Lease by itself: the computer is too busy to tell"
    ))
}

/// Whether it could be told: where the second operator cannot keep its Lease, the first one leads again, and rightly so.
async fn once(world: &World, reference: &Reference) -> Said<bool> {
    let rig = Rig::new(world).await?;
    Operation::Create.prepare(&rig).await?;
    Operation::Create.act(&rig).await?;
    rig.reaches(&reference.objects).await?;
    let (second, operator) = rig.another().await?;
    rig.operator.signal(Signal::STOP);
    rig.until("the second operator leads", async |rig| {
        Ok(holder(rig).await? == "operator-1")
    })
    .await?;
    let led = operator.starts();
    // There is work for both: the old leader must not do it.
    second.begin(Vec::new(), None);
    Operation::Rename.act(&rig).await?;
    rig.until("the second operator works", async |_| Ok(second.writes() > 0))
        .await?;
    let starts = rig.operator.starts();
    rig.proxy.begin(Vec::new(), None);
    rig.operator.signal(Signal::CONT);
    rig.until("the old leader ends", async |rig| {
        Ok(rig.operator.starts() > starts)
    })
    .await?;
    // Started again, it stands by. Longer than a Lease lasts.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let written: Vec<_> = rig
        .proxy
        .seen()
        .into_iter()
        .filter(|seen| seen.call.writes())
        .map(|seen| seen.path)
        .collect();
    let leads = holder(&rig).await?;
    let has_lost = operator.starts() > led;
    drop(operator);
    if has_lost {
        return Ok(false);
    }
    if !written.is_empty() {
        return Err(format!("the old leader wrote: {written:?}"));
    }
    if leads != "operator-1" {
        return Err(format!("{leads} leads"));
    }
    Ok(true)
}
