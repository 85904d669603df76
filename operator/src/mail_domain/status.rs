//! From facts to conditions. Pure: no client, no clock.
//!
//! `Ready` is decided by an ordered list; the first that fires is the reason that the user sees:
//!
//! ```text
//! valid? ─► let in? ─► not another object's? ─► listeners there? ─► served by every pod? ─► Required checks?
//! ```

use crate::dns::judge::{Judgement, Ruling};

/// Condition types of a domain. They are API.
pub mod types {
    /// Mail works, as far as can be told.
    pub const READY: &str = "Ready";
    /// Work is going on that will end by itself.
    pub const RECONCILING: &str = "Reconciling";
    /// Nothing moves until somebody changes something.
    pub const STALLED: &str = "Stalled";
    /// The MX records lead to a listener.
    pub const MX_VALID: &str = "MXValid";
    /// The SPF record lets the mail out.
    pub const SPF_VALID: &str = "SPFValid";
    /// The DMARC record asks for what the owner wants.
    pub const DMARC_VALID: &str = "DMARCValid";
    /// A record says that there is an MTA-STS policy.
    pub const MTASTS_VALID: &str = "MTASTSValid";
    /// The record that says where reports about TLS go is right.
    pub const TLSRPT_VALID: &str = "TLSRPTValid";
    /// The TLSA records of the listeners are of the keys that they show, and proven.
    pub const DANE_VALID: &str = "DANEValid";
    /// A record proves that the domain is this object's.
    pub const OWNERSHIP_PROVEN: &str = "OwnershipProven";
    /// The records of the signing keys are right.
    pub const DKIM_VALID: &str = "DKIMValid";
    /// Every signing key that is wanted is there and signs.
    pub const DKIM_KEYS_CURRENT: &str = "DKIMKeysCurrent";
}

/// Reasons of the conditions that are not about DNS. They are API.
pub mod reasons {
    /// All is well.
    pub const READY: &str = "Ready";
    /// A field is wrong.
    pub const INVALID: &str = "Invalid";
    /// An older object has the domain on the same listener.
    pub const DOMAIN_CONFLICT: &str = "DomainConflict";
    /// A listener does not let the object in.
    pub const NOT_PERMITTED: &str = "NotPermitted";
    /// A listener that is named is not there.
    pub const LISTENER_NOT_FOUND: &str = "ListenerNotFound";
    /// Not all pods serve the object as it now is.
    pub const CONFIG_PENDING: &str = "ConfigPending";
    /// A Required check was never answered.
    pub const NOT_JUDGED: &str = "NotJudged";
    /// Nothing is under way.
    pub const SETTLED: &str = "Settled";
}

/// What is asked of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// `Ready` needs it.
    Required,
    /// It is judged and shown.
    Advised,
}

/// What stands in the way of an object, before DNS is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// A field is wrong.
    Invalid {
        /// Path of the field.
        field: String,
        /// What is wrong and what to write.
        sentence: String,
    },
    /// An older object has the same domain.
    Conflict {
        /// The domain.
        domain: String,
        /// The listener that both name.
        listener: String,
        /// Name of the older object.
        winner: String,
    },
    /// A listener does not let it in; a sentence.
    NotPermitted(String),
    /// Listeners that are named and not there.
    ListenersMissing(Vec<String>),
    /// Listeners whose pods do not all serve this generation yet.
    Pending(Vec<String>),
}

/// A check with what is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Type of its condition.
    pub condition: &'static str,
    /// Whether `Ready` needs it.
    pub severity: Severity,
    /// What was found now.
    pub judgement: Judgement,
    /// The last verdict that was reached, now or before; see [`super::records::Row::last`].
    pub last: Option<Ruling>,
    /// Message of the condition.
    pub message: String,
}

/// A condition without its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// Type.
    pub condition: &'static str,
    /// Status.
    pub status: Ruling,
    /// Reason.
    pub reason: &'static str,
    /// Message.
    pub message: String,
}

impl Stated {
    /// A condition that says this.
    pub fn new(condition: &'static str, status: Ruling, reason: &'static str, message: String) -> Self {
        Self {
            condition,
            status,
            reason,
            message,
        }
    }
}

impl Obstacle {
    /// Reason and message.
    pub fn words(&self) -> (&'static str, String) {
        match self {
            Self::Invalid { field, sentence } => (reasons::INVALID, format!("{field}: {sentence}")),
            Self::Conflict {
                domain,
                listener,
                winner,
            } => {
                let mend = "delete one of the two, or attach them to different listeners";
                let sentence =
                    format!("MailDomain {winner} has {domain} on listener {listener} already; {mend}");
                (reasons::DOMAIN_CONFLICT, sentence)
            }
            Self::NotPermitted(sentence) => (reasons::NOT_PERMITTED, sentence.clone()),
            Self::ListenersMissing(names) => {
                let names = names.join(", ");
                let sentence =
                    format!("there is no SmtpListener {names}; create it, or correct listenerRefs");
                (reasons::LISTENER_NOT_FOUND, sentence)
            }
            Self::Pending(names) => {
                let sentence = format!("not all pods of {} confirmed this version yet", names.join(", "));
                (reasons::CONFIG_PENDING, sentence)
            }
        }
    }

