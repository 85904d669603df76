//! A pod sends mail with the projected token of its ServiceAccount, by each mechanism, and by the policy that is for its account.
//! Tokens for somebody else, for the API server as well, and accounts that no domain lists are refused; and that of an account that is
//! gone, where the listener checks. No log shows a token.

use std::time::Duration;

use serde_json::json;

use super::signed;
use crate::kubectl::{Failure, Outcome, until};
use crate::mail::Mail;
use crate::mail::submit::Security;
use crate::mailroom::{LISTENER, Mailroom};
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let mut room = Mailroom::new(scene, 1);
    let namespace = scene.namespace.name.clone();
    let account = json!({"namespace": namespace, "name": ACCOUNT});
    room.listener["spec"]["authentication"]["serviceAccounts"] = json!({});
    let address = format!("{ACCOUNT}@{}", scene.domain);
    let sender = json!({"serviceAccount": account, "addresses": [address]});
    if let Some(senders) = room.domain["spec"]["senders"].as_array_mut() {
        senders.push(sender);
    }
    // Only this policy leads into the private network of the far side: what arrives there went by it.
    room.policy["spec"]["match"]["serviceAccounts"] = json!([account]);
    let app = App::start(scene)?;
    let room = room.open()?;
    let mut mails = Vec::new();
    for mechanism in MECHANISMS {
        let mail = Mail::plain(&room.mark(mechanism), &address, &room.far_user());
        app.submit(&room, mechanism, None, &mail)?
            .expect(&["235", "250", "250", "354", "250"])?;
        mails.push(mail);
    }
    room.expect_at_far(&mails, Duration::from_mins(1))?;
    app.is_refused(&room, &address)?;
    app.is_revoked(&room)?;
    app.is_not_logged(&room)
}

/// A program in a pod of the story's namespace.
struct App<'a> {
    scene: &'a Scene<'a>,
    audience: String,
}

/// What the server said: to AUTH at its end, MAIL, RCPT, DATA, the end of data; as far as it went.
struct Replies(Vec<String>);

impl Replies {
    fn expect(&self, wanted: &[&str]) -> Outcome {
        let fits = self.0.len() == wanted.len()
            && self
                .0
                .iter()
                .zip(wanted)
                .all(|(reply, wanted)| reply.starts_with(wanted));
        if fits {
            return Ok(());
        }
        Err(Failure::wrong(format!("expected {wanted:?}, got {:?}", self.0)))
    }
}

