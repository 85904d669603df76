//! What the schema cannot show of the settings of the pods: labels, and an affinity that it does not know.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Affinity;
use postroad_crds::smtp_listener::PodSettings;
use serde_json::Value;

use super::Invalid;

/// Checks labels, selectors and affinity. Errors: the first that Kubernetes would refuse, or would not know.
pub(super) fn check(settings: &PodSettings) -> Result<(), Invalid> {
    for (field, labels) in [
        ("spec.pod.labels", &settings.labels),
        ("spec.pod.nodeSelector", &settings.node_selector),
    ] {
        keys(field, labels)?;
        if let Some(value) = labels.values().find(|value| !is_value(value)) {
            return Err(Invalid::new(
                field,
                format!(
                    "`{value}` is no value of a label; write at most 63 letters, digits, `-`, `_` and `.`"
                ),
            ));
        }
    }
    keys("spec.pod.annotations", &settings.annotations)?;
    keys(
        "spec.pod.serviceAccountAnnotations",
        &settings.service_account_annotations,
    )?;
    settings
        .affinity
        .as_ref()
        .map_or(Ok(()), |affinity| check_affinity(&affinity.0))
}

/// Checks the keys of labels or annotations. Errors: one that Kubernetes would refuse.
pub(super) fn keys(field: &str, map: &BTreeMap<String, String>) -> Result<(), Invalid> {
    match map.keys().find(|key| !is_key(key)) {
        None => Ok(()),
        Some(key) => Err(Invalid::new(
            field,
            format!("`{key}` is no key; write a name, or a domain, `/` and a name of at most 63 characters"),
        )),
    }
}

/// A qualified name. Source: the page "Labels and Selectors" of Kubernetes.
fn is_key(key: &str) -> bool {
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_domain = |prefix: &str| {
        prefix.len() <= 253
            && prefix.split('.').all(|label| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            })
    };
    !name.is_empty() && is_value(name) && prefix.is_none_or(is_domain)
}

fn is_value(value: &str) -> bool {
    let ends = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    value.len() <= 63
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && ends(value.chars().next())
        && ends(value.chars().next_back())
}

fn check_affinity(given: &Value) -> Result<(), Invalid> {
    const FIELD: &str = "spec.pod.affinity";
    let read: Affinity = serde_json::from_value(given.clone())
        .map_err(|error| Invalid::new(FIELD, format!("{error}; write it as a Kubernetes pod has it")))?;
    let known = serde_json::to_value(read).unwrap_or_default();
    match unknown(given, &known) {
        None => Ok(()),
        Some(path) => Err(Invalid::new(
            FIELD,
            format!("{path} is not known; write it as a Kubernetes pod has it"),
        )),
    }
}

/// The first field of a value that was lost when it was read.
fn unknown(given: &Value, known: &Value) -> Option<String> {
    match given {
        Value::Object(fields) => {
            fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .find_map(|(name, value)| {
                    let Some(read) = known.get(name) else {
                        return Some(format!("`{name}`"));
                    };
                    unknown(value, read)
                })
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| unknown(item, known.get(index)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(value: Value) -> PodSettings {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_kubernetes_takes_is_taken() {
        let term = json!({"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]});
        let required =
            json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}});
        for good in [
            json!({}),
            json!({"labels": {"team": "mail", "example.com/cost-centre": "", "a.b/c_d.e": "1.2_3"}}),
            json!({"nodeSelector": {"kubernetes.io/os": "linux"}, "annotations": {"a/b": "any text\nat all"}}),
            json!({"affinity": {"nodeAffinity": required, "podAffinity": null}}),
        ] {
            assert_eq!(check(&settings(good.clone())), Ok(()), "{good}");
        }
    }

    #[test]
    fn each_mistake_is_named() {
        let long = "x".repeat(64);
        for (bad, field, part) in [
            (json!({"labels": {"-a": "b"}}), "spec.pod.labels", "`-a`"),
            (json!({"labels": {"a": "b c"}}), "spec.pod.labels", "`b c`"),
            (json!({"labels": {"a": long}}), "spec.pod.labels", "at most 63"),
            (
                json!({"nodeSelector": {"A.example/b": "c"}}),
                "spec.pod.nodeSelector",
                "A.example",
            ),
            (json!({"annotations": {"": "c"}}), "spec.pod.annotations", "``"),
            (
                json!({"serviceAccountAnnotations": {"a/b/c": "d"}}),
                "spec.pod.serviceAccountAnnotations",
                "a/b/c",
            ),
            (
                json!({"affinity": {"nodeAfinity": {}}}),
                "spec.pod.affinity",
                "`nodeAfinity`",
            ),
            (
                json!({"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 1, "podAffinityTerm": {"topologyKey": "zone", "labelSelctor": {}}},
                ]}}}),
                "spec.pod.affinity",
                "`labelSelctor`",
            ),
            (
                json!({"affinity": {"nodeAffinity": "x"}}),
                "spec.pod.affinity",
                "as a Kubernetes pod",
            ),
        ] {
            let error = check(&settings(bad.clone())).unwrap_err();
            assert_eq!(error.field, field, "{bad}");
            assert!(error.sentence.contains(part), "{error}");
        }
    }
}
