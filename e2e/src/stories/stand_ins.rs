//! The stand-ins of mail providers (`e2e/providers`) in a story's namespace, reached under the providers' own host names.
//!
//! ```text
//!   smtp.gmail.com ─DNS─► Service stand-in-gmail ─587─► its port of the one pod          ask() ─► orders, and what it saw
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::dns::Zone;
use crate::images;
use crate::kubectl::{Failure, Namespace, Outcome};
use crate::mailroom::LISTENER;
use crate::peers;
use crate::shell::Shell;
use crate::story::Scene;

/// The running stand-ins.
pub(super) struct StandIns<'a> {
    namespace: &'a Namespace,
    /// What the customer got from the providers: `logins`, `aws`, `google`, `entra`, `connector`, and the `authority` of all hosts.
    pub(super) customer: Value,
    /// Names of the providers that are played.
    pub(super) names: BTreeSet<String>,
}

impl<'a> StandIns<'a> {
    /// Starts them for the story's domain, and publishes their host names.
    pub(super) fn start(scene: &'a Scene<'a>) -> Outcome<Self> {
        let namespace = &scene.namespace;
        let (image, program) = images::providers()?;
        scene.world.cluster.load(&[image.archive.as_path()])?;
        let places: Value = read(&Shell::new(&program).args(["places"]).read()?)?;
        let places = places.as_array().cloned().unwrap_or_default();
        namespace.apply(&deployment(&image.name(), &scene.domain, &namespace.name).to_string())?;
        for place in &places {
            namespace.apply(&service(place).to_string())?;
        }
        // Regions that are not played do not exist.
        let mut zones = vec![Zone::new("amazonaws.com")];
        for place in &places {
            let address = peers::address(namespace, &service_name(place))?;
            for host in place["hosts"].as_array().into_iter().flatten() {
                let host = host.as_str().unwrap_or_default();
                zones.push(Zone::new(host).record(format!("@ IN A {address}")));
            }
        }
        scene.world.publish(&zones)?;
        namespace.rolled_out(POD, STARTS)?;
        let mut stand_ins = Self {
            namespace,
            customer: Value::Null,
            names: BTreeSet::new(),
        };
        for place in &places {
            let name = place["name"].as_str().unwrap_or_default();
            if !name.ends_with("Tokens") {
                stand_ins.names.insert(name.to_owned());
            }
        }
        stand_ins.trust_cluster(scene)?;
        stand_ins.renewed()?;
        Ok(stand_ins)
    }

    /// One authority of tokens knows the cluster as Entra would: by its issuer and its public keys.
    fn trust_cluster(&self, scene: &Scene<'_>) -> Outcome {
        let raw =
            |path| -> Outcome<Value> { read(&scene.world.cluster.kubectl(["get", "--raw", path]).read()?) };
        let known = raw("/.well-known/openid-configuration")?;
        self.order(&json!({"trust": {"issuer": known["issuer"], "keys": raw("/openid/v1/jwks")?}}))
    }

    /// What the customer got is read anew.
    pub(super) fn renewed(&mut self) -> Outcome {
        self.customer = self.ask(&json!({"show": "customer"}))?;
        Ok(())
    }

    /// Gives an order, or several.
    pub(super) fn order(&self, order: &Value) -> Outcome {
        self.ask(order).map(drop)
    }

    /// The same to all providers.
    pub(super) fn order_all(&self, switch: &str, value: bool) -> Outcome {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        self.order_each(&names, switch, value)
    }

    /// The same to each of these providers, at once.
    pub(super) fn order_each(&self, providers: &[&str], switch: &str, value: bool) -> Outcome {
        let one = |name: &&str| json!({"provider": name, switch: value});
        self.order(&providers.iter().map(one).collect())
    }

    /// All that they saw.
    pub(super) fn record(&self) -> Outcome<Record> {
        self.ask(&json!({"show": "record"})).map(Record)
    }

    fn ask(&self, order: &Value) -> Outcome<Value> {
        let order = order.to_string();
        let answer = read(
            &self
                .namespace
                .exec(POD, &["/postroad-providers", "ask", &order], b"")?,
        )?;
        match &answer["error"] {
            Value::Null => Ok(answer),
            error => Err(Failure::wrong(format!("the stand-ins refuse {order}: {error}"))),
        }
    }
}

/// All that the stand-ins saw.
pub(super) struct Record(Value);

impl Record {
    /// Messages with this mark in their subject.
    pub(super) fn messages(&self, mark: &str) -> Vec<Value> {
        let has_mark = |message: &&Value| {
            message["subject"]
                .as_str()
                .is_some_and(|subject| subject.contains(mark))
        };
        self.rows("messages").iter().filter(has_mark).cloned().collect()
    }

    /// Rows of `logins`, `messages` or `tokens`.
    pub(super) fn rows(&self, kind: &str) -> &[Value] {
        self.0[kind].as_array().map_or(&[], Vec::as_slice)
    }

    /// How often a provider refused something after the login, or before it for reasons of its own.
    pub(super) fn refusals(&self, provider: &str) -> u64 {
        self.0["refusals"][provider].as_u64().unwrap_or(0)
    }
}

fn read(text: &str) -> Outcome<Value> {
    serde_json::from_str(text).map_err(|error| Failure::wrong(format!("no JSON ({error}): {text}")))
}

fn deployment(image: &str, domain: &str, namespace: &str) -> Value {
    let subject = format!("system:serviceaccount:{namespace}:{LISTENER}-mta");
    let ready = json!({
        "exec": {"command": ["/postroad-providers", "ask", r#"{"show": "record"}"#]}, "periodSeconds": 1, "failureThreshold": 60,
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "stand-ins"},
        "spec": {
            "selector": {"matchLabels": {"app": "stand-ins"}},
            "template": {
                "metadata": {"labels": {"app": "stand-ins"}},
                "spec": {
                    "automountServiceAccountToken": false,
                    "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [{
                        "name": "stand-ins", "image": image, "imagePullPolicy": "IfNotPresent",
                        "args": ["serve", "--domain", domain, "--subject", subject],
                        "readinessProbe": ready,
                        "securityContext": {
                            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                        },
                    }],
                },
            },
        },
    })
}

fn service_name(place: &Value) -> String {
    format!(
        "stand-in-{}",
        place["name"].as_str().unwrap_or_default().to_lowercase()
    )
}

fn service(place: &Value) -> Value {
    let ports = place["ports"].as_array().into_iter().flatten();
    let ports = ports.map(|port| json!({"name": format!("p{}", port["port"]), "port": port["port"], "targetPort": port["target"]}));
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": service_name(place)},
        "spec": {"selector": {"app": "stand-ins"}, "ports": ports.collect::<Vec<_>>()},
    })
}

const POD: &str = "deployment/stand-ins";
const STARTS: Duration = Duration::from_mins(2);