impl<'a> App<'a> {
    /// Starts the pod with a token for the listener.
    fn start(scene: &'a Scene<'a>) -> Outcome<Self> {
        let namespace = &scene.namespace;
        let audience = format!("smtp.postroad.dev/{}/{LISTENER}", namespace.name);
        for account in [ACCOUNT, OTHER] {
            let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}});
            namespace.apply(&object.to_string())?;
        }
        // The image of the peers has Python.
        let client = scene.world.peers.namespace.get(["pod/client"])?;
        let (spec, none) = (&client["spec"], json!({}));
        let token =
            json!({"serviceAccountToken": {"path": "token", "audience": audience, "expirationSeconds": 600}});
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": ACCOUNT},
            "spec": {
                "serviceAccountName": ACCOUNT, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
                "nodeSelector": spec.get("nodeSelector").unwrap_or(&none),
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "app", "image": spec["containers"][0]["image"], "imagePullPolicy": "IfNotPresent",
                    "command": ["sleep", "infinity"],
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": "smtp", "mountPath": "/var/run/secrets/smtp", "readOnly": true}],
                }],
                "volumes": [{"name": "smtp", "projected": {"sources": [token]}}],
            },
        });
        namespace.apply(&pod.to_string())?;
        namespace.kubectl(["wait", "--for=condition=Ready", "pod/orders", "--timeout=120s"])?;
        Ok(Self { scene, audience })
    }

    /// Submits a mail, with the pod's own token or another.
    fn submit(
        &self,
        room: &Mailroom<'_>,
        mechanism: &str,
        token: Option<&str>,
        mail: &Mail,
    ) -> Outcome<Replies> {
        let server = room.server(Security::Implicit)?;
        let input = json!({
            "host": server.host, "port": server.port, "name": server.name, "authority": server.authority,
            "mechanism": mechanism, "token": token, "from": mail.from, "to": mail.to,
            "content": String::from_utf8_lossy(&mail.content),
        });
        let said =
            self.scene
                .namespace
                .exec(ACCOUNT, &["python3", "-c", CLIENT], input.to_string().as_bytes())?;
        serde_json::from_str(&said)
            .map(Replies)
            .map_err(|error| Failure::wrong(format!("the client ended oddly ({error}): {said}")))
    }

    fn is_refused(&self, room: &Mailroom<'_>, address: &str) -> Outcome {
        let mail = Mail::plain(&room.mark("refused"), address, &room.far_user());
        let other = format!("smtp.postroad.dev/{}/other", self.scene.namespace.name);
        let api = self.token(ACCOUNT, &[])?;
        let audience = signed::claims(&api)?["aud"][0]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let mut tokens = vec![
            ("for another listener", self.token(ACCOUNT, &[&other])?),
            ("for the API server", api),
            (
                "for the API server as well",
                self.token(ACCOUNT, &[&self.audience, &audience])?,
            ),
            (
                "that nobody signed",
                format!("{}x", self.token(ACCOUNT, &[&self.audience])?),
            ),
        ];
        if let Some(key) = self.scene.world.cluster.token_key() {
            let good = self.token(ACCOUNT, &[&self.audience])?;
            // The forger's hand is steady: the same claims under a new signature are taken.
            let same = signed::again(&good, &key, &[])?;
            self.submit(
                room,
                "PLAIN",
                Some(&same),
                &Mail {
                    from: room.sender(),
                    ..mail.clone()
                },
            )?
            .expect(&["235", "550 5.7.1"])?;
            let issued = signed::claims(&good)?["iat"].as_i64().unwrap_or_default();
            let past = [
                ("iat", json!(issued - 900)),
                ("nbf", json!(issued - 900)),
                ("exp", json!(issued - 300)),
            ];
            let future = [("nbf", json!(issued + 900))];
            tokens.push(("that has expired", signed::again(&good, &key, &past)?));
            tokens.push(("that is not valid yet", signed::again(&good, &key, &future)?));
        }
        for (what, token) in &tokens {
            for mechanism in MECHANISMS {
                let replies = self.submit(room, mechanism, Some(token), &mail)?;
                replies
                    .expect(&["535 5.7.8"])
                    .map_err(|error| Failure::wrong(format!("a token {what}, {mechanism}: {error}")))?;
            }
        }
        let unlisted = self.token(OTHER, &[&self.audience])?;
        self.submit(room, "OAUTHBEARER", Some(&unlisted), &mail)?
            .expect(&["235", "550 5.7.1"])?;
        let foreign = Mail::plain(&room.mark("foreign"), &room.sender(), &room.far_user());
        self.submit(room, "PLAIN", None, &foreign)?
            .expect(&["235", "550 5.7.1"])?;
        // The envelope is its own, From is not.
        let forged = Mail {
            content: foreign.content,
            ..mail
        };
        self.submit(room, "PLAIN", None, &forged)?
            .expect(&["235", "250", "250", "354", "550 5.7.1"])
    }

    /// With `checkRevocation` a token that holds by itself is refused once its account is gone; others are taken.
    fn is_revoked(&self, room: &Mailroom<'_>) -> Outcome {
        let check = json!({"spec": {"authentication": {"serviceAccounts": {"checkRevocation": true}}}});
        let namespace = room.namespace();
        namespace.patch(&format!("smtplistener/{LISTENER}"), &check)?;
        let mail = Mail::plain(&room.mark("revoked"), &room.sender(), &room.far_user());
        let token = self.token(OTHER, &[&self.audience])?;
        let held = ["235", "550 5.7.1"];
        self.submit(room, "PLAIN", Some(&token), &mail)?.expect(&held)?;
        namespace.kubectl(["delete", "serviceaccount", OTHER])?;
        until(Duration::from_mins(3), || {
            let replies = self.submit(room, "PLAIN", Some(&token), &mail)?;
            Ok(replies.expect(&["535 5.7.8"]).is_ok())
        })?;
        self.submit(room, "PLAIN", None, &mail)?.expect(&held)
    }

    /// A token of an account, as `kubectl create token` gives it; without audiences, for the API server.
    fn token(&self, account: &str, audiences: &[&str]) -> Outcome<String> {
        let audiences: Vec<_> = audiences.iter().map(|one| format!("--audience={one}")).collect();
        let args = ["create", "token", account, "--duration=10m"].into_iter();
        let token = self
            .scene
            .namespace
            .kubectl(args.chain(audiences.iter().map(String::as_str)))?;
        Ok(token.trim().to_owned())
    }

    /// The pods' logs tell of the logins and show nothing of a token.
    fn is_not_logged(&self, room: &Mailroom<'_>) -> Outcome {
        let token = self
            .scene
            .namespace
            .exec(ACCOUNT, &["cat", "/var/run/secrets/smtp/token"], b"")?;
        let parts: Vec<&str> = token.trim().split('.').collect();
        let identity = format!("system:serviceaccount:{}:{ACCOUNT}", self.scene.namespace.name);
        let mut log = String::new();
        until(Duration::from_secs(20), || {
            log = room.namespace().kubectl(["logs", &format!("{LISTENER}-0")])?;
            Ok(log.contains(&identity))
        })
        .map_err(|_| Failure::wrong(format!("no login of {identity} is in the log")))?;
        match parts.iter().find(|part| part.len() < 8 || log.contains(**part)) {
            None if parts.len() == 3 => Ok(()),
            _ => Err(Failure::wrong(
                "a part of the token is in the log of the mail server",
            )),
        }
    }
}

