//! A login that is bound to its TLS connection: SCRAM-SHA-256-PLUS with `tls-exporter` (RFC 5802, RFC 9266), by a client of
//! our own over `openssl s_client`, which tells the keys of the connection. The client proves the server, too.

use serde_json::{Value, json};

use super::desk::Desk;
use crate::kubectl::{Failure, Outcome};
use crate::mail::submit::Security;
use crate::mailroom::{PASSWORD, USER};

impl Desk<'_> {
    /// Offered only where the field says so; then a client that binds logs in, and one whose login comes over another
    /// connection than it was made on does not.
    pub(super) fn bound_login(&self) -> Outcome {
        let unasked = self.offer_and_login()?;
        if unasked["offer"] != "AUTH SCRAM-SHA-256 PLAIN LOGIN" || !starts(&unasked["passedOn"], "504") {
            return Err(Failure::wrong(format!("binding is offered unasked: {unasked}")));
        }
        self.listener(&json!({"authentication": {"channelBinding": true}}))?;
        let asked = self.offer_and_login()?;
        let right = asked["offer"] == "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"
            && starts(&asked["passedOn"], "535")
            && starts(&asked["bound"], "235")
            && asked["serverProved"] == true
            && starts(&asked["mail"], "250");
        if !right {
            return Err(Failure::wrong(format!("a bound login went otherwise: {asked}")));
        }
        self.listener(&json!({"authentication": {"channelBinding": null}}))
    }

    /// What EHLO offers under TLS 1.3, and the replies to a login bound to another connection and to one bound to its own.
    fn offer_and_login(&self) -> Outcome<Value> {
        let server = self.room.server(Security::Implicit)?;
        let input = json!({
            "host": self.pod, "name": server.name, "authority": server.authority,
            "user": USER, "password": PASSWORD, "from": self.room.sender(),
        });
        let peers = &self.scene.world.peers.namespace;
        let said = peers.exec("client", &["python3", "-c", CLIENT], input.to_string().as_bytes())?;
        serde_json::from_str(&said)
            .map_err(|error| Failure::wrong(format!("the client that binds ended oddly ({error}): {said}")))
    }
}

fn starts(reply: &Value, code: &str) -> bool {
    reply.as_str().is_some_and(|reply| reply.starts_with(code))
}

const CLIENT: &str = r#"
import base64, hashlib, hmac, json, re, secrets, subprocess, sys, tempfile
want = json.load(sys.stdin)
authority = tempfile.NamedTemporaryFile("w", suffix=".pem")
authority.write(want["authority"])
authority.flush()
tls = subprocess.Popen(
    ["openssl", "s_client", "-connect", want["host"] + ":10465", "-tls1_3", "-nocommands",
     "-servername", want["name"], "-verify_hostname", want["name"], "-verify_return_error", "-CAfile", authority.name,
     "-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
exporter = None
def reply():
    global exporter
    lines = []
    for line in tls.stdout:
        text = line.decode("latin-1").rstrip()
        keys = re.fullmatch(r"\s*Keying material: ([0-9A-F]{64})", text)
        if keys:
            exporter = bytes.fromhex(keys[1])
        # Between them the program tells of tickets and the like.
        if re.match(r"[2-5]\d\d[ -]", text):
            lines.append(text)
            if text[3] == " ":
                return lines
    raise EOFError(lines)
def say(text):
    tls.stdin.write(text.encode() + b"\r\n")
    tls.stdin.flush()
    return reply()
def coded(octets):
    return base64.b64encode(octets).decode()
def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
def login(binding):
    header = "p=tls-exporter,,"
    first = f"n={want['user']},r={secrets.token_hex(12)}"
    answer = say("AUTH SCRAM-SHA-256-PLUS " + coded((header + first).encode()))[-1]
    if not answer.startswith("334"):
        return answer, False
    server = base64.b64decode(answer[4:]).decode()
    fields = dict(field.split("=", 1) for field in server.split(","))
    salt = base64.b64decode(fields["s"])
    salted = hashlib.pbkdf2_hmac("sha256", want["password"].encode(), salt, int(fields["i"]))
    last = f"c={coded(header.encode() + binding)},r={fields['r']}"
    messages = f"{first},{server},{last}"
    key = sign(salted, "Client Key")
    signature = sign(hashlib.sha256(key).digest(), messages)
    proof = bytes(a ^ b for a, b in zip(key, signature))
    answer = say(coded(f"{last},p={coded(proof)}".encode()))[-1]
    if not answer.startswith("334"):
        return answer, False
    proved = base64.b64decode(answer[4:]) == b"v=" + coded(sign(sign(salted, "Server Key"), messages)).encode()
    return say("")[-1], proved
reply()
offer = next(line[4:] for line in say("EHLO client.example") if line[4:].startswith("AUTH "))
other = bytes([exporter[0] ^ 1]) + exporter[1:]
passed_on, _ = login(other)
bound, proved = login(exporter)
mail = say(f"MAIL FROM:<{want['from']}>")[-1]
tls.stdin.close()
print(json.dumps({"offer": offer, "passedOn": passed_on, "bound": bound, "serverProved": proved, "mail": mail}))
"#;
