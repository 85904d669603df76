//! The tables of good and bad specs in `crds/tests/objects`: what the schema refuses it refuses with the field named, what a rule
//! is to refuse passes the schema and has such a rule, and what is good is read by the types. The API server itself judges them
//! in the story `objects_judged`; what the operator refuses, its own tests have.
#![expect(clippy::unwrap_used, reason = "a test")]

mod judge;

use std::path::Path;

use judge::{Judge, kinds};
use postroad_crds::{MailDomainSpec, RelayPolicySpec, SmtpListenerSpec};
use serde::de::DeserializeOwned;
use serde_json::Value;

fn table(of: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/objects/{of}.yaml"));
    let text = std::fs::read_to_string(path).unwrap();
    serde_saphyr::from_str(&text).unwrap()
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

fn wrong(schema: &Value, spec: &Value) -> Vec<String> {
    let mut judge = Judge::default();
    judge.value("spec", &schema["properties"]["spec"], spec);
    judge.wrong
}

fn read(kind: &str, spec: &Value) -> Result<(), String> {
    fn by<T: DeserializeOwned>(spec: &Value) -> Result<(), String> {
        serde_json::from_value::<T>(spec.clone())
            .map(drop)
            .map_err(|error| error.to_string())
    }
    match kind {
        "SmtpListener" => by::<SmtpListenerSpec>(spec),
        "MailDomain" => by::<MailDomainSpec>(spec),
        _ => by::<RelayPolicySpec>(spec),
    }
}

/// The sentences of all rules of a schema.
fn rules(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            for rule in fields
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let said = rule["messageExpression"].as_str().or(rule["message"].as_str());
                found.push(said.unwrap().to_owned());
            }
            fields.values().for_each(|value| rules(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| rules(item, found)),
        _ => {}
    }
}

#[test]
fn good_specs_are_admitted_and_read() {
    let mut count = 0;
    for (of, kind, schema) in kinds() {
        let table = table(&of);
        for change in table["good"].as_array().unwrap() {
            let spec = merged(&table["base"], change);
            assert_eq!(wrong(&schema, &spec), [""; 0], "{kind} {change}");
            assert_eq!(read(&kind, &spec), Ok(()), "{kind} {change}");
            count += 1;
        }
    }
    assert!(count >= 100, "only {count} good specs");
}

#[test]
fn bad_specs_are_refused_where_the_table_says_so() {
    let (mut count, mut failures) = (0, Vec::new());
    for (of, kind, schema) in kinds() {
        let table = table(&of);
        let mut sentences = Vec::new();
        rules(&schema, &mut sentences);
        for row in table["bad"].as_array().unwrap() {
            let (names, by) = (row["names"].as_str().unwrap(), row["by"].as_str().unwrap());
            let spec = merged(&table["base"], &row["change"]);
            let found = wrong(&schema, &spec);
            let holds = match by {
                "Schema" => found.iter().any(|what| what.contains(names)),
                "Rule" => {
                    found.is_empty() && sentences.iter().any(|sentence| is_named(names, sentence, &kind))
                }
                // Two entries of one key, or a wait that is too long: only the API server, or the operator, sees it.
                "Keys" | "Operator" => found.is_empty() && read(&kind, &spec).is_ok(),
                _ => false,
            };
            if !holds {
                failures.push(format!("{kind} {}: by {by}, found {found:?}", row["change"]));
            }
            count += 1;
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(count >= 200, "only {count} bad specs");
}

/// A rule on a text of some kind says nothing of the field that it stands in: the API server names that.
fn is_named(names: &str, sentence: &str, kind: &str) -> bool {
    let networks = ["relayFrom", "trustedSources", "trustedPeers"];
    let times = [
        "lifetime",
        "first",
        "max",
        "per",
        "delay",
        "delayNotice",
        "total",
        "reply",
        "connect",
    ];
    let domains = [
        "heloDomains",
        "senderDomains",
        "recipientDomains",
        "trustedSealers",
        "zone",
    ];
    let said = |what: &str| sentence.contains(what);
    said(names)
        || (kind == "SmtpListener" && networks.contains(&names) && said("network (CIDR)"))
        || (times.contains(&names) && said("is no duration"))
        || (names.to_lowercase().ends_with("size") && said("is no size"))
        || (names == "host" && said("is no host;"))
        || (names == "domain" && said("is no domain;"))
        || (kind == "SmtpListener"
            && domains.contains(&names)
            && (said("is no domain;") || said("a domain alone")))
}
