//! Fields of a listener and a policy are set, and what the pods do follows within seconds, without a restart: bound logins,
//! trusted networks, the PROXY protocol, edits of the header, limits of a session, the rate of a route, the notice of a delay.

use std::time::{Duration, Instant};

use serde_json::json;

use super::away::Away;
use super::desk::{Desk, ELSEWHERE, LIMIT, as_data, header_of};
use crate::kubectl::{Failure, Outcome, until};
use crate::mail::Mail;
use crate::mail::mailbox::{self, Reader};
use crate::mail::submit::Security;
use crate::mailroom::Mailroom;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let away = Away::new(scene)?;
    let mut room = Mailroom::new(scene, 1);
    room.listener["spec"]["queue"]["delayNotice"] = json!("1m");
    // Logins can be bound where every user has SCRAM keys.
    room.hash = &["--scram"];
    away.reached_by(&mut room);
    away.shut()?;
    let room = room.open()?;
    let desk = Desk::new(&room, scene)?;
    // It waits for a minute, and the rest goes on meanwhile.
    let waits = desk.waits(&away)?;
    desk.bound_login()?;
    let mut mails = desk.relay_from()?;
    desk.proxy_protocol()?;
    desk.session_limit()?;
    desk.header_edits()?;
    mails.extend(desk.route_rate()?);
    desk.delay_notice(&away, &waits)?;
    room.expect_at_far(&mails, LIMIT)?;
    desk.same_process()
}

