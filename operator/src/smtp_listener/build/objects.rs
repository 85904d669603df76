//! The listener's objects besides Secrets.

use postroad_config::{SHARDS, shard_file_name};
use postroad_crds::SmtpListener;
use postroad_crds::smtp_listener::{
    CpuMemory, IpFamily, IpFamilyPolicy, ListenerService, ServiceType, TrafficPolicy,
};
use serde_json::{Value, json};

use super::scheduling::schedule;
use crate::smtp_listener::names::{
    BASE, CONFIG_MOUNT, FEDERATED_MOUNT, Names, QUEUE_MOUNT, TOKEN_MOUNT, container_port,
};

/// Image of the pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Repository and tag or digest.
    pub name: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub pull_policy: String,
}

fn metadata(names: &Names, name: &str) -> Value {
    json!({"name": name, "namespace": names.namespace, "labels": names.labels()})
}

/// Account of the pods: no permission, no token of the API server.
pub fn account(names: &Names, listener: &SmtpListener) -> Value {
    let mut metadata = metadata(names, &names.account());
    if let Some(pod) = &listener.spec.pod
        && !pod.service_account_annotations.is_empty()
    {
        metadata["annotations"] = json!(pod.service_account_annotations);
    }
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": metadata,
        "automountServiceAccountToken": false,
    })
}

/// Account of whoever looks after the queue: no permission in the cluster. Who may create tokens for it, may use it.
pub fn admin_account(names: &Names) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": metadata(names, &names.admin_account()),
        "automountServiceAccountToken": false,
    })
}

/// Headless Service: pods find each other, also while they are sealed and so unready.
pub fn peers(names: &Names) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": metadata(names, &names.peers()),
        "spec": {
            "type": "ClusterIP", "clusterIP": "None", "publishNotReadyAddresses": true,
            "selector": {"postroad.dev/listener": names.listener},
            "ports": [{"name": "admin", "port": 8443, "targetPort": 8443, "protocol": "TCP"}],
        },
    })
}

/// The Service that clients use. Owned by the listener: it goes with it at once.
pub fn service(names: &Names, listener: &SmtpListener, owner: &Value) -> Value {
    let settings = listener.spec.service.clone().unwrap_or_default();
    let kind = match settings.type_ {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    let ports: Vec<Value> = listener.spec.ports.iter().map(|port| {
        json!({"name": port.name, "port": port.port, "targetPort": container_port(port.port), "protocol": "TCP"})
    }).collect();
    let mut metadata = metadata(names, &names.listener);
    metadata["ownerReferences"] = json!([owner]);
    metadata["annotations"] = json!(settings.annotations);
    let mut spec =
        json!({"type": kind, "selector": {"postroad.dev/listener": names.listener}, "ports": ports});
    shape(&mut spec, &settings);
    json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
}

/// What the owner says of families, traffic and load balancer; what is not said is the cluster's to choose.
fn shape(spec: &mut Value, settings: &ListenerService) {
    let traffic = |policy: TrafficPolicy| match policy {
        TrafficPolicy::Cluster => "Cluster",
        TrafficPolicy::Local => "Local",
    };
    if !settings.ip_families.is_empty() {
        let families = settings.ip_families.iter().map(|family| match family {
            IpFamily::IPv4 => "IPv4",
            IpFamily::IPv6 => "IPv6",
        });
        spec["ipFamilies"] = families.collect();
    }
    // Kubernetes' own default is written too: a policy that is taken back would stay otherwise.
    let policy = settings.ip_family_policy.unwrap_or(IpFamilyPolicy::SingleStack);
    spec["ipFamilyPolicy"] = json!(match policy {
        IpFamilyPolicy::SingleStack => "SingleStack",
        IpFamilyPolicy::PreferDualStack => "PreferDualStack",
        IpFamilyPolicy::RequireDualStack => "RequireDualStack",
    });
    if let Some(policy) = settings.external_traffic_policy {
        spec["externalTrafficPolicy"] = json!(traffic(policy));
    }
    if let Some(policy) = settings.internal_traffic_policy {
        spec["internalTrafficPolicy"] = json!(traffic(policy));
    }
    if let Some(class) = &settings.load_balancer_class {
        spec["loadBalancerClass"] = json!(class);
    }
}

/// Disruption budget. Sealed pods are unready and leave anyway: they must not use it up.
pub fn budget(names: &Names, sealed: usize, owner: &Value) -> Value {
    let mut metadata = metadata(names, &names.listener);
    metadata["ownerReferences"] = json!([owner]);
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata,
        "spec": {
            "maxUnavailable": 1 + sealed,
            "selector": {"matchLabels": {"postroad.dev/listener": names.listener}},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    })
}

