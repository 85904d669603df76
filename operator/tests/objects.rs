//! The tables of `crds/tests/objects`, as far as the operator judges: good specs are taken, and those that only it can refuse are
//! refused with the field named.
#![allow(clippy::unwrap_used, clippy::unwrap_in_result, reason = "a test")]

use std::path::Path;

use postroad_crds::{MailDomainSpec, RelayPolicy, SmtpListenerSpec};
use postroad_operator::smtp_listener::validate::Invalid;
use postroad_operator::{mail_domain, relay_policy, smtp_listener};
use serde_json::{Value, json};

const KINDS: [&str; 3] = ["smtplistener", "maildomain", "relaypolicy"];

fn table(of: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../crds/tests/objects/{of}.yaml"));
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// RFC 7396.
fn merged(base: &Value, change: &Value) -> Value {
    let Value::Object(fields) = change else {
        return change.clone();
    };
    let mut made = base.as_object().cloned().unwrap_or_default();
    for (name, value) in fields {
        if value.is_null() {
            made.remove(name);
        } else {
            let before = made.get(name).cloned().unwrap_or_default();
            made.insert(name.clone(), merged(&before, value));
        }
    }
    Value::Object(made)
}

fn judged(kind: &str, spec: Value) -> Result<(), Invalid> {
    match kind {
        "smtplistener" => {
            let spec: SmtpListenerSpec = serde_json::from_value(spec).unwrap();
            smtp_listener::validate::validate(&spec).map(drop)
        }
        "maildomain" => {
            let spec: MailDomainSpec = serde_json::from_value(spec).unwrap();
            mail_domain::validate::validate(&spec)?;
            mail_domain::validate::resolvers(&spec).map(drop)
        }
        _ => {
            let object: RelayPolicy = serde_json::from_value(json!({
                "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy",
                "metadata": {"name": "p", "namespace": "mail"}, "spec": spec,
            }))
            .unwrap();
            relay_policy::validate::validate(&object).map(drop)
        }
    }
}

#[test]
fn good_specs_are_taken() {
    let (mut count, mut failures) = (0, Vec::new());
    for kind in KINDS {
        let table = table(kind);
        for change in table["good"].as_array().unwrap() {
            if let Err(invalid) = judged(kind, merged(&table["base"], change)) {
                failures.push(format!("{kind} {change}: {invalid}"));
            }
            count += 1;
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(count >= 100, "only {count}");
}

#[test]
fn what_only_the_operator_can_refuse_is_refused_with_the_field_named() {
    let (mut count, mut failures) = (0, Vec::new());
    for kind in KINDS {
        let table = table(kind);
        let rows = table["bad"].as_array().unwrap().iter();
        for row in rows.filter(|row| row["by"] == "Operator") {
            let names = row["names"].as_str().unwrap();
            match judged(kind, merged(&table["base"], &row["change"])) {
                Err(invalid) if invalid.field.contains(names) && !invalid.sentence.is_empty() => {}
                other => failures.push(format!("{kind} {}: {other:?}", row["change"])),
            }
            count += 1;
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(count >= 40, "only {count}");
}
