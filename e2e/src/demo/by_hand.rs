//! What to do by hand when the demo has ended: commands that work as they are printed. Pure.
//!
//! Assumes the objects of `e2e/demo`, and a pod `edge-2` that serves: at a pod, not at the Service, mail is known to wait in the
//! queue that scaling down has to move.

use super::NAMESPACE;
use crate::mail::mailbox;
use crate::mailroom::{PASSWORD, USER};
use crate::peers::{self, FAR};

/// The commands, one step a paragraph.
pub fn text() -> String {
    let (peers, shared) = (peers::NAMESPACE, mailbox::PASSWORD);
    let send = format!(
        "swaks --server 127.0.0.1:5587 -tls --auth PLAIN --auth-user {USER} --auth-password '{PASSWORD}' --from {USER}@lake.example --to"
    );
    let lines = [
        format!("# send a mail, as {USER} with the password of e2e/demo ('{PASSWORD}')"),
        format!("kubectl -n {NAMESPACE} port-forward pod/edge-2 5587:10587 >/dev/null &"),
        format!("{send} you@hill.example"),
        format!("# read it: every mailbox of Dovecot opens with '{shared}'"),
        format!("kubectl -n {peers} port-forward deployment/dovecot 5143:143 >/dev/null &"),
        format!("curl --user you@hill.example:{shared} 'imap://127.0.0.1:5143/INBOX;MAILINDEX=1'"),
        format!("# see mail move: the next hop of {FAR} goes away, mail waits in edge-2, edge-2 has to go"),
        format!("kubectl -n {peers} scale deployment/postfix --replicas=0"),
        format!("for n in 1 2 3 4 5; do {send} dora@{FAR} >/dev/null; done"),
        format!("kubectl -n {NAMESPACE} exec edge-2 -- /postroad-mta queue ls"),
        format!("kubectl -n {NAMESPACE} scale smtplistener/edge --replicas=1"),
        format!(
            "kubectl -n {NAMESPACE} get smtplistener edge --watch    # Ctrl-C once Pods is 1; Queue is still 5"
        ),
        format!("kubectl -n {NAMESPACE} exec edge-0 -- /postroad-mta queue ls"),
        format!("kubectl -n {peers} scale deployment/postfix --replicas=1    # and it leaves"),
    ];
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commands and the objects belong together.
    #[test]
    fn the_commands_are_about_the_objects_of_the_demo() {
        let objects = [
            include_str!("../../demo/1-listener.yaml"),
            include_str!("../../demo/2-domains.yaml"),
            include_str!("../../demo/3-policy.yaml"),
        ]
        .concat();
        for (said, given) in [
            ("pod/edge-2 5587:10587", "name: edge\n"),
            ("--replicas=1", "replicas: 3"),
            ("5587:10587", "name: submission, port: 587"),
            ("you@hill.example", "domain: hill.example"),
            ("ann@lake.example", "ann@lake.example"),
            ("dora@far.example", "recipientDomains: [far.example]"),
        ] {
            assert!(
                text().contains(said) && objects.contains(given),
                "{said}: {given}"
            );
        }
    }
}
