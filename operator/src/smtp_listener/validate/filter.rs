//! Filters: each value of the object in the words of the file.

use postroad_config::{Filter, FilterService, FilterTimeouts, FilteredMail, OnFailure};
use postroad_crds::smtp_listener as crd;

use super::{Invalid, endpoint, or_usual};

/// Errors: a filter without a service or with two, which the schema refuses as well; a time that is none.
pub(super) fn of(given: &[crd::Filter]) -> Result<Vec<Filter>, Invalid> {
    given
        .iter()
        .enumerate()
        .map(|(index, filter)| one(index, filter))
        .collect()
}

fn one(index: usize, given: &crd::Filter) -> Result<Filter, Invalid> {
    let at = |field: &str| format!("spec.filters[{index}]{field}");
    let service = match (&given.rspamd, &given.milter) {
        (Some(rspamd), None) => FilterService::Rspamd(endpoint(&at(".rspamd"), rspamd)?),
        (None, Some(milter)) => FilterService::Milter(endpoint(&at(".milter"), milter)?),
        _ => return Err(Invalid::new(&at(""), "give exactly one of rspamd and milter")),
    };
    let usual = FilterTimeouts::default();
    let timeouts = given.timeouts.clone().unwrap_or_default();
    Ok(Filter {
        name: given.name.clone(),
        service,
        mail: match given.mail {
            crd::FilteredMail::All => FilteredMail::All,
            crd::FilteredMail::FromStrangers => FilteredMail::FromStrangers,
            crd::FilteredMail::FromUsers => FilteredMail::FromUsers,
        },
        on_failure: match given.on_failure {
            crd::OnFailure::TempFail => OnFailure::TempFail,
            crd::OnFailure::Accept => OnFailure::Accept,
            crd::OnFailure::Reject => OnFailure::Reject,
        },
        timeouts: FilterTimeouts {
            connect: or_usual(&at(".timeouts.connect"), timeouts.connect.as_ref(), usual.connect)?,
            reply: or_usual(&at(".timeouts.reply"), timeouts.reply.as_ref(), usual.reply)?,
            total: or_usual(&at(".timeouts.total"), timeouts.total.as_ref(), usual.total)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn given(filters: &serde_json::Value) -> Vec<crd::Filter> {
        serde_json::from_value(filters.clone()).unwrap()
    }

    fn written(filters: &serde_json::Value) -> String {
        postroad_config::render(&of(&given(filters)).unwrap()).unwrap()
    }

    #[test]
    fn what_is_given_reaches_the_file_and_the_defaults_are_not_written() {
        let usual = written(&json!([{"name": "spam", "rspamd": {"host": "rspamd.mail.svc", "port": 11333}}]));
        assert!(
            usual.contains("rspamd:") && usual.contains("port: 11333"),
            "{usual}"
        );
        for default in ["mail:", "onFailure", "timeouts"] {
            assert!(!usual.contains(default), "{usual}");
        }
        let all = written(&json!([{
            "name": "virus", "milter": {"host": "h", "port": 7357}, "mail": "FromStrangers", "onFailure": "Reject",
            "timeouts": {"connect": "1s", "reply": "2s", "total": "3s"},
        }]));
        for part in [
            "milter:",
            "mail: FromStrangers",
            "onFailure: Reject",
            "connect: 1s",
            "reply: 2s",
            "total: 3s",
        ] {
            assert!(all.contains(part), "{part} is not in {all}");
        }
        let users = json!([{"name": "a", "milter": {"host": "h", "port": 1}, "mail": "FromUsers", "onFailure": "Accept"}]);
        let users = written(&users);
        assert!(
            users.contains("FromUsers") && users.contains("onFailure: Accept"),
            "{users}"
        );
    }

    #[test]
    fn a_filter_is_asked_in_one_protocol() {
        let host = json!({"host": "h", "port": 1});
        for filter in [
            json!({"name": "a"}),
            json!({"name": "a", "rspamd": host, "milter": host}),
        ] {
            assert_eq!(of(&given(&json!([filter]))).unwrap_err().field, "spec.filters[0]");
        }
    }
}
