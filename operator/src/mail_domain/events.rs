//! Which changes of a domain are Events: what somebody has to mend, what is mended, and that mail works. What is on its way and ends by
//! itself is not: of thousands of new domains each would be told twice.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::EventType;
use postroad_crds::conditions::reason;
use postroad_crds::{MailDomain, MailDomainStatus};

use super::status::{reasons, types};
use crate::context::Ctx;
use crate::driver::event;

/// Conditions whose changes are Events.
const TOLD: [&str; 10] = [
    types::MX_VALID,
    types::SPF_VALID,
    types::OWNERSHIP_PROVEN,
    types::DKIM_VALID,
    types::DKIM_KEYS_CURRENT,
    types::DMARC_VALID,
    types::MTASTS_VALID,
    types::TLSRPT_VALID,
    types::DANE_VALID,
    types::READY,
];

/// An Event for each condition that is news.
pub(super) async fn tell(object: &MailDomain, next: &MailDomainStatus, ctx: &Ctx) {
    let before = object.status.as_ref();
    for is in &next.conditions {
        let mut known = before.into_iter().flat_map(|status| &status.conditions);
        let was = known.find(|known| known.type_ == is.type_);
        if let Some(kind) = news(was, is) {
            let note = format!("{}={}: {}", is.type_, is.status, is.message);
            event(ctx, object, kind, &is.reason, &note).await;
        }
    }
}

/// Whether a condition is worth an Event, and of which kind.
fn news(was: Option<&Condition>, is: &Condition) -> Option<EventType> {
    // What was on its way was not told: whatever it came to is.
    let changed = was.is_none_or(|was| was.status != is.status || ends_by_itself(was));
    let begins_well = was.is_none() && is.status == "True" && is.type_ != types::READY;
    if !TOLD.contains(&is.type_.as_str()) || !changed || begins_well || ends_by_itself(is) {
        return None;
    }
    match is.status.as_str() {
        "True" => Some(EventType::Normal),
        "False" => Some(EventType::Warning),
        _ => None,
    }
}

fn ends_by_itself(condition: &Condition) -> bool {
    condition.status == "False"
        && [reasons::CONFIG_PENDING, reason::KEYS_BEING_MADE].contains(&condition.reason.as_str())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn condition(kind: &str, status: &str, reason: &str) -> Condition {
        Condition {
            type_: kind.into(),
            status: status.into(),
            reason: reason.into(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }
    }

    #[test]
    fn what_is_on_its_way_is_no_news_and_what_it_comes_to_is() {
        let pending = Some(("False", "ConfigPending"));
        let making = Some(("False", "KeysBeingMade"));
        let (ready, keys) = ("Ready", "DKIMKeysCurrent");
        for (kind, was, is, want) in [
            (ready, None, ("False", "ConfigPending"), None),
            (ready, Some(("True", "Ready")), ("False", "ConfigPending"), None),
            (ready, pending, ("False", "ConfigPending"), None),
            (ready, pending, ("True", "Ready"), Some("Normal")),
            (ready, pending, ("False", "Missing"), Some("Warning")),
            (ready, pending, ("Unknown", "NotJudged"), None),
            (ready, None, ("True", "Ready"), Some("Normal")),
            (ready, None, ("False", "Invalid"), Some("Warning")),
            (ready, Some(("False", "Invalid")), ("False", "Invalid"), None),
            (keys, None, ("False", "KeysBeingMade"), None),
            (keys, making, ("True", "AsWanted"), Some("Normal")),
            (keys, None, ("True", "AsWanted"), None),
            (
                keys,
                Some(("True", "AsWanted")),
                ("False", "KeysLost"),
                Some("Warning"),
            ),
            ("MXValid", None, ("True", "Right"), None),
            ("MXValid", None, ("False", "Missing"), Some("Warning")),
            ("Reconciling", None, ("True", "Missing"), None),
        ] {
            let was = was.map(|(status, reason)| condition(kind, status, reason));
            let found = news(was.as_ref(), &condition(kind, is.0, is.1)).map(|found| match found {
                EventType::Normal => "Normal",
                EventType::Warning => "Warning",
            });
            assert_eq!(found, want, "{kind} {was:?} {is:?}");
        }
    }
}
