//! Filters that are asked about a message before it is stored.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::Findings;
use crate::endpoint;
use crate::file::{Endpoint, unset};
use crate::text::{Period, shorten};

/// One filter. Those of a file are asked one after the other; each sees what those before it made of the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Filter {
    /// Name in logs, unique in the file.
    pub name: String,
    /// Who is asked, and in which protocol.
    pub service: FilterService,
    /// Which mail it sees.
    #[serde(default, skip_serializing_if = "unset")]
    pub mail: FilteredMail,
    /// What happens to a message while it cannot be asked.
    #[serde(default, skip_serializing_if = "unset")]
    pub on_failure: OnFailure,
    /// How long it is waited for.
    #[serde(default, skip_serializing_if = "unset")]
    pub timeouts: FilterTimeouts,
}

/// Who is asked, and in which protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum FilterService {
    /// rspamd over HTTP: its normal worker or its proxy.
    Rspamd(Endpoint),
    /// A milter over TCP.
    Milter(Endpoint),
    /// A milter over a Unix socket of this machine.
    MilterSocket(PathBuf),
}

/// Which mail a filter sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilteredMail {
    /// All that is accepted.
    #[default]
    All,
    /// Mail of clients that nobody vouches for.
    FromStrangers,
    /// Mail of users, and of clients that may relay.
    FromUsers,
}

impl FilteredMail {
    /// Whether such mail is seen. `trusted`: of a user, or of a client that may relay.
    pub fn includes(self, trusted: bool) -> bool {
        match self {
            Self::All => true,
            Self::FromStrangers => !trusted,
            Self::FromUsers => trusted,
        }
    }
}

/// What happens to a message while a filter cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    /// The client is asked to come again.
    #[default]
    TempFail,
    /// It goes on as if there were no such filter.
    Accept,
    /// It is refused for good.
    Reject,
}

/// How long a filter is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FilterTimeouts {
    /// For a connection.
    pub connect: Period,
    /// For the answer to one command of milter before the end of the message.
    pub reply: Period,
    /// For all of it, up to the verdict.
    pub total: Period,
}

impl Default for FilterTimeouts {
    fn default() -> Self {
        Self {
            connect: Period::from_secs(10),
            reply: Period::from_secs(30),
            total: Period::from_secs(120),
        }
    }
}

/// Checks a listener's filters.
pub(crate) fn check(filters: &[Filter], found: &mut Findings) {
    found.require(
        filters.len() <= MOST_FILTERS,
        || "filters".into(),
        || {
            format!(
                "{} filters are too many; ask at most {MOST_FILTERS}",
                filters.len()
            )
        },
    );
    let mut names = HashSet::new();
    for (index, filter) in filters.iter().enumerate() {
        let at = |field: &str| format!("filters[{index}].{field}");
        found.require(
            is_name(&filter.name) && names.insert(&filter.name),
            || at("name"),
            || {
                format!(
                    "`{}` is used twice or is no name; write 1 to 42 small letters, digits and hyphens",
                    shorten(&filter.name)
                )
            },
        );
        check_service(&filter.service, &at("service"), found);
        check_timeouts(&filter.timeouts, &at("timeouts"), found);
    }
    let totals = filters.iter().map(|filter| filter.timeouts.total.get());
    let total = totals.fold(Duration::ZERO, Duration::saturating_add);
    found.require(
        total <= LONGEST_TOGETHER,
        || "filters".into(),
        // RFC 5321 section 4.5.3.2.6.
        || {
            format!(
                "all `timeouts.total` together are {} s; make them 480 s or less: clients wait ten minutes for a reply",
                total.as_secs()
            )
        },
    );
}

fn check_service(service: &FilterService, at: &str, found: &mut Findings) {
    match service {
        FilterService::Rspamd(endpoint) => endpoint::check(endpoint, || format!("{at}.rspamd"), found),
        FilterService::Milter(endpoint) => endpoint::check(endpoint, || format!("{at}.milter"), found),
        FilterService::MilterSocket(path) => found.require(
            path.is_absolute(),
            || at.to_owned(),
            || {
                format!(
                    "`{}` is no absolute path; write such as /run/opendkim.sock",
                    shorten(&path.display().to_string())
                )
            },
        ),
    }
}

