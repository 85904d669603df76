//! A closed network, where an authority of its own vouches for mail servers and for hosts of MTA-STS policies (RFC 8461). Three domains
//! have the same policy; one server is reached, and two get nothing.
//!
//! ```text
//!   fitting     MX mx.far.example   named, and its certificate is for it
//!   misnamed    MX mx.misnamed.…    named, its certificate is for another name
//!   unnamed     MX mx.unnamed.…     not named
//! ```

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::desk::{Desk, LIMIT};
use super::guest::{self, Guest};
use super::orders::Clerk;
use crate::kubectl::{Failure, Outcome};
use crate::mail::Mail;
use crate::mailroom::LISTENER;
use crate::peers::FAR;
use crate::story::Scene;

/// The domains, and the host of their policies.
pub(super) struct ClosedNetwork {
    above: String,
    /// Address of the policy host.
    web: String,
    /// PEM.
    authority: String,
}

impl ClosedNetwork {
    /// Lets the policy host begin, without waiting. `above`: what Postfix takes mail for.
    pub(super) fn begin(scene: &Scene<'_>, above: &str) -> Outcome<Self> {
        let far = &scene.world.peers.namespace;
        let postfix = |command: &[&str]| far.exec("deployment/postfix", command, b"");
        let names = DOMAINS.map(|domain| format!("mta-sts.{domain}.{above}"));
        let mut certify = vec!["bash", "/config/certify", "/tmp/web"];
        certify.extend(names.iter().map(String::as_str));
        postfix(&certify)?;
        let certificate = postfix(&["cat", "/tmp/web.key", "/tmp/web.crt"])?;
        // The last is the listener of the story, which the policy of a domain of its own has to name.
        let policy = format!(
            "version: STSv1\r\nmode: enforce\r\nmx: mx.{FAR}\r\nmx: mx.misnamed.{above}\r\nmx: mx.{}\r\nmax_age: 86400\r\n",
            scene.domain
        );
        let texts = [("web.pem", certificate), ("policy", policy)];
        let web = Guest {
            name: "web",
            script: SERVE,
            given: ("/given", &texts),
            folders: &[],
            ports: PORTS,
        };
        web.begin(scene)?;
        Ok(Self {
            above: above.to_owned(),
            web: guest::service(scene, "web", PORTS)?,
            authority: postfix(&["cat", "/etc/postfix/ca.crt"])?,
        })
    }

    /// The records of the three domains.
    pub(super) fn zone(&self, postfix: &str) -> String {
        let mut zone = format!("mx.{FAR}. A {postfix}\n");
        for domain in DOMAINS.map(|domain| format!("{domain}.{}", self.above)) {
            let exchange = if domain.starts_with("fitting.") {
                FAR
            } else {
                &domain
            };
            let _ = write!(
                zone,
                "{domain}. MX 10 mx.{exchange}.\nmx.{domain}. A {postfix}\nmta-sts.{domain}. A {}\n\
                 _mta-sts.{domain}. TXT \"v=STSv1; id=1\"\n",
                self.web
            );
        }
        zone
    }

    /// The `RelayPolicy` for them.
    pub(super) fn relay_policy(&self, postfix: &str) -> Value {
        let domains = DOMAINS.map(|domain| format!("{domain}.{}", self.above));
        let allowed = [postfix, &self.web].map(|address| format!("{address}/32"));
        json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy", "metadata": {"name": "closed"},
            "spec": {
                "listenerRefs": [{"name": LISTENER}],
                "match": {"recipientDomains": domains},
                "routes": [{
                    "direct": {"allowedNetworks": allowed},
                    "tls": {"mode": "Automatic", "authorities": self.authority},
                }],
                "retry": {"first": "5s", "max": "10s", "lifetime": "1d"},
            },
        })
    }
}

impl Desk<'_> {
    /// Mail arrives where the policy is kept, and waits where it is not, with the reason. Gives how many wait.
    pub(super) fn policies_are_kept(&self, closed: &ClosedNetwork) -> Outcome<usize> {
        // Without a policy nothing would wait.
        let wait = ["wait", "--for=condition=Ready", "pod/web", "--timeout=120s"];
        self.scene.namespace.kubectl(wait)?;
        let address = |domain: &str| format!("kept-{}@{domain}.{}", std::process::id(), closed.above);
        let server = self.room.server_at("edge-0")?;
        let send = |domain: &str| {
            let mail = Mail::plain(&self.room.mark(domain), &self.room.sender(), &address(domain));
            self.room.send(&server, &mail).map(|()| mail)
        };
        let [fitting, misnamed, unnamed] = DOMAINS;
        let (arrives, one, other) = (send(fitting)?, send(misnamed)?, send(unnamed)?);
        self.arrived(&arrives.to, &arrives)?;
        let clerk = Clerk::new(self.scene, &self.pod)?;
        for (mail, reason) in [
            (&one, "as the domain's MTA-STS policy asks: ".to_owned()),
            (&other, format!("does not name mx.{unnamed}.{}", closed.above)),
        ] {
            let waits = |recipient: &Value| {
                let said = recipient["reply"].as_str().unwrap_or_default();
                said.contains(&reason)
            };
            clerk.becomes(&clerk.id_of(&mail.to)?, &reason, waits)?;
        }
        let log = self.room.namespace().kubectl(["logs", "edge-0"])?;
        let went = |line: &&str| line.contains(&arrives.to) && line.contains(r#""tls_policy":"mta-sts""#);
        if !log.lines().any(|line| went(&line)) {
            return Err(Failure::wrong("the log does not say that MTA-STS asked for TLS"));
        }
        Ok(2)
    }

    /// A domain of the listener's own asks for its policy, whose host the same authority vouches for: the operator looks at what is served.
    pub(super) fn policy_is_judged(&self, closed: &ClosedNetwork, resolver: &str) -> Outcome {
        let domain = json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "MailDomain", "metadata": {"name": "closed"},
            "spec": {
                "domain": format!("{}.{}", DOMAINS[0], closed.above),
                "listenerRefs": [{"name": LISTENER}],
                "mtaSts": {"mode": "Enforce", "authorities": closed.authority},
                "dns": {"resolvers": [resolver], "checks": {"mx": "Ignored", "spf": "Ignored"}},
            },
        });
        let namespace = self.room.namespace();
        namespace.apply(&domain.to_string())?;
        namespace.wait_condition("maildomain/closed", "MTASTSValid", "True", LIMIT)?;
        Ok(())
    }
}

const DOMAINS: [&str; 3] = ["fitting", "misnamed", "unnamed"];
const PORTS: &[(u16, u16)] = &[(443, 1_443)];
/// Gives the policy, and nothing else.
const SERVE: &str = r#"exec python3 -c '
import http.server, ssl

with open("/given/policy", "rb") as file:
    policy = file.read()


class Policy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = self.path == "/.well-known/mta-sts.txt"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(policy) if found else 0))
        self.end_headers()
        self.wfile.write(policy if found else b"")


server = http.server.ThreadingHTTPServer(("", 1443), Policy)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/given/web.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
'"#;
