//! The checks by number. Each module gives its cases; [`all`] is the one list.

pub mod autoscaled;
pub mod away;
pub mod clock;
pub mod confirmed;
pub mod contested;
pub mod deletion;
pub mod drift;
pub mod faults;
pub mod fields;
pub mod figures;
pub mod forever;
pub mod interrupted;
pub mod leaders;
pub mod many;
pub mod mistyped;
pub mod rivals;
pub mod signing;
pub mod stale;
pub mod state;
pub mod storage;
pub mod surroundings;
pub mod told;
pub mod uninstalled;
pub mod unsatisfiable;
pub mod versions;
pub mod webhooks;

use std::sync::Arc;

use crate::case::Case;
use crate::operation::{Operation, Reference};
use crate::server::Said;

/// All cases. `exhaustive`: those too that take many minutes each.
pub fn all(references: &[Arc<Reference>], exhaustive: bool) -> Said<Vec<Case>> {
    let of = |operation| {
        references
            .iter()
            .find(|reference| reference.operation == operation)
            .ok_or_else(|| format!("no reference of {operation:?}"))
    };
    let created = of(Operation::Create)?;
    let mut cases = interrupted::cases(references);
    cases.extend(drift::cases(created));
    cases.extend(faults::cases(created, of(Operation::Rename)?));
    cases.extend(deletion::cases(references));
    cases.extend(state::cases(created));
    cases.extend(fields::cases()?);
    cases.extend(forever::cases(created));
    cases.extend(leaders::cases(created));
    cases.extend(signing::cases(of(Operation::Sign)?));
    cases.extend(stale::cases(created, of(Operation::ScaleUp)?));
    cases.extend(away::cases(of(Operation::Rename)?));
    cases.extend(clock::cases(of(Operation::Rename)?));
    cases.extend(rivals::cases());
    cases.extend(confirmed::cases());
    cases.extend(contested::cases(created));
    cases.extend(storage::cases(created));
    cases.extend(mistyped::cases());
    cases.extend(autoscaled::cases(
        of(Operation::ScaleUp)?,
        of(Operation::ScaleDown)?,
    ));
    cases.extend(surroundings::cases(created, of(Operation::Rename)?));
    cases.extend(uninstalled::cases(created, of(Operation::Delete)?));
    cases.extend(unsatisfiable::cases(created));
    cases.extend(versions::cases(of(Operation::Create)?, of(Operation::Rename)?));
    cases.extend(webhooks::cases());
    cases.extend(figures::cases(created));
    cases.extend(told::cases());
    cases.extend(many::cases(exhaustive));
    Ok(cases)
}
