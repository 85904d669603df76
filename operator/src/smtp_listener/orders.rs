//! What a person orders by annotations of a listener, beside its spec. Pure.

use kube::ResourceExt;
use postroad_crds::SmtpListener;

/// Nothing is looked at or changed while it stands, deletion included.
pub const PAUSED: &str = "postroad.dev/paused";
/// The pods are let go and the mail stays on the volumes while it stands.
pub const HIBERNATE: &str = "postroad.dev/hibernate";

/// Whether the listener is paused.
pub fn is_paused(listener: &SmtpListener) -> bool {
    stands(listener, PAUSED)
}

/// Whether its pods are let go.
pub fn hibernates(listener: &SmtpListener) -> bool {
    stands(listener, HIBERNATE)
}

/// An annotation stands with any value but `false`.
fn stands(listener: &SmtpListener, annotation: &str) -> bool {
    let value = listener.annotations().get(annotation);
    value.is_some_and(|value| value.trim() != "false")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_order_stands_until_it_is_taken_off_or_says_false() {
        for (annotations, paused, hibernating) in [
            (json!({}), false, false),
            (json!({PAUSED: "true"}), true, false),
            (json!({PAUSED: "", HIBERNATE: "on"}), true, true),
            (json!({PAUSED: "false", HIBERNATE: " false "}), false, false),
        ] {
            let listener: SmtpListener = serde_json::from_value(json!({
                "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener",
                "metadata": {"name": "edge", "namespace": "mail", "annotations": annotations},
                "spec": {
                    "hostname": "mail.example.com", "queue": {"storage": {"size": "1Gi"}},
                    "ports": [{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Disabled"}],
                },
            }))
            .unwrap();
            assert_eq!(
                (is_paused(&listener), hibernates(&listener)),
                (paused, hibernating),
                "{annotations}"
            );
        }
    }
}
