//! Fields that shape the listener's objects are set and taken back, and Service, NetworkPolicy and pods follow; what is
//! deleted comes back. The load balancer is played.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kubectl::{Failure, Namespace, Outcome, until};
use crate::mailroom::{LISTENER, Mailroom};
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let room = Mailroom::new(scene, 1).open()?;
    let play = Play {
        namespace: room.namespace(),
    };
    play.service()?;
    play.network_policy()?;
    play.comes_back("poddisruptionbudget/edge")?;
    play.comes_back("service/edge")?;
    room.await_ready()?;
    play.pod()?;
    room.await_ready().map(drop)
}

struct Play<'a> {
    namespace: &'a Namespace,
}

impl Play<'_> {
    fn set(&self, spec: &Value) -> Outcome {
        self.namespace.patch(&listener(), &json!({ "spec": spec }))
    }

    fn await_addresses(&self, addresses: &Value) -> Outcome {
        self.namespace
            .wait_for(
                &listener(),
                &format!("addresses {addresses}"),
                LIMIT,
                |listener| {
                    listener["status"]["addresses"] == *addresses
                        || (*addresses == json!([]) && listener["status"]["addresses"].is_null())
                },
            )
            .map(drop)
    }

    /// Type, traffic policy, the load balancer's address, and the owner's own.
    fn service(&self) -> Outcome {
        let inside = self.namespace.get([SERVICE])?["spec"]["clusterIPs"].clone();
        self.await_addresses(&inside)?;
        self.set(&json!({"service": {
            "type": "LoadBalancer", "externalTrafficPolicy": "Local", "loadBalancerClass": "example.com/played",
        }}))?;
        self.namespace
            .wait_for(SERVICE, "a load balancer of that class", LIMIT, |service| {
                let spec = &service["spec"];
                spec["type"] == "LoadBalancer"
                    && spec["externalTrafficPolicy"] == "Local"
                    && spec["loadBalancerClass"] == "example.com/played"
            })?;
        self.await_addresses(&json!([]))?;
        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}}).to_string();
        let args = [
            "patch",
            SERVICE,
            "--subresource=status",
            "--type=merge",
            "--patch",
            &status,
        ];
        self.namespace.kubectl(args)?;
        self.await_addresses(&json!(["203.0.113.7"]))?;
        self.set(&json!({"service": {"publicAddresses": ["198.51.100.1"]}}))?;
        self.await_addresses(&json!(["198.51.100.1"]))?;
        let back = json!({"type": "ClusterIP", "externalTrafficPolicy": null, "loadBalancerClass": null, "publicAddresses": null});
        self.set(&json!({"service": back}))?;
        self.namespace
            .wait_for(SERVICE, "type ClusterIP again", LIMIT, |service| {
                service["spec"]["type"] == "ClusterIP" && service["spec"]["externalTrafficPolicy"].is_null()
            })?;
        self.await_addresses(&inside)
    }

    /// Its ports follow the policies and domains; it goes with the field.
    fn network_policy(&self) -> Outcome {
        self.set(&json!({"networkPolicy": {"egressPorts": [2424]}}))?;
        // 25 of mail by MX, 24 of the domain's store, 443 of policies that REQUIRETLS may ask for.
        self.await_egress(&[24, 25, 443, 2424])?;
        let host = json!({"host": "relay.example", "port": 2525});
        let routes = json!([{"smartHosts": [host], "tls": {"mode": "Opportunistic"}}]);
        let before = self.namespace.get(["relaypolicy/far"])?["spec"]["routes"].clone();
        self.namespace
            .patch("relaypolicy/far", &json!({"spec": {"routes": routes}}))?;
        self.await_egress(&[24, 25, 443, 2424, 2525])?;
        self.namespace
            .patch("relaypolicy/far", &json!({"spec": {"routes": before}}))?;
        self.await_egress(&[24, 25, 443, 2424])?;
        self.set(&json!({"networkPolicy": null}))?;
        until(LIMIT, || Ok(!self.namespace.exists(POLICY)?))
            .map_err(|_| Failure::wrong("the NetworkPolicy is still there"))
    }

    fn await_egress(&self, wanted: &[u64]) -> Outcome {
        let what = format!("the ports {wanted:?}");
        self.namespace
            .wait_for(POLICY, &what, LIMIT, |policy| {
                let ports = policy["spec"]["egress"][2]["ports"].as_array();
                let numbers: Vec<u64> = ports
                    .into_iter()
                    .flatten()
                    .filter_map(|port| port["port"].as_u64())
                    .collect();
                numbers == wanted
            })
            .map(drop)
    }

    fn comes_back(&self, object: &str) -> Outcome {
        let before = self.namespace.get([object])?;
        self.namespace.kubectl(["delete", object])?;
        self.namespace
            .wait_for(object, "it again", LIMIT, |now| {
                now["metadata"]["uid"].is_string() && now["metadata"]["uid"] != before["metadata"]["uid"]
            })
            .map(drop)
    }

    /// Labels and tolerations reach a new pod, and go with the field.
    fn pod(&self) -> Outcome {
        let tolerations = json!([{"key": "dedicated", "operator": "Exists"}]);
        self.set(&json!({"pod": {"labels": {"team": "mail"}, "tolerations": tolerations}}))?;
        let tolerates = |pod: &Value| {
            let all = pod["spec"]["tolerations"].as_array();
            all.is_some_and(|all| all.iter().any(|one| one["key"] == "dedicated"))
        };
        self.namespace
            .wait_for(POD, "label and toleration", LIMIT, |pod| {
                pod["metadata"]["labels"]["team"] == "mail" && tolerates(pod)
            })?;
        self.set(&json!({"pod": null}))?;
        self.namespace
            .wait_for(POD, "neither of them", LIMIT, |pod| {
                pod["metadata"]["uid"].is_string()
                    && pod["metadata"]["labels"]["team"].is_null()
                    && !tolerates(pod)
            })
            .map(drop)
    }
}

fn listener() -> String {
    format!("smtplistener/{LISTENER}")
}

const SERVICE: &str = "service/edge";
const POLICY: &str = "networkpolicy/edge";
const POD: &str = "pod/edge-0";
const LIMIT: Duration = Duration::from_mins(3);
