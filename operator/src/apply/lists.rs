//! Lists of our objects in which an entry of somebody else is one too many. Pure.
//!
//! The API server merges an applied list into the one that is there by the keys of the entries. Who changes a key of an entry of
//! ours (a port of the Service from TCP to UDP) makes it an entry of theirs: ours would come back beside it. Of one name twice,
//! the API server refuses both; of another name, clients reach what nobody asked for.
//!
//! A container that was renamed is theirs as well, and would run beside ours, on our ports and our volume. Containers that others
//! add stay: only one that says it has every port of ours is ours under another name, as the containers of a pod share its addresses;
//! and so is one that mounts every volume of ours, the spool and the keys of the admin endpoint among them: two on one spool break it.

use serde_json::{Value, json};

/// The merge patch that takes such entries out and puts ours back; `None` where there are none.
pub fn mended(kind: &str, live: &Value, wanted: &Value) -> Option<Value> {
    match kind {
        "Service" => {
            let ports = whole(&live["spec"]["ports"], &wanted["spec"]["ports"], &PORTS)?;
            Some(json!({"spec": {"ports": ports}}))
        }
        "StatefulSet" => {
            let pod = pod(
                &live["spec"]["template"]["spec"],
                &wanted["spec"]["template"]["spec"],
            )?;
            Some(json!({"spec": {"template": {"spec": pod}}}))
        }
        _ => None,
    }
}

/// Whether an object of this kind has such lists at all.
pub fn are_in(kind: &str) -> bool {
    matches!(kind, "Service" | "StatefulSet")
}

/// The strategic merge patch that takes out containers of ours that were renamed; `None` where there are none. `applied`: the object
/// with ours back in it, so that no template is ever without.
pub fn renamed(kind: &str, applied: &Value, wanted: &Value) -> Option<Value> {
    if kind != "StatefulSet" {
        return None;
    }
    let containers = |object: &Value| {
        object["spec"]["template"]["spec"]["containers"]
            .as_array()
            .cloned()
    };
    let (live, wanted) = (containers(applied)?, containers(wanted)?);
    let is_known = |container: &&Value| wanted.iter().any(|ours| ours["name"] == container["name"]);
    let taken: Vec<Value> = live
        .iter()
        .filter(|container| !is_known(container) && wanted.iter().any(|ours| is_ours_too(container, ours)))
        .map(|container| json!({"name": container["name"], "$patch": "delete"}))
        .collect();
    (!taken.is_empty()).then(|| json!({"spec": {"template": {"spec": {"containers": taken}}}}))
}

/// Whether a container of another name is ours: it has every port of ours, or every volume, wherever it mounts them.
fn is_ours_too(theirs: &Value, ours: &Value) -> bool {
    let [ports, _] = &OF_A_CONTAINER;
    has_all(theirs, ours, "ports", ports.keys) || has_all(theirs, ours, "volumeMounts", &["name"])
}

fn has_all(theirs: &Value, ours: &Value, list: &str, keys: &[&str]) -> bool {
    let of = |container: &Value| container[list].as_array().cloned().unwrap_or_default();
    let (theirs, ours) = (of(theirs), of(ours));
    let is_there = |entry: &Value| {
        theirs
            .iter()
            .any(|other| keys.iter().all(|key| other[*key] == entry[*key]))
    };
    !ours.is_empty() && ours.iter().all(is_there)
}

/// A kind of list.
struct List {
    /// Its name.
    name: &'static str,
    /// What tells its entries apart, as the API server has it.
    keys: &'static [&'static str],
    /// Entries under names of their own are somebody's to add.
    open: bool,
}

const PORTS: List = List {
    name: "ports",
    keys: &["port", "protocol"],
    open: false,
};
const SPREADS: List = List {
    name: "topologySpreadConstraints",
    keys: &["topologyKey", "whenUnsatisfiable"],
    open: false,
};
const OF_A_CONTAINER: [List; 2] = [
    List {
        name: "ports",
        keys: &["containerPort", "protocol"],
        open: false,
    },
    List {
        name: "volumeMounts",
        keys: &["mountPath"],
        open: true,
    },
];

