//! Who is let in, set with `kubectl` and followed without a restart: own lists, a list in the DNS with a score, names of clients, rates;
//! and two pods that let a new sender wait once. Users send all the same, as often as they may.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::desk::{Desk, ELSEWHERE, LIMIT, TRANSFER, as_data};
use crate::dns::Zone;
use crate::kubectl::{Failure, Outcome, until};
use crate::mail::Mail;
use crate::mail::dialogue::dialogue;
use crate::mail::submit::Security;
use crate::mailroom::Mailroom;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let room = Mailroom::new(scene, 2).open()?;
    let desk = Desk::new(&room, scene)?;
    let client = octets(&desk.client)?;
    scene
        .world
        .publish(&[zone_of_the_list(client), zone_of_names(client)])?;
    desk.own_lists()?;
    desk.list_in_the_dns()?;
    desk.name_in_the_dns()?;
    desk.rates()?;
    desk.rates_of_users()?;
    desk.a_new_sender_waits_once_for_both_pods()?;
    desk.listener(&json!({"access": null}))?;
    desk.expect_told("free", "someone@nothing.example", "250")?;
    desk.same_process()
}

fn octets(client: &str) -> Outcome<[u8; 4]> {
    let address: Result<Ipv4Addr, _> = client.parse();
    let address = address.map_err(|_| Failure::wrong(format!("the client's address is {client}")))?;
    Ok(address.octets())
}

/// A list that has its test entry and the client on it; and the name of the client, which leads elsewhere.
fn zone_of_the_list([a, b, c, d]: [u8; 4]) -> Zone {
    Zone::new(LIST)
        .record("2.0.0.127 IN A 127.0.0.2")
        .record(format!("{d}.{c}.{b}.{a} IN A 127.0.0.4"))
        .record(format!("client IN A {ELSEWHERE}"))
}

/// What the client's address is called.
fn zone_of_names([a, b, c, d]: [u8; 4]) -> Zone {
    Zone::new(&format!("{c}.{b}.{a}.in-addr.arpa")).record(format!("{d} IN PTR client.{LIST}."))
}

