//! What is in a namespace, without what differs between two runs that came to the same: identities, versions, times, keys. Pure.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use serde_json::{Map, Value, json};

/// Path of each kind in a namespace.
pub const KINDS: &[(&str, &str)] = &[
    ("smtplisteners", "/apis/postroad.dev/v1alpha1"),
    ("maildomains", "/apis/postroad.dev/v1alpha1"),
    ("relaypolicies", "/apis/postroad.dev/v1alpha1"),
    ("statefulsets", "/apis/apps/v1"),
    ("poddisruptionbudgets", "/apis/policy/v1"),
    ("networkpolicies", "/apis/networking.k8s.io/v1"),
    ("services", "/api/v1"),
    ("serviceaccounts", "/api/v1"),
    ("secrets", "/api/v1"),
    ("pods", "/api/v1"),
    ("persistentvolumeclaims", "/api/v1"),
];

/// Objects by `kind/name`.
pub type Objects = BTreeMap<String, Value>;

/// Path of an object, or of all of its kind where the name is empty.
pub fn path(kind: &str, namespace: &str, name: &str) -> String {
    let base = KINDS
        .iter()
        .find(|(known, _)| *known == kind)
        .map_or("/api/v1", |(_, base)| base);
    let all = format!("{base}/namespaces/{namespace}/{kind}");
    if name.is_empty() {
        all
    } else {
        format!("{all}/{name}")
    }
}

/// An object as it is compared.
pub fn plain(kind: &str, object: &Value) -> Value {
    let mut plain = json!({"metadata": metadata(&object["metadata"])});
    match kind {
        // Filled in by the controllers of the cluster, from a template that is compared itself.
        "pods" => plain["image"] = object["spec"]["containers"][0]["image"].clone(),
        "secrets" => {
            plain["type"] = object["type"].clone();
            plain["data"] = data(&object["data"]);
        }
        _ => plain["spec"] = object["spec"].clone(),
    }
    for given_by_cluster in ["clusterIP", "clusterIPs", "healthCheckNodePort", "volumeName"] {
        if let Some(spec) = plain["spec"].as_object_mut()
            && spec.get(given_by_cluster).is_some_and(|value| value != "None")
        {
            spec.remove(given_by_cluster);
        }
    }
    if let Some(ports) = plain["spec"]["ports"]
        .as_array_mut()
        .filter(|_| kind == "services")
    {
        for port in ports {
            port.as_object_mut().map(|port| port.remove("nodePort"));
        }
    }
    if object["status"]["conditions"].is_array() && kind.ends_with('s') && is_ours(kind) {
        plain["conditions"] = conditions(&object["status"]["conditions"]);
    }
    plain
}

fn is_ours(kind: &str) -> bool {
    matches!(kind, "smtplisteners" | "maildomains" | "relaypolicies")
}

fn metadata(full: &Value) -> Value {
    let mut plain = Map::new();
    for kept in ["name", "labels", "annotations", "finalizers"] {
        plain.insert(kept.to_owned(), full[kept].clone());
    }
    plain.insert("ends".into(), json!(full["deletionTimestamp"].is_string()));
    let owners = full["ownerReferences"].as_array().into_iter().flatten();
    plain.insert(
        "owners".into(),
        owners.map(|owner| owner["name"].clone()).collect(),
    );
    for (kind, known) in [
        (
            "annotations",
            &["postroad.dev/applied", "postroad.dev/config-hash"][..],
        ),
        (
            "labels",
            &["controller-revision-hash", "apps.kubernetes.io/pod-index"][..],
        ),
    ] {
        if let Some(map) = plain.get_mut(kind).and_then(Value::as_object_mut) {
            map.retain(|key, _| !known.contains(&key.as_str()));
        }
    }
    plain.retain(|_, value| !value.is_null() && *value != json!({}));
    Value::Object(plain)
}

/// Keys, and of texts what is no key and no certificate.
fn data(data: &Value) -> Value {
    let one = |(key, value): (&String, &Value)| {
        let octets = base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap_or_default());
        let text = octets
            .ok()
            .and_then(|octets| String::from_utf8(octets).ok())
            .unwrap_or_default();
        let is = |ending: &str| Path::new(key).extension().is_some_and(|kind| kind == ending);
        let shown = if is("yaml") {
            config(&text)
        } else {
            json!("hidden")
        };
        // Signing keys are called by day and object.
        let key = if is("pem") { kind_of_key(key) } else { key.clone() };
        (key, shown)
    };
    Value::Object(data.as_object().into_iter().flatten().map(one).collect())
}

/// The texts of a Secret, as they are.
pub fn texts(data: &Value) -> Value {
    let one = |(key, value): (&String, &Value)| {
        let octets = base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap_or_default());
        let text = octets.ok().and_then(|octets| String::from_utf8(octets).ok());
        (key.clone(), json!(text))
    };
    Value::Object(data.as_object().into_iter().flatten().map(one).collect())
}

