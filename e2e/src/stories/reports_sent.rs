//! Two pods count who sends mail in a domain's name and how TLS with its servers goes, and the domain is told of each once, in signed mail
//! (DMARC and TLS-RPT). Its servers are judged by TLSA records (DANE), which the pods validate themselves, from the key of the
//! story's own root down. Other servers are judged by MTA-STS policies, in a closed network with an authority of its own.
//!
//! ```text
//!   strangers ─► edge-0, edge-1 ─┬─ right.…: TLSA matches, delivered        names (nsd): a root that is signed, and all of it
//!                                └─ wrong.…: TLSA of another key, waits
//!   edge-1 leaves: its rows go to edge-0 ─► rows of edge-0's journal, given to it as of a day that is over ─► one letter each
//! ```
//!
//! No story waits for midnight: what is given is what another pod would bring (`/v1/reports`), with the day before yesterday in place of
//! today.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::closed_network::ClosedNetwork;
use super::desk::{Desk, LIMIT, TRANSFER, as_data, header_of};
use super::guest::{self, Guest};
use super::orders::Clerk;
use crate::kubectl::{Failure, Outcome, until};
use crate::mail::Mail;
use crate::mail::dialogue::dialogue;
use crate::mail::mailbox::{self, Reader};
use crate::mailroom::{Mailroom, dovecot};
use crate::peers;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let told = Told::new(scene);
    let closed = ClosedNetwork::begin(scene, &format!("closed.{}", told.above))?;
    let (resolver, anchor) = told.names(scene, &closed)?;
    let mut room = Mailroom::new(scene, 2);
    let from = room.sender();
    let spec = &mut room.listener["spec"];
    spec["dns"] = json!({"resolvers": [resolver], "dnssec": "Validated", "trustAnchors": [anchor]});
    spec["reports"] = json!({
        "from": from, "organization": "Ears", "dmarc": {"mode": "Daily"}, "tls": {"mode": "Daily"},
    });
    room.domain["spec"]["dkim"] = json!({});
    let policy = &mut room.policy["spec"];
    policy["match"]["recipientDomains"] = json!([told.right, told.wrong]);
    policy["routes"][0]["tls"]["mode"] = json!("DaneOnly");
    room.apply()?;
    let others = closed.relay_policy(&scene.world.peers.postfix);
    scene.namespace.apply(&others.to_string())?;
    room.await_ready()?;
    let desk = Desk::new(&room, scene)?;
    desk.publish_keys(&desk.records_to_publish()?)?;
    for policy in ["relaypolicy/far", "relaypolicy/closed"] {
        scene.namespace.wait_condition(policy, "Ready", "True", LIMIT)?;
    }
    for pod in PODS {
        desk.comes_and_goes(&told, pod)?;
    }
    let waits = Mail::plain(&room.mark("waits"), &room.sender(), &user(&told.wrong, "kept"));
    room.send(&room.server_at(PODS[0])?, &waits)?;
    let barred = desk.policies_are_kept(&closed)?;
    desk.policy_is_judged(&closed, &resolver)?;
    // One pod leaves before the day is over.
    room.scale(1)?;
    room.await_pods(1, LIMIT)?;
    let rows = desk.rows_of_both(&told)?;
    desk.the_day_is_over(&rows)?;
    desk.each_is_told_once(&told)?;
    // What is left is the mail that waits.
    room.await_held(&PODS[..1], 1 + barred, LIMIT)?;
    desk.same_process()
}

/// The domains that are told.
struct Told {
    /// What all domains of the story are below.
    above: String,
    /// Its TLSA record is of the certificate that its server shows.
    right: String,
    /// Its is not.
    wrong: String,
}

impl Told {
    /// Postfix takes mail for what is below `away.example`.
    fn new(scene: &Scene<'_>) -> Self {
        let above = scene.domain.replace(".example", ".away.example");
        Self {
            right: format!("right.{above}"),
            wrong: format!("wrong.{above}"),
            above,
        }
    }

    /// Starts the server of their names. Gives its address, and the key of its root.
    fn names(&self, scene: &Scene<'_>, closed: &ClosedNetwork) -> Outcome<(String, String)> {
        let ports = [(53, 1_053)];
        let address = guest::service(scene, "names", &ports)?;
        let texts = [
            (
                "root.zone",
                self.zone(scene, &address)? + &closed.zone(&scene.world.peers.postfix),
            ),
            ("nsd.conf", NSD.to_owned()),
        ];
        let names = Guest {
            name: "names",
            script: SIGN_AND_SERVE,
            given: ("/given", &texts),
            folders: &["/zones"],
            ports: &ports,
        };
        names.begin(scene)?;
        names.await_ready(scene)?;
        let anchor = scene.namespace.exec("names", &["cat", "/zones/anchor"], b"")?;
        Ok((address, anchor.trim().to_owned()))
    }

