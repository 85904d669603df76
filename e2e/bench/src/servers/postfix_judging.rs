//! Postfix with policyd-spf, `OpenDKIM` and `OpenDMARC` as an incoming server that judges senders.

use std::net::SocketAddr;

use postroad_e2e::kubectl::Outcome;
use postroad_e2e::place::free_address;

use super::postfix::{Postfix, enter, listen, main_cf, milters};
use super::{Greets, Running, Server, Task};
use crate::folder::Folder;
use crate::load::probe::{PROBED, Probe};
use crate::zone;

/// Postfix and its three, with the next hop of the probe.
#[derive(Debug)]
pub struct Judge<'a>(pub &'a Probe);

impl Server for Judge<'_> {
    fn name(&self) -> &'static str {
        "postfix"
    }

    fn settings(&self) -> &'static str {
        "as in the accept tests; policyd-spf by `spawn`, OpenDKIM and OpenDMARC as milters over TCP; behind the PROXY protocol"
    }

    fn version(&self) -> Outcome<String> {
        let root = milters()?;
        let of = |package: &str| root.version(package);
        Ok(format!(
            "{} with OpenDKIM {}, policyd-spf {}, OpenDMARC {}",
            of("postfix")?,
            of("opendkim")?,
            of("postfix-policyd-spf-python")?,
            of("opendmarc")?
        ))
    }

    fn start(&self, folder: Folder, task: Task) -> Outcome<Running> {
        let jail = enter(&milters()?, &folder)?;
        let (address, dkim, dmarc) = (free_address()?, free_address()?, free_address()?);
        let resolver = zone::ADDRESS.ip();
        jail.write("/etc/resolv.conf", format!("nameserver {resolver}\n"))?;
        jail.write("/opendkim.conf", opendkim(dkim))?;
        jail.write("/opendmarc.conf", opendmarc(dmarc))?;
        jail.write("/etc/postfix-policyd-spf-python/policyd-spf.conf", SPF)?;
        jail.write(
            "/etc/postfix/main.cf",
            main_cf(task, free_address()?) + &incoming(self.0.address, [dkim, dmarc]),
        )?;
        listen(&jail, address)?;
        jail.run("sh", ["-ec", PREPARE])?;
        jail.run("postfix", ["start"])?;
        Running::that(Greets::Proxied, address, None, jail, folder)
    }

    fn queued(&self, running: &Running) -> Outcome<u64> {
        Postfix.queued(running)
    }
}

const PREPARE: &str = "postconf -M 'policyd-spf/unix=policyd-spf unix - n n - 0 spawn user=policyd-spf argv=/usr/bin/policyd-spf'
    opendkim -x /opendkim.conf
    opendmarc -c /opendmarc.conf";

const SPF: &str = "debugLevel = 0
HELO_reject = False
Mail_From_reject = False
Header_Type = AR
Authserv_Id = postfix.bench.example
skip_addresses = 127.0.0.0/8
";

fn opendkim(at: SocketAddr) -> String {
    format!(
        "Background yes
Socket inet:{}@127.0.0.1
PidFile /run/opendkim.pid
Mode v
AuthservID postfix.bench.example
Nameservers {}
",
        at.port(),
        zone::ADDRESS.ip()
    )
}

fn opendmarc(at: SocketAddr) -> String {
    format!(
        "Background true
Socket inet:{}@127.0.0.1
PidFile /run/opendmarc.pid
AuthservID postfix.bench.example
TrustedAuthservIDs postfix.bench.example
RejectFailures false
",
        at.port()
    )
}

fn incoming(probe: SocketAddr, [dkim, dmarc]: [SocketAddr; 2]) -> String {
    format!(
        "smtpd_upstream_proxy_protocol = haproxy
mynetworks =
relay_domains = sink.example, {PROBED}
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = check_policy_service unix:private/policyd-spf
policyd-spf_time_limit = 3600
smtpd_milters = inet:127.0.0.1:{}, inet:127.0.0.1:{}
milter_default_action = tempfail
transport_maps = inline:{{{{{PROBED} = smtp:[{}]:{}}}}}
",
        dkim.port(),
        dmarc.port(),
        probe.ip(),
        probe.port()
    )
}