impl Desk<'_> {
    /// Sets this and nothing else of `access`.
    fn access(&self, access: &Value) -> Outcome {
        let mut whole = json!({});
        for field in [
            "allow",
            "deny",
            "dnsBlocklists",
            "dnsBlocklistThreshold",
            "reverseDns",
            "rates",
            "greylisting",
        ] {
            whole[field] = access[field].clone();
        }
        self.listener(&json!({"access": whole}))
    }

    /// What a client is told at RCPT by a pod.
    fn told_by(&self, pod: &str, from: &str) -> Outcome<String> {
        let (from, to) = (
            format!("MAIL FROM:<{from}>"),
            format!("RCPT TO:<{}>", self.room.sender()),
        );
        let client = &self.scene.world.peers.namespace;
        let replies = dialogue(
            client,
            pod,
            TRANSFER,
            "",
            &["EHLO client.example", &from, &to, "QUIT"],
        )?;
        Ok(replies.to(3).to_owned())
    }

    fn expect_told(&self, when: &str, from: &str, beginning: &str) -> Outcome {
        let told = self.told_by(&self.pod, from)?;
        if told.starts_with(beginning) {
            return Ok(());
        }
        Err(Failure::wrong(format!(
            "{when}: {from} is told `{told}` and not {beginning}"
        )))
    }

    /// A user's mail goes whatever is said of clients.
    fn user_sends(&self, mark: &str) -> Outcome {
        let to = self.room.far_user();
        let mail = Mail::plain(&self.room.mark(mark), &self.room.sender(), &to);
        self.room.send(&self.room.server(Security::StartTls)?, &mail)?;
        self.arrived(&to, &mail).map(drop)
    }

    fn own_lists(&self) -> Outcome {
        self.access(&json!({
            "deny": [{"networks": [self.client]}, {"heloDomains": ["bad.example"]}],
            "allow": [
                {"networks": [self.client], "senderDomains": ["friend.example"]},
                {"networks": [self.client], "senders": ["one@nothing.example"]},
            ],
        }))?;
        self.expect_told("denied", "someone@nothing.example", "550 5.7.1")?;
        self.expect_told("allowed", "someone@mx.friend.example", "250")?;
        self.expect_told("allowed by its address", "one@nothing.example", "250")?;
        self.user_sends("denied-network")
    }

    fn list_in_the_dns(&self) -> Outcome {
        let lists = json!([{"zone": LIST, "name": "the-list", "score": 2}]);
        self.access(&json!({"dnsBlocklists": lists, "dnsBlocklistThreshold": 2}))?;
        let listed = || {
            Ok(self
                .told_by(&self.pod, "someone@nothing.example")?
                .starts_with("554 5.7.1"))
        };
        until(LIMIT, listed).map_err(|_| Failure::wrong("a client on the list is let in"))?;
        let told = self.told_by(&self.pod, "someone@nothing.example")?;
        if !told.contains("(the-list)") || told.contains(LIST) {
            return Err(Failure::wrong(format!(
                "the reply should name `the-list` alone: {told}"
            )));
        }
        self.user_sends("listed")?;
        // An answer that does not count.
        let lists = json!([{"zone": LIST, "answers": ["127.0.0.2"]}]);
        self.access(&json!({"dnsBlocklists": lists}))?;
        self.expect_told("another answer", "someone@nothing.example", "250")
    }

    /// A name is enough, or it has to lead back.
    fn name_in_the_dns(&self) -> Outcome {
        for (mode, told) in [("Named", "250"), ("Confirmed", "550 5.7.25")] {
            self.access(&json!({"reverseDns": {"mode": mode}}))?;
            self.expect_told(mode, "someone@nothing.example", told)?;
        }
        Ok(())
    }

    fn rates(&self) -> Outcome {
        self.access(&json!({"rates": {"client": {"messages": [{"count": 1, "per": "1d"}]}}}))?;
        let second = || {
            Ok(self
                .told_by(&self.pod, "someone@nothing.example")?
                .starts_with("450 4.7.28"))
        };
        until(LIMIT, second).map_err(|_| Failure::wrong("a client may bring more than its rate"))?;
        self.user_sends("rated")
    }

    /// A pod that is too slow to count for the other lets one more through.
    fn rates_of_users(&self) -> Outcome {
        self.access(&json!({"rates": {"user": {"messages": [{"count": 1, "per": "1d"}]}}}))?;
        let server = self.room.server(Security::StartTls)?;
        let mail = Mail::plain(
            &self.room.mark("too-many"),
            &self.room.sender(),
            &self.room.far_user(),
        );
        until(LIMIT, || Ok(self.room.send(&server, &mail).is_err()))
            .map_err(|_| Failure::wrong("a user may send more than the rate"))
    }

    /// Some senders, so that each pod owns some. A pod that is too slow to answer lets a mail through: it is tried again.
    fn a_new_sender_waits_once_for_both_pods(&self) -> Outcome {
        self.access(&json!({"greylisting": {"delay": "1h", "retryWithin": "2h"}}))?;
        let other = self.room.namespace().get(["pod/edge-1"])?;
        let other = other["status"]["podIP"].as_str().unwrap_or_default().to_owned();
        let senders: Vec<String> = (0..SENDERS)
            .map(|number| format!("new-{number}@nothing.example"))
            .collect();
        let put_off = |pod: &str, sender: &str| {
            let mut told = String::new();
            until(LIMIT, || {
                told = self.told_by(pod, sender)?;
                Ok(told.starts_with("451 4.7.1"))
            })
            .map_err(|_| {
                Failure::wrong(format!(
                    "{sender} is told `{told}` by {pod}, and should come again"
                ))
            })?;
            Ok::<_, Failure>(told)
        };
        for sender in &senders {
            put_off(&self.pod, sender)?;
        }
        for sender in &senders {
            let told = put_off(&other, sender)?;
            if told.contains("(in 3600 seconds)") {
                return Err(Failure::wrong(format!(
                    "{sender} waits anew at the other pod: {told}"
                )));
            }
        }
        self.user_sends("greylisted")?;
        self.listener(&json!({"access": {"greylisting": {"delay": "1s"}}}))?;
        let mail = Mail::plain(&self.room.mark("passed"), &senders[0], &self.room.sender());
        let (from, to) = (
            format!("MAIL FROM:<{}>", mail.from),
            format!("RCPT TO:<{}>", mail.to),
        );
        let content = as_data(&mail);
        let texts = ["EHLO client.example", &from, &to, "DATA", &content, "QUIT"];
        let client = &self.scene.world.peers.namespace;
        dialogue(client, &other, TRANSFER, "", &texts)?.expect(5, "250")?;
        self.arrived(&mail.to, &mail).map(drop)
    }
}

const LIST: &str = "list.example";
const SENDERS: usize = 8;
