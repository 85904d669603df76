//! Our daemon as an incoming server that judges senders by SPF, DKIM and DMARC.

use postroad_e2e::kubectl::Outcome;
use postroad_e2e::place::free_address;

use super::postroad::{Postroad, launch};
use super::{Greets, Running, Server, Task};
use crate::bench::OURS;
use crate::folder::Folder;
use crate::load::probe::{PROBED, Probe};
use crate::zone;

/// Ours, with the next hop of the probe.
#[derive(Debug)]
pub struct Judge<'a> {
    /// The next hop.
    pub probe: &'a Probe,
    /// Whether senders are judged; otherwise all else is as it is with it.
    pub judges: bool,
}

const UNJUDGED: &str = "verification: {spf: {mode: Disabled}, dkim: {mode: Disabled}, arc: {mode: Disabled}, dmarc: {mode: Disabled}}
";

impl Server for Judge<'_> {
    fn name(&self) -> &'static str {
        OURS
    }

    fn settings(&self) -> &'static str {
        if self.judges {
            "verification as it comes: SPF, DKIM, ARC and DMARC; behind the PROXY protocol"
        } else {
            "the same without verification"
        }
    }

    fn version(&self) -> Outcome<String> {
        Postroad.version()
    }

    fn start(&self, folder: Folder, _: Task) -> Outcome<Running> {
        let (address, health, dead) = (free_address()?, free_address()?, free_address()?);
        let inbound = |to: std::net::SocketAddr| {
            format!(
                "{{recipients: {{mode: Any}}, deliverTo: {{smtp: {{host: {}, port: {}}}}}}}",
                to.ip(),
                to.port()
            )
        };
        let verification = if self.judges { "" } else { UNJUDGED };
        let text = format!(
            "format: 1
hostname: postroad.bench.example
spool: {{directory: {}/spool, highWaterPercent: 99}}
ports: [{{name: bench, address: '{address}', role: Transfer, tls: Disabled}}]
proxyProtocol: {{mode: Required, trustedSources: [127.0.0.0/8]}}
resolvers: ['{}']
{verification}domains:
- {{name: {PROBED}, inbound: {}}}
- {{name: sink.example, inbound: {}}}
limits: {{messageSize: 100Mi, connections: 50000, connectionsPerClient: 50000, messagesPerConnection: 1000000}}
admin: {{health: '{health}'}}
",
            folder.path().display(),
            zone::ADDRESS,
            inbound(self.probe.address),
            inbound(dead)
        );
        launch(folder, Greets::Proxied, [address, health], &text)
    }

    fn queued(&self, running: &Running) -> Outcome<u64> {
        Postroad.queued(running)
    }
}
