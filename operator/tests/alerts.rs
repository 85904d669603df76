//! The chart's alerts: each figure that they name exists, each has its steps on the page, and the page has no others. Check 44.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

const RULES: &str = include_str!("../../charts/postroad/files/alerts.yaml");
const FIGURES: &str = include_str!("../../docs/reference/metrics.md");
const STEPS: &str = include_str!("../../docs/how-to/alerts.md");

fn rules() -> Vec<Value> {
    let file: Value = serde_saphyr::from_str(RULES).unwrap();
    let groups = file["groups"].as_array().unwrap().clone();
    groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

/// Name and type of each figure, by the page that tests hold against the registries.
fn kind_of(name: &str) -> Option<&'static str> {
    let row = format!("| `{name}` | ");
    let at = FIGURES.find(&row)?;
    FIGURES[at + row.len()..].split(' ').next()
}

/// Whether a sample of that name is given out.
fn exists(sample: &str) -> bool {
    if let Some(name) = sample.strip_suffix("_total") {
        return kind_of(name) == Some("counter");
    }
    if let Some(name) = sample.strip_suffix("_bucket") {
        return kind_of(name) == Some("histogram");
    }
    kind_of(sample) == Some("gauge")
}

#[test]
fn check_44_alerts_name_figures_that_exist() {
    let name = Regex::new("postroad_[a-z0-9_]+").unwrap();
    let label = Regex::new("[{,]([a-z]+)!?=\"").unwrap();
    assert!(!exists("postroad_operator_reconciles") && !exists("postroad_mta_nothing"));
    for rule in rules() {
        let alert = rule["alert"].as_str().unwrap();
        let expression = rule["expr"].as_str().unwrap();
        let mut samples = 0;
        for sample in name.find_iter(expression) {
            assert!(
                exists(sample.as_str()),
                "{alert}: {} is no figure",
                sample.as_str()
            );
            samples += 1;
        }
        assert!(samples > 0, "{alert} names no figure");
        for label in label.captures_iter(expression) {
            let shown = format!("`{}`", &label[1]);
            assert!(FIGURES.contains(&shown), "{alert}: no figure has a label {shown}");
        }
        assert!(rule["labels"]["severity"].is_string(), "{alert}");
        assert!(rule["annotations"]["summary"].is_string(), "{alert}");
    }
}

#[test]
fn check_44_each_alert_has_its_steps_and_no_other() {
    let alerts: BTreeSet<String> = rules()
        .iter()
        .map(|rule| rule["alert"].as_str().unwrap().to_owned())
        .collect();
    let headings: BTreeSet<String> = STEPS
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(str::to_owned)
        .collect();
    assert!(alerts.len() > 10);
    assert_eq!(alerts, headings);
}