/// The StatefulSet without its replicas, which have a writer of their own. `size`: of the volumes; that of a live one stays.
pub fn stateful_set(
    names: &Names,
    listener: &SmtpListener,
    image: &Image,
    replicas: i32,
    size: &str,
) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": metadata(names, &names.listener),
        "spec": {
            "replicas": replicas,
            "serviceName": names.peers(),
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "selector": {"matchLabels": {"postroad.dev/listener": names.listener}},
            "template": {"metadata": pod_metadata(names, listener), "spec": pod(names, listener, image)},
            "volumeClaimTemplates": [claim(names, listener, size)],
        },
    })
}

fn claim(names: &Names, listener: &SmtpListener, size: &str) -> Value {
    let storage = &listener.spec.queue.storage;
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
    });
    if let Some(class) = &storage.storage_class_name {
        spec["storageClassName"] = json!(class);
    }
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "queue", "labels": names.labels()},
        "spec": spec,
    })
}

/// The operator's own labels stay what they are.
fn pod_metadata(names: &Names, listener: &SmtpListener) -> Value {
    let settings = listener.spec.pod.clone().unwrap_or_default();
    let mut labels = settings.labels;
    labels.extend(
        names
            .labels()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value)),
    );
    let mut metadata = json!({"labels": labels});
    if !settings.annotations.is_empty() {
        metadata["annotations"] = json!(settings.annotations);
    }
    metadata
}

/// Pod Security `restricted`: no capability, no root, nothing written beside the queue volume.
fn pod(names: &Names, listener: &SmtpListener, image: &Image) -> Value {
    let mut pod = json!({
        "serviceAccountName": names.account(),
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        // Sessions end by 110 s at the latest.
        "terminationGracePeriodSeconds": 120,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
            "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container(listener, image)],
        "volumes": [config_volume(names), token_volume(names)],
    });
    let settings = listener.spec.pod.clone().unwrap_or_default();
    schedule(&mut pod, names, &settings);
    pod
}

fn container(listener: &SmtpListener, image: &Image) -> Value {
    let mut ports: Vec<Value> = listener
        .spec
        .ports
        .iter()
        .map(|port| json!({"name": port.name, "containerPort": container_port(port.port), "protocol": "TCP"}))
        .collect();
    ports.push(json!({"name": "postroad-http", "containerPort": 8080, "protocol": "TCP"}));
    ports.push(json!({"name": "postroad-admin", "containerPort": 8443, "protocol": "TCP"}));
    let probe = |path: &str, period: i32, failures: i32| json!({"httpGet": {"path": path, "port": 8080}, "periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": 3});
    json!({
        "name": "mta",
        "image": image.name,
        "imagePullPolicy": image.pull_policy,
        "args": ["--config", format!("{CONFIG_MOUNT}/{BASE}")],
        "ports": ports,
        "livenessProbe": probe("/livez", 10, 6),
        "readinessProbe": probe("/readyz", 2, 2),
        "resources": resources(listener),
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "queue", "mountPath": QUEUE_MOUNT},
            {"name": "config", "mountPath": CONFIG_MOUNT, "readOnly": true},
            {"name": "peer-token", "mountPath": TOKEN_MOUNT, "readOnly": true},
        ],
    })
}

