//! Names, labels and mount points of what belongs to a listener. Selectors hold nothing that changes.

use std::collections::BTreeMap;

use postroad_config::{Endpoint, FleetPod};

/// Port of the pods' admin API.
pub const ADMIN_PORT: u16 = 8_443;
/// Label with the listener's name, on all that belongs to it.
pub const LISTENER: &str = "postroad.dev/listener";
/// Finalizer: the queue's pods go last, when their mail is gone.
pub const FINALIZER: &str = "postroad.dev/queue";
/// Mark on a claim: `<spool uuid>/<seal>`, empty under that seal when its pod went.
pub const DRAINED: &str = "postroad.dev/drained";
/// On a claim: the UUID of the spool on its volume.
pub const SPOOL: &str = "postroad.dev/spool";
/// Mark on a claim: a person declared its volume lost; the value is the UUID of the spool.
pub const LOST: &str = "postroad.dev/lost";
/// On a claim: what of the listener's annotation named it while its pod answered; refused until it is set anew.
pub const REFUSED: &str = "postroad.dev/lost-refused";
/// On a listener, by a person: claims (by name or ordinal) whose volumes are lost for good, or UUIDs of spools.
pub const VOLUME_LOST: &str = "postroad.dev/volume-lost";
/// On pods: the hash of the newest configuration. A change makes the kubelet refresh the mounted files at once.
pub const CONFIG_HASH: &str = "postroad.dev/config-hash";
/// Key of the base file in its Secret, and its file name in the pod.
pub const BASE: &str = "base.yaml";
/// Key in the Secret of [`Names::logins`].
pub const LOGIN_SECRET: &str = "secret";
/// Where the configuration is mounted.
pub const CONFIG_MOUNT: &str = "/etc/postroad/config";
/// Where the queue volume is mounted; the spool is a directory in it.
pub const QUEUE_MOUNT: &str = "/var/spool/postroad";
/// Where the pod's own token for its peers is mounted.
pub const TOKEN_MOUNT: &str = "/var/run/secrets/postroad.dev/peer";
/// Where the pods' token for an authority that trusts the cluster is mounted, where a policy needs it.
pub const FEDERATED_MOUNT: &str = "/var/run/secrets/postroad.dev/federated";
/// The token itself.
pub const FEDERATED_TOKEN: &str = "/var/run/secrets/postroad.dev/federated/token";

/// Ordinals of pods and claims are below this: a listener has ten pods at most, and more only while somebody has raised its StatefulSet by
/// hand. A claim with a larger number is none of ours: it would bring back all the pods below it.
pub const MOST_PODS: i32 = 100;

/// Names of the children of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Namespace.
    pub namespace: String,
    /// Name of the listener, its StatefulSet, its Service and its budget.
    pub listener: String,
}

impl Names {
    /// Headless Service.
    pub fn peers(&self) -> String {
        format!("{}-peers", self.listener)
    }

    /// ServiceAccount of the pods.
    pub fn account(&self) -> String {
        format!("{}-mta", self.listener)
    }

    /// ServiceAccount whose tokens may give orders about the queue.
    pub fn admin_account(&self) -> String {
        format!("{}-admin", self.listener)
    }

    /// Secret with the base file.
    pub fn config(&self) -> String {
        format!("{}-config", self.listener)
    }

    /// Secret with a shard of the domains.
    pub fn shard(&self, number: u8) -> String {
        format!("{}-domains-{number:02}", self.listener)
    }

    /// Secret with the self-signed certificate of the ports.
    pub fn self_signed(&self) -> String {
        format!("{}-tls", self.listener)
    }

    /// The Certificate that cert-manager is asked for, and the Secret that it writes.
    pub fn issued(&self) -> String {
        format!("{}-issued", self.listener)
    }

    /// Secret with authority and certificate of the admin endpoints.
    pub fn authority(&self) -> String {
        format!("{}-ca", self.listener)
    }

    /// Secret with what the answers to logins of users who do not exist are made of.
    pub fn logins(&self) -> String {
        format!("{}-login-secret", self.listener)
    }

    /// A pod.
    pub fn pod(&self, ordinal: i32) -> String {
        format!("{}-{ordinal}", self.listener)
    }

    /// The claim of a pod.
    pub fn claim(&self, ordinal: i32) -> String {
        format!("queue-{}-{ordinal}", self.listener)
    }

    /// The name that all admin endpoints of the fleet prove.
    pub fn admin_name(&self) -> String {
        format!("{}.{}.svc", self.peers(), self.namespace)
    }

    /// The pods that stay, as they and those that leave reach them.
    pub fn fleet(&self, replicas: i32) -> Vec<FleetPod> {
        let pod = |ordinal| FleetPod {
            name: self.pod(ordinal),
            admin: Endpoint {
                host: format!("{}.{}", self.pod(ordinal), self.admin_name()),
                port: ADMIN_PORT,
            },
        };
        (0..replicas).map(pod).collect()
    }

    /// The name that the operator proves to the pods where they ask whether a token was revoked.
    pub fn review_name(&self) -> String {
        format!("review.{}", self.admin_name())
    }

