//! Objects that are wrong by themselves are refused at admission, with the field named. Objects that are wrong together
//! are taken, and the condition of one of them says what is the matter.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kubectl::{Failure, Outcome, condition};
use crate::mailroom::Mailroom;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let room = Mailroom::new(scene, 1);
    let mut wrong = Vec::new();
    for (base, pointer, value, named) in refused(&room).into_iter().chain(refused_of_objects(&room)) {
        let mut object = base.clone();
        set(&mut object, pointer, value.clone());
        match room.namespace().refusal(&object.to_string()) {
            Ok(said) if said.contains(named) => {}
            Ok(said) => wrong.push(format!("{pointer} = {value}: `{named}` is not named in: {said}")),
            Err(error) => wrong.push(format!("{pointer} = {value}: {error}")),
        }
    }
    if !wrong.is_empty() {
        return Err(Failure::wrong(wrong.join("\n")));
    }
    together(&room)
}

/// Object, place of the bad value, the value, and the word that the refusal must have.
fn refused<'a>(room: &'a Mailroom<'_>) -> Vec<(&'a Value, &'static str, Value, &'static str)> {
    let listener = &room.listener;
    let domain = &room.domain;
    let policy = &room.policy;
    let long_domain = format!("{}.example", "a".repeat(300));
    vec![
        (listener, "/spec/hostname", json!("not a host"), "hostname"),
        (listener, "/spec/hostname", json!(""), "hostname"),
        (listener, "/spec/replicas", json!(11), "replicas"),
        (listener, "/spec/replicas", json!(-1), "replicas"),
        (listener, "/spec/ports", json!([]), "ports"),
        (listener, "/spec/ports/0/port", json!(0), "port"),
        (listener, "/spec/ports/0/port", json!(70_000), "port"),
        (listener, "/spec/ports/0/role", json!("Relay"), "role"),
        (listener, "/spec/ports/0/tls", json!("Off"), "tls"),
        (listener, "/spec/ports/1/port", json!(25), "port"),
        (
            listener,
            "/spec/tls",
            json!({"secretName": "x", "selfSigned": {}}),
            "tls",
        ),
        (listener, "/spec/tls", json!({}), "tls"),
        (
            listener,
            "/spec/egress/addresses/0",
            json!("mail.example"),
            "egress",
        ),
        (
            listener,
            "/spec/dns/resolvers/0",
            json!("ns1.example"),
            "resolvers",
        ),
        (listener, "/spec/deletionPolicy", json!("Keep"), "deletionPolicy"),
        (listener, "/spec/misspelt", json!(true), "misspelt"),
        (listener, "/spec/authentication", json!({}), "authentication"),
        (listener, "/spec/attach", json!({"from": "Selector"}), "attach"),
        (
            listener,
            "/spec/attach",
            json!({"from": "All", "domains": ["*"]}),
            "domains",
        ),
        (domain, "/spec/senders", json!([{}]), "senders"),
        (
            domain,
            "/spec/senders",
            json!([{"user": "ann", "serviceAccount": {"namespace": "shop", "name": "orders"}}]),
            "senders",
        ),
        (
            domain,
            "/spec/listenerRefs",
            json!([{"name": "edge"}, {"name": "edge"}]),
            "listenerRefs",
        ),
        (
            policy,
            "/spec/match",
            json!({"users": ["ann"], "serviceAccounts": [{"namespace": "shop", "name": "orders"}]}),
            "match",
        ),
        (domain, "/spec/domain", json!("no domain"), "domain"),
        (domain, "/spec/domain", json!(long_domain), "domain"),
        (domain, "/spec/listenerRefs", json!([]), "listenerRefs"),
        (domain, "/spec/inbound/recipients/mode", json!("Some"), "mode"),
        (domain, "/spec/inbound/deliverTo", json!({}), "deliverTo"),
        (policy, "/spec/routes", json!([]), "routes"),
        (policy, "/spec/routes/0/tls/mode", json!("Maybe"), "mode"),
        (
            policy,
            "/spec/routes/0/direct/allowedNetworks/0",
            json!("10.0.0.0/40"),
            "allowedNetworks",
        ),
        (policy, "/spec/retry/first", json!("soon"), "first"),
    ]
}

/// The same of what shapes a listener's objects.
fn refused_of_objects<'a>(room: &'a Mailroom<'_>) -> Vec<(&'a Value, &'static str, Value, &'static str)> {
    let listener = &room.listener;
    vec![
        (
            listener,
            "/spec/tls",
            json!({"issuerRef": {"name": "ca"}, "selfSigned": {}}),
            "tls",
        ),
        (listener, "/spec/tls/issuerRef", json!({"name": ""}), "issuerRef"),
        (
            listener,
            "/spec/tls/minimumVersion",
            json!("Tls11"),
            "minimumVersion",
        ),
        (
            listener,
            "/spec/service/externalTrafficPolicy",
            json!("Local"),
            "externalTrafficPolicy",
        ),
        (
            listener,
            "/spec/service/loadBalancerClass",
            json!("x/y"),
            "loadBalancerClass",
        ),
        (
            listener,
            "/spec/service/ipFamilies",
            json!(["IPv4", "IPv4"]),
            "ipFamilies",
        ),
        (
            listener,
            "/spec/service/publicAddresses",
            json!(["mx.example"]),
            "publicAddresses",
        ),
        (
            listener,
            "/spec/networkPolicy",
            json!({"egressPorts": [0]}),
            "egressPorts",
        ),
        (
            listener,
            "/spec/pod",
            json!({"labels": {"postroad.dev/listener": "x"}}),
            "labels",
        ),
        (
            listener,
            "/spec/pod",
            json!({"tolerations": [{"operator": "Exists", "value": "x"}]}),
            "tolerations",
        ),
        (
            listener,
            "/spec/pod",
            json!({"topologySpread": [{"maxSkew": 1}]}),
            "topologyKey",
        ),
    ]
}

/// Two objects for one domain: the first one keeps it, the second one is told. A policy whose waits make no sense is told.
fn together(room: &Mailroom<'_>) -> Outcome {
    room.apply_objects()?;
    let mut second = room.domain.clone();
    set(&mut second, "/metadata/name", json!("second"));
    told(room, &second, "maildomain/second", "domain")?;
    let mut hasty = room.policy.clone();
    set(&mut hasty, "/metadata/name", json!("hasty"));
    set(&mut hasty, "/spec/retry", json!({"first": "1h", "max": "1m"}));
    told(room, &hasty, "relaypolicy/hasty", "retry")
}

/// The object is taken, and its condition Ready says what is wrong in a sentence that has that word.
fn told(room: &Mailroom<'_>, object: &Value, name: &str, word: &str) -> Outcome {
    room.namespace().apply(&object.to_string())?;
    let told = room
        .namespace()
        .wait_condition(name, "Ready", "False", Duration::from_mins(1))?;
    let message = condition(&told, "Ready")
        .map(|ready| ready["message"].to_string())
        .unwrap_or_default();
    if message.contains(word) {
        Ok(())
    } else {
        Err(Failure::wrong(format!("{name}: no sentence says why: {message}")))
    }
}

/// Puts a value at a JSON pointer; the last step may be a new field.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let Some((parent, field)) = pointer.rsplit_once('/') else {
        return;
    };
    match object.pointer_mut(parent) {
        Some(Value::Array(list)) => {
            if let Some(place) = field.parse::<usize>().ok().and_then(|at| list.get_mut(at)) {
                *place = value;
            }
        }
        Some(Value::Object(fields)) => {
            fields.insert(field.to_owned(), value);
        }
        _ => {}
    }
}
