//! The examples of `docs/examples`: each is what the types read and the schema admits, and together they have every field.
#![expect(clippy::unwrap_used, reason = "a test")]

mod judge;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use judge::{Judge, kinds};
use postroad_crds::{MailDomain, RelayPolicy, SmtpListener};
use serde::de::DeserializeOwned;
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples")
}

/// The examples of one kind: file and object.
fn examples(of: &str) -> Vec<(String, Value)> {
    let mut files: Vec<_> = std::fs::read_dir(folder().join(of))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 2, "{of}: only {} examples", files.len());
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("# "),
            "{} does not say what it shows",
            path.display()
        );
        let object = serde_saphyr::from_str(&text).unwrap_or_else(|error| {
            assert!(text.is_empty(), "{}: {error}", path.display());
            Value::Null
        });
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (format!("{of}/{name}"), object)
    };
    files.into_iter().map(read).collect()
}

/// All fields below a schema, in the form in which [`Judge`] notes those that are given.
fn fields(path: &str, schema: &Value, found: &mut BTreeSet<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        found.insert(path.clone());
        fields(&path, field, found);
        fields(&format!("{path}[]"), &field["items"], found);
    }
}

fn read_by<T: DeserializeOwned>(object: &Value) -> Result<(), serde_json::Error> {
    serde_json::from_value::<T>(object.clone()).map(drop)
}

#[test]
fn each_example_is_what_its_schema_admits_and_the_types_read() {
    for (of, kind, schema) in kinds() {
        for (file, object) in examples(&of) {
            assert_eq!(object["kind"], kind, "{file}");
            assert_eq!(object["apiVersion"], "postroad.dev/v1alpha1", "{file}");
            let mut judge = Judge::default();
            judge.value("spec", &schema["properties"]["spec"], &object["spec"]);
            assert!(judge.wrong.is_empty(), "{file}: {:#?}", judge.wrong);
            let read = match kind.as_str() {
                "SmtpListener" => read_by::<SmtpListener>(&object),
                "MailDomain" => read_by::<MailDomain>(&object),
                _ => read_by::<RelayPolicy>(&object),
            };
            assert!(read.is_ok(), "{file}: {read:?}");
        }
    }
}

#[test]
fn together_they_have_every_field() {
    for (of, kind, schema) in kinds() {
        let (mut all, mut judge) = (BTreeSet::new(), Judge::default());
        fields("spec", &schema["properties"]["spec"], &mut all);
        for (_, object) in examples(&of) {
            judge.value("spec", &schema["properties"]["spec"], &object["spec"]);
        }
        assert!(all.len() > 10, "{kind}: only {} fields", all.len());
        let missing: Vec<_> = all.difference(&judge.given).collect();
        assert!(missing.is_empty(), "{kind}: no example has {missing:#?}");
    }
}

#[test]
fn the_list_names_each_of_them() {
    let list = std::fs::read_to_string(folder().join("README.md")).unwrap();
    for (of, _, _) in kinds() {
        for (file, _) in examples(&of) {
            assert!(
                list.contains(&format!("({file})")),
                "README.md does not name {file}"
            );
        }
    }
}

#[test]
fn a_mistake_is_seen() {
    let (_, _, schema) = kinds()
        .into_iter()
        .find(|(_, kind, _)| kind == "SmtpListener")
        .unwrap();
    let (_, good) = examples("smtplistener")
        .into_iter()
        .find(|(file, _)| file.ends_with("limits.yaml"))
        .unwrap();
    for (place, value, word) in [
        ("/spec/limits/connections", serde_json::json!(0), "minimum"),
        ("/spec/limits/messageSize", serde_json::json!(5), "is no"),
        ("/spec/ports/0/role", serde_json::json!("Relay"), "enum"),
        ("/spec/ports", serde_json::json!([]), "minItems"),
        ("/spec/queue", serde_json::json!({}), "missing"),
        (
            "/spec/queue",
            serde_json::json!({"storage": {"size": "1Gi"}, "odd": 1}),
            "no field",
        ),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(place).unwrap() = value;
        let mut judge = Judge::default();
        judge.value("spec", &schema["properties"]["spec"], &bad["spec"]);
        assert_eq!(judge.wrong.len(), 1, "{place}: {:?}", judge.wrong);
        assert!(judge.wrong[0].contains(word), "{place}: {:?}", judge.wrong);
    }
}
