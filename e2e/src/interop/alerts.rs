//! The chart's alerts, judged by Prometheus' own program: each goes off at the figures that it is for, not before its time, and is
//! silent at the figures of a good day. Check 44 of the operator.
//!
//! The program's clock begins at 1970 and a sample is taken each minute. Figures are in its notation (`0+6x40`: from 0, 6 more each
//! minute, 40 times).

use std::fmt::Write as _;

use serde_json::json;

use super::{Table, Verdict};
use crate::kubectl::Outcome;
use crate::place;
use crate::rootfs::{Jail, Rootfs};

/// An alert and figures of a bad and of a good day.
struct Row {
    alert: &'static str,
    /// What differs between rows of one alert.
    what: &'static str,
    bad: &'static [(&'static str, &'static str)],
    good: &'static [(&'static str, &'static str)],
    /// Minutes: still silent at the bad figures (for alerts that wait), and gone off.
    silent: Option<u32>,
    off: u32,
    severity: &'static str,
    /// Labels of the alert beside its severity.
    labels: &'static [(&'static str, &'static str)],
    summary: &'static str,
}

const POD: &[(&str, &str)] = &[("namespace", "mail"), ("pod", "edge-0")];

const ROWS: &[Row] = &[
    Row {
        alert: "PostroadOperatorDown",
        what: "nobody leads",
        bad: &[
            ("postroad_operator_leader{pod=\"a\"}", "0+0x90"),
            ("postroad_operator_leader{pod=\"b\"}", "0+0x90"),
        ],
        good: &[
            ("postroad_operator_leader{pod=\"a\"}", "0+0x90"),
            ("postroad_operator_leader{pod=\"b\"}", "1+0x90"),
        ],
        silent: Some(4),
        off: 6,
        severity: "critical",
        labels: &[],
        summary: "No operator leads",
    },
    Row {
        alert: "PostroadOperatorDown",
        what: "no operator",
        bad: &[("up{pod=\"other\"}", "1+0x90")],
        good: &[("postroad_operator_leader{pod=\"a\"}", "1+0x90")],
        silent: Some(4),
        off: 6,
        severity: "critical",
        labels: &[],
        summary: "No operator leads",
    },
    Row {
        alert: "PostroadObjectNotReady",
        what: "two of a kind, told by two operators",
        bad: &[
            (
                "postroad_operator_objects{kind=\"MailDomain\",ready=\"False\",pod=\"a\"}",
                "2+0x90",
            ),
            (
                "postroad_operator_objects{kind=\"MailDomain\",ready=\"False\",pod=\"b\"}",
                "0+0x90",
            ),
        ],
        good: &[
            (
                "postroad_operator_objects{kind=\"MailDomain\",ready=\"False\",pod=\"a\"}",
                "0+0x90",
            ),
            (
                "postroad_operator_objects{kind=\"MailDomain\",ready=\"True\",pod=\"a\"}",
                "7+0x90",
            ),
        ],
        silent: Some(14),
        off: 16,
        severity: "warning",
        labels: &[("kind", "MailDomain")],
        summary: "2 of kind MailDomain are not Ready",
    },
    Row {
        alert: "PostroadObjectUnreadable",
        what: "one of a kind",
        bad: &[(
            "postroad_operator_objects{kind=\"RelayPolicy\",ready=\"Unreadable\"}",
            "1+0x90",
        )],
        good: &[(
            "postroad_operator_objects{kind=\"RelayPolicy\",ready=\"True\"}",
            "1+0x90",
        )],
        silent: Some(4),
        off: 6,
        severity: "warning",
        labels: &[("kind", "RelayPolicy")],
        summary: "1 of kind RelayPolicy cannot be parsed and are left alone",
    },
    Row {
        alert: "PostroadReconcilesFail",
        what: "three objects",
        bad: &[("postroad_operator_failing{pod=\"a\"}", "3+0x90")],
        good: &[("postroad_operator_failing{pod=\"a\"}", "0+0x90")],
        silent: Some(9),
        off: 11,
        severity: "warning",
        labels: &[],
        summary: "3 objects fail again and again",
    },
    Row {
        alert: "PostroadWritesRefused",
        what: "six a minute",
        bad: &[("postroad_operator_writes_total{outcome=\"refused\"}", "0+6x90")],
        good: &[
            ("postroad_operator_writes_total{outcome=\"ok\"}", "0+600x90"),
            ("postroad_operator_writes_total{outcome=\"refused\"}", "0+1x90"),
        ],
        silent: Some(14),
        off: 30,
        severity: "warning",
        labels: &[],
        summary: "The API server refuses what the operator writes",
    },
    Row {
        alert: "PostroadReconcilesSlow",
        what: "above the last bucket",
        bad: &[
            (
                "postroad_operator_reconcile_seconds_bucket{le=\"10.24\"}",
                "0+0x90",
            ),
            (
                "postroad_operator_reconcile_seconds_bucket{le=\"+Inf\"}",
                "0+9x90",
            ),
        ],
        good: &[
            (
                "postroad_operator_reconcile_seconds_bucket{le=\"0.16\"}",
                "0+9x90",
            ),
            (
                "postroad_operator_reconcile_seconds_bucket{le=\"10.24\"}",
                "0+9x90",
            ),
            (
                "postroad_operator_reconcile_seconds_bucket{le=\"+Inf\"}",
                "0+9x90",
            ),
        ],
        silent: Some(14),
        off: 20,
        severity: "warning",
        labels: &[],
        summary: "Reconciles take longer than ten seconds",
    },
    Row {
        alert: "PostroadRolloutStopped",
        what: "once",
        bad: &[(
            "postroad_operator_rollouts_total{step=\"RolloutStopped\"}",
            "0+0x5 1+0x90",
        )],
        good: &[
            (
                "postroad_operator_rollouts_total{step=\"RolloutStopped\"}",
                "1+0x90",
            ),
            (
                "postroad_operator_rollouts_total{step=\"RolloutCompleted\"}",
                "0+0x5 1+0x90",
            ),
        ],
        silent: None,
        off: 8,
        severity: "warning",
        labels: &[],
        summary: "A rollout of new pods stopped at one that does not do well",
    },
    Row {
        alert: "PostroadNotAccepting",
        what: "a pod that does not leave",
        bad: &[
            (
                "postroad_mta_accepting{namespace=\"mail\",pod=\"edge-0\"}",
                "0+0x90",
            ),
            ("postroad_mta_sealed{namespace=\"mail\",pod=\"edge-0\"}", "0+0x90"),
        ],
        good: &[
            (
                "postroad_mta_accepting{namespace=\"mail\",pod=\"edge-0\"}",
                "0+0x90",
            ),
            ("postroad_mta_sealed{namespace=\"mail\",pod=\"edge-0\"}", "1+0x90"),
            (
                "postroad_mta_accepting{namespace=\"mail\",pod=\"edge-1\"}",
                "1+0x90",
            ),
            ("postroad_mta_sealed{namespace=\"mail\",pod=\"edge-1\"}", "0+0x90"),
        ],
        silent: Some(4),
        off: 6,
        severity: "critical",
        labels: POD,
        summary: "edge-0 accepts no mail and does not leave",
    },
    Row {
        alert: "PostroadQueueOld",
        what: "above four hours",
        bad: &[(
            "postroad_mta_queue_oldest_age_seconds{namespace=\"mail\",pod=\"edge-0\"}",
            "14500+60x90",
        )],
        good: &[(
            "postroad_mta_queue_oldest_age_seconds{namespace=\"mail\",pod=\"edge-0\"}",
            "0+60x90",
        )],
        silent: Some(14),
        off: 16,
        severity: "warning",
        labels: POD,
        summary: "Mail in edge-0 has waited for more than four hours",
    },
    Row {
        alert: "PostroadDestinationDead",
        what: "one, for an hour",
        bad: &[(
            "postroad_mta_queue_states{namespace=\"mail\",pod=\"edge-0\",state=\"Dead\"}",
            "1+0x90",
        )],
        good: &[
            (
                "postroad_mta_queue_states{namespace=\"mail\",pod=\"edge-0\",state=\"Dead\"}",
                "0+0x90",
            ),
            (
                "postroad_mta_queue_states{namespace=\"mail\",pod=\"edge-0\",state=\"Ready\"}",
                "9+0x90",
            ),
        ],
        silent: Some(59),
        off: 61,
        severity: "warning",
        labels: &[("namespace", "mail"), ("pod", "edge-0"), ("state", "Dead")],
        summary: "A destination of edge-0 has not answered for an hour",
    },
    Row {
        alert: "PostroadDrainStuck",
        what: "mail that does not move",
        bad: &[
            ("postroad_mta_sealed{namespace=\"mail\",pod=\"edge-0\"}", "1+0x90"),
            (
                "postroad_mta_drain_remaining{namespace=\"mail\",pod=\"edge-0\"}",
                "5+0x90",
            ),
        ],
        good: &[
            ("postroad_mta_sealed{namespace=\"mail\",pod=\"edge-0\"}", "1+0x90"),
            (
                "postroad_mta_drain_remaining{namespace=\"mail\",pod=\"edge-0\"}",
                "900-9x90",
            ),
            ("postroad_mta_sealed{namespace=\"mail\",pod=\"edge-1\"}", "1+0x90"),
            (
                "postroad_mta_drain_remaining{namespace=\"mail\",pod=\"edge-1\"}",
                "0+0x90",
            ),
        ],
        silent: Some(14),
        off: 20,
        severity: "warning",
        labels: POD,
        summary: "edge-0 leaves and its mail does not move",
    },
    Row {
        alert: "PostroadVolumeNearlyFull",
        what: "full",
        bad: &[(
            "postroad_mta_spool_free_bytes{namespace=\"mail\",pod=\"edge-0\"}",
            "1e8+0x90",
        )],
        good: &[(
            "postroad_mta_spool_free_bytes{namespace=\"mail\",pod=\"edge-0\"}",
            "4e9-1000000x90",
        )],
        silent: Some(9),
        off: 11,
        severity: "critical",
        labels: POD,
        summary: "The volume of edge-0 is full, or will be within four hours",
    },
    Row {
        alert: "PostroadVolumeNearlyFull",
        what: "filling",
        bad: &[(
            "postroad_mta_spool_free_bytes{namespace=\"mail\",pod=\"edge-0\"}",
            "4e9-20000000x90",
        )],
        good: &[(
            "postroad_mta_spool_free_bytes{namespace=\"mail\",pod=\"edge-0\"}",
            "4e9+0x90",
        )],
        silent: Some(9),
        off: 20,
        severity: "critical",
        labels: POD,
        summary: "The volume of edge-0 is full, or will be within four hours",
    },
    Row {
        alert: "PostroadSpoolDamaged",
        what: "one",
        bad: &[(
            "postroad_mta_spool_damaged{namespace=\"mail\",pod=\"edge-0\"}",
            "0 1+0x90",
        )],
        good: &[(
            "postroad_mta_spool_damaged{namespace=\"mail\",pod=\"edge-0\"}",
            "0+0x90",
        )],
        silent: None,
        off: 2,
        severity: "critical",
        labels: POD,
        summary: "Something on the volume of edge-0 cannot be read",
    },
    Row {
        alert: "PostroadCertificateExpires",
        what: "in 13 days",
        bad: &[(
            "postroad_mta_certificate_expiry_timestamp_seconds{namespace=\"mail\",pod=\"edge-0\"}",
            "1123200+0x90",
        )],
        // A pod without TLS says 0.
        good: &[
            (
                "postroad_mta_certificate_expiry_timestamp_seconds{namespace=\"mail\",pod=\"edge-0\"}",
                "1382400+0x90",
            ),
            (
                "postroad_mta_certificate_expiry_timestamp_seconds{namespace=\"mail\",pod=\"edge-1\"}",
                "0+0x90",
            ),
        ],
        silent: Some(59),
        off: 61,
        severity: "warning",
        labels: POD,
        summary: "The certificate that edge-0 serves ends within 14 days",
    },
    Row {
        alert: "PostroadConfigRefused",
        what: "once",
        bad: &[(
            "postroad_mta_config_refused_total{namespace=\"mail\",pod=\"edge-0\"}",
            "0+0x5 1+0x90",
        )],
        good: &[(
            "postroad_mta_config_refused_total{namespace=\"mail\",pod=\"edge-0\"}",
            "1+0x90",
        )],
        silent: None,
        off: 8,
        severity: "warning",
        labels: POD,
        summary: "edge-0 refuses its newest configuration and stays on the one before",
    },
    Row {
        alert: "PostroadMemoryShort",
        what: "nine tenths",
        bad: &[
            (
                "postroad_mta_buffers_bytes{namespace=\"mail\",pod=\"edge-0\"}",
                "9e7+0x90",
            ),
            (
                "postroad_mta_buffers_limit_bytes{namespace=\"mail\",pod=\"edge-0\"}",
                "1e8+0x90",
            ),
        ],
        good: &[
            (
                "postroad_mta_buffers_bytes{namespace=\"mail\",pod=\"edge-0\"}",
                "7e7+0x90",
            ),
            (
                "postroad_mta_buffers_limit_bytes{namespace=\"mail\",pod=\"edge-0\"}",
                "1e8+0x90",
            ),
        ],
        silent: Some(9),
        off: 11,
        severity: "warning",
        labels: POD,
        summary: "edge-0 is short of memory for mail under way",
    },
    Row {
        alert: "PostroadMailUnsigned",
        what: "once",
        bad: &[(
            "postroad_mta_dkim_unsigned_total{namespace=\"mail\",pod=\"edge-0\",cause=\"Message\"}",
            "0+0x5 1+0x90",
        )],
        good: &[(
            "postroad_mta_dkim_unsigned_total{namespace=\"mail\",pod=\"edge-0\",cause=\"Message\"}",
            "1+0x90",
        )],
        silent: None,
        off: 8,
        severity: "warning",
        labels: &[("namespace", "mail"), ("pod", "edge-0"), ("cause", "Message")],
        summary: "edge-0 could not sign mail that should be signed",
    },
    Row {
        alert: "PostroadDuplicatesPossible",
        what: "twenty",
        bad: &[(
            "postroad_mta_duplicates_possible_total{namespace=\"mail\",pod=\"edge-0\",why=\"NoReply\"}",
            "0+0x5 20+0x90",
        )],
        good: &[(
            "postroad_mta_duplicates_possible_total{namespace=\"mail\",pod=\"edge-0\",why=\"NoReply\"}",
            "0+0x5 3+0x90",
        )],
        silent: None,
        off: 8,
        severity: "warning",
        labels: POD,
        summary: "Recipients of mail from edge-0 may have it twice",
    },
];

