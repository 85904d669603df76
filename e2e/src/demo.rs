//! `cargo demo`: from nothing to mail that flows, scales and is judged, on a real cluster, before the user's eyes.
//!
//!   World (cluster, images, peers, chart) ─► e2e/demo/*.yaml ─► mail out and in ─► DNS judged ─► 3 → 1 → 3 ─► account
//!
//! Every mail that a server accepted goes on one list; at the end the list is held against the mailboxes.

pub mod by_hand;

use std::time::{Duration, Instant};

use crate::dns::Zone;
use crate::kubectl::{Failure, Namespace, Outcome, condition, fill, is, memory, until};
use crate::mail::mailbox::{self, Account, Reader};
use crate::mail::submit::{Place, Program, Security, Server, submit};
use crate::mail::{Mail, mailbox::account};
use crate::mailroom::{self, EGRESS, PASSWORD, READY, USER};
use crate::peers::{self, FAR};
use crate::place;
use crate::report::{Steps, seconds};
use crate::story::World;

/// The demo's namespace.
pub const NAMESPACE: &str = "postroad-demo";

/// The demo while it runs.
struct Demo<'a> {
    world: &'a World,
    namespace: Namespace,
    run: u32,
    /// Every accepted mail, with the mailbox that it must be found in.
    accepted: Vec<(String, Mail)>,
}

/// Plays the demo on a world that is ready and gives the account of all mails.
pub fn play(world: &World, steps: &mut Steps) -> Outcome<Account> {
    let namespace = Namespace::new(&world.cluster, NAMESPACE);
    let mut demo = Demo {
        world,
        namespace,
        run: std::process::id(),
        accepted: Vec::new(),
    };
    let result = demo.all(steps);
    if let Err(error) = &result {
        eprintln!("{error}\nwhat is there:\n{}", demo.namespace.dump());
        eprintln!(
            "--- log of the operator\n{}",
            crate::install::operator_log(&world.cluster)
        );
    }
    result
}

