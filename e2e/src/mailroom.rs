//! A small mail system of ours to play with: one `SmtpListener` with a user, one `MailDomain` that receives and sends,
//! one `RelayPolicy` to the far side that retries soon, and the DNS zone of the domain.
//!
//!   client ─587/465─► edge ─MX─► far.example (Postfix) ─► Dovecot
//!   Postfix ────25──► edge ─LMTP─► Dovecot
//!
//! Built as values, so that a story can change any field before it applies them.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::dns::Zone;
use crate::images::Product;
use crate::kubectl::{Failure, Namespace, Outcome, is, until};
use crate::mail::submit::{Place, Program, Security, Server, submit};
use crate::mail::{Mail, mailbox};
use crate::peers::{self, FAR, Peers};
use crate::shell::Shell;
use crate::story::Scene;

/// The objects, before or after they are applied.
#[derive(Debug)]
pub struct Mailroom<'a> {
    scene: &'a Scene<'a>,
    /// The `SmtpListener`.
    pub listener: Value,
    /// The `MailDomain`.
    pub domain: Value,
    /// The `RelayPolicy`.
    pub policy: Value,
    /// Options of `hash-password` for the one user.
    pub hash: &'static [&'static str],
}

/// The one user.
pub const USER: &str = "ann";
/// The user's password.
pub const PASSWORD: &str = "correct horse";
/// The listener's name.
pub const LISTENER: &str = "edge";

impl<'a> Mailroom<'a> {
    /// The objects of a listener with that many pods.
    pub fn new(scene: &'a Scene<'a>, replicas: u32) -> Self {
        let peers = &scene.world.peers;
        let domain = &scene.domain;
        let listener = json!({
            "apiVersion": API, "kind": "SmtpListener", "metadata": {"name": LISTENER},
            "spec": {
                "hostname": format!("mx.{domain}"),
                "replicas": replicas,
                "ports": [
                    {"name": "smtp", "port": 25, "role": "Transfer", "tls": "Opportunistic"},
                    {"name": "submission", "port": 587, "role": "Submission", "tls": "StartTls"},
                    {"name": "submissions", "port": 465, "role": "Submission", "tls": "Implicit"},
                ],
                "service": {"type": "ClusterIP"},
                "egress": {"addresses": [EGRESS]},
                "tls": {"selfSigned": {}},
                "authentication": {"users": {"secretRef": {"name": "users"}}},
                "queue": {"storage": {"size": "256Mi"}},
                "dns": {"resolvers": [peers.dns]},
            },
        });
        let mail_domain = json!({
            "apiVersion": API, "kind": "MailDomain", "metadata": {"name": "domain"},
            "spec": {
                "domain": domain,
                "listenerRefs": [{"name": LISTENER}],
                "inbound": {
                    "recipients": {"mode": "Any"},
                    "deliverTo": {"lmtp": {"host": dovecot(peers), "port": 24}},
                },
                "senders": [{"user": USER, "addresses": [format!("{USER}@{domain}"), format!("άννα@{domain}")]}],
            },
        });
        let policy = json!({
            "apiVersion": API, "kind": "RelayPolicy", "metadata": {"name": "far"},
            "spec": {
                "listenerRefs": [{"name": LISTENER}],
                "match": {"recipientDomains": [FAR]},
                "routes": [{"direct": {"allowedNetworks": [format!("{}/32", peers.postfix)]},
                            "tls": {"mode": "Opportunistic"}}],
                "retry": {"first": "5s", "max": "10s", "lifetime": "1d"},
            },
        });
        Self {
            scene,
            listener,
            domain: mail_domain,
            policy,
            hash: &[],
        }
    }

    /// Applies everything, publishes the zone, and waits until all of it says that it is ready.
    pub fn open(self) -> Outcome<Self> {
        self.apply()?;
        self.await_ready()?;
        let namespace = self.namespace();
        for object in ["maildomain/domain", "relaypolicy/far"] {
            namespace.wait_condition(object, "Ready", "True", READY)?;
        }
        Ok(self)
    }

    /// Applies everything and publishes the zone.
    pub fn apply(&self) -> Outcome {
        let namespace = self.namespace();
        namespace.apply(&users(&self.scene.world.product, self.hash)?.to_string())?;
        self.apply_objects()?;
        let address = peers::address(namespace, LISTENER)?;
        self.scene.world.publish(&[zone(&self.scene.domain, &address)])
    }