const RULES: &str = "charts/postroad/files/alerts.yaml";

pub(super) fn play() -> Outcome<Vec<Table>> {
    let root = Rootfs::cached("prometheus", &["prometheus"])?;
    let scratch = tempfile::tempdir()?;
    let jail = root.enter(scratch.path(), &[])?;
    let rules = std::fs::read_to_string(place::tree().join(RULES))?;
    jail.write("/rules.yaml", &rules)?;
    let mut table = Table::new("alert", &["goes off", "waits", "is silent on a good day"]);
    for row in ROWS {
        let name = format!("{}: {}", row.alert, row.what);
        table.rows.push((name, judge(&jail, row)?));
    }
    table
        .rows
        .push(("each rule has a row".to_owned(), all_are_there(&rules)));
    Ok(vec![table])
}

/// What the program says of a row. That it can say no is asked as well: the bad figures without an alert.
fn judge(jail: &Jail, row: &Row) -> Outcome<Vec<Verdict>> {
    let off = match (
        tested(jail, row, row.bad, row.off, true)?,
        tested(jail, row, row.bad, row.off, false)?,
    ) {
        (Verdict::Yes, Verdict::Yes) => Verdict::Fail("the program agrees with everything".to_owned()),
        (verdict, _) => verdict,
    };
    let waits = match row.silent {
        Some(minutes) => tested(jail, row, row.bad, minutes, false)?,
        None => Verdict::Absent,
    };
    let good = tested(jail, row, row.good, row.off, false)?;
    Ok(vec![off, waits, good])
}