impl Desk<'_> {
    /// A client of a trusted network relays without a password; before and afterwards it cannot.
    fn relay_from(&self) -> Outcome<Vec<Mail>> {
        let mail = Mail::plain(
            &self.room.mark("relay"),
            &self.room.sender(),
            &self.room.far_user(),
        );
        let from = format!("MAIL FROM:<{}>", mail.from);
        let to = format!("RCPT TO:<{}>", mail.to);
        let content = as_data(&mail);
        self.talk("", &["EHLO client.example", &from, &to])?
            .expect(3, "55")?;
        self.listener(&json!({"relayFrom": [format!("{}/32", self.client)]}))?;
        let replies = self.talk("", &["EHLO client.example", &from, &to, "DATA", &content, "QUIT"])?;
        replies.expect(5, "250")?;
        self.arrived(&mail.to, &mail)?;
        self.listener(&json!({"relayFrom": null}))?;
        self.talk("", &["EHLO client.example", &from, &to])?
            .expect(3, "55")?;
        Ok(vec![mail])
    }

    /// The load balancer's word about the client is taken, is in the trace, and is required.
    fn proxy_protocol(&self) -> Outcome {
        let trusted = json!({"mode": "Required", "trustedSources": [format!("{}/32", self.client)]});
        self.listener(&json!({"service": {"proxyProtocol": trusted}}))?;
        let (sender, user) = (format!("someone@{}", crate::peers::FAR), self.room.sender());
        let mail = Mail::plain(&self.room.mark("proxy"), &sender, &user);
        let (from, to) = (format!("MAIL FROM:<{sender}>"), format!("RCPT TO:<{user}>"));
        let content = as_data(&mail);
        let texts = ["EHLO client.example", &from, &to, "DATA", &content, "QUIT"];
        let header = format!("PROXY TCP4 {ELSEWHERE} 192.0.2.1 40000 25\r\n");
        self.talk(&header, &texts)?.expect(5, "250")?;
        let found = self.arrived(&user, &mail)?;
        if !header_of(&found).contains(ELSEWHERE) {
            return Err(Failure::wrong(format!(
                "{ELSEWHERE} is not in the trace: {}",
                header_of(&found)
            )));
        }
        // Without the header the session does not come to a reply to EHLO.
        let replies = self.talk("", &["EHLO client.example"])?;
        if replies.to(1).starts_with("250") {
            return Err(Failure::wrong("a connection without a PROXY header was served"));
        }
        self.listener(&json!({"service": {"proxyProtocol": null}}))
    }

    /// After one message the session is ended with 421.
    fn session_limit(&self) -> Outcome {
        self.listener(&json!({"limits": {"messagesPerConnection": 1}}))?;
        let (sender, user) = (format!("someone@{}", crate::peers::FAR), self.room.sender());
        let mail = Mail::plain(&self.room.mark("one"), &sender, &user);
        let (from, to) = (format!("MAIL FROM:<{sender}>"), format!("RCPT TO:<{user}>"));
        let content = as_data(&mail);
        let replies = self.talk("", &["EHLO client.example", &from, &to, "DATA", &content, &from])?;
        replies.expect(5, "250")?;
        replies.expect(6, "421")?;
        self.arrived(&user, &mail)?;
        self.listener(&json!({"limits": {"messagesPerConnection": null}}))
    }

    /// The client's address does not leave, a field is added, another is taken out.
    fn header_edits(&self) -> Outcome {
        let edits =
            json!({"hideClientAddress": true, "add": {"X-Sent-By": "the platform"}, "remove": ["X-Folded"]});
        self.listener(&json!({"headers": {"submission": edits}}))?;
        let mail = Mail::plain(
            &self.room.mark("edits"),
            &self.room.sender(),
            &self.room.far_user(),
        );
        self.room.send(&self.room.server_at("edge-0")?, &mail)?;
        let header = header_of(&self.arrived(&mail.to, &mail)?);
        let holds = !header.contains(&format!("[{}]", self.client))
            && header.contains("X-Sent-By: the platform")
            && !header.contains("X-Folded")
            && !header.contains("three");
        if !holds {
            return Err(Failure::wrong(format!(
                "the header was not edited as asked: {header}"
            )));
        }
        self.listener(&json!({"headers": null}))
    }

    /// A route of one message in three seconds takes at least twelve for five.
    fn route_rate(&self) -> Outcome<Vec<Mail>> {
        let mut route = self.room.policy["spec"]["routes"][0].clone();
        route["limits"] = json!({"messages": [{"count": 1, "per": "3s"}]});
        self.set("relaypolicy/far", &json!({"routes": [route]}))?;
        let start = Instant::now();
        let mails = self.room.send_through(&["edge-0"], 5)?;
        let sent: Vec<_> = mails.iter().collect();
        let peers = &self.scene.world.peers;
        mailbox::await_all(peers, &self.room.far_user(), Reader::Imap, &sent, LIMIT)?;
        if start.elapsed() < Duration::from_secs(12) {
            return Err(Failure::wrong(format!(
                "five mails left within {:?} at one in three seconds",
                start.elapsed()
            )));
        }
        let routes = json!({"routes": self.room.policy["spec"]["routes"]});
        self.set("relaypolicy/far", &routes)?;
        Ok(mails)
    }

    /// A mail for servers that are away.
    fn waits(&self, away: &Away<'_>) -> Outcome<Mail> {
        let mail = Mail::plain(&self.room.mark("waits"), &self.room.sender(), &away.user("waits"));
        self.room.send(&self.room.server(Security::StartTls)?, &mail)?;
        Ok(mail)
    }

    /// When it has waited for a minute its sender is told; when its servers are back it is delivered once.
    fn delay_notice(&self, away: &Away<'_>, mail: &Mail) -> Outcome {
        let peers = &self.scene.world.peers;
        until(Duration::from_mins(3), || {
            let found = mailbox::read(peers, &mail.from, Reader::Imap).unwrap_or_default();
            Ok(found.iter().any(|message| {
                let text = String::from_utf8_lossy(message);
                text.contains("Action: delayed") && text.contains(&mail.to)
            }))
        })
        .map_err(|_| Failure::wrong("the sender was not told of the delay within three minutes"))?;
        away.open()?;
        mailbox::await_all(peers, &mail.to, Reader::Imap, &[mail], LIMIT)?;
        self.room.await_queue(0, LIMIT)?;
        mailbox::expect_exactly(peers, &mail.to, Reader::Imap, &[mail], Duration::ZERO)
    }
}
