//! Somebody next door writes policies for all mail and for other people's, to a host of theirs.

use serde_json::json;

use super::{LIMIT, Play, THIEF, expect};
use crate::kubectl::{Namespace, Outcome};
use crate::mailroom::LISTENER;

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
        ] {
            let grab = json!({
                "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy", "metadata": {"name": name},
                "spec": {
                    "listenerRefs": [{"name": LISTENER, "namespace": self.room.namespace().name}],
                    "priority": 1_000_000, "match": terms, "routes": thief,
                },
            });
            neighbour.apply(&grab.to_string())?;
        }
        for name in GRABS {
            let found = neighbour.wait_condition(name, "Accepted", "False", LIMIT)?;
            expect(&found, "Accepted", "NotPermitted", LISTENER)?;
        }
        Ok(())
    }

    /// From the second act on the neighbour's policies are even let in. They are for the neighbour's own mail all the same.
    pub(super) fn is_let_in(&self, neighbour: &Namespace) -> Outcome {
        let edge = format!("smtplistener/{LISTENER}");
        let attach = json!({"spec": {"attach": {"from": "All"}}});
        self.room.namespace().patch(&edge, &attach)?;
        for name in GRABS {
            neighbour.wait_condition(name, "Accepted", "True", LIMIT)?;
        }
        Ok(())
    }
}

const GRABS: [&str; 3] = ["relaypolicy/all", "relaypolicy/senders", "relaypolicy/recipients"];
