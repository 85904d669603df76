//! How far a recipient is, in the words that people are shown.
//!
//! Pure.

use postroad_spool::{RecipientState, Status};

use super::orders::HELD;
use super::owed::is_owed;

/// `pending`, `held`, `delivered`, `failed` or `expired`; `notice due`: it is over, and the sender is still to be told.
pub fn name(state: &RecipientState) -> &'static str {
    match state.status {
        Status::Pending if state.next_attempt == HELD => "held",
        Status::Pending if is_owed(state) => "notice due",
        status => status.name(),
    }
}

/// When it is tried next, in milliseconds since 1970; `None`: it waits for no attempt.
pub fn next_attempt(state: &RecipientState) -> Option<u64> {
    let waits = state.status == Status::Pending && state.next_attempt != HELD && !is_owed(state);
    waits.then_some(state.next_attempt)
}

#[cfg(test)]
mod tests {
    use super::super::owed::OWED;
    use super::*;

    #[test]
    fn what_waits_for_a_person_or_a_notice_waits_for_no_attempt() {
        for (status, next, want) in [
            (Status::Pending, 7, ("pending", Some(7))),
            (Status::Pending, HELD, ("held", None)),
            (Status::Pending, OWED, ("notice due", None)),
            (Status::Failed, HELD, ("failed", None)),
            (Status::Delivered, 7, ("delivered", None)),
        ] {
            let state = RecipientState {
                status,
                next_attempt: next,
                ..RecipientState::default()
            };
            assert_eq!((name(&state), next_attempt(&state)), want);
        }
    }
}
