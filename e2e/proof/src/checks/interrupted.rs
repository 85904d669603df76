//! Checks 1, 2 and 4: the operator killed before or after each write, and replies that are lost after it.

use std::sync::Arc;

use crate::case::{Case, Verdict};
use crate::operation::Reference;
use crate::proxy::{Fault, Pick, Rule};
use crate::rig::{Rig, World};
use crate::server::Said;

/// All points of all operations.
pub fn cases(references: &[Arc<Reference>]) -> Vec<Case> {
    let mut cases = Vec::new();
    for reference in references {
        for number in 1..=reference.writes {
            for (check, how, fault) in [
                (
                    "check_01_killed_before_a_write",
                    "killed before",
                    Fault::KillBefore,
                ),
                ("check_01_killed_after_a_write", "killed after", Fault::KillAfter),
                ("check_02_lost_reply", "500 after", Fault::LostReply(500)),
                ("check_02_lost_reply", "cut after", Fault::CutAfter),
            ] {
                let what = format!(
                    "{:?}: {how} write {number} of {}",
                    reference.operation, reference.writes
                );
                let reference = reference.clone();
                cases.push(Case::new(check, what, move |world| {
                    struck(world, reference, number, fault)
                }));
            }
        }
    }
    cases
}

async fn struck(world: Arc<World>, reference: Arc<Reference>, number: usize, fault: Fault) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    reference.operation.prepare(&rig).await?;
    let starts = rig.operator.starts();
    rig.proxy.begin(
        vec![Rule {
            pick: Pick::Write(number),
            fault,
            times: 1,
        }],
        None,
    );
    reference.operation.act(&rig).await?;
    rig.reaches(&reference.objects).await?;
    if rig.proxy.fired() == 0 {
        return Ok(Verdict::Skipped(format!(
            "this run took {} writes",
            rig.proxy.writes()
        )));
    }
    let killed = matches!(fault, Fault::KillBefore | Fault::KillAfter);
    if killed && rig.operator.starts() == starts {
        return Err("the operator was not killed".into());
    }
    Ok(Verdict::Held)
}
