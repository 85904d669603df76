//! The report itself: JSON (RFC 8460 section 4.4), with the names that it goes under (section 5).

use std::collections::BTreeMap;

use serde::Serialize;

use super::session::{Failure, Policy, Session};

/// Media type of the compressed report (RFC 8460 sections 5.3 and 6.5).
pub const MEDIA_TYPE: &str = "application/tlsrpt+gzip";

/// What a server saw of one domain in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// Who reports, for people.
    pub organization: &'a str,
    /// Who reports, as a domain: that of `contact`.
    pub submitter: &'a str,
    /// An address of who reports.
    pub contact: &'a str,
    /// Whom it is about, in A-labels.
    pub domain: &'a str,
    /// Its first second, since 1970.
    pub begin: u64,
    /// Its last second.
    pub end: u64,
    /// Letters and digits that no other report of the submitter has.
    pub id: &'a str,
    /// What was counted, and how often.
    pub sessions: &'a [(Session, u64)],
}

impl Report<'_> {
    /// The text. Policies that were seen with other contents are told apart.
    ///
    /// Errors: none in practice; the type of the writer has them.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Text {
            organization_name: self.organization,
            date_range: Range {
                start_datetime: rfc3339(self.begin),
                end_datetime: rfc3339(self.end),
            },
            contact_info: self.contact,
            report_id: self.report_id(),
            policies: self.policies(),
        })
    }

    fn policies(&self) -> Vec<Counted<'_>> {
        let mut by_policy: BTreeMap<&Policy, (u64, BTreeMap<&Failure, u64>)> = BTreeMap::new();
        for (session, count) in self.sessions {
            let (successes, failures) = by_policy.entry(&session.policy).or_default();
            let counter = match &session.failure {
                None => successes,
                Some(failure) => failures.entry(failure).or_default(),
            };
            *counter = counter.saturating_add(*count);
        }
        let counted = by_policy
            .into_iter()
            .map(|(policy, (successes, failures))| Counted {
                policy,
                summary: Summary {
                    total_successful_session_count: successes,
                    total_failure_session_count: failures
                        .values()
                        .fold(0, |sum, count| sum.saturating_add(*count)),
                },
                failure_details: failures
                    .into_iter()
                    .map(|(failure, failed_session_count)| Detail {
                        failure,
                        failed_session_count,
                    })
                    .collect(),
            });
        counted.collect()
    }

    /// Identifies it, in the form of a message id.
    pub fn report_id(&self) -> String {
        format!("{}@{}", self.id, self.submitter)
    }

    /// Of the compressed report (RFC 8460 section 5.1).
    pub fn file_name(&self) -> String {
        format!(
            "{}!{}!{}!{}!{}.json.gz",
            self.submitter, self.domain, self.begin, self.end, self.id
        )
    }

    /// Of the message that carries it (RFC 8460 section 5.3), in parts between which it may be folded.
    pub fn subject(&self) -> Vec<String> {
        vec![
            format!("Report Domain: {}", self.domain),
            format!("Submitter: {}", self.submitter),
            format!("Report-ID: <{}>", self.report_id()),
        ]
    }

    /// How many sessions went well, and how many did not.
    pub fn totals(&self) -> (u64, u64) {
        self.sessions
            .iter()
            .fold((0, 0), |(good, bad), (session, count)| {
                if session.failure.is_none() {
                    (good.saturating_add(*count), bad)
                } else {
                    (good, bad.saturating_add(*count))
                }
            })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Text<'a> {
    organization_name: &'a str,
    date_range: Range,
    contact_info: &'a str,
    report_id: String,
    policies: Vec<Counted<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Range {
    start_datetime: String,
    end_datetime: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Counted<'a> {
    policy: &'a Policy,
    summary: Summary,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failure_details: Vec<Detail<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    total_successful_session_count: u64,
    total_failure_session_count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Detail<'a> {
    #[serde(flatten)]
    failure: &'a Failure,
    failed_session_count: u64,
}

/// `date-time` of RFC 3339 in UTC, without fractions.
fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date of a day, counted from 1970: in years that begin in March, a leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    // Since 0000-03-01, in eras of 400 years.
    let days = days.saturating_add(719_468);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::mta_sts;
    use crate::tls_rpt::ResultType;

    fn report(sessions: &[(Session, u64)]) -> Report<'_> {
        Report {
            organization: "Moor \"Mail\"",
            submitter: "moor.example",
            contact: "postmaster@moor.example",
            domain: "d.example",
            begin: 1_459_468_800,
            end: 1_459_555_199,
            id: "2016040100ab",
            sessions,
        }
    }

    fn read(report: &Report<'_>) -> Value {
        serde_json::from_str(&report.json().unwrap()).unwrap()
    }

    #[test]
    fn the_example_of_the_rfc_is_written_as_it_stands_there() {
        // RFC 8460 appendix B, less the members that a sender may leave out.
        let text = "version: STSv1\nmode: testing\nmx: *.mail.company-y.example\nmax_age: 86400\n";
        let policy = Policy::sts(
            "company-y.example",
            mta_sts::Policy::parse(text.as_bytes()).ok().as_ref(),
        );
        let at = |result, host: &str, reason: &str| {
            Some(Failure {
                sending_mta_ip: Some("2001:db8:abcd:0012::1".parse().unwrap()),
                ..Failure::of(result).at(host, "").because(reason)
            })
        };
        let (one, two) = ("mx1.mail.company-y.example", "mx2.mail.company-y.example");
        let row = |failure| Session {
            policy: policy.clone(),
            failure,
        };
        let sessions = [
            (row(None), 5_000),
            (row(at(ResultType::CertificateExpired, one, "")), 100),
            (row(at(ResultType::StarttlsNotSupported, two, "")), 150),
            (row(at(ResultType::StarttlsNotSupported, two, "")), 50),
            (
                row(at(
                    ResultType::ValidationFailure,
                    "",
                    "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED",
                )),
                3,
            ),
            (row(None), 326),
        ];
        let want = json!({
            "organization-name": "Moor \"Mail\"",
            "date-range": {"start-datetime": "2016-04-01T00:00:00Z", "end-datetime": "2016-04-01T23:59:59Z"},
            "contact-info": "postmaster@moor.example",
            "report-id": "2016040100ab@moor.example",
            "policies": [{
                "policy": {
                    "policy-type": "sts",
                    "policy-string": ["version: STSv1", "mode: testing", "max_age: 86400", "mx: *.mail.company-y.example"],
                    "policy-domain": "company-y.example",
                    "mx-host": ["*.mail.company-y.example"],
                },
                "summary": {"total-successful-session-count": 5326, "total-failure-session-count": 303},
                "failure-details": [
                    {
                        "result-type": "starttls-not-supported", "sending-mta-ip": "2001:db8:abcd:12::1",
                        "receiving-mx-hostname": two, "failed-session-count": 200,
                    },
                    {
                        "result-type": "certificate-expired", "sending-mta-ip": "2001:db8:abcd:12::1",
                        "receiving-mx-hostname": one, "failed-session-count": 100,
                    },
                    {
                        "result-type": "validation-failure", "sending-mta-ip": "2001:db8:abcd:12::1",
                        "failure-reason-code": "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED", "failed-session-count": 3,
                    },
                ],
            }],
        });
        assert_eq!(read(&report(&sessions)), want);
        assert_eq!(report(&sessions).totals(), (5_326, 303));
    }

    #[test]
    fn each_policy_has_a_place_of_its_own() {
        let failed = |policy, result| Session {
            policy,
            failure: Some(Failure::of(result)),
        };
        let sessions = [
            (
                failed(Policy::sts("d.example", None), ResultType::StsPolicyFetchError),
                2,
            ),
            (
                failed(Policy::tlsa("mx.d.example", &[]), ResultType::TlsaInvalid),
                u64::MAX,
            ),
            (
                failed(Policy::tlsa("mx.d.example", &[]), ResultType::TlsaInvalid),
                1,
            ),
            (
                Session {
                    policy: Policy::none("d.example"),
                    failure: None,
                },
                2,
            ),
        ];
        let text = read(&report(&sessions));
        let policies = text["policies"].as_array().unwrap();
        let kinds: Vec<_> = policies.iter().map(|one| &one["policy"]["policy-type"]).collect();
        assert_eq!(kinds, ["tlsa", "sts", "no-policy-found"]);
        assert_eq!(policies[0]["summary"]["total-failure-session-count"], u64::MAX);
        assert!(policies[2].get("failure-details").is_none());
        assert_eq!(
            read(&report(&[]))["policies"],
            json!([]),
            "it is a list also where it is empty"
        );
    }

    #[test]
    fn the_names_are_those_of_the_rfc() {
        let report = report(&[]);
        assert_eq!(
            report.file_name(),
            "moor.example!d.example!1459468800!1459555199!2016040100ab.json.gz"
        );
        assert_eq!(
            report.subject().join(" "),
            "Report Domain: d.example Submitter: moor.example Report-ID: <2016040100ab@moor.example>"
        );
    }

    #[test]
    fn days_have_their_dates() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_798_675_199, "2026-12-30T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), want);
        }
    }
}
