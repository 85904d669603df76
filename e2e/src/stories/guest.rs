//! A pod of the peers' programs in a story's own namespace: it is given a script and texts, and it is there once its ports answer.

use serde_json::{Value, json};

use crate::kubectl::Outcome;
use crate::peers;
use crate::story::Scene;

/// Such a pod.
pub(super) struct Guest<'a> {
    /// Its name, and that of its Service.
    pub(super) name: &'a str,
    /// Run by bash.
    pub(super) script: &'a str,
    /// A folder, and the texts in it.
    pub(super) given: (&'a str, &'a [(&'a str, String)]),
    /// Folders that it may write in, empty at first.
    pub(super) folders: &'a [&'a str],
    /// Ports as clients know them, and as the pod does.
    pub(super) ports: &'a [(u16, u16)],
}

impl Guest<'_> {
    /// Lets it begin, without waiting. Its Service is for another call.
    pub(super) fn begin(&self, scene: &Scene<'_>) -> Outcome {
        let (folder, texts) = self.given;
        let data: Value = texts.iter().map(|(file, text)| (*file, text.clone())).collect();
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self.name}, "data": data,
        });
        scene.namespace.apply(&map.to_string())?;
        let ports = self.ports.iter().map(|(_, port)| format!(" {port}"));
        let probe = format!(
            "for port in{}; do : </dev/tcp/127.0.0.1/$port || exit 1; done",
            ports.collect::<String>()
        );
        let mut mounts = vec![json!({"name": "given", "mountPath": folder})];
        let mut volumes = vec![json!({"name": "given", "configMap": {"name": self.name}})];
        for (number, folder) in self.folders.iter().enumerate() {
            mounts.push(json!({"name": format!("folder-{number}"), "mountPath": folder}));
            volumes.push(json!({"name": format!("folder-{number}"), "emptyDir": {}}));
        }
        let mut pod = pod(scene, self.name, self.script, &mounts, &volumes)?;
        pod["spec"]["containers"][0]["readinessProbe"] = json!({
            "exec": {"command": ["bash", "-c", probe]}, "periodSeconds": 1, "failureThreshold": 60,
        });
        scene.namespace.apply(&pod.to_string())
    }

    /// Waits until its ports answer.
    pub(super) fn await_ready(&self, scene: &Scene<'_>) -> Outcome {
        is_ready(scene, self.name)
    }
}

/// The address of a Service for a guest of that name, over TCP and UDP; known before the pod is.
pub(super) fn service(scene: &Scene<'_>, name: &str, ports: &[(u16, u16)]) -> Outcome<String> {
    let both = |(port, target): &(u16, u16)| {
        ["TCP", "UDP"].map(|protocol| {
            json!({
                "name": format!("{}-{port}", protocol.to_lowercase()), "protocol": protocol,
                "port": port, "targetPort": target,
            })
        })
    };
    let ports: Vec<Value> = ports.iter().flat_map(both).collect();
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports},
    });
    scene.namespace.apply(&service.to_string())?;
    peers::address(&scene.namespace, name)
}

/// Reads files of a claim that a pod of the listener has, beside it on its node: Debian's `find` gets these arguments behind the
/// claim's folder. The pod that reads stays until [`forget_reader`].
pub(super) fn read_claim(scene: &Scene<'_>, pod: &str, find: &[&str]) -> Outcome<String> {
    let mut command = vec!["find", CLAIM];
    command.extend(find);
    scene.namespace.exec(&reader_of(pod), &command, b"")
}

/// Lets that pod begin, and waits for it.
pub(super) fn begin_reader(scene: &Scene<'_>, of: &str) -> Outcome {
    let node = scene.namespace.get([format!("pod/{of}").as_str()])?["spec"]["nodeName"].clone();
    let mounts = [json!({"name": "claim", "mountPath": CLAIM})];
    let volumes = [json!({"name": "claim", "persistentVolumeClaim": {"claimName": format!("queue-{of}")}})];
    let name = reader_of(of);
    let mut pod = pod(scene, &name, "exec sleep infinity", &mounts, &volumes)?;
    pod["spec"]["nodeName"] = node;
    scene.namespace.apply(&pod.to_string())?;
    is_ready(scene, &name)
}

/// Lets go of the claim.
pub(super) fn forget_reader(scene: &Scene<'_>, of: &str) -> Outcome {
    let object = format!("pod/{}", reader_of(of));
    scene.namespace.kubectl(["delete", &object, "--now"]).map(drop)
}

fn is_ready(scene: &Scene<'_>, pod: &str) -> Outcome {
    let wait = [
        "wait",
        "--for=condition=Ready",
        &format!("pod/{pod}"),
        "--timeout=120s",
    ];
    scene.namespace.kubectl(wait).map(drop)
}

fn reader_of(pod: &str) -> String {
    format!("reader-of-{pod}")
}

/// It is what Pod Security `restricted` lets in, and the user that the listener's pods are.
fn pod(scene: &Scene<'_>, name: &str, script: &str, mounts: &[Value], volumes: &[Value]) -> Outcome<Value> {
    let client = scene.world.peers.namespace.get(["pod/client"])?;
    let image = &client["spec"]["containers"][0]["image"];
    Ok(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "guest", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["bash", "-c", script],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        },
    }))
}

const CLAIM: &str = "/claim";