fn tested(jail: &Jail, row: &Row, figures: &[(&str, &str)], minutes: u32, is_off: bool) -> Outcome<Verdict> {
    jail.write("/test.yaml", test(row, figures, minutes, is_off))?;
    let said = jail
        .shell("promtool")
        .args(["test", "rules", "/test.yaml"])
        .read();
    Ok(match said {
        Ok(_) => Verdict::Yes,
        Err(error) => Verdict::Fail(error.to_string()),
    })
}

/// A test as the program reads it; JSON is YAML.
fn test(row: &Row, figures: &[(&str, &str)], minutes: u32, is_off: bool) -> String {
    let series: Vec<_> = figures
        .iter()
        .map(|(series, values)| json!({"series": series, "values": values}))
        .collect();
    let mut labels = json!({"severity": row.severity});
    for (name, value) in row.labels {
        labels[*name] = json!(value);
    }
    let alerts = if is_off {
        json!([{"exp_labels": labels, "exp_annotations": {"summary": row.summary}}])
    } else {
        json!([])
    };
    let when = format!("{minutes}m");
    json!({
        "rule_files": ["/rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [{
            "interval": "1m",
            "input_series": series,
            "alert_rule_test": [{"eval_time": when, "alertname": row.alert, "exp_alerts": alerts}],
        }],
    })
    .to_string()
}

/// Whether each rule of the chart has a row.
fn all_are_there(rules: &str) -> Vec<Verdict> {
    let mut without = String::new();
    let names = rules
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("- alert: "));
    for name in names.filter(|name| !ROWS.iter().any(|row| row.alert == *name)) {
        let _ = write!(without, "{name} ");
    }
    let verdict = if without.is_empty() && rules.contains("- alert: ") {
        Verdict::Yes
    } else {
        Verdict::Fail(format!("no figures for {without}"))
    };
    vec![verdict]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_without_figures_is_a_failure() {
        let known = "  - alert: PostroadOperatorDown\n";
        assert_eq!(all_are_there(known), [Verdict::Yes]);
        let more = format!("{known}  - alert: PostroadNothing\n");
        for rules in [more.as_str(), ""] {
            assert!(matches!(all_are_there(rules)[..], [Verdict::Fail(_)]));
        }
    }
}
