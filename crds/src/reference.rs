//! Reference pages out of the schema: one for each kind, every field with its type, its default and its text.

use std::fmt::Write;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

/// The page of one kind, in Markdown.
pub fn page(crd: &CustomResourceDefinition) -> Result<String, serde_json::Error> {
    let crd = serde_json::to_value(crd)?;
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let names = &crd["spec"]["names"];
    let kind = names["kind"].as_str().unwrap_or_default();
    let mut page = format!("# {kind}\n\n{}\n\n", text(schema));
    let _ = writeln!(
        page,
        "`{}/{}`, short name `{}`. Made from the types by `cargo crdgen`; `kubectl explain {}` shows the same. \
         Examples: [docs/examples](../examples).\n",
        crd["spec"]["group"].as_str().unwrap_or_default(),
        crd["spec"]["versions"][0]["name"].as_str().unwrap_or_default(),
        names["shortNames"][0].as_str().unwrap_or_default(),
        names["plural"].as_str().unwrap_or_default(),
    );
    for part in ["spec", "status"] {
        let _ = writeln!(page, "## {part}\n\n| Field | Type | What it is |\n|---|---|---|");
        rows(part, &schema["properties"][part], &mut page);
        page.push('\n');
    }
    Ok(page)
}

fn rows(path: &str, schema: &Value, page: &mut String) {
    let Some(fields) = schema["properties"].as_object() else {
        return;
    };
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, field) in fields {
        let path = format!("{path}.{name}");
        let must = if required.contains(&name.as_str()) {
            " **Required.**"
        } else {
            ""
        };
        let default = match &field["default"] {
            Value::Null | Value::Object(_) | Value::Array(_) => String::new(),
            value => format!(" Default `{}`.", value.to_string().trim_matches('"')),
        };
        let _ = writeln!(
            page,
            "| `{path}` | {} | {}{default}{must} |",
            kind(field),
            text(field).replace('|', "\\|")
        );
        if path.ends_with("conditions") {
            continue;
        }
        rows(&path, field, page);
        rows(&format!("{path}[]"), &field["items"], page);
    }
}

fn text(schema: &Value) -> String {
    schema["description"]
        .as_str()
        .unwrap_or_default()
        .replace('\n', " ")
}

fn kind(field: &Value) -> String {
    if let Some(values) = field["enum"].as_array() {
        let names: Vec<String> = values
            .iter()
            .filter_map(Value::as_str)
            .map(|name| format!("`{name}`"))
            .collect();
        return names.join(", ");
    }
    match field["type"].as_str().unwrap_or("object") {
        "array" => format!("list of {}", kind(&field["items"])),
        other => other.to_owned(),
    }
}
