//! Kubernetes objects through `kubectl`: apply, read, wait on what the API says, talk to a port of a pod.
//!
//! Every wait has a deadline and ends as soon as its condition holds; none waits for a fixed time.

use std::io::{BufRead, BufReader};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::Cluster;
use crate::shell::{Background, ShellError};

/// Why something that a story or the demo needs did not come true. The text is for people.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A program failed.
    #[error(transparent)]
    Shell(#[from] ShellError),
    /// Something is not as it must be.
    #[error("{0}")]
    Wrong(String),
}

impl Failure {
    /// Something is not as it must be.
    pub fn wrong(text: impl Into<String>) -> Self {
        Self::Wrong(text.into())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Wrong(error.to_string())
    }
}

/// What most functions here give.
pub type Outcome<T = ()> = Result<T, Failure>;

/// One namespace of a cluster, or all that is outside of namespaces.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// The cluster.
    pub cluster: Cluster,
    /// The namespace's name.
    pub name: String,
}

impl Namespace {
    /// The namespace of that name; it need not be there yet.
    pub fn new(cluster: &Cluster, name: &str) -> Self {
        Self {
            cluster: cluster.clone(),
            name: name.to_owned(),
        }
    }

    /// `kubectl --namespace NAME ARGS`, as text.
    pub fn kubectl<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Outcome<String> {
        Ok(self
            .cluster
            .kubectl(["--namespace", &self.name])
            .args(args)
            .read()?)
    }

    /// Makes the namespace with a level of Pod Security that is enforced in it.
    pub fn create(&self, pod_security: &str) -> Outcome {
        let object = serde_json::json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": self.name, "labels": {
                "pod-security.kubernetes.io/enforce": pod_security,
                "postroad.dev/made-by": "e2e",
            }},
        });
        self.apply(&object.to_string())
    }

    /// Deletes the namespace with all that is in it and waits until it is gone.
    pub fn delete(&self) -> Outcome {
        let args = [
            "delete",
            "namespace",
            &self.name,
            "--ignore-not-found",
            "--timeout=180s",
        ];
        self.cluster.kubectl(args).run()?;
        Ok(())
    }

    /// Applies objects (server-side, so that their size does not matter).
    pub fn apply(&self, objects: &str) -> Outcome {
        let args = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=e2e",
            "--filename=-",
        ];
        self.cluster
            .kubectl(["--namespace", &self.name])
            .args(args)
            .input(objects)
            .run()?;
        Ok(())
    }

    /// Asks the API server whether it would take objects; nothing is stored.
    pub fn would_apply(&self, objects: &str) -> Outcome {
        let args = ["create", "--dry-run=server", "--validate=strict", "--filename=-"];
        self.cluster
            .kubectl(["--namespace", &self.name])
            .args(args)
            .input(objects)
            .run()?;
        Ok(())
    }

    /// Applies objects that must be refused, and gives what the API server said.
    pub fn refusal(&self, objects: &str) -> Outcome<String> {
        match self.apply(objects) {
            Err(Failure::Shell(ShellError::Failed { said, .. })) => Ok(said),
            Err(other) => Err(other),
            Ok(()) => Err(Failure::wrong("it was accepted")),
        }
    }

    /// One object, or a list of them (`get ARGS --output json`).
    pub fn get<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Outcome<Value> {
        let text = self.kubectl(["get", "--output=json"].into_iter().chain(args))?;
        serde_json::from_str(&text).map_err(|error| Failure::wrong(format!("kubectl's JSON: {error}")))
    }

    /// Whether an object is there.
    pub fn exists(&self, object: &str) -> Outcome<bool> {
        Ok(!self
            .kubectl(["get", object, "--ignore-not-found", "--output=name"])?
            .is_empty())
    }

    /// A merge patch of an object.
    pub fn patch(&self, object: &str, patch: &Value) -> Outcome {
        self.kubectl(["patch", object, "--type=merge", "--patch", &patch.to_string()])
            .map(drop)
    }

    /// Polls an object until the test holds and gives it; at the deadline the error has the object's last state.
    pub fn wait_for(
        &self,
        object: &str,
        what: &str,
        limit: Duration,
        test: impl Fn(&Value) -> bool,
    ) -> Outcome<Value> {
        let mut last = Value::Null;
        let found = until(limit, || {
            last = self.get([object]).unwrap_or(Value::Null);
            Ok(test(&last))
        });
        match found {
            Ok(()) => Ok(last),
            Err(_) => Err(Failure::wrong(format!(
                "{object}: {what} did not come within {limit:?}; last status: {:#}",
                last["status"]
            ))),
        }
    }

    /// Polls until a condition of the object has that status, for the object's current generation.
    pub fn wait_condition(&self, object: &str, kind: &str, status: &str, limit: Duration) -> Outcome<Value> {
        self.wait_for(object, &format!("condition {kind}={status}"), limit, |object| {
            let generation = &object["metadata"]["generation"];
            condition(object, kind)
                .is_some_and(|found| found["status"] == status && found["observedGeneration"] == *generation)
        })
    }

    /// Waits until a Deployment or `StatefulSet` has rolled out.
    pub fn rolled_out(&self, object: &str, limit: Duration) -> Outcome {
        let timeout = format!("--timeout={}s", limit.as_secs());
        self.kubectl(["rollout", "status", object, &timeout]).map(drop)
    }

    /// Runs a program in a pod, with input, and gives its standard output as text.
    pub fn exec(&self, pod: &str, command: &[&str], input: &[u8]) -> Outcome<String> {
        let shell = self.cluster.kubectl(["--namespace", &self.name, "exec"]);
        let shell = if input.is_empty() {
            shell
        } else {
            shell.args(["--stdin"]).input(input)
        };
        Ok(shell.args([pod, "--"]).args(command).read()?)
    }

    /// Makes a port of a pod or service reachable from this computer while the result lives.
    pub fn forward(&self, object: &str, port: u16) -> Outcome<Forward> {
        let ports = format!(":{port}");
        let args = ["--namespace", &self.name, "port-forward", object, &ports];
        let mut process = self.cluster.kubectl(args).spawn()?;
        let (send, receive) = std::sync::mpsc::channel();
        if let Some(out) = process.stdout() {
            thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    let _ = send.send(line); // and keep reading, so that kubectl is never blocked
                }
            });
        }
        let said = receive.recv_timeout(Duration::from_secs(20)).unwrap_or_default();
        let local = said
            .strip_prefix("Forwarding from 127.0.0.1:")
            .and_then(|rest| rest.split(' ').next());
        match local.and_then(|port| port.parse().ok()) {
            Some(local) => Ok(Forward {
                local,
                _process: process,
            }),
            None => Err(Failure::wrong(format!(
                "port {port} of {object} cannot be forwarded: {said}"
            ))),
        }
    }

    /// What a person would look at when something in this namespace went wrong: objects, events, logs.
    pub fn dump(&self) -> String {
        let ask = |args: &[&str]| {
            let shell = self
                .cluster
                .kubectl(["--namespace", &self.name])
                .args(args)
                .limit(Duration::from_secs(30));
            shell.read().unwrap_or_else(|error| error.to_string())
        };
        let mut sections = vec![
            (
                "objects".to_owned(),
                ask(&[
                    "get",
                    "pods,services,statefulsets,persistentvolumeclaims",
                    "--output=wide",
                ]),
            ),
            (
                "postroad".to_owned(),
                ask(&["get", "smtplisteners,maildomains,relaypolicies", "--output=yaml"]),
            ),
            (
                "events".to_owned(),
                ask(&["get", "events", "--sort-by=.lastTimestamp"]),
            ),
        ];
        let pods = ask(&["get", "pods", "--output=name"]);
        for pod in pods.lines().filter(|line| line.starts_with("pod/")) {
            sections.push((
                format!("log of {pod}"),
                ask(&["logs", pod, "--all-containers", "--tail=60"]),
            ));
        }
        let parts: Vec<_> = sections
            .iter()
            .map(|(title, body)| format!("--- {title}\n{body}"))
            .collect();
        parts.join("\n")
    }
}

