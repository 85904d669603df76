//! An API server with etcd and the controllers alone: no node, no kubelet, no image. All of it on loopback, all of it in a folder
//! that goes with it.
//!
//! Pods are made by the StatefulSet controller and stay `Pending`; claims too. What is owned is collected.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use postroad_e2e::cluster::Cluster;
use postroad_e2e::images;
use postroad_e2e::place;
use postroad_e2e::shell::Shell;
use tokio::process::{Child, Command};

use crate::api::Api;

/// Cases that may run against one server: each has a user and a namespace of its own.
pub const PLACES: usize = 4_000;
/// Token of the one who may do everything.
pub const ADMIN: &str = "admin-of-the-proof";

/// Result of whatever may go wrong; the text is for the person at the terminal.
pub type Said<T> = Result<T, String>;

/// The running programs; dropping it ends them.
pub struct Server {
    /// Where the API server answers.
    pub address: String,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    folder: tempfile::TempDir,
    cluster: Cluster,
    chart: String,
    children: Vec<Child>,
}

impl Server {
    /// Starts everything and waits until it answers.
    pub async fn start() -> Said<Self> {
        let cluster = Cluster::programs().map_err(text)?;
        let folder = tempfile::tempdir().map_err(text)?;
        let at = folder.path();
        let [etcd, peer, port] = ports()?;
        let certificate = credentials(at)?;
        let mut server = Self {
            address: format!("127.0.0.1:{port}"),
            certificate,
            chart: String::new(),
            folder,
            cluster,
            children: Vec::new(),
        };
        let etcd = format!("http://127.0.0.1:{etcd}");
        let peer = format!("http://127.0.0.1:{peer}");
        let at = server.folder.path().to_owned();
        let data = at.join("etcd").display().to_string();
        server.run(
            "etcd",
            &[
                "--name",
                "proof",
                "--data-dir",
                &data,
                "--unsafe-no-fsync",
                // A thousand cases one after the other, and thousands of objects, with all that they were.
                "--quota-backend-bytes=8589934592",
                "--log-level",
                "warn",
                "--listen-client-urls",
                &etcd,
                "--advertise-client-urls",
                &etcd,
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
                "--initial-cluster",
                &format!("proof={peer}"),
            ],
        )?;
        let file = |name: &str| at.join(name).display().to_string();
        server.run(
            "kube-apiserver",
            &[
                "--etcd-servers",
                &etcd,
                "--bind-address",
                "127.0.0.1",
                "--secure-port",
                &port.to_string(),
                "--advertise-address",
                "127.0.0.1",
                "--endpoint-reconciler-type",
                "none",
                "--authorization-mode",
                "RBAC",
                "--allow-privileged",
                "--token-auth-file",
                &file("tokens.csv"),
                "--service-cluster-ip-range",
                // Two families, as fields of the Service are about both.
                "10.96.0.0/16,fd00:96::/112",
                "--tls-cert-file",
                &file("tls.crt"),
                "--tls-private-key-file",
                &file("tls.key"),
                "--service-account-issuer",
                "https://kubernetes.default.svc.cluster.local",
                "--service-account-key-file",
                &file("accounts.pub"),
                "--service-account-signing-key-file",
                &file("accounts.key"),
            ],
        )?;
        server.ready().await?;
        let kubeconfig = kubeconfig(&format!("https://127.0.0.1:{port}"), ADMIN);
        std::fs::write(at.join("admin.kubeconfig"), kubeconfig).map_err(text)?;
        server.run(
            "kube-controller-manager",
            &[
                "--kubeconfig",
                &file("admin.kubeconfig"),
                "--leader-elect=false",
                "--secure-port=0",
                "--kube-api-qps=500",
                "--kube-api-burst=1000",
                "--controllers=statefulset-controller,garbage-collector-controller,namespace-controller,persistentvolumeclaim-protection-controller,horizontal-pod-autoscaler-controller",
                "--horizontal-pod-autoscaler-sync-period=2s",
            ],
        )?;
        server.prepare()?;
        Ok(server)
    }

    /// A client that may do everything.
    pub fn admin(&self) -> Said<Api> {
        Api::new(&self.address, &self.certificate, ADMIN)
    }

    /// The folder of the run.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The objects of the chart that let an operator work in this one namespace.
    pub fn grant(&self, namespace: &str) -> Said<()> {
        self.kubectl(
            &["apply", "--server-side", "--filename", "-"],
            &self.chart.replace(PLACE, namespace),
        )
    }

    fn run(&mut self, name: &str, args: &[&str]) -> Said<()> {
        let log = std::fs::File::create(self.folder.path().join(format!("{name}.log"))).map_err(text)?;
        let child = Command::new(self.cluster.tool(name))
            .args(args)
            .stdout(log.try_clone().map_err(text)?)
            .stderr(log)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{name}: {error}"))?;
        self.children.push(child);
        Ok(())
    }