    /// Whether only a change by somebody helps. A listener may still be on its way (objects are applied in any order).
    fn stalls(&self) -> bool {
        matches!(
            self,
            Self::Invalid { .. } | Self::NotPermitted(_) | Self::Conflict { .. }
        )
    }
}

/// How the signing keys of a domain stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The condition `DKIMKeysCurrent`.
    pub stated: Stated,
    /// `Ready` needs it.
    pub required: bool,
}

/// All conditions. `obstacles` in the order of the list above.
pub fn conditions(obstacles: &[Obstacle], checks: &[Check], keys: Option<&Keys>) -> Vec<Stated> {
    let mut list = vec![ready(obstacles, checks, keys)];
    list.extend(progress(obstacles.first()));
    for check in checks {
        let stated = Stated::new(
            check.condition,
            check.judgement.ruling,
            check.judgement.reason,
            check.message.clone(),
        );
        // Several records may be behind one condition: the worst of them is told.
        match list.iter_mut().find(|known| known.condition == stated.condition) {
            Some(known) if weight(stated.status) > weight(known.status) => *known = stated,
            Some(_) => {}
            None => list.push(stated),
        }
    }
    list.extend(keys.map(|keys| keys.stated.clone()));
    list
}

/// How bad a status is.
fn weight(ruling: Ruling) -> u8 {
    match ruling {
        Ruling::True => 0,
        Ruling::Unknown => 1,
        Ruling::False => 2,
    }
}

/// `Reconciling` and `Stalled` as kstatus reads them.
pub fn progress(obstacle: Option<&Obstacle>) -> [Stated; 2] {
    let settled = |condition| Stated::new(condition, Ruling::False, reasons::SETTLED, String::new());
    match obstacle {
        None => [settled(types::RECONCILING), settled(types::STALLED)],
        Some(obstacle) => {
            let (reason, message) = obstacle.words();
            if obstacle.stalls() {
                let stalled = Stated::new(types::STALLED, Ruling::True, reason, message);
                [settled(types::RECONCILING), stalled]
            } else {
                let reconciling = Stated::new(types::RECONCILING, Ruling::True, reason, message);
                [reconciling, settled(types::STALLED)]
            }
        }
    }
}

