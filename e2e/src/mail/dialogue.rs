//! A plain SMTP dialogue, word for word, from the peers' `client` pod: for what no mail program says.

use serde_json::{Value, json};

use super::submit::Server;
use crate::kubectl::{Failure, Namespace, Outcome};

/// What was answered: the greeting, then one reply for each thing sent. A connection that ended is `closed`, and nothing
/// comes after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replies(Vec<String>);

impl Replies {
    /// The reply to the n-th thing sent, counted from 1; 0 is the greeting.
    pub fn to(&self, number: usize) -> &str {
        self.0.get(number).map_or("closed", String::as_str)
    }

    /// An error that shows all replies unless the n-th begins so.
    pub fn expect(&self, number: usize, beginning: &str) -> Outcome {
        if self.to(number).starts_with(beginning) {
            return Ok(());
        }
        Err(Failure::wrong(format!(
            "reply {number} should begin with `{beginning}`: {:?}",
            self.0
        )))
    }
}

/// Connects, sends `first` (a PROXY header, or nothing) at once, then each text with CRLF behind it after the reply to the
/// one before. A text may have several lines, such as a whole content with its end.
pub fn dialogue(peers: &Namespace, host: &str, port: u16, first: &str, texts: &[&str]) -> Outcome<Replies> {
    run(
        peers,
        &json!({"host": host, "port": port, "first": first, "texts": texts}),
    )
}

/// The same inside TLS from the first octet on, with the server's certificate verified.
pub fn dialogue_in_tls(peers: &Namespace, server: &Server, port: u16, texts: &[&str]) -> Outcome<Replies> {
    let tls = json!({"name": server.name, "authority": server.authority});
    run(
        peers,
        &json!({"host": server.host, "port": port, "first": "", "texts": texts, "tls": tls}),
    )
}

fn run(peers: &Namespace, input: &Value) -> Outcome<Replies> {
    let said = peers.exec("client", &["python3", "-c", CLIENT], input.to_string().as_bytes())?;
    serde_json::from_str(&said)
        .map(Replies)
        .map_err(|error| Failure::wrong(format!("the dialogue ended oddly ({error}): {said}")))
}

const CLIENT: &str = r#"
import json, socket, ssl, sys
want = json.load(sys.stdin)
replies = []
def reply(stream):
    text = b""
    while True:
        line = stream.readline()
        if not line:
            raise EOFError
        text += line
        if line[3:4] != b"-":
            return text.decode("utf-8", "replace")
try:
    plug = socket.create_connection((want["host"], want["port"]), 30)
    plug.settimeout(30)
    tls = want.get("tls")
    if tls:
        plug = ssl.create_default_context(cadata=tls["authority"]).wrap_socket(plug, server_hostname=tls["name"])
    stream = plug.makefile("rb")
    plug.sendall(want["first"].encode())
    replies.append(reply(stream))
    for text in want["texts"]:
        plug.sendall(text.encode() + b"\r\n")
        replies.append(reply(stream))
except (EOFError, OSError):
    replies.append("closed")
print(json.dumps(replies))
"#;