/// Memory in use of every pod of these namespaces in kilobytes, as the nodes' kubelets count it.
pub fn memory(cluster: &Cluster, namespaces: &[&str]) -> Outcome<Vec<(String, u64)>> {
    let ask = |args: &[&str]| -> Outcome<Value> {
        let text = cluster.kubectl(args.iter().copied()).read()?;
        serde_json::from_str(&text).map_err(|error| Failure::wrong(format!("kubectl's JSON: {error}")))
    };
    let nodes = ask(&["get", "nodes", "--output=json"])?;
    let mut all = Vec::new();
    for node in nodes["items"].as_array().into_iter().flatten() {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        let summary = ask(&[
            "get",
            "--raw",
            &format!("/api/v1/nodes/{name}/proxy/stats/summary"),
        ])?;
        for pod in summary["pods"].as_array().into_iter().flatten() {
            let namespace = pod["podRef"]["namespace"].as_str().unwrap_or_default();
            if namespaces.contains(&namespace) {
                let name = format!(
                    "{namespace}/{}",
                    pod["podRef"]["name"].as_str().unwrap_or_default()
                );
                all.push((
                    name,
                    pod["memory"]["workingSetBytes"].as_u64().unwrap_or_default() / 1000,
                ));
            }
        }
    }
    all.sort();
    Ok(all)
}

/// A forwarded port; it is closed when this is dropped.
#[derive(Debug)]
pub struct Forward {
    /// The port on 127.0.0.1.
    pub local: u16,
    _process: Background,
}

/// The condition of that type, if the object has it.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)
}

/// Whether the object has a condition of that type with that status.
pub fn is(object: &Value, kind: &str, status: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == status)
}

/// Polls until the test gives true. An error of the test ends it at once.
pub fn until(limit: Duration, mut test: impl FnMut() -> Outcome<bool>) -> Outcome {
    let deadline = Instant::now() + limit;
    loop {
        if test()? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Failure::wrong(format!("it did not come true within {limit:?}")));
        }
        thread::sleep(POLL);
    }
}

/// Replaces every `${NAME}` of a text.
pub fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| {
        text.replace(&format!("${{{name}}}"), value)
    })
}

const POLL: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_in_a_template_is_filled() {
        assert_eq!(fill("a ${X} b ${Y} ${X}", &[("X", "1"), ("Y", "2")]), "a 1 b 2 1");
    }

    #[test]
    fn a_condition_is_found_by_its_type() {
        let object = serde_json::json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
        assert!(
            is(&object, "Ready", "False") && !is(&object, "Ready", "True") && !is(&object, "Other", "False")
        );
    }
}
