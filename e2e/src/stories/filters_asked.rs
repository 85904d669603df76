//! Filters of a listener are asked about mail before it is taken: rspamd refuses, marks and renames what it knows, a milter signs, and one
//! that is away lets nothing pass unless the owner chose so. Each change is served without a restart.
//!
//! ```text
//!   client ─25─► edge ─┬─HTTP──► rspamd      both in one pod of the story's namespace
//!                      └─milter─► OpenDKIM
//! ```

use serde_json::json;

use super::desk::{Desk, as_data, header_of};
use super::guest::{Guest, service};
use crate::kubectl::{Failure, Outcome};
use crate::mail::Mail;
use crate::mail::submit::Security;
use crate::mailroom::Mailroom;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let texts: Vec<_> = RSPAMD
        .iter()
        .map(|(file, text)| (*file, (*text).to_owned()))
        .collect();
    let filters = Guest {
        name: "filters",
        script: SCRIPT,
        given: ("/etc/rspamd/local.d", &texts),
        folders: &["/run/rspamd", "/var/lib/rspamd", "/var/log/rspamd"],
        ports: &[(HTTP, HTTP), (MILTER, MILTER)],
    };
    service(scene, filters.name, filters.ports)?;
    filters.begin(scene)?;
    let room = Mailroom::new(scene, 1).open()?;
    let desk = Desk::new(&room, scene)?;
    filters.await_ready(scene)?;
    desk.is_delivered(&desk.junk("unasked", REFUSED))?;
    desk.rspamd_and_opendkim_are_asked()?;
    desk.one_that_is_away_decides()?;
    desk.listener(&json!({"filters": null}))?;
    desk.is_delivered(&desk.junk("unasked-again", REFUSED))?;
    desk.same_process()
}

impl Desk<'_> {
    fn rspamd_and_opendkim_are_asked(&self) -> Outcome {
        let host = format!("filters.{}.svc.cluster.local", self.room.namespace().name);
        self.listener(&json!({"filters": [
            {"name": "spam", "rspamd": {"host": host, "port": HTTP}, "mail": "FromStrangers"},
            {"name": "signer", "milter": {"host": host, "port": MILTER}},
        ]}))?;
        let plain = self.is_delivered(&self.junk("plain", ""))?;
        if plain.contains("\r\nX-Spam:") || !plain.contains("d=filtered.example") {
            return Err(Failure::wrong(format!(
                "no signature, or a mark of spam: {plain}"
            )));
        }
        self.is_answered(&self.junk("refused", REFUSED), "554 5.7.1")?;
        let marked = self.is_delivered(&self.junk("marked", MARKED))?;
        if !marked.contains("\r\nX-Spam: Yes\r\n") || !marked.contains("d=filtered.example") {
            return Err(Failure::wrong(format!(
                "no mark of spam, or no signature: {marked}"
            )));
        }
        // Found by the subject that rspamd gives it, which the signature behind it is over.
        let mut renamed = self.junk("renamed", RENAMED);
        self.is_answered(&renamed, "250")?;
        renamed.mark.insert_str(0, "[junk] ");
        self.arrived(&renamed.to, &renamed)?;
        // A user's mail is no stranger's.
        let (to, from) = (self.room.far_user(), self.room.sender());
        let own = with_pattern(Mail::plain(&self.room.mark("own"), &from, &to), REFUSED);
        self.room.send(&self.room.server(Security::StartTls)?, &own)?;
        self.arrived(&to, &own).map(drop)
    }

    fn one_that_is_away_decides(&self) -> Outcome {
        for (on_failure, reply) in [
            ("TempFail", "451 4.7.1 A filter cannot be asked now"),
            ("Reject", "554 5.7.1 A filter could not be asked"),
            ("Accept", "250"),
        ] {
            // Nothing listens there, in the pod itself.
            let filter = json!({
                "name": "away", "milter": {"host": "127.0.0.1", "port": 9}, "onFailure": on_failure,
                "timeouts": {"connect": "2s", "reply": "5s", "total": "10s"},
            });
            self.listener(&json!({"filters": [filter]}))?;
            self.is_answered(&self.junk(on_failure, ""), reply)?;
        }
        Ok(())
    }

    /// Mail of a stranger with that in its body.
    fn junk(&self, name: &str, pattern: &str) -> Mail {
        let mark = self.room.mark(&name.to_ascii_lowercase());
        with_pattern(
            Mail::plain(&mark, "someone@filtered.example", &self.room.sender()),
            pattern,
        )
    }

    /// The end of the message gets this reply.
    fn is_answered(&self, mail: &Mail, reply: &str) -> Outcome {
        let (from, to) = (
            format!("MAIL FROM:<{}>", mail.from),
            format!("RCPT TO:<{}>", mail.to),
        );
        let content = as_data(mail);
        let texts = ["EHLO client.example", &from, &to, "DATA", &content, "QUIT"];
        self.talk("", &texts)?.expect(5, reply)
    }

    /// It is taken, and lies in the mailbox; gives its header, without folds and with a line end in front.
    fn is_delivered(&self, mail: &Mail) -> Outcome<String> {
        self.is_answered(mail, "250")?;
        let header = header_of(&self.arrived(&mail.to, mail)?);
        let unfolded = header.replace("\r\n\t", " ").replace("\r\n ", " ");
        Ok(format!("\r\n{unfolded}\r\n"))
    }
}

fn with_pattern(mut mail: Mail, pattern: &str) -> Mail {
    mail.content.extend(format!("{pattern}\r\n").bytes());
    mail
}

/// Both programs. Neither may write where Debian's packages would have it.
const SCRIPT: &str = "openssl genrsa -out /tmp/key.pem 2048 2>/dev/null
cat >/tmp/opendkim.conf <<END
Background no
Socket inet:8891@0.0.0.0
PidFile /tmp/opendkim.pid
RequireSafeKeys no
ExternalIgnoreList csl:0.0.0.0/0
InternalHosts csl:0.0.0.0/0
Mode s
Domain filtered.example
Selector s
KeyFile /tmp/key.pem
END
opendkim -f -x /tmp/opendkim.conf &
exec rspamd -f";
/// Its own patterns are what acts, nothing that it makes of headers, and nothing is asked of a network.
const RSPAMD: &[(&str, &str)] = &[
    (
        "worker-normal.inc",
        "bind_socket = \"0.0.0.0:11333\";\ncount = 1;\n",
    ),
    ("worker-controller.inc", "enabled = false;\n"),
    ("worker-proxy.inc", "enabled = false;\n"),
    ("worker-fuzzy.inc", "enabled = false;\n"),
    (
        "options.inc",
        "enable_test_patterns = true;\ndisable_hyperscan = true;\nurl_tld = \"/etc/rspamd/local.d/tld\";\n\
         dns { nameserver = [\"127.0.0.1:1\"]; timeout = 0.1s; retransmits = 1; }\n",
    ),
    (
        "actions.conf",
        "reject = 150;\nrewrite_subject = 140;\nadd_header = 130;\ngreylist = 120;\nsubject = \"[junk] %s\";\n",
    ),
    // Thousands of names are compiled for many seconds otherwise.
    ("tld", "com\nexample\n"),
    ("logging.inc", "type = \"console\";\nlevel = \"warning\";\n"),
];
const HTTP: u16 = 11_333;
const MILTER: u16 = 8_891;
const REFUSED: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
const MARKED: &str = "YJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
const RENAMED: &str = "ZJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