/// What changes in the spec of a pod. Containers of others stay.
fn pod(live: &Value, wanted: &Value) -> Option<Value> {
    let mut change = json!({});
    if let Some(spreads) = whole(&live[SPREADS.name], &wanted[SPREADS.name], &SPREADS) {
        change[SPREADS.name] = spreads;
    }
    let mut containers = live["containers"].as_array()?.clone();
    let mut is_changed = false;
    for ours in wanted["containers"].as_array()? {
        let Some(container) = containers.iter_mut().find(|it| it["name"] == ours["name"]) else {
            continue;
        };
        for list in &OF_A_CONTAINER {
            if let Some(entries) = whole(&container[list.name], &ours[list.name], list) {
                container[list.name] = entries;
                is_changed = true;
            }
        }
    }
    if is_changed {
        change["containers"] = Value::Array(containers);
    }
    (change != json!({})).then_some(change)
}

/// The list without entries that are too many, and with all of ours.
fn whole(live: &Value, wanted: &Value, list: &List) -> Option<Value> {
    let (live, wanted) = (live.as_array()?, wanted.as_array()?);
    let same = |a: &Value, b: &Value| list.keys.iter().all(|key| a[*key] == b[*key]);
    let is_ours = |entry: &&Value| wanted.iter().any(|ours| same(entry, ours));
    let has_our_name = |entry: &Value| wanted.iter().any(|ours| entry["name"] == ours["name"]);
    let is_theirs = |entry: &&Value| !is_ours(entry) && list.open && !has_our_name(entry);
    if live.iter().all(|entry| is_ours(&entry) || is_theirs(&entry)) {
        return None;
    }
    let own = wanted.iter().map(|ours| {
        let known = live.iter().find(|entry| same(entry, ours));
        known.cloned().unwrap_or_else(|| with_node_port(ours, live))
    });
    Some(own.chain(live.iter().filter(is_theirs).cloned()).collect())
}