impl Demo<'_> {
    fn all(&mut self, steps: &mut Steps) -> Outcome<Account> {
        steps.step("apply e2e/demo/*.yaml, wait for Ready", || self.apply())?;
        steps.step("mail out: 587 and 465, relayed by MX to Postfix", || {
            self.outwards()
        })?;
        steps.step("mail in: Postfix to port 25, on to Dovecot by LMTP", || {
            self.inwards()
        })?;
        steps.step("read back by IMAP and POP3", || self.check())?;
        steps.step("DNS of the domains, as judged", || self.judged())?;
        steps.step("memory of the pods", || self.memory())?;
        steps.step("next hop down, mail queued in all three pods", || self.queue_up())?;
        steps.step("kubectl scale smtplistener/edge --replicas=1", || self.scale(1))?;
        steps.step("kubectl scale smtplistener/edge --replicas=3", || self.scale(3))?;
        steps.step("next hop up, queue runs empty", || self.run_empty())?;
        self.show(&["get", "smtplisteners,maildomains,relaypolicies"])?;
        steps.step("account of all mails", || self.account())
    }

    fn apply(&self) -> Outcome {
        let peers = &self.world.peers;
        self.namespace.create("restricted")?;
        self.namespace
            .apply(&mailroom::users(&self.world.product, &[])?.to_string())?;
        let start = Instant::now();
        let dovecot = mailroom::dovecot(peers);
        let values = [
            ("DNS", peers.dns.as_str()),
            ("DOVECOT", &dovecot),
            ("POSTFIX", &peers.postfix),
        ];
        for file in ["1-listener.yaml", "2-domains.yaml", "3-policy.yaml"] {
            let objects = std::fs::read_to_string(place::tree().join("e2e/demo").join(file))?;
            self.namespace.apply(&fill(&objects, &values))?;
        }
        let edge = peers::address(&self.namespace, "edge")?;
        self.world.publish(&[
            mailroom::zone("hill.example", &edge),
            Zone::new("lake.example").record(format!("@ IN TXT \"v=spf1 ip4:{EGRESS} -all\"")),
            Zone::new("moor.example")
                .record("@ IN MX 10 mx.elsewhere.example.")
                .record("@ IN TXT \"v=spf1 ip4:198.51.100.7 -all\""),
        ])?;
        self.namespace
            .wait_condition("smtplistener/edge", "Ready", "True", READY)?;
        eprintln!(
            "    the listener is Ready {} after the first apply",
            seconds(start.elapsed())
        );
        self.namespace
            .wait_for("smtplistener/edge", "all pods ready", READY, |listener| {
                listener["status"]["readyReplicas"] == listener["spec"]["replicas"]
            })?;
        for object in ["maildomain/hill", "maildomain/lake", "relaypolicy/far"] {
            self.namespace.wait_condition(object, "Ready", "True", READY)?;
        }
        self.show(&["get", "smtplisteners,maildomains,relaypolicies"])?;
        self.show(&["get", "pods", "--output=wide"])
    }

    fn outwards(&mut self) -> Outcome {
        let world = self.world;
        let (ann, far) = ("ann@lake.example", self.far_user());
        let submission = self.server(Security::StartTls)?;
        let submissions = self.server(Security::Implicit)?;
        let pod = Place::Pod(&world.peers.namespace);
        let forwarded = |port| self.namespace.forward("service/edge", port);
        let (from_host, from_host_tls) = (forwarded(587)?, forwarded(465)?);
        let local = |server: &Server, port| Server {
            host: "127.0.0.1".into(),
            port,
            ..server.clone()
        };
        let host_587 = local(&submission, from_host.local);
        let host_465 = local(&submissions, from_host_tls.local);
        let mark = |name: &str| self.mark(name);
        let mails = [
            (
                pod,
                Program::Swaks,
                &submission,
                Mail::plain(&mark("plain-587-pod"), ann, &far),
            ),
            (
                Place::Host,
                Program::Swaks,
                &host_587,
                Mail::plain(&mark("plain-587-host"), ann, &far),
            ),
            (
                pod,
                Program::Msmtp,
                &submissions,
                Mail::with_attachment(&mark("mime-465-pod"), ann, &far),
            ),
            (
                Place::Host,
                Program::Msmtp,
                &host_465,
                Mail::with_attachment(&mark("mime-465-host"), ann, &far),
            ),
            (
                pod,
                Program::Swaks,
                &submissions,
                Mail::large(&mark("20mb-465-pod"), ann, &far, 20_000_000),
            ),
        ];
        let mut accepted = Vec::new();
        for (place, program, server, mail) in mails {
            send(place, program, server, &mail)?;
            accepted.push((far.clone(), mail));
        }
        let to = format!("δοκιμή@{FAR}");
        let mail = Mail::international(&mark("international-587-pod"), "άννα@lake.example", &to);
        send(pod, Program::Smtplib, &submission, &mail)?;
        accepted.push((format!("dokimi@{FAR}"), mail));
        self.accepted.extend(accepted);
        Ok(())
    }

    fn inwards(&mut self) -> Outcome {
        let postfix = Server {
            host: self.world.peers.postfix.clone(),
            port: 25,
            security: Security::Plain,
            name: format!("mx.{FAR}"),
            authority: String::new(),
            login: None,
        };
        let to = format!("bob-{}@hill.example", self.run);
        let from = format!("someone@{FAR}");
        let mails = [
            Mail::plain(&self.mark("in-plain"), &from, &to),
            Mail::with_attachment(&self.mark("in-mime"), &from, &to),
            Mail::large(&self.mark("in-20mb"), &from, &to, 20_000_000),
        ];
        for mail in mails {
            send(
                Place::Pod(&self.world.peers.namespace),
                Program::Swaks,
                &postfix,
                &mail,
            )?;
            self.accepted.push((to.clone(), mail));
        }
        Ok(())
    }

    /// Every mail so far is in its mailbox, by IMAP and by POP3, with each field and octet that was sent.
    fn check(&self) -> Outcome {
        for reader in [Reader::Imap, Reader::Pop3] {
            for (user, mails) in self.by_mailbox() {
                mailbox::expect_exactly(&self.world.peers, &user, reader, &mails, Duration::from_mins(2))?;
                eprintln!(
                    "    {user} by {reader:?}: {} mails, fields and bodies as sent",
                    mails.len()
                );
            }
        }
        Ok(())
    }

    fn judged(&self) -> Outcome {
        for (domain, status) in [("hill", "True"), ("lake", "True"), ("moor", "False")] {
            // A domain that does not receive needs no MX.
            let kinds: &[&str] = if domain == "lake" {
                &["SPFValid"]
            } else {
                &["MXValid", "SPFValid"]
            };
            for kind in kinds {
                let object = format!("maildomain/{domain}");
                let object = self.namespace.wait_condition(&object, kind, status, READY)?;
                let found = condition(&object, kind).cloned().unwrap_or_default();
                eprintln!(
                    "    {domain}.example {kind}={status} {}: {}",
                    text(&found["reason"]),
                    text(&found["message"])
                );
            }
        }
        Ok(())
    }

    /// What the idle pods take, as soon as the kubelets have counted it.
    fn memory(&self) -> Outcome {
        let mut all = Vec::new();
        until(Duration::from_mins(1), || {
            all = memory(&self.world.cluster, &[NAMESPACE, crate::install::NAMESPACE])?;
            Ok(all.len() >= 4 && all.iter().all(|(_, kilobytes)| *kilobytes > 0))
        })?;
        for (pod, kilobytes) in all {
            eprintln!("    {pod}: {kilobytes} kB");
        }
        Ok(())
    }

    fn queue_up(&mut self) -> Outcome {
        self.world.peers.set_far_running(false)?;
        let far = self.far_user();
        for pod in ["edge-0", "edge-1", "edge-2"] {
            let object = self.namespace.get([format!("pod/{pod}").as_str()])?;
            let host = text(&object["status"]["podIP"]).to_owned();
            let server = Server {
                host,
                port: 10_587,
                ..self.server(Security::StartTls)?
            };
            for number in 0..PER_POD {
                let mail = Mail::plain(
                    &self.mark(&format!("queued-{pod}-{number}")),
                    "ann@lake.example",
                    &far,
                );
                send(
                    Place::Pod(&self.world.peers.namespace),
                    Program::Swaks,
                    &server,
                    &mail,
                )?;
                self.accepted.push((far.clone(), mail));
            }
        }
        self.await_queue(3 * PER_POD)
    }

    fn scale(&self, replicas: u64) -> Outcome {
        self.namespace
            .kubectl(["scale", "smtplistener/edge", &format!("--replicas={replicas}")])?;
        until(Duration::from_mins(4), || {
            let pods = self
                .namespace
                .get(["pods", "--selector=postroad.dev/listener=edge"])?;
            let listener = self.namespace.get(["smtplistener/edge"])?;
            let status = &listener["status"];
            Ok(pods["items"]
                .as_array()
                .is_some_and(|pods| pods.len() as u64 == replicas)
                && status["readyReplicas"] == replicas
                && status["observedGeneration"] == listener["metadata"]["generation"]
                && !is(&listener, "Draining", "True"))
        })
        .map_err(|_| Failure::wrong(format!("the listener did not come to {replicas} pods")))?;
        self.await_queue(3 * PER_POD)?;
        self.show(&["get", "smtplisteners"])
    }

    fn run_empty(&self) -> Outcome {
        self.world.peers.set_far_running(true)?;
        self.await_queue(0)
    }

    fn await_queue(&self, messages: usize) -> Outcome {
        let what = format!("{messages} messages in the queue");
        let limit = Duration::from_mins(3);
        self.namespace
            .wait_for("smtplistener/edge", &what, limit, |listener| {
                listener["status"]["queue"]["messages"] == messages
            })?;
        Ok(())
    }

    /// Holds all accepted mails against the mailboxes.
    fn account(&self) -> Outcome<Account> {
        let mut sum = Account::default();
        for (user, mails) in self.by_mailbox() {
            mailbox::await_all(
                &self.world.peers,
                &user,
                Reader::Imap,
                &mails,
                Duration::from_mins(2),
            )?;
            let found = mailbox::read(&self.world.peers, &user, Reader::Imap)?;
            let part = account(mails.iter().copied(), &found);
            sum.accepted += part.accepted;
            sum.delivered += part.delivered;
            sum.lost.extend(part.lost);
            sum.duplicated.extend(part.duplicated);
            sum.changed.extend(part.changed);
        }
        Ok(sum)
    }

    fn by_mailbox(&self) -> Vec<(String, Vec<&Mail>)> {
        let mut users: Vec<_> = self.accepted.iter().map(|(user, _)| user.clone()).collect();
        users.sort();
        users.dedup();
        let of = |user: &String| {
            self.accepted
                .iter()
                .filter(|(to, _)| to == user)
                .map(|(_, mail)| mail)
                .collect()
        };
        users.iter().map(|user| (user.clone(), of(user))).collect()
    }

    fn server(&self, security: Security) -> Outcome<Server> {
        Ok(Server {
            host: peers::address(&self.namespace, "edge")?,
            port: if security == Security::Implicit { 465 } else { 587 },
            security,
            name: "mx.hill.example".to_owned(),
            authority: mailroom::secret(&self.namespace, "edge-tls", "tls.crt")?,
            login: Some((USER.to_owned(), PASSWORD.to_owned())),
        })
    }

    fn far_user(&self) -> String {
        format!("dora-{}@{FAR}", self.run)
    }

    fn mark(&self, name: &str) -> String {
        format!("demo-{}-{name}", self.run)
    }

    fn show(&self, args: &[&str]) -> Outcome {
        eprintln!("    $ kubectl --namespace {NAMESPACE} {}", args.join(" "));
        for line in self.namespace.kubectl(args.iter().copied())?.lines() {
            eprintln!("    {line}");
        }
        Ok(())
    }
}

fn send(place: Place<'_>, program: Program, server: &Server, mail: &Mail) -> Outcome {
    submit(place, program, server, mail)?;
    let octets = mail.content.len();
    eprintln!(
        "    accepted: {} ({octets} octets, {program:?} to port {})",
        mail.mark, server.port
    );
    Ok(())
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or_default()
}

const PER_POD: usize = 4;
