//! What a person orders by annotations of a listener, beside its spec. Pure.

use kube::ResourceExt;
use postroad_crds::SmtpListener;

use super::names::Names;

/// Nothing is looked at or changed while it stands, deletion included.
pub const PAUSED: &str = "postroad.dev/paused";
/// The pods are let go and the mail stays on the volumes while it stands.
pub const HIBERNATE: &str = "postroad.dev/hibernate";

/// Pods, by name or ordinal and with commas, or `all`: they do nothing, and pod and volume are kept as they are.
pub const FENCED: &str = "postroad.dev/fenced";

/// Whether a pod is fenced off.
pub fn is_fenced(listener: &SmtpListener, names: &Names, ordinal: i32) -> bool {
    let given = listener.annotations().get(FENCED);
    let mut words = given.into_iter().flat_map(|text| text.split(',')).map(str::trim);
    let (name, number) = (names.pod(ordinal), ordinal.to_string());
    words.any(|word| word == "all" || word == name || word == number)
}

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
    fn pods_are_fenced_off_by_name_by_ordinal_or_all() {
        let names = Names {
            namespace: "mail".into(),
            listener: "edge".into(),
        };
        for (value, fenced) in [
            (None, [false, false, false]),
            (Some("edge-1"), [false, true, false]),
            (Some("0, edge-2"), [true, false, true]),
            (Some("all"), [true, true, true]),
            (Some("edge-11, other-1, "), [false, false, false]),
        ] {
            let mut listener = listener(&json!({}));
            listener.metadata.annotations = value.map(|value| [(FENCED.to_owned(), value.to_owned())].into());
            let found = [0, 1, 2].map(|ordinal| is_fenced(&listener, &names, ordinal));
            assert_eq!(found, fenced, "{value:?}");
        }
    }

    fn listener(annotations: &serde_json::Value) -> SmtpListener {
        serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener",
            "metadata": {"name": "edge", "namespace": "mail", "annotations": annotations},
            "spec": {
                "hostname": "mail.example.com", "queue": {"storage": {"size": "1Gi"}},
                "ports": [{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Disabled"}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn an_order_stands_until_it_is_taken_off_or_says_false() {
        for (annotations, paused, hibernating) in [
            (json!({}), false, false),
            (json!({PAUSED: "true"}), true, false),
            (json!({PAUSED: "", HIBERNATE: "on"}), true, true),
            (json!({PAUSED: "false", HIBERNATE: " false "}), false, false),
        ] {
            let listener = listener(&annotations);
            assert_eq!(
                (is_paused(&listener), hibernates(&listener)),
                (paused, hibernating),
                "{annotations}"
            );
        }
    }
}