/// A file of the configuration as a value, without what is drawn anew each time.
fn config(text: &str) -> Value {
    let mut value: Value = serde_saphyr::from_str(text).unwrap_or_else(|_| json!(text));
    strip(&mut value);
    value
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !matches!(key.as_str(), "generation" | "hash" | "keySet"));
            // The files themselves are compared, and their hashes are of keys too.
            if let Some(Value::Object(shards)) = map.get_mut("shards") {
                shards.values_mut().for_each(|hash| *hash = json!("hash"));
            }
            if let Some(Value::String(selector)) = map.get_mut("selector") {
                *selector = kind_of_key(selector);
            }
            map.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        Value::String(text) if text.contains("-----BEGIN") => "PEM".clone_into(text),
        _ => {}
    }
}

/// `rsa` of `rsa-20261128-4c5f1a`.
fn kind_of_key(selector: &str) -> String {
    selector.split('-').next().unwrap_or_default().to_owned()
}

/// Type, status and reason of each condition.
fn conditions(conditions: &Value) -> Value {
    let one = |condition: &Value| {
        let part = |name: &str| condition[name].as_str().unwrap_or_default().to_owned();
        (part("type"), json!([part("status"), part("reason")]))
    };
    Value::Object(conditions.as_array().into_iter().flatten().map(one).collect())
}

/// Where two sets differ, one line each.
pub fn differences(wanted: &Objects, found: &Objects) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, value) in wanted {
        match found.get(name) {
            None => lines.push(format!("{name} is missing")),
            Some(other) => differ(name, value, other, &mut lines),
        }
    }
    lines.extend(
        found
            .keys()
            .filter(|name| !wanted.contains_key(*name))
            .map(|name| format!("{name} is too much")),
    );
    lines
}

fn differ(at: &str, wanted: &Value, found: &Value, lines: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            let keys: std::collections::BTreeSet<_> = wanted.keys().chain(found.keys()).collect();
            for key in keys {
                let null = Value::Null;
                let pick = |map: &Map<String, Value>| map.get(key).unwrap_or(&null).clone();
                differ(&format!("{at}.{key}"), &pick(wanted), &pick(found), lines);
            }
        }
        _ if wanted != found => lines.push(format!("{at}: wanted {wanted}, found {found}")),
        _ => {}
    }
}

/// Each leaf of a value, as a JSON pointer.
pub fn leaves(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(value, "", &mut found);
    found
}

fn walk(value: &Value, at: &str, found: &mut Vec<String>) {
    let step = |key: &str| format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                walk(value, &step(key), found);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (index, value) in list.iter().enumerate() {
                walk(value, &step(&index.to_string()), found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

/// Takes out what a pointer names.
pub fn take(value: &mut Value, pointer: &str) -> Option<Value> {
    let (parent, key) = pointer.rsplit_once('/')?;
    let key = key.replace("~1", "/").replace("~0", "~");
    match value.pointer_mut(parent)? {
        Value::Object(map) => map.remove(&key),
        Value::Array(list) => {
            let index: usize = key.parse().ok().filter(|index| *index < list.len())?;
            Some(list.remove(index))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_by_run_is_not_compared_and_all_else_is() {
        let service = |uid: &str, ip: &str, port: u16| {
            json!({"metadata": {"name": "edge", "uid": uid, "resourceVersion": uid},
                   "spec": {"clusterIP": ip, "ports": [{"port": port, "nodePort": 30_001}]}})
        };
        let one = plain("services", &service("a", "10.0.0.1", 25));
        assert_eq!(one, plain("services", &service("b", "10.0.0.2", 25)));
        assert_ne!(one, plain("services", &service("a", "10.0.0.1", 26)));
        let headless = plain("services", &service("a", "None", 25));
        assert_eq!(headless["spec"]["clusterIP"], "None");
    }

    #[test]
    fn differences_are_named_by_their_path() {
        let set = |replicas: i32| {
            Objects::from([(
                "statefulsets/edge".to_owned(),
                json!({"spec": {"replicas": replicas}}),
            )])
        };
        assert!(differences(&set(1), &set(1)).is_empty());
        assert_eq!(
            differences(&set(1), &set(2)),
            ["statefulsets/edge.spec.replicas: wanted 1, found 2"]
        );
        assert_eq!(
            differences(&set(1), &Objects::new()),
            ["statefulsets/edge is missing"]
        );
        assert_eq!(
            differences(&Objects::new(), &set(1)),
            ["statefulsets/edge is too much"]
        );
    }

    #[test]
    fn leaves_are_found_and_taken() {
        let mut value = json!({"a": [{"b/c": 1}, 2], "d": {}});
        assert_eq!(leaves(&value), ["/a/0/b~1c", "/a/1", "/d"]);
        assert_eq!(take(&mut value, "/a/0/b~1c"), Some(json!(1)));
        assert_eq!(take(&mut value, "/a/1"), Some(json!(2)));
        assert_eq!(take(&mut value, "/x/y"), None);
    }
}