/// An entry that comes back keeps the port of the nodes that its number had: firewalls outside of the cluster know it.
fn with_node_port(ours: &Value, live: &[Value]) -> Value {
    let mut entry = ours.clone();
    let known = live.iter().find(|known| known["port"] == ours["port"]);
    if let Some(port) = known.and_then(|known| known.get("nodePort")) {
        entry["nodePort"] = port.clone();
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(ports: &Value) -> Value {
        json!({"spec": {"type": "NodePort", "ports": ports}})
    }

    fn wanted() -> Value {
        service(&json!([
            {"name": "smtp", "port": 25, "targetPort": 10_025, "protocol": "TCP"},
            {"name": "submission", "port": 587, "targetPort": 10_587, "protocol": "TCP"},
        ]))
    }

    #[test]
    fn a_port_whose_protocol_was_changed_comes_back_alone_and_keeps_the_port_of_the_nodes() {
        let live = service(&json!([
            {"name": "smtp", "port": 25, "targetPort": 10_025, "protocol": "UDP", "nodePort": 30_001},
            {"name": "submission", "port": 587, "targetPort": 10_587, "protocol": "TCP", "nodePort": 30_002},
        ]));
        let mended = mended("Service", &live, &wanted()).unwrap();
        assert_eq!(
            mended["spec"]["ports"],
            json!([
                {"name": "smtp", "port": 25, "targetPort": 10_025, "protocol": "TCP", "nodePort": 30_001},
                {"name": "submission", "port": 587, "targetPort": 10_587, "protocol": "TCP", "nodePort": 30_002},
            ])
        );
    }

    #[test]
    fn a_port_that_somebody_added_goes_and_what_they_said_of_ours_stays() {
        let mut live = wanted();
        live["spec"]["ports"][0]["appProtocol"] = json!("smtp");
        assert_eq!(mended("Service", &live, &wanted()), None);
        live["spec"]["ports"]
            .as_array_mut()
            .unwrap()
            .push(json!({"name": "theirs", "port": 2525, "targetPort": 10_025, "protocol": "TCP"}));
        let ports = mended("Service", &live, &wanted()).unwrap()["spec"]["ports"].clone();
        assert_eq!(ports.as_array().map(Vec::len), Some(2));
        assert_eq!(ports[0]["appProtocol"], "smtp");
        assert_eq!(mended("ServiceAccount", &live, &wanted()), None);
    }

    #[test]
    fn what_was_moved_in_our_container_comes_back_and_what_was_added_stays() {
        let set = |containers: &Value, spread: &str| {
            json!({"spec": {"template": {"spec": {
                "containers": containers,
                "topologySpreadConstraints": [{"topologyKey": spread, "whenUnsatisfiable": "ScheduleAnyway"}],
            }}}})
        };
        let ours = json!({
            "name": "mta", "ports": [{"name": "smtp", "containerPort": 10_025, "protocol": "TCP"}],
            "volumeMounts": [{"name": "queue", "mountPath": "/queue"}],
        });
        let wanted = set(&json!([ours]), "host");
        let beside =
            json!({"name": "beside", "ports": [{"name": "smtp", "containerPort": 1, "protocol": "TCP"}]});
        let mut added = ours.clone();
        let extra = json!({"name": "theirs", "mountPath": "/extra"});
        added["volumeMounts"].as_array_mut().unwrap().push(extra.clone());
        let live = set(&json!([beside, added]), "host");
        assert_eq!(mended("StatefulSet", &live, &wanted), None);

        let mut moved = added.clone();
        moved["ports"][0]["containerPort"] = json!(10_026);
        moved["volumeMounts"][0]["mountPath"] = json!("/elsewhere");
        let mended = mended("StatefulSet", &set(&json!([beside, moved]), "zone"), &wanted).unwrap();
        let pod = &mended["spec"]["template"]["spec"];
        assert_eq!(pod["containers"], json!([beside, added]));
        assert_eq!(pod["topologySpreadConstraints"][0]["topologyKey"], "host");
    }

    #[test]
    fn a_container_of_ours_under_another_name_goes_and_those_of_others_stay() {
        let set = |containers: &[&Value]| json!({"spec": {"template": {"spec": {"containers": containers}}}});
        let port = |number: u16| json!({"containerPort": number, "protocol": "TCP"});
        let of = |name: &str, ports: &[u16]| json!({"name": name, "ports": ports.iter().map(|number| port(*number)).collect::<Vec<_>>()});
        let (ours, moved) = (of("mta", &[10_025, 8_080]), of("mtax", &[10_025, 8_080, 9]));
        let (beside, none) = (of("beside", &[8_080]), json!({"name": "none"}));
        let wanted = set(&[&ours]);
        let stay = set(&[&beside, &ours, &none]);
        assert_eq!(renamed("StatefulSet", &stay, &wanted), None);
        let both = set(&[&moved, &beside, &ours]);
        let taken = renamed("StatefulSet", &both, &wanted).unwrap();
        assert_eq!(
            taken["spec"]["template"]["spec"]["containers"],
            json!([{"name": "mtax", "$patch": "delete"}])
        );
        assert_eq!(renamed("Service", &both, &wanted), None);

        // Of other ports as well, and mounted elsewhere; a sidecar that reads the spool alone is somebody's.
        let mounts = |names: &[&str], folder: &str| {
            let one = |name: &&str| json!({"name": name, "mountPath": format!("/{folder}/{name}")});
            Value::Array(names.iter().map(one).collect())
        };
        let with = |mut container: Value, mounts: Value| {
            container["volumeMounts"] = mounts;
            container
        };
        let ours = with(
            of("mta", &[10_025, 8_080]),
            mounts(&["queue", "config", "admin"], "a"),
        );
        let moved = with(
            of("mtax", &[9]),
            mounts(&["admin", "queue", "config", "tmp"], "b"),
        );
        let backup = with(of("backup", &[9]), mounts(&["queue"], "a"));
        let all = set(&[&ours, &moved, &backup]);
        let taken = renamed("StatefulSet", &all, &set(&[&ours])).unwrap();
        assert_eq!(
            taken["spec"]["template"]["spec"]["containers"],
            json!([{"name": "mtax", "$patch": "delete"}])
        );
        assert!(are_in("Service") && are_in("StatefulSet") && !are_in("Secret"));
    }
}
