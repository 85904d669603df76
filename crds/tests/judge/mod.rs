//! Judges values by a structural schema, as the API server does.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test may end so, its helpers too")]

use std::collections::BTreeSet;

use postroad_crds::all_crds;
use serde_json::Value;

/// Folder, kind, schema.
pub fn kinds() -> Vec<(String, String, Value)> {
    let one = |crd| {
        let value = serde_json::to_value(crd).unwrap();
        let kind = value["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        let schema = value["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        (kind.to_lowercase(), kind, schema)
    };
    all_crds().into_iter().map(one).collect()
}

/// What a structural schema refuses, and the fields that are given; rules in CEL are the API server's to judge.
#[derive(Default)]
pub struct Judge {
    /// What is wrong, with the place.
    pub wrong: Vec<String>,
    /// Fields that are given.
    pub given: BTreeSet<String>,
}

impl Judge {
    /// Judges a value.
    pub fn value(&mut self, path: &str, schema: &Value, value: &Value) {
        self.given.insert(path.to_owned());
        let fits = match schema["type"].as_str() {
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("integer") => value.is_i64(),
            Some("boolean") => value.is_boolean(),
            _ => true,
        };
        if !fits {
            self.wrong
                .push(format!("{path}: {value} is no {}", schema["type"]));
        }
        self.bounds(path, schema, value);
        match value {
            Value::Object(fields) => self.object(path, schema, fields),
            Value::Array(items) => {
                for item in items {
                    self.value(&format!("{path}[]"), &schema["items"], item);
                }
            }
            _ => {}
        }
    }

    fn object(&mut self, path: &str, schema: &Value, fields: &serde_json::Map<String, Value>) {
        for name in schema["required"].as_array().into_iter().flatten() {
            if !fields.contains_key(name.as_str().unwrap()) {
                self.wrong.push(format!("{path}: {name} is missing"));
            }
        }
        for (name, value) in fields {
            match schema["properties"].get(name) {
                Some(field) => self.value(&format!("{path}.{name}"), field, value),
                None if schema["additionalProperties"].is_object() => {
                    self.value(&format!("{path}.*"), &schema["additionalProperties"], value);
                }
                None if schema["x-kubernetes-preserve-unknown-fields"] == true => {}
                None => self.wrong.push(format!("{path}: {name} is no field")),
            }
        }
    }

    fn bounds(&mut self, path: &str, schema: &Value, value: &Value) {
        let mut check = |holds: bool, rule: &str| {
            if !holds {
                self.wrong
                    .push(format!("{path}: {value} breaks {rule} {}", schema[rule]));
            }
        };
        if let Some(values) = schema["enum"].as_array() {
            check(values.contains(value), "enum");
        }
        if let (Some(number), Some(least)) = (value.as_f64(), schema["minimum"].as_f64()) {
            check(number >= least, "minimum");
        }
        if let (Some(number), Some(most)) = (value.as_f64(), schema["maximum"].as_f64()) {
            check(number <= most, "maximum");
        }
        if let (Value::String(text), Some(pattern)) = (value, schema["pattern"].as_str()) {
            check(regex::Regex::new(pattern).unwrap().is_match(text), "pattern");
        }
        let size = match value {
            Value::String(text) => Some((text.chars().count(), "minLength", "maxLength")),
            Value::Array(items) => Some((items.len(), "minItems", "maxItems")),
            Value::Object(fields) => Some((fields.len(), "minProperties", "maxProperties")),
            _ => None,
        };
        if let Some((size, least, most)) = size {
            let size = size as u64;
            check(schema[least].as_u64().is_none_or(|least| size >= least), least);
            check(schema[most].as_u64().is_none_or(|most| size <= most), most);
        }
    }
}
