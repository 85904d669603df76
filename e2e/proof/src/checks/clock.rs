//! Check 40: the operator's clock is set by days, forward and back, while it runs and while it is away.

use std::sync::Arc;

use postroad_e2e::crash::clock::Clock;
use postroad_e2e::shell::Shell;

use crate::case::{Case, Verdict};
use crate::operation::Reference;
use crate::rig::{Rig, World};
use crate::server::{Said, operator, text};

/// Seconds of a day.
const DAY: i64 = 86_400;

/// All cases. `renamed`: how another host name goes undisturbed.
pub fn cases(renamed: &Arc<Reference>) -> Vec<Case> {
    let mut cases = Vec::new();
    for days in [1, -1] {
        for (how, away) in [("while it runs", false), ("while it is away", true)] {
            let reference = renamed.clone();
            cases.push(Case::new(
                "check_40_the_clock_is_set_by_a_day",
                format!("by {days} {how}"),
                move |world| set(world, reference, days * DAY, away),
            ));
        }
    }
    cases
}

async fn set(world: Arc<World>, reference: Arc<Reference>, seconds: i64, away: bool) -> Said<Verdict> {
    let clock = Clock::new().map_err(text)?;
    // Its clock is in a library that is put before the system's: what is released is linked statically, and has none.
    let rig = Rig::with(&world, &operator(false)?, clock.words().to_vec()).await?;
    reference.operation.prepare(&rig).await?;
    if away {
        rig.operator.down().await;
    }
    let starts = rig.operator.starts();
    clock.set(seconds).map_err(text)?;
    if away {
        rig.operator.up();
    }
    // Nothing is to be done because of the clock alone: certificates last for longer than a day.
    rig.quiet(0).await?;
    reference.operation.act(&rig).await?;
    rig.reaches(&reference.objects).await?;
    if rig.operator.starts() != starts + usize::from(away) {
        return Err("the operator ended because of its clock".into());
    }
    let lease = format!(
        "/apis/coordination.k8s.io/v1/namespaces/{}/leases/postroad-operator",
        rig.namespace
    );
    let date = format!("{seconds} seconds");
    let day = Shell::new("date").args(["--utc", "--date", &date, "+%Y-%m-%dT"]);
    let day = day.read().map_err(text)?;
    let lease = rig.api.get(&lease).await?;
    if !lease.to_string().contains(day.trim()) {
        return Err(format!(
            "its Lease is not of {day}, so nothing was shown: {lease}"
        ));
    }
    Ok(Verdict::Held)
}