fn resources(listener: &SmtpListener) -> Value {
    let amount = |wanted: Option<&CpuMemory>, cpu: Option<&str>, memory: &str| {
        let mut value = json!({});
        if let Some(cpu) = wanted.and_then(|wanted| wanted.cpu.as_deref()).or(cpu) {
            value["cpu"] = json!(cpu);
        }
        value["memory"] = json!(
            wanted
                .and_then(|wanted| wanted.memory.as_deref())
                .unwrap_or(memory)
        );
        value
    };
    let wanted = listener.spec.pod.as_ref().and_then(|pod| pod.resources.as_ref());
    json!({
        "requests": amount(wanted.and_then(|wanted| wanted.requests.as_ref()), Some("50m"), "64Mi"),
        "limits": amount(wanted.and_then(|wanted| wanted.limits.as_ref()), None, "512Mi"),
    })
}

/// Base and shards in one directory. Shards are optional: no pod template changes when a domain comes.
fn config_volume(names: &Names) -> Value {
    let mut sources =
        vec![json!({"secret": {"name": names.config(), "items": [{"key": BASE, "path": BASE}]}})];
    for number in 0..SHARDS {
        let file = shard_file_name(number);
        sources.push(json!({"secret": {"name": names.shard(number), "optional": true, "items": [{"key": file, "path": file}]}}));
    }
    json!({"name": "config", "projected": {"sources": sources, "defaultMode": 0o440}})
}

/// Mounts the token by which a policy's OAuth client proves itself: that of the pods' ServiceAccount, for the audience that Entra
/// asks for, and for no other.
pub fn with_federated_token(mut set: Value) -> Value {
    let pod = &mut set["spec"]["template"]["spec"];
    if let Some(volumes) = pod["volumes"].as_array_mut() {
        volumes.push(json!({"name": "federated-token", "projected": {"defaultMode": 0o440, "sources": [{
            "serviceAccountToken": {"audience": FEDERATED_AUDIENCE, "expirationSeconds": 3600, "path": "token"},
        }]}}));
    }
    if let Some(mounts) = pod["containers"][0]["volumeMounts"].as_array_mut() {
        mounts.push(json!({"name": "federated-token", "mountPath": FEDERATED_MOUNT, "readOnly": true}));
    }
    set
}

/// Of Microsoft Entra.
const FEDERATED_AUDIENCE: &str = "api://AzureADTokenExchange";

