//! Mail waits for servers that are away. A person looks at it, tries it again, holds it, returns it, moves it to another
//! policy, stops a site, all with a token of the ServiceAccount `edge-admin`; other mail expires, and its sender reads so; a domain asks its
//! mail store who exists. The pod is killed on the way, with `durability: Relaxed`. What nobody returned arrives once.

use std::time::Duration;

use serde_json::{Value, json};

use super::away::Away;
use super::desk::{Desk, LIMIT, as_data};
use super::orders::Clerk;
use crate::kubectl::{Failure, Outcome, until};
use crate::mail::Mail;
use crate::mail::mailbox::{self, Reader};
use crate::mailroom::{LISTENER, Mailroom};
use crate::peers::FAR;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let away = Away::new(scene)?;
    let mut room = Mailroom::new(scene, 1);
    away.reached_by(&mut room);
    away.shut()?;
    let patient = Patient::new(&room, &away)?;
    let room = room.open()?;
    let mails = {
        let desk = Desk::new(&room, scene)?;
        let asked = Asked::new(&desk, &away)?;
        asked.cannot_tell()?;
        let mut mails = vec![patient.is_retried(&desk)?];
        mails.extend(desk.orders(&away)?);
        desk.expires(&away)?;
        desk.is_relaxed()?;
        desk.same_process()?;
        mails.push(desk.send(&away.user("relaxed"), "relaxed")?);
        mails.push(asked.mail);
        mails
    };
    room.namespace()
        .kubectl(["delete", "pod/edge-0", "--force", "--grace-period=0"])?;
    away.open()?;
    patient.away.open()?;
    room.await_ready()?;
    let desk = Desk::new(&room, scene)?;
    patient.goes_at_once(&desk)?;
    let asked = mails.last().ok_or_else(|| Failure::wrong("no mail was sent"))?;
    tells(&desk, asked)?;
    desk.released(&away, &mails)
}

