//! The second mail system (Postfix, Dovecot, mail programs) and the name server of the made-up domains, in a namespace of
//! their own that does not enforce `restricted`: Debian's mail programs start as root.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::cluster::Cluster;
use crate::dns::{self, Zone};
use crate::images::Image;
use crate::kubectl::{Failure, Namespace, Outcome, fill, until};
use crate::place;

/// The running peers.
#[derive(Debug)]
pub struct Peers {
    /// Their namespace.
    pub namespace: Namespace,
    /// Address of the name server.
    pub dns: String,
    /// Address of Postfix, the mail exchanger of `far.example`.
    pub postfix: String,
    forward: String,
    serial: AtomicU64,
}

/// The domain of the peers.
pub const FAR: &str = "far.example";

/// The peers' namespace.
pub const NAMESPACE: &str = "postroad-peers";

impl Peers {
    /// Starts what does not run yet and waits until all of it is ready.
    pub fn start(cluster: &Cluster, peers: &Image, dns: &Image) -> Outcome<Self> {
        let namespace = Namespace::new(cluster, NAMESPACE);
        namespace.create("privileged")?;
        // On the local cluster they stay on the node whose plug no story pulls.
        let node = if cluster.is_local() {
            r#"{kubernetes.io/hostname: "node1"}"#
        } else {
            "{}"
        };
        let values = |server: &str, text: &str| {
            let values = [("NAMESPACE", NAMESPACE), ("NODE", node), ("DNS", server)];
            let text = fill(text, &values);
            fill(
                &text,
                &[("PEERS_IMAGE", &peers.name()), ("DNS_IMAGE", &dns.name())],
            )
        };
        namespace.apply(&values("", &read("dns.yaml")?))?;
        let server = address(&namespace, "dns")?;
        namespace.apply(&values(&server, &read("peers.yaml")?))?;
        let cluster_dns = Namespace::new(cluster, "kube-system");
        let started = Self {
            dns: server,
            postfix: address(&namespace, "postfix")?,
            forward: address(&cluster_dns, "kube-dns")?,
            serial: AtomicU64::new(now()),
            namespace,
        };
        started.publish(&[started.far_zone()])?;
        for deployment in ["deployment/dns", "deployment/postfix", "deployment/dovecot"] {
            started.namespace.rolled_out(deployment, Duration::from_mins(3))?;
        }
        started
            .namespace
            .kubectl(["wait", "--for=condition=Ready", "pod/client", "--timeout=120s"])?;
        Ok(started)
    }

    /// Removes the peers with all their mail.
    pub fn remove(cluster: &Cluster) -> Outcome {
        Namespace::new(cluster, NAMESPACE).delete()
    }

    /// The zone of the peers' own domain.
    pub fn far_zone(&self) -> Zone {
        let address = &self.postfix;
        Zone::new(FAR)
            .record("@ IN MX 10 mx")
            .record(format!("mx IN A {address}"))
            .record(format!("@ IN TXT \"v=spf1 ip4:{address} -all\""))
    }

    /// Serves these zones and no others, and returns when the server answers with them.
    pub fn publish(&self, zones: &[Zone]) -> Outcome {
        // The world lets one story publish at a time.
        let serial = self.serial.load(Ordering::Relaxed).max(now()) + 1;
        self.serial.store(serial, Ordering::Relaxed);
        let data: serde_json::Map<_, _> = dns::files(zones, &self.dns, &self.forward, serial)
            .into_iter()
            .map(|(name, text)| (name, text.into()))
            .collect();
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "zones"}, "data": data});
        self.namespace.apply(&map.to_string())?;
        // A change of the pod makes the kubelet look at its volumes now and not within the next minute.
        let stamp = format!("e2e/zones={serial}");
        let annotate = ["annotate", "pods", "--selector=app=dns", "--overwrite", &stamp];
        self.namespace
            .rolled_out("deployment/dns", Duration::from_mins(2))?;
        self.namespace.kubectl(annotate)?;
        let Some(zone) = zones.first() else { return Ok(()) };
        let pod = self.namespace.get(["pods", "--selector=app=client"])?;
        if pod["items"][0]["status"]["phase"] != "Running" {
            return Ok(()); // the first publication: nobody can ask yet
        }
        self.await_serial(zone.name(), serial)
    }

    fn await_serial(&self, zone: &str, serial: u64) -> Outcome {
        let ask = format!(
            "import socket,sys\n\
             q=b'\\x12\\x34\\x01\\x00\\x00\\x01'+b'\\0'*6+b''.join(bytes([len(l)])+l for l in b'{zone}'.split(b'.'))\
             +b'\\0\\0\\x06\\0\\x01'\n\
             s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.settimeout(2);s.sendto(q,('{}',53))\n\
             print(({serial}).to_bytes(4,'big') in s.recv(4096))",
            self.dns
        );
        let answered = until(Duration::from_secs(40), || {
            let said = self.namespace.exec("client", &["python3", "-c", &ask], b"");
            Ok(said.is_ok_and(|said| said.trim() == "True"))
        });
        answered.map_err(|_| Failure::wrong(format!("the name server does not serve {zone} as of {serial}")))
    }

    /// Takes the far mail system off the network, or brings it back.
    pub fn set_far_running(&self, running: bool) -> Outcome {
        let replicas = if running { "--replicas=1" } else { "--replicas=0" };
        self.namespace
            .kubectl(["scale", "deployment/postfix", replicas])?;
        if running {
            return self
                .namespace
                .rolled_out("deployment/postfix", Duration::from_mins(2));
        }
        until(Duration::from_mins(1), || {
            let pods = self.namespace.get(["pods", "--selector=app=postfix"])?;
            Ok(pods["items"].as_array().is_some_and(Vec::is_empty))
        })
    }
}

/// The address of a service, once it has one.
pub fn address(namespace: &Namespace, service: &str) -> Outcome<String> {
    let object = namespace.wait_for(
        &format!("service/{service}"),
        "an address",
        Duration::from_mins(1),
        |object| {
            object["spec"]["clusterIP"]
                .as_str()
                .is_some_and(|address| !address.is_empty())
        },
    )?;
    Ok(object["spec"]["clusterIP"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

fn read(file: &str) -> Outcome<String> {
    Ok(std::fs::read_to_string(
        place::tree().join("e2e/peers").join(file),
    )?)
}

/// Seconds since 1970: serial numbers that grow over runs.
fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map(|now| now.as_secs()).unwrap_or_default()
}
