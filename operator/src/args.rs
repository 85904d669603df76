//! Arguments of the operator. The Helm chart passes all of them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::Parser;

/// Turns SmtpListener, MailDomain and RelayPolicy objects into running mail servers.
#[derive(Clone, Debug, Parser)]
#[command(name = "postroad-operator", version)]
pub struct Args {
    /// Image of the mail server's pods.
    #[arg(long, env = "POSTROAD_MTA_IMAGE")]
    pub mta_image: String,
    /// When the kubelet pulls it: Always, IfNotPresent or Never.
    #[arg(long, default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub mta_image_pull_policy: String,
    /// Watch this namespace alone. Absent = all.
    #[arg(long)]
    pub namespace: Option<String>,
    /// DNS server through which the name servers of domains are found, IP or IP:port. May be given more than once; absent = those
    /// of the pod.
    #[arg(long = "resolver", value_parser = server)]
    pub resolvers: Vec<SocketAddr>,
    /// `ClusterRole` that lets the operator use the Secrets of a namespace, once it is bound there.
    #[arg(long, default_value = "postroad-secrets")]
    pub secrets_role: String,
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, default_value = "[::]:8080")]
    pub http: SocketAddr,
    /// Port of HTTPS at which pods ask whether a token was revoked.
    #[arg(long, default_value_t = 8443)]
    pub review_port: u16,
    /// Seconds after which what is known of the cluster is listed anew, whatever the watches have said.
    #[arg(long, env = "POSTROAD_RENEW_WATCHES", default_value = "600", value_parser = seconds)]
    pub renew_watches: Duration,
    /// Address of this pod, which pods are told of for that.
    #[arg(long, env = "POD_IP")]
    pub pod_ip: Option<IpAddr>,
    /// Name of this pod: the holder of the Lease.
    #[arg(long, env = "POD_NAME", default_value = "postroad-operator")]
    pub pod_name: String,
    /// Namespace of this pod: where the Lease and the account are.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub pod_namespace: String,
    /// ServiceAccount of this pod.
    #[arg(long, env = "SERVICE_ACCOUNT", default_value = "default")]
    pub service_account: String,
}

impl Args {
    /// Name of the Lease. Operators of several namespaces may live in one: each leads in its own.
    pub fn lease(&self) -> String {
        match &self.namespace {
            Some(watched) if *watched != self.pod_namespace => format!("postroad-operator-{watched}"),
            _ => "postroad-operator".to_owned(),
        }
    }
}

fn server(text: &str) -> Result<SocketAddr, String> {
    let address = text
        .parse()
        .ok()
        .or_else(|| text.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, 53)));
    address.ok_or_else(|| format!("`{text}` is no server; write an IP address, or IP:port"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| *seconds > 0);
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("`{text}` is no time; write whole seconds, 1 or more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_of_other_namespaces_have_leases_of_their_own() {
        let lease = |more: &[&str]| {
            let words = ["operator", "--mta-image", "mta:1", "--pod-namespace", "system"];
            Args::parse_from(words.iter().chain(more)).lease()
        };
        assert_eq!(lease(&[]), "postroad-operator");
        assert_eq!(lease(&["--namespace", "system"]), "postroad-operator");
        assert_eq!(lease(&["--namespace", "mail"]), "postroad-operator-mail");
        assert_eq!(lease(&["--namespace", "shop"]), "postroad-operator-shop");
    }
}
