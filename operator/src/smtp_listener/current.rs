//! Asked before anything is taken away: is the listener still as this reconcile saw it?
//!
//! What a reconcile sees comes from a watch, which may lag far behind after a restart: at an API server whose cache is old, a
//! listener of the past may be deleted, smaller or hibernating, while the one of today is none of it. A read of one object is
//! never old.

use kube::{Api, ResourceExt};
use postroad_crds::SmtpListener;

use super::names::Names;
use super::orders;
use crate::context::Ctx;
use crate::error::{Doing, Error};

/// Reads the listener once more.
pub async fn is_current(listener: &SmtpListener, names: &Names, ctx: &Ctx) -> Result<bool, Error> {
    let api: Api<SmtpListener> = Api::namespaced(ctx.client.clone(), &names.namespace);
    let now = api
        .get_opt(&names.listener)
        .await
        .doing("reading the listener once more")?;
    let current = now.is_some_and(|now| same(listener, &now));
    if !current {
        tracing::info!(
            listener = names.listener,
            "what was seen of the listener is old; nothing is taken away"
        );
    }
    Ok(current)
}

/// The same object, with the same wishes. The status does not matter.
fn same(seen: &SmtpListener, now: &SmtpListener) -> bool {
    let orders = |of: &SmtpListener| (orders::hibernates(of), orders::is_paused(of));
    seen.uid() == now.uid()
        && seen.metadata.generation == now.metadata.generation
        && seen.metadata.deletion_timestamp.is_some() == now.metadata.deletion_timestamp.is_some()
        && orders(seen) == orders(now)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn listener(change: &Value) -> SmtpListener {
        let mut object = json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener",
            "metadata": {"name": "edge", "namespace": "mail", "uid": "one", "generation": 3, "resourceVersion": "9"},
            "spec": {
                "hostname": "mail.example.com", "queue": {"storage": {"size": "1Gi"}},
                "ports": [{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Disabled"}],
            },
        });
        for (key, value) in change.as_object().unwrap() {
            object["metadata"][key] = value.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn another_object_another_wish_or_another_order_is_not_what_was_seen() {
        let seen = listener(&json!({}));
        assert!(same(&seen, &listener(&json!({"resourceVersion": "10"}))));
        for change in [
            json!({"uid": "two"}),
            json!({"generation": 4}),
            json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
            json!({"annotations": {"postroad.dev/hibernate": "true"}}),
            json!({"annotations": {"postroad.dev/paused": "true"}}),
        ] {
            assert!(!same(&seen, &listener(&change)), "{change}");
        }
    }
}
