//! Where the pods run: what the owner says of it, and what is said where the owner says nothing.

use postroad_crds::smtp_listener::{
    PodSettings, Spread, TaintEffect, Toleration, TolerationOperator, WhenUnsatisfiable,
};
use serde_json::{Value, json};

use crate::smtp_listener::names::Names;

/// Puts the settings into the spec of a pod. A field that is not given is not written, so that no pod is replaced for a newer
/// operator.
pub fn schedule(pod: &mut Value, names: &Names, settings: &PodSettings) {
    pod["topologySpreadConstraints"] = match &settings.topology_spread {
        None => json!([constraint(names, &over_nodes())]),
        Some(spreads) => spreads.iter().map(|spread| constraint(names, spread)).collect(),
    };
    if !settings.node_selector.is_empty() {
        pod["nodeSelector"] = json!(settings.node_selector);
    }
    if !settings.tolerations.is_empty() {
        pod["tolerations"] = settings.tolerations.iter().map(toleration).collect();
    }
    if let Some(affinity) = &settings.affinity {
        pod["affinity"] = affinity.0.clone();
    }
    if let Some(class) = &settings.priority_class_name {
        pod["priorityClassName"] = json!(class);
    }
}

fn over_nodes() -> Spread {
    Spread {
        topology_key: "kubernetes.io/hostname".into(),
        max_skew: None,
        when_unsatisfiable: None,
    }
}

fn constraint(names: &Names, spread: &Spread) -> Value {
    let otherwise = match spread.when_unsatisfiable {
        Some(WhenUnsatisfiable::DoNotSchedule) => "DoNotSchedule",
        None | Some(WhenUnsatisfiable::ScheduleAnyway) => "ScheduleAnyway",
    };
    json!({
        "maxSkew": spread.max_skew.unwrap_or(1), "topologyKey": spread.topology_key, "whenUnsatisfiable": otherwise,
        "labelSelector": {"matchLabels": {"postroad.dev/listener": names.listener}},
    })
}

fn toleration(given: &Toleration) -> Value {
    let mut value = json!({"operator": match given.operator {
        TolerationOperator::Equal => "Equal",
        TolerationOperator::Exists => "Exists",
    }});
    if let Some(key) = &given.key {
        value["key"] = json!(key);
    }
    if let Some(text) = &given.value {
        value["value"] = json!(text);
    }
    if let Some(effect) = given.effect {
        value["effect"] = json!(match effect {
            TaintEffect::NoSchedule => "NoSchedule",
            TaintEffect::PreferNoSchedule => "PreferNoSchedule",
            TaintEffect::NoExecute => "NoExecute",
        });
    }
    if let Some(seconds) = given.toleration_seconds {
        value["tolerationSeconds"] = json!(seconds);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheduled(settings: Value) -> Value {
        let names = Names {
            namespace: "mail".into(),
            listener: "edge".into(),
        };
        let mut pod = json!({});
        schedule(&mut pod, &names, &serde_json::from_value(settings).unwrap());
        pod
    }

    #[test]
    fn without_settings_the_pods_are_spread_over_nodes_where_there_is_room() {
        let selector = json!({"matchLabels": {"postroad.dev/listener": "edge"}});
        assert_eq!(
            scheduled(json!({})),
            json!({"topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": selector,
            }]})
        );
    }

    #[test]
    fn every_setting_is_in_the_pod() {
        let affinity = json!({"podAntiAffinity": {}});
        let pod = scheduled(json!({
            "nodeSelector": {"disk": "ssd"}, "affinity": affinity, "priorityClassName": "mail",
            "tolerations": [
                {"key": "mail", "value": "only", "effect": "NoSchedule"},
                {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30},
            ],
            "topologySpread": [{"topologyKey": "zone", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}],
        }));
        assert_eq!(pod["nodeSelector"], json!({"disk": "ssd"}));
        assert_eq!(pod["affinity"], affinity);
        assert_eq!(pod["priorityClassName"], "mail");
        assert_eq!(
            pod["tolerations"],
            json!([
                {"operator": "Equal", "key": "mail", "value": "only", "effect": "NoSchedule"},
                {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30},
            ])
        );
        let spread = &pod["topologySpreadConstraints"][0];
        assert_eq!(
            (
                &spread["topologyKey"],
                &spread["maxSkew"],
                &spread["whenUnsatisfiable"]
            ),
            (&json!("zone"), &json!(2), &json!("DoNotSchedule"))
        );
        assert_eq!(
            scheduled(json!({"topologySpread": []}))["topologySpreadConstraints"],
            json!([])
        );
    }
}