/// Reads its task on standard input; prints the replies up to the first refusal.
const CLIENT: &str = r#"
import base64, json, socket, ssl, sys
want = json.load(sys.stdin)
token = want["token"] or open("/var/run/secrets/smtp/token").read().strip()
context = ssl.create_default_context(cadata=want["authority"])
plug = context.wrap_socket(socket.create_connection((want["host"], want["port"]), 30), server_hostname=want["name"])
stream = plug.makefile("rb")
def reply():
    text = ""
    while True:
        line = stream.readline().decode()
        text += line
        if not line or line[3:4] != "-":
            return text
def say(text):
    plug.sendall(text.encode() + b"\r\n")
    return reply()
reply()
offers = say("EHLO client.example")
first = {
    "OAUTHBEARER": "n,,\x01auth=Bearer " + token + "\x01\x01",
    "XOAUTH2": "user=orders\x01auth=Bearer " + token + "\x01\x01",
    "PLAIN": "\0orders\0" + token,
}[want["mechanism"]]
assert want["mechanism"] in offers, offers
said = say("AUTH " + want["mechanism"] + " " + base64.b64encode(first.encode()).decode())
if said.startswith("334"):
    told = json.loads(base64.b64decode(said[4:]))
    assert told["status"] in ("invalid_token", "401"), told
    said = say("" if want["mechanism"] == "XOAUTH2" else "AQ==")
replies = [said]
content = want["content"].replace("\r\n.", "\r\n..")
for text in ("MAIL FROM:<" + want["from"] + ">", "RCPT TO:<" + want["to"] + ">", "DATA", content + "."):
    if replies[-1][:1] not in "23":
        break
    replies.append(say(text))
print(json.dumps(replies))
"#;

/// The mechanisms that take a token.
const MECHANISMS: [&str; 3] = ["OAUTHBEARER", "XOAUTH2", "PLAIN"];
/// The account that the domain lists, and the name of its pod.
const ACCOUNT: &str = "orders";
/// One that no domain lists.
const OTHER: &str = "other";