    /// Applies the three objects as they are now.
    pub fn apply_objects(&self) -> Outcome {
        for object in [&self.listener, &self.domain, &self.policy] {
            self.namespace().apply(&object.to_string())?;
        }
        Ok(())
    }

    /// Waits until the listener is ready with all of its pods.
    pub fn await_ready(&self) -> Outcome<Value> {
        let object = format!("smtplistener/{LISTENER}");
        let listener = self.namespace().wait_condition(&object, "Ready", "True", READY)?;
        self.namespace()
            .wait_for(&object, "all pods ready", READY, |listener| {
                listener["status"]["readyReplicas"] == listener["spec"]["replicas"]
                    && is(listener, "ConfigApplied", "True")
            })?;
        Ok(listener)
    }

    /// The namespace of the story.
    pub fn namespace(&self) -> &Namespace {
        &self.scene.namespace
    }

    /// The address of the listener's user.
    pub fn sender(&self) -> String {
        format!("{USER}@{}", self.scene.domain)
    }

    /// A mailbox of the far side that no other run has used.
    pub fn far_user(&self) -> String {
        format!(
            "{}-{}@{FAR}",
            self.scene.domain.replace('.', "-"),
            std::process::id()
        )
    }

    /// A mark that no other mail of any run has.
    pub fn mark(&self, name: &str) -> String {
        format!("{}-{}-{name}", self.scene.domain, std::process::id())
    }

    /// The certificate that clients must trust; each of ours signs itself.
    pub fn authority(&self) -> Outcome<String> {
        let made = format!("{LISTENER}-tls");
        let name = self.listener["spec"]["tls"]["secretName"]
            .as_str()
            .unwrap_or(&made);
        secret(self.namespace(), name, "tls.crt")
    }

    /// The listener as a submission client sees it: by name and by verified certificate.
    pub fn server(&self, security: Security) -> Outcome<Server> {
        let port = match security {
            Security::Implicit => 465,
            Security::StartTls => 587,
            Security::Plain => 25,
        };
        Ok(Server {
            host: peers::address(self.namespace(), LISTENER)?,
            port,
            security,
            name: format!("mx.{}", self.scene.domain),
            authority: self.authority()?,
            login: (security != Security::Plain).then(|| (USER.to_owned(), PASSWORD.to_owned())),
        })
    }

    /// One pod of the listener as a submission client sees it.
    pub fn server_at(&self, pod: &str) -> Outcome<Server> {
        let pod = self.namespace().get([format!("pod/{pod}").as_str()])?;
        let host = pod["status"]["podIP"].as_str().unwrap_or_default().to_owned();
        Ok(Server {
            host,
            port: 10_587,
            ..self.server(Security::StartTls)?
        })
    }

    /// Submits in the client pod, by STARTTLS and as the user.
    pub fn send(&self, server: &Server, mail: &Mail) -> Outcome {
        submit(
            Place::Pod(&self.scene.world.peers.namespace),
            Program::Swaks,
            server,
            mail,
        )
    }

    /// Submits these mails in the same way, a few at a time.
    pub fn send_all(&self, server: &Server, mails: &[Mail]) -> Outcome {
        let client = &self.scene.world.peers.namespace;
        let send = |mail| submit(Place::Pod(client), Program::Swaks, server, mail);
        let each = mails.len().div_ceil(AT_ONCE).max(1);
        thread::scope(|scope| {
            let lanes = mails.chunks(each);
            let lanes: Vec<_> = lanes
                .map(|mails| scope.spawn(move || mails.iter().try_for_each(send)))
                .collect();
            lanes.into_iter().try_for_each(|lane| {
                let broken = |_| Err(Failure::wrong("a thread that submits broke"));
                lane.join().unwrap_or_else(broken)
            })
        })
    }

    /// Submits that many short mails for the far user to each of the pods.
    pub fn send_through(&self, pods: &[&str], each: usize) -> Outcome<Vec<Mail>> {
        let mut mails = Vec::new();
        for pod in pods {
            let server = self.server_at(pod)?;
            for number in 0..each {
                let mark = self.mark(&format!("{pod}-{number}-{}", next()));
                let mail = Mail::plain(&mark, &self.sender(), &self.far_user());
                self.send(&server, &mail)?;
                mails.push(mail);
            }
        }
        Ok(mails)
    }

    /// Every one of these mails is in the far user's mailbox once, and the queue is empty.
    pub fn expect_at_far(&self, mails: &[Mail], limit: Duration) -> Outcome {
        let mails: Vec<_> = mails.iter().collect();
        let peers = &self.scene.world.peers;
        mailbox::await_all(peers, &self.far_user(), mailbox::Reader::Imap, &mails, limit)?;
        self.await_queue(0, limit)?; // a duplicate would come before the queue is empty
        mailbox::expect_exactly(
            peers,
            &self.far_user(),
            mailbox::Reader::Imap,
            &mails,
            Duration::ZERO,
        )
    }