impl Desk<'_> {
    fn send(&self, to: &str, mark: &str) -> Outcome<Mail> {
        let mail = Mail::plain(&self.room.mark(mark), &self.room.sender(), to);
        self.room.send(&self.room.server_at("edge-0")?, &mail)?;
        Ok(mail)
    }

    /// Hold, return, move, suspend; gives the mails that still have to arrive. One is held, and its site is suspended.
    fn orders(&self, away: &Away<'_>) -> Outcome<Vec<Mail>> {
        let clerk = Clerk::new(self.scene, &self.pod)?;
        clerk.others_are_refused()?;
        let held = self.send(&away.user("held"), "held")?;
        let returned = self.send(&away.user("returned"), "returned")?;
        let id = clerk.id_of(&held.to)?;
        clerk.becomes(&id, "tried", |recipient| recipient["attempts"].as_u64() > Some(0))?;
        clerk.order("hold", &id)?;
        clerk.becomes(&id, "held", |recipient| recipient["state"] == "held")?;
        clerk.order("bounce", &clerk.id_of(&returned.to)?)?;
        self.is_told(&returned, "Action: failed")?;

        self.is_moved(&clerk, away)?;

        let site = clerk.find_site(&away.domain)?["name"].clone();
        let site = site.as_str().unwrap_or_default();
        let suspended = clerk.site("suspend", site)?;
        if suspended["suspended"] != json!([site]) {
            return Err(Failure::wrong(format!("{site} is not suspended: {suspended}")));
        }
        Ok(vec![held])
    }

    /// A policy that matches no mail takes what a person moves to it, though the mail's own servers are away.
    fn is_moved(&self, clerk: &Clerk<'_>, away: &Away<'_>) -> Outcome {
        let policy = json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy", "metadata": {"name": "instead"},
            "spec": {
                "listenerRefs": [{"name": LISTENER}],
                "match": {"recipientDomains": ["nobody.example"]},
                "routes": [{"smartHosts": [{"host": self.scene.world.peers.postfix, "port": 25}]}],
            },
        });
        self.room.namespace().apply(&policy.to_string())?;
        let mail = self.send(&away.user("moved"), "moved")?;
        clerk.move_to(&clerk.id_of(&mail.to)?, "instead")?;
        self.arrived(&mail.to, &mail).map(drop)
    }

    /// With `retry.lifetime` shortened, mail that cannot leave comes back to its sender, though its site is suspended; what
    /// is held does not.
    fn expires(&self, away: &Away<'_>) -> Outcome {
        let mail = self.send(&away.user("expires"), "expires")?;
        let retry = |lifetime: &str| json!({"retry": {"first": "5s", "max": "10s", "lifetime": lifetime}});
        self.set("relaypolicy/far", &retry("10s"))?;
        self.is_told(&mail, "Action: failed")?;
        self.set("relaypolicy/far", &retry("1d"))
    }

    /// The notice about a mail is in its sender's mailbox.
    fn is_told(&self, mail: &Mail, action: &str) -> Outcome {
        let peers = &self.scene.world.peers;
        until(LIMIT, || {
            let found = mailbox::read(peers, &mail.from, Reader::Imap).unwrap_or_default();
            Ok(found.iter().any(|message| {
                let text = String::from_utf8_lossy(message);
                text.contains(action) && text.contains(&format!("Final-Recipient: rfc822; {}", mail.to))
            }))
        })
        .map_err(|_| Failure::wrong(format!("{} was not told `{action}` of {}", mail.from, mail.to)))
    }

    /// `queue.durability` is followed, and `kubectl` shows it.
    fn is_relaxed(&self) -> Outcome {
        self.listener(&json!({"queue": {"durability": "Relaxed"}}))?;
        let namespace = self.room.namespace();
        let shown = namespace.kubectl([
            "get",
            &format!("smtplistener/{LISTENER}"),
            "--output=jsonpath={.spec.queue.durability}",
        ])?;
        if shown.trim() != "Relaxed" {
            return Err(Failure::wrong(format!("kubectl shows {shown}")));
        }
        until(LIMIT, || {
            let log = namespace.kubectl(["logs", "pod/edge-0"])?;
            Ok(log
                .lines()
                .any(|line| line.contains("queue.durability has changed") && line.contains("Relaxed")))
        })
        .map_err(|_| Failure::wrong("the pod's log does not say that durability is Relaxed"))
    }

    /// After the kill the held mail is held, the suspended site suspended. Released and resumed, all arrives once.
    fn released(&self, away: &Away<'_>, mails: &[Mail]) -> Outcome {
        let clerk = Clerk::new(self.scene, &self.pod)?;
        let held = clerk.id_of(&away.user("held"))?;
        clerk.becomes(&held, "held still", |recipient| recipient["state"] == "held")?;
        let site = clerk.find_site(&away.domain)?;
        if site["suspended"] != true {
            return Err(Failure::wrong(format!(
                "the site is not suspended any more: {site}"
            )));
        }
        clerk.site("resume", site["name"].as_str().unwrap_or_default())?;
        clerk.order("release", &held)?;
        let peers = &self.scene.world.peers;
        for mail in mails {
            mailbox::await_all(peers, &mail.to, Reader::Imap, &[mail], LIMIT)?;
        }
        self.room.await_queue(0, LIMIT)?;
        for mail in mails {
            mailbox::expect_exactly(peers, &mail.to, Reader::Imap, &[mail], Duration::ZERO)?;
        }
        Ok(())
    }
}

/// A domain whose mail waits an hour for its second attempt, so that an attempt before is that of an order.
struct Patient<'a> {
    away: Away<'a>,
}

impl<'a> Patient<'a> {
    fn new(room: &Mailroom<'_>, away: &Away<'a>) -> Outcome<Self> {
        let away = away.beside("patient")?;
        let mut policy = room.policy.clone();
        policy["metadata"]["name"] = json!("patient");
        policy["spec"]["match"]["recipientDomains"] = json!([away.domain]);
        policy["spec"]["retry"] = json!({"first": "1h", "max": "1h", "lifetime": "1d"});
        room.namespace().apply(&policy.to_string())?;
        away.shut()?;
        Ok(Self { away })
    }

