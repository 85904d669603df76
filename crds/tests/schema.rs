//! What every schema must be: a text for each field, a bound for each list and string, no odd formats, and a size that a
//! client can apply.
#![expect(clippy::unwrap_used, reason = "a test")]

use postroad_crds::all_crds;
use serde_json::Value;

/// Calls `visit` with path and schema of every field below `spec`.
fn each_field(path: &str, schema: &Value, visit: &mut dyn FnMut(&str, &Value)) {
    if let Some(fields) = schema["properties"].as_object() {
        for (name, field) in fields {
            let path = format!("{path}.{name}");
            visit(&path, field);
            each_field(&path, field, visit);
            each_field(&format!("{path}[]"), &field["items"], visit);
        }
    }
}

fn schemas() -> Vec<(String, Value)> {
    let one = |crd| {
        let value = serde_json::to_value(crd).unwrap();
        let kind = value["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        (
            kind,
            value["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone(),
        )
    };
    all_crds().into_iter().map(one).collect()
}

#[test]
fn every_field_has_a_text() {
    for (kind, schema) in schemas() {
        let mut seen = 0;
        each_field(&kind, &schema, &mut |path, field| {
            seen += 1;
            assert!(
                path.contains("conditions[]") || field["description"].is_string(),
                "{path} has no text"
            );
        });
        assert!(seen > 10, "{kind}: only {seen} fields were seen");
    }
}

#[test]
fn every_list_map_and_string_of_a_spec_has_a_bound() {
    for (kind, schema) in schemas() {
        each_field(
            &format!("{kind}.spec"),
            &schema["properties"]["spec"],
            &mut |path, field| match field["type"].as_str() {
                Some("array") => {
                    assert!(field["maxItems"].is_number(), "{path} has no maxItems");
                    let item = &field["items"];
                    assert!(
                        item["type"] != "string" || item["maxLength"].is_number() || item["enum"].is_array(),
                        "{path}[] has no maxLength"
                    );
                }
                Some("object") if field["additionalProperties"].is_object() => {
                    assert!(field["maxProperties"].is_number(), "{path} has no maxProperties");
                }
                Some("string") => {
                    assert!(
                        field["maxLength"].is_number() || field["enum"].is_array(),
                        "{path} has no maxLength"
                    );
                }
                _ => {}
            },
        );
    }
}

#[test]
fn no_format_that_kubernetes_does_not_know() {
    for (kind, schema) in schemas() {
        let text = schema.to_string();
        assert!(!text.contains("\"uint"), "{kind} has an unsigned format");
    }
}

#[test]
fn a_definition_fits_into_a_client_side_apply() {
    for crd in all_crds() {
        let size = serde_json::to_string(&crd).unwrap().len();
        assert!(size < 200 << 10, "{size} octets");
    }
}

#[test]
fn enum_values_are_no_booleans_of_yaml() {
    for (kind, schema) in schemas() {
        each_field(&kind, &schema, &mut |path, field| {
            for value in field["enum"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                let boolean = ["yes", "no", "on", "off", "true", "false", "y", "n"]
                    .contains(&value.to_lowercase().as_str());
                assert!(!boolean, "{path}: {value}");
            }
        });
    }
}