    /// Waits until the listener's status counts that many queued messages.
    pub fn await_queue(&self, messages: u64, limit: Duration) -> Outcome {
        let object = format!("smtplistener/{LISTENER}");
        let what = format!("{messages} messages in the queue");
        self.namespace().wait_for(&object, &what, limit, |listener| {
            listener["status"]["queue"]["messages"] == messages
        })?;
        Ok(())
    }

    /// Waits until these pods have that many messages in all, as they say themselves: the status follows a figure of the same
    /// length within a minute only.
    pub fn await_held(&self, pods: &[&str], messages: usize, limit: Duration) -> Outcome {
        let mut last = 0;
        until(limit, || {
            last = 0;
            for pod in pods {
                let command = ["/postroad-mta", "queue", "ls", "--json"]; // a line for each
                // A pod that is just starting is asked again.
                let Ok(said) = self.namespace().exec(pod, &command, b"") else {
                    return Ok(false);
                };
                last += said.lines().count();
            }
            Ok(last == messages)
        })
        .map_err(|_| {
            Failure::wrong(format!(
                "{pods:?} have {last} messages, {messages} were expected within {limit:?}"
            ))
        })
    }

    /// `kubectl scale`, without waiting.
    pub fn scale(&self, replicas: u32) -> Outcome {
        let object = format!("smtplistener/{LISTENER}");
        self.namespace()
            .kubectl(["scale", &object, &format!("--replicas={replicas}")])
            .map(drop)
    }

    /// How many pods of the listener there are.
    pub fn pods(&self) -> Outcome<usize> {
        let selector = format!("--selector=postroad.dev/listener={LISTENER}");
        let pods = self.namespace().get(["pods", &selector])?;
        Ok(pods["items"].as_array().map_or(0, Vec::len))
    }

    /// Waits until exactly that many pods of the listener are left and the status says so.
    pub fn await_pods(&self, count: usize, limit: Duration) -> Outcome {
        until(limit, || {
            let left = self.pods()?;
            let listener = self
                .namespace()
                .get([format!("smtplistener/{LISTENER}").as_str()])?;
            Ok(
                left == count
                    && listener["status"]["replicas"] == count
                    && !is(&listener, "Draining", "True"),
            )
        })
        .map_err(|_| {
            Failure::wrong(format!(
                "the listener did not come to {count} pods within {limit:?}"
            ))
        })
    }
}

/// Where Dovecot takes mail by LMTP.
pub fn dovecot(peers: &Peers) -> String {
    format!("dovecot.{}.svc.cluster.local", peers.namespace.name)
}

/// The zone of a domain whose mail comes to that address, right in every respect.
pub fn zone(domain: &str, address: &str) -> Zone {
    Zone::new(domain)
        .record("@ IN MX 10 mx")
        .record(format!("mx IN A {address}"))
        .record(format!("@ IN TXT \"v=spf1 ip4:{EGRESS} -all\""))
}

/// The Secret of the one user, its verifier made by the mail server's own command.
pub fn users(product: &Product, hash: &[&str]) -> Outcome<Value> {
    let verifier = Shell::new(&product.mta_program)
        .args(["hash-password"])
        .args(hash)
        .input(PASSWORD)
        .read()?;
    let users = format!("{USER}:{verifier}\n");
    Ok(
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "users"}, "stringData": {"users": users}}),
    )
}

/// A key of a Secret as text.
pub fn secret(namespace: &Namespace, name: &str, key: &str) -> Outcome<String> {
    use base64::Engine as _;
    let object = format!("secret/{name}");
    let found = namespace.wait_for(&object, key, READY, |secret| secret["data"][key].is_string())?;
    let coded = found["data"][key].as_str().unwrap_or_default();
    let octets = base64::engine::general_purpose::STANDARD
        .decode(coded)
        .unwrap_or_default();
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

/// A number that was not given before in this run.
fn next() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The egress address that listeners declare: in documentation's range, so that nothing is ever sent from it.
pub const EGRESS: &str = "192.0.2.10";
/// Mails that are submitted at once.
const AT_ONCE: usize = 4;
/// How long anything may take to become ready.
pub const READY: Duration = Duration::from_mins(2);
const API: &str = "postroad.dev/v1alpha1";