    async fn ready(&self) -> Said<()> {
        let api = self.admin()?;
        let started = Instant::now();
        loop {
            match api.get("/readyz").await {
                Ok(_) => return Ok(()),
                Err(error) if started.elapsed() > Duration::from_secs(90) => {
                    let log = std::fs::read_to_string(self.folder.path().join("kube-apiserver.log"));
                    return Err(format!(
                        "the API server does not start: {error}\n{}",
                        tail(&log.unwrap_or_default())
                    ));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// The definitions of our kinds.
    pub fn define(&self) -> Said<()> {
        let crds = place::tree().join("crds");
        for kind in ["smtplisteners", "maildomains", "relaypolicies"] {
            let file = crds.join(format!("{kind}.postroad.dev.yaml"));
            self.kubectl(
                &[
                    "apply",
                    "--server-side",
                    "--filename",
                    &file.display().to_string(),
                ],
                "",
            )?;
        }
        self.kubectl(
            &[
                "wait",
                "--for=condition=Established",
                "--timeout=30s",
                "crd",
                "--all",
            ],
            "",
        )
    }

    /// The definitions, and the chart's permissions, of which each case gets a copy.
    fn prepare(&mut self) -> Said<()> {
        let tree = place::tree();
        let watched = format!("operator.watchNamespace={PLACE}");
        let chart = tree.join("charts/postroad").display().to_string();
        let args = [
            "template",
            "postroad",
            &chart,
            "--namespace",
            PLACE,
            "--set",
            &watched,
            "--show-only",
            "templates/rbac.yaml",
            "--show-only",
            "templates/serviceaccount.yaml",
            "--set",
            "rbac.aggregate=false",
        ];
        self.chart = self.cluster.helm(args).read().map_err(text)?;
        self.define()
    }

    /// What would be stored of an object in YAML that a person applies in a namespace. Errors: the refusal.
    pub fn would_apply(&self, namespace: &str, yaml: &str) -> Said<serde_json::Value> {
        let args = [
            "apply",
            "--dry-run=server",
            "--output",
            "json",
            "--filename",
            "-",
            "--namespace",
            namespace,
        ];
        let stored = Shell::new(self.cluster.tool("kubectl"))
            .args(args)
            .env("KUBECONFIG", self.folder.path().join("admin.kubeconfig"))
            .input(yaml)
            .read()
            .map_err(text)?;
        serde_json::from_str(&stored).map_err(text)
    }

    fn kubectl(&self, args: &[&str], input: &str) -> Said<()> {
        Shell::new(self.cluster.tool("kubectl"))
            .args(args)
            .env("KUBECONFIG", self.folder.path().join("admin.kubeconfig"))
            .input(input)
            .run()
            .map(drop)
            .map_err(text)
    }
}

/// Stands for the namespace in the chart's objects.
const PLACE: &str = "place-of-the-case";

/// Namespace of a place.
pub fn namespace(place: usize) -> String {
    format!("case-{place:04}")
}

/// Token of the operator of a place.
pub fn token(place: usize) -> String {
    format!("operator-of-{place}")
}

/// The token that the operator of a place has later.
pub fn later_token(place: usize) -> String {
    format!("operator-of-{place}-later")
}

/// A kubeconfig for this server and token.
pub fn kubeconfig(server: &str, token: &str) -> String {
    written(server, INSECURE, &format!(r#""token": "{token}""#))
}

/// A kubeconfig whose token is in a file, as it is in a pod. `authorities`: the file of what is trusted; absent = everybody is.
pub fn kubeconfig_by_file(server: &str, token: &Path, authorities: Option<&Path>) -> String {
    let trust = authorities.map_or(INSECURE.to_owned(), |file| {
        format!(r#""certificate-authority": "{}""#, file.display())
    });
    written(server, &trust, &format!(r#""tokenFile": "{}""#, token.display()))
}

const INSECURE: &str = r#""insecure-skip-tls-verify": true"#;

fn written(server: &str, trust: &str, user: &str) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "Config", "current-context": "proof",
 "contexts": [{{"name": "proof", "context": {{"cluster": "proof", "user": "proof"}}}}],
 "clusters": [{{"name": "proof", "cluster": {{"server": "{server}", {trust}}}}}],
 "users": [{{"name": "proof", "user": {{{user}}}}}]}}"#
    )
}

/// Free ports. Another program could take one in between; the server says so then.
fn ports<const N: usize>() -> Said<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(text)?;
        *port = listener.local_addr().map_err(text)?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// Certificate and key of the server, the key of tokens, and the users. Gives the certificate.
fn credentials(at: &Path) -> Said<Vec<u8>> {
    let write = |name: &str, content: String| std::fs::write(at.join(name), content).map_err(text);
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).map_err(text)?;
    write("tls.crt", own.cert.pem())?;
    write("tls.key", own.signing_key.serialize_pem())?;
    let accounts = rcgen::KeyPair::generate().map_err(text)?;
    write("accounts.key", accounts.serialize_pem())?;
    write("accounts.pub", accounts.public_key_pem())?;
    let mut users = format!("{ADMIN},admin,admin,\"system:masters\"\n");
    for place in 0..PLACES {
        let namespace = namespace(place);
        for token in [token(place), later_token(place)] {
            let _ = writeln!(
                users,
                "{token},system:serviceaccount:{namespace}:postroad,{token},\"system:serviceaccounts,system:serviceaccounts:{namespace}\""
            );
        }
    }
    write("tokens.csv", users)?;
    Ok(own.cert.der().to_vec())
}

/// Any error as text.
pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// Where the operator is, built from the tree; `released`: as it is released.
pub fn operator(released: bool) -> Said<PathBuf> {
    if released {
        return images::operator().map_err(text);
    }
    Shell::new(place::cargo())
        .args(["build", "--locked", "--quiet", "--package", "postroad-operator"])
        .dir(&place::tree())
        .limit(Duration::from_hours(1))
        .echo()
        .run()
        .map_err(text)?;
    Ok(place::target().join("debug/postroad-operator"))
}
