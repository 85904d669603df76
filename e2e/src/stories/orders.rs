//! The queue commands over HTTPS, as a person or a program gives them: with a token of the listener's ServiceAccount
//! `<listener>-admin`, made by `kubectl create token`, at the admin endpoint of a pod.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kubectl::{Failure, Namespace, Outcome, until};
use crate::mailroom::{LISTENER, secret};
use crate::story::Scene;

/// Who gives orders to one pod.
pub(super) struct Clerk<'a> {
    scene: &'a Scene<'a>,
    pod: String,
    authority: String,
    token: String,
}

impl<'a> Clerk<'a> {
    /// With a fresh token.
    pub(super) fn new(scene: &'a Scene<'a>, pod: &str) -> Outcome<Self> {
        Self::with(
            scene,
            pod,
            &token(&scene.namespace, &format!("{LISTENER}-admin"), "admin")?,
        )
    }

    /// One that speaks as the pods among each other do.
    pub(super) fn among_pods(scene: &'a Scene<'a>, pod: &str) -> Outcome<Self> {
        Self::with(
            scene,
            pod,
            &token(&scene.namespace, &format!("{LISTENER}-mta"), "peer")?,
        )
    }

    fn with(scene: &'a Scene<'a>, pod: &str, token: &str) -> Outcome<Self> {
        Ok(Self {
            scene,
            pod: pod.to_owned(),
            authority: secret(&scene.namespace, &format!("{LISTENER}-ca"), "ca.crt")?,
            token: token.to_owned(),
        })
    }

    /// Another account of the namespace, with a token for the same audience, gets nothing.
    pub(super) fn others_are_refused(&self) -> Outcome {
        let other = Self {
            pod: self.pod.clone(),
            authority: self.authority.clone(),
            token: token(&self.scene.namespace, "default", "admin")?,
            ..*self
        };
        let (status, said) = other.ask("GET", "/v1/queue", &Value::Null)?;
        if status == 401 || status == 403 {
            return Ok(());
        }
        Err(Failure::wrong(format!(
            "a stranger's token was taken: {status} {said}"
        )))
    }

    /// The id of the one mail for that recipient, once it is in the queue.
    pub(super) fn id_of(&self, recipient: &str) -> Outcome<String> {
        let path = format!("/v1/queue?recipient={recipient}");
        let mut id = None;
        until(LIMIT, || {
            let page = self.call("GET", &path, &Value::Null)?;
            id = page["entries"][0]["id"].as_str().map(str::to_owned);
            Ok(id.is_some())
        })
        .map_err(|_| Failure::wrong(format!("nothing for {recipient} is in the queue")))?;
        Ok(id.unwrap_or_default())
    }

    /// The mails that the pod has, of whatever standing; the first page of them.
    pub(super) fn entries(&self) -> Outcome<Value> {
        Ok(self.call("GET", "/v1/queue", &Value::Null)?["entries"].clone())
    }

    /// A mail as the queue shows it; null where it is gone.
    pub(super) fn show(&self, id: &str) -> Outcome<Value> {
        let (status, said) = self.ask("GET", &format!("/v1/queue/{id}"), &Value::Null)?;
        if status == 404 { Ok(Value::Null) } else { Ok(said) }
    }

    /// An order about one mail; it must be carried out.
    pub(super) fn order(&self, verb: &str, id: &str) -> Outcome {
        let done = self.call("POST", &format!("/v1/queue/{verb}"), &json!({"ids": [id]}))?;
        if done["ids"] == json!([id]) {
            return Ok(());
        }
        Err(Failure::wrong(format!("{verb} of {id}: {done}")))
    }

    /// Lets a mail go by another policy, once the pod knows that one.
    pub(super) fn move_to(&self, id: &str, policy: &str) -> Outcome {
        let order = json!({"ids": [id], "to": format!("{}/{policy}", self.scene.namespace.name)});
        let mut last = Value::Null;
        until(LIMIT, || {
            let (status, said) = self.ask("POST", "/v1/queue/move", &order)?;
            let moved = status == 200 && said["ids"] == json!([id]);
            last = said;
            Ok(moved)
        })
        .map_err(|_| Failure::wrong(format!("{id} cannot be moved to {policy}: {last}")))
    }