    /// All that the pods ask for. Reports about both go to the one that mail can be sent to.
    fn zone(&self, scene: &Scene<'_>, address: &str) -> Outcome<String> {
        let peers = &scene.world.peers;
        let store = peers::address(&peers.namespace, "dovecot")?;
        let digest = peers
            .namespace
            .exec("deployment/postfix", &["bash", "-c", DIGEST], b"")?;
        let digest = digest.trim();
        let mut zone = format!(
            ". SOA ns. rig. 1 3600 600 86400 60\n. NS ns.\nns. A {address}\n{}. A {store}\n",
            dovecot(peers)
        );
        for (domain, digest) in [(&self.right, digest), (&self.wrong, &"0".repeat(digest.len()))] {
            let _ = write!(
                zone,
                "{domain}. MX 10 mx.{domain}.\nmx.{domain}. A {}\n_25._tcp.mx.{domain}. TLSA 3 1 1 {digest}\n\
                 _smtp._tls.{domain}. TXT \"v=TLSRPTv1; rua=mailto:{}\"\n\
                 _dmarc.{domain}. TXT \"v=DMARC1; p=none; rua=mailto:{}\"\n",
                peers.postfix,
                user(&self.right, "tls"),
                user(&self.right, "dmarc"),
            );
        }
        Ok(format!("$ORIGIN .\n$TTL 60\n{zone}"))
    }
}

impl Desk<'_> {
    /// A stranger brings mail in the domain's name, and mail leaves for it, by the word of its TLSA record.
    fn comes_and_goes(&self, told: &Told, pod: &str) -> Outcome {
        let peers = &self.scene.world.peers;
        let server = self.room.server_at(pod)?;
        let (author, ours) = (format!("ann@{}", told.right), self.room.sender());
        let claimed = Mail::plain(&self.room.mark(&format!("claimed-{pod}")), &author, &ours);
        let (from, to) = (format!("MAIL FROM:<{author}>"), format!("RCPT TO:<{ours}>"));
        let content = as_data(&claimed);
        let texts = ["EHLO client.example", &from, &to, "DATA", &content, "QUIT"];
        dialogue(&peers.namespace, &server.host, TRANSFER, "", &texts)?.expect(5, "250")?;
        self.arrived(&ours, &claimed)?;
        let to = user(&told.right, "kept");
        let mail = Mail::plain(&self.room.mark(&format!("proven-{pod}")), &ours, &to);
        self.room.send(&server, &mail)?;
        self.arrived(&to, &mail).map(drop)
    }

    /// What the pod that stays keeps in its journal, once it has all that both counted.
    fn rows_of_both(&self, told: &Told) -> Outcome<Vec<Value>> {
        guest::begin_reader(self.scene, PODS[0])?;
        let mut rows = BTreeMap::new();
        let find = ["-name", "reports.log", "-exec", "cat", "{}", "+"];
        let all = until(LIMIT, || {
            rows = summed(&guest::read_claim(self.scene, PODS[0], &find)?);
            let counted = |kind: &str, domain: &str| -> i64 {
                let of = rows
                    .iter()
                    .filter(|((its, of, _), _)| its == kind && of == domain);
                of.map(|(_, count)| count).sum()
            };
            let (mail, tls) = (counted("Dmarc", &told.right), counted("Tls", &told.right));
            Ok((mail, tls) == (2, 2) && counted("Tls", &told.wrong) > 0)
        });
        guest::forget_reader(self.scene, PODS[0])?;
        all.map_err(|_| Failure::wrong(format!("both pods' counts should be in one journal: {rows:?}")))?;
        let day = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs()
            / 86_400
            - 2;
        let given = rows.iter().map(|((kind, domain, row), count)| {
            json!({"kind": kind, "domain": domain, "day": day, "row": row, "count": count})
        });
        Ok(given.collect())
    }

    /// The rows come twice, as from a pod that got no answer: they count once. A change makes the pod look at what is due.
    fn the_day_is_over(&self, rows: &[Value]) -> Outcome {
        let clerk = Clerk::among_pods(self.scene, &self.pod)?;
        let count = rows.len();
        let batch = json!({"id": self.room.mark("batch"), "rows": rows});
        for _ in 0..2 {
            let taken = clerk.call("POST", "/v1/reports", &batch)?;
            if taken["rows"] != count {
                return Err(Failure::wrong(format!("{count} rows were given: {taken}")));
            }
        }
        self.listener(&json!({"reports": {"contact": "https://ears.example/mail"}}))
    }

    fn each_is_told_once(&self, told: &Told) -> Outcome {
        let peers = &self.scene.world.peers;
        let all =
            |name: &str| mailbox::read(peers, &user(&told.right, name), Reader::Imap).unwrap_or_default();
        let (mut dmarc, mut tls) = (Vec::new(), Vec::new());
        until(LIMIT, || {
            (dmarc, tls) = (all("dmarc"), all("tls"));
            Ok(!dmarc.is_empty() && tls.len() >= 2)
        })
        .map_err(|_| {
            Failure::wrong(format!(
                "{} and {} reports came, not 1 and 2",
                dmarc.len(),
                tls.len()
            ))
        })?;
        let ([dmarc], [one, other]) = (&dmarc[..], &tls[..]) else {
            return Err(Failure::wrong(format!(
                "{} and {} reports, not 1 and 2",
                dmarc.len(),
                tls.len()
            )));
        };
        let report = self.read(dmarc)?;
        for part in [
            format!("<source_ip>{}</source_ip>", self.client),
            "<count>2</count>".to_owned(),
            format!("<header_from>{}</header_from>", told.right),
            "<org_name>Ears</org_name>".to_owned(),
        ] {
            if report.matches(&part).count() != 1 {
                return Err(Failure::wrong(format!("no {part}, or several: {report}")));
            }
        }
        let is_of = |message: &[u8], domain: &str| {
            header_of(message).contains(&format!("\r\nTLS-Report-Domain: {domain}\r\n"))
        };
        let (right, wrong) = if is_of(one, &told.right) {
            (one, other)
        } else {
            (other, one)
        };
        if !is_of(right, &told.right) || !is_of(wrong, &told.wrong) {
            return Err(Failure::wrong("the reports about TLS are not of the two domains"));
        }
        let (right, wrong) = (self.sessions(right)?, self.sessions(wrong)?);
        let failed = &wrong["failure-details"][0]["result-type"];
        if right["policy"]["policy-type"] != "tlsa"
            || right["summary"]
                != json!({"total-successful-session-count": 2, "total-failure-session-count": 0})
            || wrong["policy"]["policy-type"] != "tlsa"
            || wrong["summary"]["total-successful-session-count"] != 0
            || failed != "tlsa-invalid"
        {
            return Err(Failure::wrong(format!(
                "the sessions are not as they were: {right} {wrong}"
            )));
        }
        Ok(())
    }

    /// The one policy of a report about TLS.
    fn sessions(&self, message: &[u8]) -> Outcome<Value> {
        let text = self.read(message)?;
        let report: Value = serde_json::from_str(&text).unwrap_or_default();
        match report["policies"].as_array().map_or(&[][..], Vec::as_slice) {
            [one] => Ok(one.clone()),
            _ => Err(Failure::wrong(format!("one policy was expected: {text}"))),
        }
    }

    /// The document that a report brings. Its sender's domain has signed it.
    fn read(&self, message: &[u8]) -> Outcome<String> {
        self.signatures_hold(message)?;
        let client = &self.scene.world.peers.namespace;
        client.exec("client", &["python3", "-c", READ], message)
    }
}