fn token_volume(names: &Names) -> Value {
    json!({"name": "peer-token", "projected": {"defaultMode": 0o440, "sources": [{
        "serviceAccountToken": {"audience": names.peer_audience(), "expirationSeconds": 3600, "path": "token"},
    }]}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp_listener::names::FEDERATED_TOKEN;

    fn listener() -> SmtpListener {
        serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener",
            "metadata": {"name": "edge", "namespace": "mail"},
            "spec": {
                "hostname": "mail.example.com", "queue": {"storage": {"size": "1Gi", "storageClassName": "fast"}},
                "ports": [{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Disabled"}],
                "pod": {"resources": {"limits": {"memory": "1Gi"}}},
            },
        })).unwrap()
    }

    fn names() -> Names {
        Names {
            namespace: "mail".into(),
            listener: "edge".into(),
        }
    }

    #[test]
    fn the_pods_meet_pod_security_restricted() {
        let image = Image {
            name: "mta:1".into(),
            pull_policy: "Never".into(),
        };
        let set = stateful_set(&names(), &listener(), &image, 3, "1Gi");
        let pod = &set["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
        for volume in pod["volumes"].as_array().unwrap() {
            assert!(volume["projected"].is_object(), "{volume}");
        }
        assert_eq!(container["ports"][0]["containerPort"], 10_025);
    }

    #[test]
    fn the_token_for_an_authority_is_mounted_where_a_policy_needs_it() {
        let image = Image {
            name: "mta:1".into(),
            pull_policy: "Never".into(),
        };
        let set = stateful_set(&names(), &listener(), &image, 1, "1Gi");
        let volumes = |set: &Value| {
            set["spec"]["template"]["spec"]["volumes"]
                .as_array()
                .unwrap()
                .len()
        };
        let with = with_federated_token(set.clone());
        assert_eq!(volumes(&with), volumes(&set) + 1);
        let pod = &with["spec"]["template"]["spec"];
        let token = &pod["volumes"][volumes(&set)]["projected"]["sources"][0]["serviceAccountToken"];
        assert_eq!(token["audience"], "api://AzureADTokenExchange");
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        assert!(FEDERATED_TOKEN.starts_with(mounts.last().unwrap()["mountPath"].as_str().unwrap()));
    }

    #[test]
    fn what_must_outlive_the_listener_has_no_owner() {
        let image = Image {
            name: "mta:1".into(),
            pull_policy: "Never".into(),
        };
        let owner = json!({"uid": "u"});
        let set = stateful_set(&names(), &listener(), &image, 1, "1Gi");
        for object in [&set, &peers(&names()), &account(&names(), &listener())] {
            assert!(object["metadata"]["ownerReferences"].is_null(), "{object}");
        }
        for object in [
            service(&names(), &listener(), &owner),
            budget(&names(), 0, &owner),
        ] {
            assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "u");
        }
    }

    #[test]
    fn every_field_of_the_spec_that_shapes_objects_does() {
        let image = Image {
            name: "mta:1".into(),
            pull_policy: "Never".into(),
        };
        let set = stateful_set(&names(), &listener(), &image, 2, "1Gi");
        assert_eq!(set["spec"]["replicas"], 2);
        let claim = &set["spec"]["volumeClaimTemplates"][0]["spec"];
        assert_eq!(
            (
                &claim["storageClassName"],
                &claim["resources"]["requests"]["storage"]
            ),
            (&json!("fast"), &json!("1Gi"))
        );
        assert_eq!(
            set["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"],
            "1Gi"
        );
        let budget = budget(&names(), 2, &json!({}));
        assert_eq!(budget["spec"]["maxUnavailable"], 3);
        assert_eq!(budget["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow");
    }

    #[test]
    fn labels_and_annotations_reach_pod_and_account_and_ours_stay() {
        let mut listener = listener();
        let pod = json!({
            "labels": {"team": "mail"}, "annotations": {"a/b": "c"},
            "serviceAccountAnnotations": {"iam.example/role": "sender"},
        });
        listener.spec.pod = Some(serde_json::from_value(pod).unwrap());
        let metadata = pod_metadata(&names(), &listener);
        assert_eq!(metadata["labels"]["team"], "mail");
        assert_eq!(metadata["labels"]["postroad.dev/listener"], "edge");
        assert_eq!(metadata["annotations"], json!({"a/b": "c"}));
        let account = account(&names(), &listener);
        assert_eq!(account["metadata"]["annotations"]["iam.example/role"], "sender");
    }

    #[test]
    fn without_settings_nothing_is_said_of_them() {
        let mut listener = listener();
        let plain = (
            pod_metadata(&names(), &listener),
            account(&names(), &listener),
            service(&names(), &listener, &json!({})),
        );
        assert!(plain.0["annotations"].is_null() && plain.1["metadata"]["annotations"].is_null());
        let spec = plain.2["spec"].as_object().unwrap();
        let said = ["ipFamilyPolicy", "ports", "selector", "type"];
        assert_eq!(spec.keys().collect::<Vec<_>>(), said);
        assert_eq!(
            spec["ipFamilyPolicy"], "SingleStack",
            "taken back where it was another"
        );
        listener.spec.service = Some(
            serde_json::from_value(json!({
                "type": "LoadBalancer", "ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "RequireDualStack",
                "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Cluster", "loadBalancerClass": "x/y",
            }))
            .unwrap(),
        );
        let spec = service(&names(), &listener, &json!({}))["spec"].clone();
        for (field, value) in [
            ("ipFamilies", json!(["IPv6", "IPv4"])),
            ("ipFamilyPolicy", json!("RequireDualStack")),
            ("externalTrafficPolicy", json!("Local")),
            ("internalTrafficPolicy", json!("Cluster")),
            ("loadBalancerClass", json!("x/y")),
        ] {
            assert_eq!(spec[field], value, "{field}");
        }
    }
}
