//! An alias takes mail of strangers to a mailbox elsewhere: it is sealed with what was found of its sender (ARC), and a verifier of others that
//! asks DNS is content.

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
        let said = self.dkimpy(VERIFIER, message)?;
        let header = header_of(message);
        let unfolded = header.replace("\r\n ", " ").replace("\r\n\t", " ");
        let found = format!(
            "ARC-Authentication-Results: i=1; mx.{}; spf=fail",
            self.scene.domain
        );
        let sealer = format!("d={}; ", self.scene.domain);
        if said == "pass 1" && unfolded.contains(&found) && unfolded.contains(&sealer) {
            return Ok(());
        }
        Err(Failure::wrong(format!("dkimpy says `{said}`: {header}")))
    }
}

/// Says what a message's chain comes to, and how many sets it has.
const VERIFIER: &str = r#"
verdict, sets, reason = dkim.arc_verify(message, dnsfunc=look_up)
print(verdict.decode(), len(sets) if verdict == b"pass" else reason)
"#;
