//! Postfix with `OpenDKIM` as a submission server that signs; users are those of Cyrus SASL.

use std::net::SocketAddr;

use postroad_e2e::kubectl::Outcome;
use postroad_e2e::place::free_address;

use super::postfix::{Postfix, enter, listen, main_cf, milters};
use super::{Greets, Running, Server, Task};
use crate::folder::Folder;
use crate::load::probe::PROBED;
use crate::load::signature::{DOMAIN, SELECTOR};
use crate::submission::Submission;

/// Postfix and `OpenDKIM`.
#[derive(Debug)]
pub struct Signer<'a>(pub &'a Submission);

impl Server for Signer<'_> {
    fn name(&self) -> &'static str {
        "postfix"
    }

    fn settings(&self) -> &'static str {
        "as in the accept tests; OpenDKIM as a milter over TCP, users in sasldb"
    }

    fn version(&self) -> Outcome<String> {
        let root = milters()?;
        Ok(format!(
            "{} with OpenDKIM {}",
            root.version("postfix")?,
            root.version("opendkim")?
        ))
    }

    fn start(&self, folder: Folder, task: Task) -> Outcome<Running> {
        let jail = enter(&milters()?, &folder)?;
        let (address, milter) = (free_address()?, free_address()?);
        jail.write(
            "/etc/postfix/tls.pem",
            [self.0.certificate.1.as_str(), &self.0.certificate.0].concat(),
        )?;
        jail.write("/dkim.key", &self.0.key)?;
        jail.write("/opendkim.conf", opendkim(milter, self.0.algorithm.of_opendkim()))?;
        jail.write("/etc/postfix/sasl/smtpd.conf", SASL)?;
        jail.write(
            "/etc/postfix/main.cf",
            main_cf(task, free_address()?) + &submission(self.0.probe.address, milter),
        )?;
        let (user, password) = (self.0.login.user, self.0.login.password);
        jail.run("sh", ["-ec", PREPARE, "prepare", user, password])?;
        listen(&jail, address)?;
        jail.run("postfix", ["start"])?;
        Running::that(Greets::InTls, address, None, jail, folder)
    }

    fn queued(&self, running: &Running) -> Outcome<u64> {
        Postfix.queued(running)
    }
}

const SASL: &str = "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN\n";

const PREPARE: &str = "chmod 600 /dkim.key /etc/postfix/tls.pem
    printf %s \"$2\" | saslpasswd2 -p -c -u postfix.bench.example \"$1\"
    chown postfix /etc/sasldb2
    opendkim -x /opendkim.conf";

fn opendkim(at: SocketAddr, algorithm: &str) -> String {
    format!(
        "Background yes
Socket inet:{}@127.0.0.1
RequireSafeKeys no
PidFile /run/opendkim.pid
Mode s
Domain {DOMAIN}
Selector {SELECTOR}
KeyFile /dkim.key
Canonicalization relaxed/relaxed
SignatureAlgorithm {algorithm}
",
        at.port()
    )
}

fn submission(probe: SocketAddr, milter: SocketAddr) -> String {
    format!(
        "smtpd_tls_wrappermode = yes
smtpd_tls_chain_files = /etc/postfix/tls.pem
smtpd_tls_security_level = encrypt
smtpd_sasl_auth_enable = yes
smtpd_sasl_local_domain = $myhostname
smtpd_relay_restrictions = permit_sasl_authenticated, reject
mynetworks =
smtpd_milters = inet:127.0.0.1:{}
milter_default_action = tempfail
transport_maps = inline:{{{{{PROBED} = smtp:[{}]:{}}}}}
",
        milter.port(),
        probe.ip(),
        probe.port()
    )
}