    /// Audience of tokens for the admin endpoints.
    pub fn admin_audience(&self) -> String {
        format!("admin.postroad.dev/{}/{}", self.namespace, self.listener)
    }

    /// Audience of tokens between pods.
    pub fn peer_audience(&self) -> String {
        format!("peer.postroad.dev/{}/{}", self.namespace, self.listener)
    }

    /// Audience of tokens with which ServiceAccounts submit mail.
    pub fn submission_audience(&self) -> String {
        format!("smtp.postroad.dev/{}/{}", self.namespace, self.listener)
    }

    /// Labels of all children.
    pub fn labels(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            (LISTENER, self.listener.clone()),
            ("app.kubernetes.io/name", "postroad-mta".into()),
            ("app.kubernetes.io/instance", self.listener.clone()),
            ("app.kubernetes.io/managed-by", "postroad".into()),
        ])
    }

    /// Selector of the pods, as text.
    pub fn selector(&self) -> String {
        format!("{LISTENER}={}", self.listener)
    }

    /// The ordinal in the name of a pod or claim of this listener, below [`MOST_PODS`].
    pub fn ordinal(&self, name: &str) -> Option<i32> {
        let own = |name: &str| number(name.strip_prefix(&self.listener)?.strip_prefix('-')?);
        own(name).or_else(|| own(name.strip_prefix("queue-")?))
    }

    /// Whether this is the name of a pod of this listener.
    pub fn is_pod(&self, name: &str) -> bool {
        self.ordinal(name)
            .is_some_and(|ordinal| self.pod(ordinal) == name)
    }

    /// Whether this is the name of a claim of this listener.
    pub fn is_claim(&self, name: &str) -> bool {
        self.ordinal(name)
            .is_some_and(|ordinal| self.claim(ordinal) == name)
    }
}

/// An ordinal as a StatefulSet writes it: digits, none of them a zero in front.
fn number(text: &str) -> Option<i32> {
    let ordinal: i32 = text.parse().ok()?;
    ((0..MOST_PODS).contains(&ordinal) && ordinal.to_string() == text).then_some(ordinal)
}

/// The port inside the pod: no privilege is needed above 1023.
pub fn container_port(port: i32) -> i32 {
    if port < 1024 { port + 10_000 } else { port }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_is_named_by_its_pods_and_a_pod_alone_too() {
        let names = Names {
            namespace: "mail".into(),
            listener: "edge".into(),
        };
        let fleet = names.fleet(2);
        let of = |pod: &FleetPod| (pod.name.clone(), pod.admin.host.clone(), pod.admin.port);
        assert_eq!(fleet.len(), 2);
        let host = "edge-1.edge-peers.mail.svc".to_owned();
        assert_eq!(of(&fleet[1]), ("edge-1".into(), host, 8_443));
        // Those that leave give to it what they know.
        assert_eq!((names.fleet(1).len(), names.fleet(0).len()), (1, 0));
    }

    #[test]
    fn ordinals_come_from_our_own_names_only() {
        let names = Names {
            namespace: "mail".into(),
            listener: "edge".into(),
        };
        assert_eq!(names.ordinal("edge-2"), Some(2));
        assert_eq!(names.ordinal("queue-edge-11"), Some(11));
        let odd = Names {
            namespace: "mail".into(),
            listener: "queue-a".into(),
        };
        assert_eq!(
            (odd.ordinal("queue-a-3"), odd.ordinal("queue-queue-a-3")),
            (Some(3), Some(3))
        );
        for other in ["edge", "edge-x", "edge-b-1", "queue-other-1", "edge--1"] {
            assert_eq!(names.ordinal(other), None, "{other}");
        }
        assert!(names.is_pod("edge-2") && !names.is_pod("queue-edge-2"));
        assert!(names.is_claim("queue-edge-2") && !names.is_claim("edge-2"));
        assert!(odd.is_pod("queue-a-3") && odd.is_claim("queue-queue-a-3") && !odd.is_claim("queue-a-3"));
    }

    #[test]
    fn a_number_that_no_fleet_has_and_one_that_is_written_in_another_way_are_nobodys() {
        let names = Names {
            namespace: "mail".into(),
            listener: "edge".into(),
        };
        assert_eq!(names.ordinal("queue-edge-99"), Some(99));
        let crds = postroad_crds::all_crds();
        let listeners = crds.iter().find(|crd| crd.spec.names.kind == "SmtpListener");
        let definition = serde_json::to_value(listeners.unwrap()).unwrap();
        let replicas = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/replicas/maximum";
        let most = definition.pointer(replicas).unwrap().as_f64().unwrap();
        assert!(most < f64::from(MOST_PODS), "{most}");
        for other in [
            "queue-edge-100",
            "queue-edge-2000000000",
            "queue-edge-2147483647",
            "queue-edge-99999999999999999999",
            "edge-07",
            "edge-00",
            "edge-+1",
            "edge-",
        ] {
            assert_eq!(names.ordinal(other), None, "{other}");
        }
    }
}