    /// Tried when it comes, and once more by order; nobody is there.
    fn is_retried(&self, desk: &Desk<'_>) -> Outcome<Mail> {
        desk.room
            .namespace()
            .wait_condition("relaypolicy/patient", "Ready", "True", LIMIT)?;
        let clerk = Clerk::new(desk.scene, &desk.pod)?;
        let mail = desk.send(&self.away.user("patient"), "patient")?;
        let id = clerk.id_of(&mail.to)?;
        clerk.becomes(&id, "tried", |recipient| recipient["attempts"] == 1)?;
        clerk.order("retry", &id)?;
        clerk.becomes(&id, "tried again", |recipient| recipient["attempts"] == 2)?;
        Ok(mail)
    }

    /// Its servers are back: an order sends it now, and not in an hour.
    fn goes_at_once(&self, desk: &Desk<'_>) -> Outcome {
        let clerk = Clerk::new(desk.scene, &desk.pod)?;
        clerk.order("retry", &clerk.id_of(&self.away.user("patient"))?)
    }
}

/// A second domain of the listener, whose recipients the next host is asked for.
struct Asked<'a> {
    desk: &'a Desk<'a>,
    mail: Mail,
}

impl<'a> Asked<'a> {
    fn new(desk: &'a Desk<'a>, away: &Away<'_>) -> Outcome<Self> {
        let name = format!("asked.{}", away.domain);
        let object = json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "MailDomain", "metadata": {"name": "asked"},
            "spec": {
                "domain": name,
                "listenerRefs": [{"name": LISTENER}],
                "dns": {"checks": {"mx": "Ignored", "spf": "Ignored"}},
                "inbound": {
                    "recipients": {"mode": "Callout"},
                    "deliverTo": {"smtp": {"host": away.server(), "port": 25}},
                },
            },
        });
        let namespace = desk.room.namespace();
        namespace.apply(&object.to_string())?;
        namespace.wait_condition("maildomain/asked", "Ready", "True", LIMIT)?;
        let user = format!("known-{}@{name}", std::process::id());
        Ok(Self {
            mail: Mail::plain(&desk.room.mark("asked"), &format!("someone@{FAR}"), &user),
            desk,
        })
    }

    /// Without its host nobody knows: come again later.
    fn cannot_tell(&self) -> Outcome {
        let mut last = Value::Null;
        until(LIMIT, || {
            let replies = self.desk.talk(
                "",
                &["EHLO client.example", &from(&self.mail), &to(&self.mail.to)],
            )?;
            last = json!(replies.to(3));
            Ok(replies.to(3).starts_with("451 4.4.3"))
        })
        .map_err(|_| Failure::wrong(format!("with its host away a recipient was answered {last}")))
    }
}

/// With the host back, an unknown recipient is refused, and a known one taken and delivered.
fn tells(desk: &Desk<'_>, mail: &Mail) -> Outcome {
    let unknown = mail.to.replacen("known", "unknown", 1);
    let unknown = unknown.replacen(&format!("-{}", std::process::id()), "", 1);
    let content = as_data(mail);
    let texts = [
        "EHLO client.example",
        &from(mail),
        &to(&unknown),
        &to(&mail.to),
        "DATA",
        &content,
    ];
    let mut last = None;
    until(LIMIT, || {
        let replies = desk.talk("", &texts)?;
        let known = replies.to(4).starts_with("250");
        last = Some(replies);
        Ok(known)
    })?;
    let replies = last.ok_or_else(|| Failure::wrong("nothing was said"))?;
    replies.expect(3, "550 5.1.1")?;
    replies.expect(6, "250")
}

fn from(mail: &Mail) -> String {
    format!("MAIL FROM:<{}>", mail.from)
}

fn to(user: &str) -> String {
    format!("RCPT TO:<{user}>")
}
