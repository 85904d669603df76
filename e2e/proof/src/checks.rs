//! The checks by number. Each module gives its cases; [`all`] is the one list.

pub mod deletion;
pub mod drift;
pub mod faults;
pub mod fields;
pub mod forever;
pub mod interrupted;
pub mod leaders;
pub mod state;

use std::sync::Arc;

use crate::case::Case;
use crate::operation::{Operation, Reference};
use crate::rig::World;
use crate::server::Said;

/// All cases.
pub async fn all(world: &World, references: &[Arc<Reference>]) -> Said<Vec<Case>> {
    let created = references
        .iter()
        .find(|reference| reference.operation == Operation::Create)
        .ok_or("no reference of a creation")?;
    let mut cases = interrupted::cases(references);
    cases.extend(drift::cases(created));
    cases.extend(faults::cases(created, &faults::used(world).await?));
    cases.extend(deletion::cases(references));
    cases.extend(state::cases(created));
    cases.extend(fields::cases()?);
    cases.extend(forever::cases(created));
    cases.extend(leaders::cases(created));
    Ok(cases)
}
