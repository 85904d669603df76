//! Which fields of an object are a manager's, by the record that the API server keeps of them. Pure.

use serde_json::Value;

/// JSON pointers of the leaves that a manager applied, but for a status.
pub fn fields(object: &Value, manager: &str) -> Vec<String> {
    let mut found = Vec::new();
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten();
    for entry in entries {
        if entry["manager"] == manager && entry["operation"] == "Apply" && entry["subresource"].is_null() {
            walk(&entry["fieldsV1"], object, "", &mut found);
        }
    }
    found.sort();
    found.dedup();
    found
}

fn walk(set: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let Some(map) = set.as_object() else { return };
    let mut is_leaf = true;
    for (key, below) in map {
        let Some(step) = step(key, value) else { continue };
        is_leaf = false;
        let escaped = step.replace('~', "~0").replace('/', "~1");
        let next = match value {
            Value::Array(list) => step.parse::<usize>().ok().and_then(|index| list.get(index)),
            other => other.get(&step),
        };
        if let Some(next) = next {
            walk(below, next, &format!("{at}/{escaped}"), found);
        }
    }
    if is_leaf {
        // An applied list or map without keys of its own is one value: its leaves are all that can be changed.
        found.extend(
            crate::objects::leaves(value)
                .into_iter()
                .map(|leaf| format!("{at}{leaf}")),
        );
    }
}

/// A key of the record as a step into the value: `f:name`, `k:{"name":"x"}`, `v:"x"`. `.` is the thing itself.
fn step(key: &str, value: &Value) -> Option<String> {
    let (kind, rest) = key.split_once(':')?;
    let position = |holds: &dyn Fn(&Value) -> bool| {
        value
            .as_array()?
            .iter()
            .position(holds)
            .map(|index| index.to_string())
    };
    match kind {
        "f" => Some(rest.to_owned()),
        "k" => {
            let keys: Value = serde_json::from_str(rest).ok()?;
            let keys = keys.as_object()?.clone();
            position(&|item| keys.iter().all(|(name, wanted)| item.get(name) == Some(wanted)))
        }
        "v" => {
            let wanted: Value = serde_json::from_str(rest).ok()?;
            position(&|item| *item == wanted)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_record_gives_the_leaves_of_one_manager() {
        let object = json!({
            "metadata": {"labels": {"a/b": "1", "c": "2"}, "managedFields": [
                {"manager": "us", "operation": "Apply", "fieldsV1": {
                    "f:metadata": {"f:labels": {"f:a/b": {}}},
                    "f:spec": {"f:ports": {"k:{\"port\":25}": {".": {}, "f:name": {}, "f:port": {}}}, "f:list": {}}}},
                {"manager": "them", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {"f:c": {}}}}},
            ]},
            "spec": {"ports": [{"port": 24}, {"port": 25, "name": "smtp"}], "list": ["x", "y"]},
        });
        assert_eq!(
            fields(&object, "us"),
            [
                "/metadata/labels/a~1b",
                "/spec/list/0",
                "/spec/list/1",
                "/spec/ports/1/name",
                "/spec/ports/1/port"
            ]
        );
    }
}