fn ready(obstacles: &[Obstacle], checks: &[Check], keys: Option<&Keys>) -> Stated {
    if let Some(obstacle) = obstacles.first() {
        let (reason, message) = obstacle.words();
        return Stated::new(types::READY, Ruling::False, reason, message);
    }
    let required = || checks.iter().filter(|check| check.severity == Severity::Required);
    if let Some(wrong) = required().find(|check| check.last == Some(Ruling::False)) {
        return Stated::new(
            types::READY,
            Ruling::False,
            wrong.judgement.reason,
            wrong.message.clone(),
        );
    }
    if let Some(keys) = keys.filter(|keys| keys.required && keys.stated.status == Ruling::False) {
        let Stated { reason, message, .. } = keys.stated.clone();
        return Stated::new(types::READY, Ruling::False, reason, message);
    }
    // A record that was seen and cannot be decided (nobody said where mail leaves from) does not hold a domain up.
    if let Some(open) = required().find(|check| check.last.is_none()) {
        return Stated::new(
            types::READY,
            Ruling::Unknown,
            reasons::NOT_JUDGED,
            open.message.clone(),
        );
    }
    let message = "served by all pods, and every required record is right".to_owned();
    Stated::new(types::READY, Ruling::True, reasons::READY, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::judge::reasons as dns;

    fn check(severity: Severity, now: Ruling, last: Option<Ruling>, reason: &'static str) -> Check {
        Check {
            condition: types::MX_VALID,
            severity,
            judgement: Judgement {
                name: "example.com".to_owned(),
                kind: "MX",
                expected: String::new(),
                observed: String::new(),
                server: String::new(),
                ruling: now,
                reason,
                message: "words".to_owned(),
            },
            last,
            message: "words".to_owned(),
        }
    }

    fn invalid() -> Obstacle {
        Obstacle::Invalid {
            field: "spec.domain".to_owned(),
            sentence: "is no domain".to_owned(),
        }
    }

    fn conflict() -> Obstacle {
        Obstacle::Conflict {
            domain: "example.com".to_owned(),
            listener: "edge".to_owned(),
            winner: "older".to_owned(),
        }
    }

    fn get<'a>(list: &'a [Stated], condition: &str) -> &'a Stated {
        list.iter().find(|stated| stated.condition == condition).unwrap()
    }

    #[test]
    fn ready_gives_the_first_obstacle_as_its_reason() {
        let edge = || vec!["edge".to_owned()];
        for (obstacles, reason, reconciling, stalled) in [
            (
                vec![invalid(), conflict()],
                reasons::INVALID,
                Ruling::False,
                Ruling::True,
            ),
            (
                vec![Obstacle::NotPermitted("no".to_owned()), conflict()],
                reasons::NOT_PERMITTED,
                Ruling::False,
                Ruling::True,
            ),
            (
                vec![conflict()],
                reasons::DOMAIN_CONFLICT,
                Ruling::False,
                Ruling::True,
            ),
            (
                vec![Obstacle::ListenersMissing(edge())],
                reasons::LISTENER_NOT_FOUND,
                Ruling::True,
                Ruling::False,
            ),
            (
                vec![Obstacle::Pending(edge())],
                reasons::CONFIG_PENDING,
                Ruling::True,
                Ruling::False,
            ),
        ] {
            let list = conditions(&obstacles, &[], None);
            let ready = get(&list, types::READY);
            assert_eq!((ready.status, ready.reason), (Ruling::False, reason));
            assert_eq!(get(&list, types::RECONCILING).status, reconciling, "{reason}");
            assert_eq!(get(&list, types::STALLED).status, stalled, "{reason}");
            assert!(!ready.message.is_empty());
        }
    }

    #[test]
    fn ready_needs_required_checks_and_unknown_keeps_the_last_verdict() {
        use Ruling::{False, True, Unknown};
        for (severity, now, last, reason, want, want_reason) in [
            (
                Severity::Required,
                True,
                Some(True),
                dns::MX_FOUND,
                True,
                reasons::READY,
            ),
            (
                Severity::Required,
                False,
                Some(False),
                dns::MX_MISSING,
                False,
                dns::MX_MISSING,
            ),
            (
                Severity::Advised,
                False,
                Some(False),
                dns::MX_MISSING,
                True,
                reasons::READY,
            ),
            (
                Severity::Required,
                Unknown,
                Some(True),
                dns::NO_ANSWER,
                True,
                reasons::READY,
            ),
            (
                Severity::Required,
                Unknown,
                Some(False),
                dns::NO_ANSWER,
                False,
                dns::NO_ANSWER,
            ),
            (
                Severity::Required,
                Unknown,
                None,
                dns::NO_ANSWER,
                Unknown,
                reasons::NOT_JUDGED,
            ),
            (
                Severity::Required,
                Unknown,
                Some(Unknown),
                dns::EGRESS_UNKNOWN,
                True,
                reasons::READY,
            ),
            (
                Severity::Advised,
                Unknown,
                None,
                dns::NO_ANSWER,
                True,
                reasons::READY,
            ),
        ] {
            let list = conditions(&[], &[check(severity, now, last, reason)], None);
            let ready = get(&list, types::READY);
            assert_eq!(
                (ready.status, ready.reason),
                (want, want_reason),
                "{severity:?} {now} {last:?}"
            );
            assert_eq!(get(&list, types::MX_VALID).status, now);
        }
    }

    #[test]
    fn of_several_records_the_worst_is_told() {
        use Ruling::{False, True, Unknown};
        let one = |ruling, reason| Check {
            condition: types::DKIM_VALID,
            ..check(Severity::Required, ruling, Some(ruling), reason)
        };
        for (a, b, want) in [
            (True, True, True),
            (True, False, False),
            (False, Unknown, False),
            (Unknown, True, Unknown),
            (True, Unknown, Unknown),
        ] {
            let list = conditions(&[], &[one(a, "A"), one(b, "B")], None);
            let told: Vec<_> = list
                .iter()
                .filter(|stated| stated.condition == types::DKIM_VALID)
                .collect();
            assert_eq!((told.len(), told[0].status), (1, want), "{a} {b}");
        }
    }

    #[test]
    fn keys_that_are_not_there_hold_ready_up_where_signatures_are_required() {
        for (required, ruling, want) in [
            (true, Ruling::False, Ruling::False),
            (false, Ruling::False, Ruling::True),
            (true, Ruling::True, Ruling::True),
        ] {
            let stated = Stated::new(types::DKIM_KEYS_CURRENT, ruling, "KeysLost", "words".to_owned());
            let list = conditions(&[], &[], Some(&Keys { stated, required }));
            assert_eq!(get(&list, types::READY).status, want);
            assert_eq!(get(&list, types::DKIM_KEYS_CURRENT).status, ruling);
        }
    }

    #[test]
    fn obstacles_name_the_mend() {
        assert_eq!(invalid().words().1, "spec.domain: is no domain");
        let (_, message) = conflict().words();
        assert!(
            message.contains("MailDomain older") && message.contains("listener edge"),
            "{message}"
        );
    }
}
