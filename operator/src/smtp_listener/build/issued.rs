//! The Certificate that cert-manager is asked for.

use postroad_crds::smtp_listener::{IssuerRef, KeyRotation};
use serde_json::{Value, json};

use crate::smtp_listener::names::Names;

/// For the listener's host name. Owned by the listener; the Secret that comes of it is cert-manager's, and outlives both.
pub fn certificate(
    names: &Names,
    host: &str,
    (issuer, rotation): (&IssuerRef, KeyRotation),
    owner: &Value,
) -> Value {
    let rotation = match rotation {
        KeyRotation::Always => "Always",
        KeyRotation::Never => "Never",
    };
    json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "metadata": {
            "name": names.issued(), "namespace": names.namespace, "labels": names.labels(),
            "ownerReferences": [owner],
        },
        "spec": {
            "secretName": names.issued(),
            "dnsNames": [host],
            "usages": ["digital signature", "key encipherment", "server auth"],
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": rotation},
            "issuerRef": {
                "name": issuer.name,
                "kind": issuer.kind.as_deref().unwrap_or("Issuer"),
                "group": issuer.group.as_deref().unwrap_or("cert-manager.io"),
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_for_the_host_and_by_the_issuer_that_is_named() {
        let names = Names {
            namespace: "mail".into(),
            listener: "edge".into(),
        };
        let issuer = |kind: Option<&str>, group: Option<&str>| IssuerRef {
            name: "ca".into(),
            kind: kind.map(str::to_owned),
            group: group.map(str::to_owned),
        };
        let owner = json!({"uid": "u"});
        let always = KeyRotation::Always;
        let usual = certificate(&names, "mail.example.com", (&issuer(None, None), always), &owner);
        let kept = certificate(
            &names,
            "mail.example.com",
            (&issuer(None, None), KeyRotation::Never),
            &owner,
        );
        let policy = |made: &Value| made["spec"]["privateKey"]["rotationPolicy"].clone();
        assert_eq!((policy(&usual), policy(&kept)), (json!("Always"), json!("Never")));
        assert_eq!(usual["metadata"]["ownerReferences"][0]["uid"], "u");
        assert_eq!(
            usual["metadata"]["labels"]["app.kubernetes.io/managed-by"],
            "postroad"
        );
        assert_eq!(
            usual["spec"]["issuerRef"],
            json!({"name": "ca", "kind": "Issuer", "group": "cert-manager.io"})
        );
        assert_eq!(
            (&usual["spec"]["dnsNames"], &usual["spec"]["secretName"]),
            (&json!(["mail.example.com"]), &json!("edge-issued"))
        );
        let other = certificate(
            &names,
            "h",
            (&issuer(Some("StepIssuer"), Some("certmanager.step.sm")), always),
            &owner,
        );
        assert_eq!(
            other["spec"]["issuerRef"],
            json!({"name": "ca", "kind": "StepIssuer", "group": "certmanager.step.sm"})
        );
    }
}
