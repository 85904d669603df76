//! Somebody next door writes policies for all mail and for other people's, to a host of theirs.

use serde_json::{Value, json};

use super::{LIMIT, Play, THIEF, expect};
use crate::kubectl::{Failure, Namespace, Outcome, is, until};
use crate::mailroom::{LISTENER, USER};

impl Play<'_> {
    /// The neighbour grabs for the mail, and is not let in.
    pub(super) fn grabbed_at(&self, neighbour: &Namespace) -> Outcome {
        let thief = json!([{"smartHosts": [{"host": "exim.corp.example", "port": THIEF}], "tls": {"mode": "Opportunistic"}}]);
        for (name, terms) in [
            ("all", json!({})),
            ("senders", json!({"senderDomains": [self.domain]})),
            (
                "recipients",
                json!({"recipientDomains": self.cases.iter().map(|case| case.to(self.domain)).collect::<Vec<_>>()}),
            ),
            ("users", json!({"users": [USER]})),
            (
                "accounts",
                json!({"serviceAccounts": [{"namespace": self.room.namespace().name, "name": "default"}]}),
            ),
        ] {
            let grab = json!({
                "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy", "metadata": {"name": name},
                "spec": {
                    "listenerRefs": [{"name": LISTENER, "namespace": self.room.namespace().name}],
                    "priority": 1_000_000, "match": terms, "routes": thief,
                    "envelope": {"sender": format!("stolen@{}", self.domain)},
                },
            });
            neighbour.apply(&grab.to_string())?;
        }
        for found in are(neighbour, "False")? {
            expect(&found, "Accepted", "NotPermitted", LISTENER)?;
        }
        Ok(())
    }

    /// From the second act on the neighbour's policies are even let in. They are for the neighbour's own mail all the same.
    pub(super) fn is_let_in(&self, neighbour: &Namespace) -> Outcome {
        let edge = format!("smtplistener/{LISTENER}");
        let attach = json!({"spec": {"attach": {"from": "All"}}});
        self.room.namespace().patch(&edge, &attach)?;
        are(neighbour, "True").map(drop)
    }
}

/// Waits until all of the neighbour's policies are let in, or are not.
fn are(neighbour: &Namespace, status: &str) -> Outcome<Vec<Value>> {
    let mut found = Vec::new();
    let came = until(LIMIT, || {
        let all = neighbour.get(["relaypolicies"])?;
        found = all["items"].as_array().cloned().unwrap_or_default();
        Ok(found.len() == GRABS && found.iter().all(|policy| is(policy, "Accepted", status)))
    });
    came.map_err(|_| Failure::wrong(format!("Accepted={status} did not come for each of {found:?}")))?;
    Ok(found)
}

/// Policies of the neighbour.
const GRABS: usize = 5;
