//! Where clients reach a listener, for its status. Pure.

use k8s_openapi::api::core::v1::Service;
use postroad_crds::SmtpListener;

/// What the owner says, else what the load balancer says, else the addresses of a Service inside of the cluster.
pub fn addresses(listener: &SmtpListener, service: &Service) -> Vec<String> {
    let settings = listener.spec.service.as_ref();
    let given = settings
        .map(|settings| settings.public_addresses.clone())
        .unwrap_or_default();
    if !given.is_empty() {
        return given;
    }
    let spec = service.spec.as_ref();
    match spec.and_then(|spec| spec.type_.as_deref()) {
        Some("LoadBalancer") => balancers(service),
        Some("NodePort") => Vec::new(),
        _ => {
            let addresses = spec.and_then(|spec| spec.cluster_ips.clone()).unwrap_or_default();
            addresses
                .into_iter()
                .filter(|address| address != "None")
                .collect()
        }
    }
}

/// IP addresses, or names where a load balancer has none.
fn balancers(service: &Service) -> Vec<String> {
    let status = service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|balancer| balancer.ingress.as_ref());
    let mut addresses: Vec<String> = ingress
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ip.clone().or_else(|| entry.hostname.clone()))
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn listener(service: &Value) -> SmtpListener {
        serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener", "metadata": {"name": "edge"},
            "spec": {
                "hostname": "mail.example.com", "queue": {"storage": {"size": "1Gi"}}, "service": service,
                "ports": [{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Disabled"}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn the_owner_knows_best_then_the_load_balancer_then_the_service() {
        let cluster = json!({"type": "ClusterIP", "clusterIPs": ["10.0.0.9", "fd00::9"]});
        let balancer = json!({"type": "LoadBalancer", "clusterIPs": ["10.0.0.9"]});
        let ingress =
            json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}, {"hostname": "lb.example"}]}});
        let given = json!({"publicAddresses": ["198.51.100.1"]});
        for (settings, spec, status, wanted) in [
            (json!({}), &cluster, json!({}), vec!["10.0.0.9", "fd00::9"]),
            (
                json!({}),
                &json!({"type": "ClusterIP", "clusterIPs": ["None"]}),
                json!({}),
                vec![],
            ),
            (json!({}), &balancer, json!({}), vec![]),
            (
                json!({}),
                &balancer,
                ingress.clone(),
                vec!["203.0.113.7", "lb.example"],
            ),
            (given, &balancer, ingress, vec!["198.51.100.1"]),
            (
                json!({}),
                &json!({"type": "NodePort", "clusterIPs": ["10.0.0.9"]}),
                json!({}),
                vec![],
            ),
        ] {
            let service: Service = serde_json::from_value(
                json!({"apiVersion": "v1", "kind": "Service", "spec": spec, "status": status}),
            )
            .unwrap();
            assert_eq!(addresses(&listener(&settings), &service), wanted, "{service:?}");
        }
    }
}