fn check_timeouts(timeouts: &FilterTimeouts, at: &str, found: &mut Findings) {
    for (name, given, longest) in [
        ("connect", timeouts.connect, 60),
        ("reply", timeouts.reply, 300),
        ("total", timeouts.total, 300),
    ] {
        let bounds = Duration::from_millis(100)..=Duration::from_secs(longest);
        found.require(
            bounds.contains(&given.get()),
            || format!("{at}.{name}"),
            || format!("{given} is not between 100ms and {longest}s"),
        );
    }
}

fn is_name(name: &str) -> bool {
    (1..=42).contains(&name.len())
        && name
            .bytes()
            .all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-')
}

const MOST_FILTERS: usize = 8;
/// Of the ten minutes that a client waits, the rest is for the spool.
const LONGEST_TOGETHER: Duration = Duration::from_mins(8);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{AssembleError, assemble};

    fn read(filters: &str) -> Result<Vec<Filter>, String> {
        let text =
            format!("format: 1\nhostname: mail.example.com\nspool: {{directory: /x}}\nfilters: {filters}\n");
        match assemble(&text, &BTreeMap::new()) {
            Ok(set) => Ok(set.file.filters),
            Err(AssembleError::Invalid(problems)) => Err(problems.to_string()),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_filter_fails_closed_and_sees_all_mail_unless_told_otherwise() {
        let filters = read("[{name: a, service: {rspamd: {host: h, port: 11333}}}]").unwrap();
        let filter = &filters[0];
        assert_eq!(
            (filter.mail, filter.on_failure),
            (FilteredMail::All, OnFailure::TempFail)
        );
        let written = crate::render(filter).unwrap();
        for default in ["mail", "onFailure", "timeouts"] {
            assert!(!written.contains(default), "{written}");
        }
        for (mail, trusted, sees) in [
            (FilteredMail::All, true, true),
            (FilteredMail::All, false, true),
            (FilteredMail::FromStrangers, true, false),
            (FilteredMail::FromStrangers, false, true),
            (FilteredMail::FromUsers, true, true),
            (FilteredMail::FromUsers, false, false),
        ] {
            assert_eq!(mail.includes(trusted), sees, "{mail:?} {trusted}");
        }
    }

    #[test]
    fn each_mistake_names_its_field() {
        let many: Vec<String> = (0..9)
            .map(|n| {
                format!("{{name: f{n}, service: {{milter: {{host: h, port: 1}}}}, timeouts: {{total: 1s}}}}")
            })
            .collect();
        for (filters, field) in [
            (
                "[{name: '', service: {milter: {host: h, port: 1}}}]",
                "filters[0].name",
            ),
            (
                "[{name: A b, service: {milter: {host: h, port: 1}}}]",
                "filters[0].name",
            ),
            (
                "[{name: a, service: {milter: {host: h, port: 1}}}, {name: a, service: {milter: {host: h, port: 1}}}]",
                "filters[1].name",
            ),
            (
                "[{name: a, service: {milter: {host: h, port: 0}}}]",
                "filters[0].service.milter.port",
            ),
            (
                "[{name: a, service: {rspamd: {host: '', port: 1}}}]",
                "filters[0].service.rspamd.host",
            ),
            (
                "[{name: a, service: {milterSocket: run/x}}]",
                "filters[0].service",
            ),
            (
                "[{name: a, service: {milter: {host: h, port: 1}}, timeouts: {reply: 0s}}]",
                "filters[0].timeouts.reply",
            ),
            (
                "[{name: a, service: {milter: {host: h, port: 1}}, timeouts: {connect: 2m}}]",
                "filters[0].timeouts.connect",
            ),
            (
                "[{name: a, service: {milter: {host: h, port: 1}}, timeouts: {total: 5m}}, \
                  {name: b, service: {milter: {host: h, port: 1}}, timeouts: {total: 5m}}]",
                "filters: all `timeouts.total`",
            ),
            (&format!("[{}]", many.join(", ")), "filters: 9 filters"),
        ] {
            let problems = read(filters).unwrap_err();
            assert!(problems.contains(field), "{filters}: {problems}");
        }
    }
}
