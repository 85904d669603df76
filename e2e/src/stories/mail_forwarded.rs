//! An alias takes mail of strangers to a mailbox elsewhere: it is sealed with what was found of its sender (ARC), and a verifier of others that
//! asks DNS is content.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::desk::{Desk, as_data, header_of};
use crate::kubectl::{Failure, Outcome};
use crate::mail::Mail;
use crate::peers::FAR;

impl Desk<'_> {
    /// The domain's keys sign already.
    pub(super) fn goes_on_sealed(&self) -> Outcome {
        let far = self.room.far_user();
        let alias = json!({"aliases": [{"name": "elsewhere", "to": [far]}]});
        let wanted = json!({"dkim": {"arc": "Forwarded"}, "inbound": {"recipients": alias}});
        self.set("maildomain/domain", &wanted)?;
        let (author, to) = (
            format!("someone@{FAR}"),
            format!("elsewhere@{}", self.scene.domain),
        );
        let mail = Mail::plain(&self.room.mark("sealed"), &author, &to);
        let (from, to) = (format!("MAIL FROM:<{author}>"), format!("RCPT TO:<{to}>"));
        let content = as_data(&mail);
        let texts = ["EHLO client.example", &from, &to, "DATA", &content, "QUIT"];
        self.talk("", &texts)?.expect(5, "250")?;
        self.seal_holds(&self.arrived(&far, &mail)?)
    }

    /// The client is not the one that the far domain lets send: the seal says so, and dkimpy believes it.
    fn seal_holds(&self, message: &[u8]) -> Outcome {
        let peers = &self.scene.world.peers;
        let input = json!({"dns": peers.dns, "message": STANDARD.encode(message)}).to_string();
        let command = ["python3", "-c", VERIFIER];
        let said = peers.namespace.exec("client", &command, input.as_bytes())?;
        let header = header_of(message);
        let unfolded = header.replace("\r\n ", " ").replace("\r\n\t", " ");
        let found = format!(
            "ARC-Authentication-Results: i=1; mx.{}; spf=fail",
            self.scene.domain
        );
        let sealer = format!("d={}; ", self.scene.domain);
        if said.trim() == "pass 1" && unfolded.contains(&found) && unfolded.contains(&sealer) {
            return Ok(());
        }
        Err(Failure::wrong(format!("dkimpy says `{}`: {header}", said.trim())))
    }
}

/// Says what a message's chain comes to, and how many sets it has.
const VERIFIER: &str = r#"
import base64, json, sys
import dkim, dns.resolver

given = json.load(sys.stdin)
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers = [given["dns"]]


def look_up(name, timeout=5):
    return b"".join(resolver.resolve(name.decode(), "TXT")[0].strings)


verdict, sets, reason = dkim.arc_verify(base64.b64decode(given["message"]), dnsfunc=look_up)
print(verdict.decode(), len(sets) if verdict == b"pass" else reason)
"#;
