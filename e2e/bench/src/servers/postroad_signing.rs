//! Our daemon as a submission server that signs.

use postroad_e2e::kubectl::Outcome;
use postroad_e2e::place::free_address;

use super::postroad::{Postroad, launch, verifier};
use super::{Greets, Running, Server, Task};
use crate::bench::OURS;
use crate::folder::Folder;
use crate::load::probe::PROBED;
use crate::load::signature::{DOMAIN, SELECTOR};
use crate::submission::Submission;

/// Ours.
#[derive(Debug)]
pub struct Signer<'a>(pub &'a Submission);

impl Server for Signer<'_> {
    fn name(&self) -> &'static str {
        OURS
    }

    fn settings(&self) -> &'static str {
        "as in the accept tests; one user, one key"
    }

    fn version(&self) -> Outcome<String> {
        Postroad.version()
    }

    fn start(&self, folder: Folder, _: Task) -> Outcome<Running> {
        let (address, health, dead) = (free_address()?, free_address()?, free_address()?);
        let at = folder.path();
        for (name, text) in [
            ("tls.crt", &self.0.certificate.0),
            ("tls.key", &self.0.certificate.1),
            ("dkim.key", &self.0.key),
        ] {
            std::fs::write(at.join(name), text)?;
        }
        let (user, verifier) = (self.0.login.user, verifier(self.0.login.password)?);
        let (at, probe) = (at.display(), self.0.probe.address);
        let text = format!(
            "format: 1
hostname: postroad.bench.example
spool: {{directory: {at}/spool, highWaterPercent: 99}}
ports: [{{name: bench, address: '{address}', role: Submission, tls: Implicit}}]
tls: {{certificateFile: {at}/tls.crt, keyFile: {at}/tls.key}}
users: [{{name: {user}, verifier: '{verifier}'}}]
domains: [{{name: {DOMAIN}, senders: [{{user: {user}}}], dkim: {{keys: [{{selector: {SELECTOR}, keyFile: {at}/dkim.key}}]}}}}]
limits: {{messageSize: 100Mi, connections: 50000, connectionsPerClient: 50000, messagesPerConnection: 1000000}}
admin: {{health: '{health}'}}
policies:
- name: bench/probe
  match: {{recipientDomains: [{PROBED}]}}
  routes: [{{to: {{smartHosts: [{{host: {}, port: {}}}]}}, tls: Disabled}}]
- name: bench/rest
  routes: [{{to: {{smartHosts: [{{host: {}, port: {}}}]}}, tls: Disabled}}]
  retry: {{first: 1h, max: 1h}}
",
            probe.ip(),
            probe.port(),
            dead.ip(),
            dead.port()
        );
        launch(folder, Greets::InTls, [address, health], &text)
    }

    fn queued(&self, running: &Running) -> Outcome<u64> {
        Postroad.queued(running)
    }
}
