//! The tables of good and bad specs (`crds/tests/objects`) at a real API server, rules in CEL included: good ones are taken, bad ones
//! refused with the field named; those that only the operator can judge are taken.

use serde_json::{Value, json};

use crate::kubectl::{Failure, Outcome};
use crate::place;
use crate::shell::ShellError;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let (mut judged, mut wrong) = (0, Vec::new());
    for kind in ["smtplistener", "maildomain", "relaypolicy"] {
        let table = table(kind)?;
        let object = |change: &Value| {
            json!({
                "apiVersion": "postroad.dev/v1alpha1", "kind": table["kind"], "metadata": {"name": "judged"},
                "spec": merged(&table["base"], change),
            })
        };
        for change in list(&table["good"]) {
            judged += 1;
            if let Some(said) = refusal(scene, &object(change))? {
                wrong.push(format!("{kind} {change} is good and was refused: {said}"));
            }
        }
        for row in list(&table["bad"]) {
            judged += 1;
            let said = refusal(scene, &object(&row["change"]))?;
            let names = row["names"].as_str().unwrap_or_default();
            match (row["by"] == "Operator", said) {
                (true, None) => {}
                (false, Some(said)) if said.contains(names) => {}
                (_, said) => wrong.push(format!("{kind} {row}: {said:?}")),
            }
        }
    }
    if judged < 300 {
        return Err(Failure::wrong(format!("only {judged} specs were judged")));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Failure::wrong(wrong.join("\n")))
    }
}

fn table(kind: &str) -> Outcome<Value> {
    let path = place::tree().join(format!("crds/tests/objects/{kind}.yaml"));
    let text = std::fs::read_to_string(&path)?;
    serde_saphyr::from_str(&text).map_err(|error| Failure::wrong(format!("{}: {error}", path.display())))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// What the API server says against it. Nothing is stored.
fn refusal(scene: &Scene<'_>, object: &Value) -> Outcome<Option<String>> {
    match scene.namespace.would_apply(&object.to_string()) {
        Ok(()) => Ok(None),
        Err(Failure::Shell(ShellError::Failed { said, .. })) => Ok(Some(said)),
        Err(other) => Err(other),
    }
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
