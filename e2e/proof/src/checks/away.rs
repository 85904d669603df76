//! Check 15: an API server that is away or takes no writes for longer than a Lease lasts, and a token and a certificate that are
//! replaced.

use std::sync::Arc;
use std::time::Duration;

use crate::case::{Case, Verdict};
use crate::identity::Identity;
use crate::operation::{Operation, Reference};
use crate::proxy::{Fault, Pick, Rule, View};
use crate::rig::{Rig, World};
use crate::server::{self, Said};

/// All cases. `renamed`: how another host name goes undisturbed.
pub fn cases(renamed: &Arc<Reference>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, pick, fault) in [
        ("away", Pick::Everything, Fault::Cut),
        (
            "its etcd is full: no write is taken",
            Pick::Writes,
            Fault::Answer(500),
        ),
    ] {
        let reference = renamed.clone();
        cases.push(Case::new(
            "check_15_an_api_server_that_is_away_or_full",
            format!("{what}, for {} s", AWAY.as_secs()),
            move |world| away(world, reference, pick, fault),
        ));
    }
    let reference = renamed.clone();
    cases.push(Case::new(
        "check_15_a_token_that_is_replaced",
        "the old one is refused once the new one is used",
        move |world| replaced(world, reference),
    ));
    for (what, how) in [
        (
            "once its authority has been among those that are trusted",
            Renewal::Announced,
        ),
        ("at the same moment as its authority", Renewal::Sudden),
    ] {
        let reference = renamed.clone();
        cases.push(Case::new(
            "check_15_a_certificate_that_is_replaced",
            what,
            move |world| shown_another(world, reference, how),
        ));
    }
    cases
}

/// How the API server comes to another certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Renewal {
    /// As clusters do it: both authorities are trusted first.
    Announced,
    /// The old authority is gone, and every connection with it.
    Sudden,
}

/// The client reads its authorities anew when a minute is over.
const READ_ANEW: Duration = Duration::from_secs(65);

/// Longer than a Lease lasts: the leader must end, and lead again.
const AWAY: Duration = Duration::from_secs(30);

async fn away(world: Arc<World>, reference: Arc<Reference>, pick: Pick, fault: Fault) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    reference.operation.prepare(&rig).await?;
    let starts = rig.operator.starts();
    rig.proxy.begin(
        vec![Rule {
            pick,
            fault,
            times: usize::MAX,
        }],
        None,
    );
    reference.operation.act(&rig).await?;
    tokio::time::sleep(AWAY).await;
    let tries = rig.proxy.fired();
    if rig.operator.starts() == starts {
        return Err("who cannot renew the Lease goes on all the same".into());
    }
    // Leases (one in four seconds), definitions, watches, and this one listener.
    if tries > 150 {
        return Err(format!("{tries} requests in {} s", AWAY.as_secs()));
    }
    rig.proxy.heal();
    rig.reaches(&reference.objects).await?;
    Ok(Verdict::Held)
}

async fn replaced(world: Arc<World>, reference: Arc<Reference>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Rename.prepare(&rig).await?;
    let (old, new) = (server::token(rig.place), server::later_token(rig.place));
    let starts = rig.operator.starts();
    rig.proxy.begin(Vec::new(), None);
    rig.operator.renew(&new)?;
    let bearer = format!("Bearer {new}");
    rig.until("the operator uses the new token", async |rig| {
        Ok(rig.proxy.seen().iter().any(|seen| seen.token == bearer))
    })
    .await?;
    rig.proxy.view(View {
        revoked: Some(old),
        ..View::default()
    });
    Operation::Rename.act(&rig).await?;
    rig.reaches(&reference.objects).await?;
    if rig.operator.starts() != starts {
        return Err("it took a restart".into());
    }
    if rig.proxy.seen().iter().any(|seen| seen.status == 401) {
        return Err("the old token was used after the new one".into());
    }
    Ok(Verdict::Held)
}

async fn shown_another(world: Arc<World>, reference: Arc<Reference>, how: Renewal) -> Said<Verdict> {
    let (old, new) = (Identity::new()?, Identity::new()?);
    let rig = Rig::with_tls(&world, old.clone()).await?;
    Operation::Rename.prepare(&rig).await?;
    let starts = rig.operator.starts();
    if how == Renewal::Announced {
        rig.trust(&[&old, &new])?;
        tokio::time::sleep(READ_ANEW).await;
    } else {
        rig.trust(&[&new])?;
    }
    rig.proxy.begin(Vec::new(), None);
    rig.proxy.become_another(new.clone());
    Operation::Rename.act(&rig).await?;
    rig.reaches(&reference.objects).await?;
    if how == Renewal::Announced && rig.operator.starts() != starts {
        return Err("it took a restart".into());
    }
    if rig.operator.starts() != starts && !rig.operator.log().contains("the lease was lost") {
        return Err("it ended, and did not say why".into());
    }
    Ok(Verdict::Held)
}