/// A mailbox that no other run has used.
fn user(domain: &str, name: &str) -> String {
    format!("{name}-{}@{domain}", std::process::id())
}

/// Rows of a journal by kind, domain and text, with how often they came.
fn summed(journal: &str) -> BTreeMap<(String, String, String), i64> {
    let mut rows = BTreeMap::new();
    for line in journal.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_default();
        let text = |field: &str| entry[field].as_str().map(str::to_owned);
        if let (Some(kind), Some(domain), Some(row)) = (text("kind"), text("domain"), text("row")) {
            *rows.entry((kind, domain, row)).or_insert(0) += entry["count"].as_i64().unwrap_or_default();
        }
    }
    rows.retain(|_, count| *count > 0);
    rows
}

const PODS: [&str; 2] = ["edge-0", "edge-1"];
/// The digest of the key that Postfix shows (RFC 6698: 3 1 1).
const DIGEST: &str = "openssl x509 -in /etc/postfix/tls.crt -pubkey -noout | openssl pkey -pubin -outform DER | \
    sha256sum | cut -d ' ' -f 1";
const SIGN_AND_SERVE: &str = "set -eu
cd /zones
cp /given/* .
new='ldns-keygen -a ECDSAP256SHA256 -r /dev/urandom'
above=$($new -k .)
ldns-signzone -f root.zone.signed root.zone \"$above\" \"$($new .)\"
grep -v '^;' \"$above.key\" | sed 's/;.*//' >anchor
exec nsd -d -c nsd.conf";
const NSD: &str = "server:
  ip-address: 0.0.0.0@1053
  zonesdir: \"/zones\"
  username: \"\"
  chroot: \"\"
  pidfile: \"\"
  database: \"\"
  xfrdfile: \"\"
  zonelistfile: \"\"
  server-count: 1
remote-control:
  control-enable: no
zone:
  name: \".\"
  zonefile: \"root.zone.signed\"
";
/// Unpacks the attachment.
const READ: &str = r#"
import email, gzip, sys
message = email.message_from_bytes(sys.stdin.buffer.read())
parts = [part for part in message.walk() if part.get_content_type().endswith("gzip")]
print(gzip.decompress(parts[0].get_payload(decode=True)).decode())
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_summed_up_and_what_went_is_gone() {
        let line = |row: &str, count: i64| {
            json!({"kind": "Tls", "domain": "a.example", "day": 1, "row": row, "count": count}).to_string()
                + "\n"
        };
        let journal = [
            &line("x", 1),
            "\n{\"kind\":\n",
            &line("x", 1),
            &line("y", 1),
            &line("y", -1),
        ]
        .map(String::from);
        let key = |row: &str| ("Tls".to_owned(), "a.example".to_owned(), row.to_owned());
        assert_eq!(summed(&journal.concat()), BTreeMap::from([(key("x"), 2)]));
    }
}
