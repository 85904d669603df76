//! Verdicts whose notice is not in the queue yet: they are kept as the states of recipients, so that the notice alone is tried
//! again, and no next hop is asked a second time, also after a restart.
//!
//! ```text
//!   verdict ─┬─ its notice cannot be queued ─► owed ─► sort ─► a job without a site ─► the notice ─► final
//!            └─ a success that is to be told, and what a person returns ─► owed first, then the same
//! ```
//!
//! Pure. An owed recipient is pending, its next attempt is [`OWED`], and its reply is what the verdict is read from. A version
//! that does not know this takes the time for one of another clock and tries again; so that it does, it was attempted once at
//! least.

use postroad_spool::{RecipientState, RecipientUpdate, Status as State};

use crate::outcome::{Hop, Outcome, Source, Status, Verdict};

/// The next attempt of a recipient that waits for nothing but its notice.
pub const OWED: u64 = u64::MAX - 1;

/// The same where the sender is to be told of the expansion of an alias, too.
pub const OWED_WITH_EXPANSION: u64 = u64::MAX - 2;

/// Whether the verdict is known, and merely not told yet.
pub fn is_owed(state: &RecipientState) -> bool {
    state.status == State::Pending && matches!(state.next_attempt, OWED | OWED_WITH_EXPANSION)
}

/// Whether the expansion of its alias is part of what is not told yet.
pub fn is_expansion_owed(state: &RecipientState) -> bool {
    is_owed(state) && state.next_attempt == OWED_WITH_EXPANSION
}

/// Whether that verdict is a delivery.
pub fn is_delivered(state: &RecipientState) -> bool {
    is_owed(state) && state.reply.starts_with("2.")
}

/// When something is to be done about an entry whose earliest attempt is at this time.
pub const fn due_at(next_attempt: u64) -> u64 {
    match next_attempt {
        OWED | OWED_WITH_EXPANSION => 0,
        other => other,
    }
}

/// The state of a recipient whose final state is `of`, until that has been told.
pub fn owing(of: &RecipientUpdate) -> RecipientUpdate {
    let mut update = of.clone();
    owe(&mut update.state);
    update
}

/// The same where the expansion of its alias is to be told, too.
pub fn owing_expansion(of: &RecipientUpdate) -> RecipientUpdate {
    let mut update = owing(of);
    update.state.next_attempt = OWED_WITH_EXPANSION;
    update
}

/// Makes a state with a final reply one that is still to be told.
pub fn owe(state: &mut RecipientState) {
    state.status = State::Pending;
    state.next_attempt = OWED;
    state.attempts = state.attempts.max(1);
}

/// The verdict of an owed recipient, out of what [`Outcome::kept`] made of it.
pub fn verdict(state: &RecipientState) -> Outcome {
    let (status, line) = state.reply.split_once(' ').unwrap_or((state.reply.as_str(), ""));
    let (status, line) = match read(status) {
        Some(status) => (status, line),
        None => (Status::new(5, 0, 0), state.reply.as_str()),
    };
    // Sentences of ours have more than a word before that.
    let said = line.split_once(" said: ").filter(|(host, _)| !host.contains(' '));
    let (source, hop) = match said {
        Some((host, said)) => (
            Source::NextHop(said.to_owned()),
            Some(Hop {
                host: host.to_owned(),
                address: None,
                tls: None,
                tls_policy: crate::deliver::protection::By::Route,
            }),
        ),
        None => (Source::Ourselves(line.to_owned()), None),
    };
    Outcome {
        verdict: match status.class {
            2 => Verdict::Delivered,
            4 => Verdict::Deferred,
            _ => Verdict::Failed,
        },
        status,
        source,
        hop: hop.filter(|hop| !hop.host.is_empty()),
        // It was decided that this is to be told: neither the next hop tells it, nor was the time passed on.
        reported_by_hop: false,
        time_passed_on: Some(false),
        reaction: None,
    }
}

fn read(status: &str) -> Option<Status> {
    let mut numbers = status.split('.');
    let class = numbers.next()?.parse().ok()?;
    let subject = numbers.next()?.parse().ok()?;
    let detail = numbers.next()?.parse().ok()?;
    let is_whole = numbers.next().is_none() && matches!(class, 2 | 4 | 5);
    is_whole.then_some(Status::new(class, subject, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(outcome: &Outcome) -> Outcome {
        let update = RecipientUpdate {
            index: 3,
            state: RecipientState {
                status: State::Failed,
                reply: outcome.kept(),
                ..RecipientState::default()
            },
        };
        let owing = owing(&update);
        assert!(is_owed(&owing.state) && owing.state.attempts == 1 && owing.index == 3);
        assert_eq!(is_delivered(&owing.state), outcome.verdict == Verdict::Delivered);
        let known = verdict(&owing.state);
        assert_eq!(known.kept(), outcome.kept(), "as it was");
        known
    }

    #[test]
    fn a_verdict_comes_back_as_it_was() {
        let hop = Hop {
            host: "mx.example".to_owned(),
            address: None,
            tls: None,
            tls_policy: crate::deliver::protection::By::Route,
        };
        for (verdict, class) in [
            (Verdict::Delivered, 2),
            (Verdict::Deferred, 4),
            (Verdict::Failed, 5),
        ] {
            let ours = Outcome::ours(verdict, Status::new(class, 1, 1), "no server said: anything");
            assert_eq!(kept(&ours).verdict, verdict);
            assert_eq!(kept(&ours).source, ours.source);
            let said = Outcome {
                source: Source::NextHop("550 he said: no".to_owned()),
                ..ours.at(hop.clone())
            };
            let back = kept(&said);
            assert_eq!((back.verdict, back.status), (verdict, said.status));
            assert_eq!((back.source, back.hop), (said.source, said.hop));
        }
    }

    #[test]
    fn what_cannot_be_read_is_a_failure_with_what_there_is() {
        for reply in ["", "gone", "9.1.1 x", "5.1.1.1 x"] {
            let state = RecipientState {
                reply: reply.to_owned(),
                next_attempt: OWED,
                ..RecipientState::default()
            };
            let known = verdict(&state);
            assert_eq!(
                (known.verdict, known.status),
                (Verdict::Failed, Status::new(5, 0, 0))
            );
            assert_eq!(known.source.text(), reply);
        }
        assert!(!is_owed(&RecipientState::default()));
        assert_eq!((due_at(OWED), due_at(7), due_at(u64::MAX)), (0, 7, u64::MAX));
        assert_eq!(due_at(OWED_WITH_EXPANSION), 0);
    }
}