    /// Waits until a mail's first recipient is as wanted.
    pub(super) fn becomes(&self, id: &str, what: &str, test: impl Fn(&Value) -> bool) -> Outcome {
        let mut last = Value::Null;
        until(LIMIT, || {
            last = self.show(id)?;
            Ok(test(&last["recipients"][0]))
        })
        .map_err(|_| Failure::wrong(format!("{id} does not become {what}: {last}")))
    }

    /// Suspends or resumes a site; gives those that are suspended then.
    pub(super) fn site(&self, verb: &str, site: &str) -> Outcome<Value> {
        self.call("POST", &format!("/v1/sites/{verb}"), &json!({"site": site}))
    }

    /// The first site whose name has that text.
    pub(super) fn find_site(&self, part: &str) -> Outcome<Value> {
        let mut found = Value::Null;
        until(LIMIT, || {
            let page = self.call("GET", "/v1/sites?limit=1000", &Value::Null)?;
            let mut sites = page["sites"].as_array().into_iter().flatten();
            let site = sites.find(|site| site["name"].as_str().is_some_and(|name| name.contains(part)));
            found = site.cloned().unwrap_or_default();
            Ok(!found.is_null())
        })
        .map_err(|_| Failure::wrong(format!("no site is called {part}")))?;
        Ok(found)
    }

    /// What is answered to an order that must be carried out.
    pub(super) fn call(&self, method: &str, path: &str, body: &Value) -> Outcome<Value> {
        match self.ask(method, path, body)? {
            (200, said) => Ok(said),
            (status, said) => Err(Failure::wrong(format!("{method} {path}: {status} {said}"))),
        }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Outcome<(u64, Value)> {
        let name = format!("{LISTENER}-peers.{}.svc", self.scene.namespace.name);
        let input = json!({
            "host": self.pod, "name": name, "authority": self.authority, "token": self.token,
            "method": method, "path": path, "body": body,
        });
        let client = &self.scene.world.peers.namespace;
        let said = client.exec("client", &["python3", "-c", CLIENT], input.to_string().as_bytes())?;
        let answer: Value = serde_json::from_str(&said)
            .map_err(|error| Failure::wrong(format!("the admin endpoint's answer ({error}): {said}")))?;
        let status = answer["status"].as_u64().unwrap_or_default();
        Ok((status, answer["said"].clone()))
    }
}

/// A token of an account for the listener's endpoint: `admin` for the queue commands, `peer` for what pods tell each other.
fn token(namespace: &Namespace, account: &str, about: &str) -> Outcome<String> {
    let audience = format!("{about}.postroad.dev/{}/{LISTENER}", namespace.name);
    let token = namespace.kubectl([
        "create",
        "token",
        account,
        "--audience",
        &audience,
        "--duration=10m",
    ])?;
    Ok(token.trim().to_owned())
}

/// One request over HTTPS; the certificate must be of the fleet's authority and for its name.
const CLIENT: &str = r#"
import http.client, json, socket, ssl, sys
want = json.load(sys.stdin)
class Connection(http.client.HTTPSConnection):
    def connect(self):
        plug = socket.create_connection((want["host"], 8443), 30)
        self.sock = ssl.create_default_context(cadata=want["authority"]).wrap_socket(plug, server_hostname=want["name"])
connection = Connection(want["name"])
headers = {"Authorization": "Bearer " + want["token"], "Content-Type": "application/json"}
body = None if want["body"] is None else json.dumps(want["body"])
connection.request(want["method"], want["path"], body, headers)
answer = connection.getresponse()
text = answer.read().decode()
print(json.dumps({"status": answer.status, "said": json.loads(text) if text[:1] in "[{" and text else text}))
"#;

/// How long the queue may take to come to something.
const LIMIT: Duration = Duration::from_mins(1);
