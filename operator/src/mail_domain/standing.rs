//! What is said of a domain's signing keys: `status.dkim`, the condition `DKIMKeysCurrent`, and when to look again. Pure.

use std::time::Duration;

use jiff::Timestamp;
use postroad_crds::MailDomain;
use postroad_crds::conditions::reason;
use postroad_crds::mail_domain::{DkimKeyState, DkimStatus};

use super::keys::Gathered;
use super::signing;
use super::status::{Check, Keys, Stated, types};
use crate::dns::judge::Ruling;

/// While keys are being made: their Secret wakes us, where it is watched.
const MAKING: Duration = Duration::from_secs(15);
/// While somebody has to mend something.
const MENDING: Duration = Duration::from_mins(1);

/// How a domain that signs stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Signing {
    /// `status.dkim`.
    pub status: Option<DkimStatus>,
    /// The condition.
    pub keys: Keys,
    /// The longest time to the next look.
    pub wait: Option<Duration>,
}

impl Signing {
    /// From the keys that are there and what DNS says of their records. `required`: `Ready` needs them.
    pub fn new(
        object: &MailDomain,
        domain: &str,
        gathered: Gathered,
        checks: &[Check],
        required: bool,
        now: Timestamp,
    ) -> Self {
        let before = object.status.as_ref();
        let Gathered {
            secret,
            keys,
            trouble,
            making,
        } = gathered;
        let status = if keys.is_empty() {
            // Keys that are lost, or cannot be read now, are remembered.
            let known = before.and_then(|status| status.dkim.clone());
            known.filter(|known| known.secret == secret)
        } else {
            let seen = checks
                .iter()
                .filter(|check| check.condition == types::DKIM_VALID)
                .map(|check| (check.judgement.name.clone(), check.judgement.ruling));
            Some(signing::stands(
                domain,
                &secret,
                &keys,
                &seen.collect(),
                before,
                now,
            ))
        };
        let wait = trouble.as_ref().map(|_| if making { MAKING } else { MENDING });
        let stated = stated(status.as_ref(), trouble);
        Self {
            status,
            keys: Keys { stated, required },
            wait,
        }
    }
}

fn stated(status: Option<&DkimStatus>, trouble: Option<(&'static str, String)>) -> Stated {
    let said = |ruling, reason, message| Stated::new(types::DKIM_KEYS_CURRENT, ruling, reason, message);
    if let Some((reason, message)) = trouble {
        return said(Ruling::False, reason, message);
    }
    let of = |state| {
        let keys = status.into_iter().flat_map(|status| &status.keys);
        keys.filter(move |key| key.state == state)
            .map(|key| key.selector.clone())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let pending = of(DkimKeyState::Pending);
    if !pending.is_empty() {
        let message =
            format!("{pending} will sign as soon as its record is seen; status.records has what to publish");
        return said(Ruling::False, reason::RECORD_NOT_SEEN, message);
    }
    let message = format!("mail is signed with {}", of(DkimKeyState::Active));
    said(Ruling::True, reason::AS_WANTED, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(states: [&str; 2]) -> DkimStatus {
        let key = |selector: &str, state| json!({"selector": selector, "algorithm": "Ed25519", "state": state, "since": "x"});
        serde_json::from_value(json!({"secret": "s", "keys": [key("a", states[0]), key("b", states[1])]}))
            .unwrap()
    }

    #[test]
    fn the_condition_says_what_holds_the_keys_up() {
        let of = |states| stated(Some(&status(states)), None);
        assert_eq!(of(["Active", "Active"]).status, Ruling::True);
        let waiting = of(["Active", "Pending"]);
        assert_eq!(
            (waiting.status, waiting.reason),
            (Ruling::False, reason::RECORD_NOT_SEEN)
        );
        assert!(waiting.message.starts_with("b will sign"), "{}", waiting.message);
        let lost = stated(
            Some(&status(["Active", "Active"])),
            Some((reason::KEYS_LOST, "gone".to_owned())),
        );
        assert_eq!((lost.status, lost.reason), (Ruling::False, reason::KEYS_LOST));
    }

    #[test]
    fn lost_keys_stay_in_the_status() {
        let mut object: MailDomain = serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "MailDomain", "metadata": {"name": "m"},
            "spec": {"domain": "example.com", "listenerRefs": [{"name": "edge"}], "dkim": {}},
            "status": {"conditions": [], "dkim": status(["Active", "Active"])},
        }))
        .unwrap();
        let gathered = |secret: &str| Gathered {
            secret: secret.to_owned(),
            trouble: Some((reason::KEYS_LOST, "gone".to_owned())),
            ..Gathered::default()
        };
        let new = |object: &MailDomain, secret| {
            Signing::new(
                object,
                "example.com",
                gathered(secret),
                &[],
                true,
                Timestamp::UNIX_EPOCH,
            )
        };
        let signing = new(&object, "s");
        assert_eq!(signing.status, Some(status(["Active", "Active"])));
        assert_eq!(signing.wait, Some(MENDING));
        assert_eq!(new(&object, "other").status, None);
        object.status = None;
        assert_eq!(new(&object, "s").status, None);
    }
}
