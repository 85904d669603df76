//! Mail of other servers is judged by SPF, DKIM and DMARC: the verdicts stand in the mailbox, a forged one does not, and what
//! the sender's or the author's domain wants refused is refused once that is chosen, without a restart. What a list has changed is taken once
//! its word is, and of whom the DNS says nothing now is asked to come again, as is chosen.

use serde_json::json;

use super::desk::{Desk, as_data, header_of};
use crate::dns::{SILENT, Zone};
use crate::kubectl::{Failure, Outcome};
use crate::mail::Mail;
use crate::mail::dialogue::Replies;
use crate::mailroom::{LISTENER, Mailroom};
use crate::peers::FAR;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let room = Mailroom::new(scene, 1).open()?;
    let desk = Desk::new(&room, scene)?;
    scene.world.publish(&[zone_of_the_author(), zone_of_the_list()])?;
    desk.verdict_is_written()?;
    desk.signature_is_told(
        "signed",
        AS_SIGNED,
        "dkim=pass",
        "dmarc=pass header.from=signed.example",
    )?;
    desk.signature_is_told("changed", CHANGED, "dkim=fail", "policy.dmarc=reject")?;
    desk.listener(&json!({"verification": {"spf": {"mode": "Reject"}, "dmarc": {"mode": "Enforce"}}}))?;
    desk.fail_is_refused()?;
    desk.forged_author_is_refused()?;
    desk.strangers_and_silence_let_nothing_in()?;
    desk.listener(&json!({"verification": {
        "arc": {"trustedSealers": [LIST]}, "spf": {"temporaryError": "Defer"}, "dmarc": {"temporaryError": "Accept"},
    }}))?;
    desk.trusted_list_vouches()?;
    desk.silence_is_judged_as_chosen()?;
    desk.listener(&json!({"verification": null}))?;
    desk.verdict_is_written()?;
    desk.same_process()
}

/// The author's domain, with its key and its wish.
fn zone_of_the_author() -> Zone {
    Zone::new("signed.example")
        .record("_dmarc IN TXT \"v=DMARC1; p=reject\"")
        .record(format!("s._domainkey IN TXT \"v=DKIM1; k=ed25519; p={KEY}\""))
}

/// A list, with the same key.
fn zone_of_the_list() -> Zone {
    Zone::new("vouched.example").record(format!(
        "s._domainkey.list IN TXT \"v=DKIM1; k=ed25519; p={KEY}\""
    ))
}

impl Desk<'_> {
    /// The client is not the one that the far domain lets send. By default its mail is taken, and says so.
    fn verdict_is_written(&self) -> Outcome {
        let listener = format!("smtplistener/{LISTENER}");
        let found = self.room.namespace().get([listener.as_str()])?;
        let hostname = found["spec"]["hostname"].as_str().unwrap_or_default();
        let (sender, user) = (format!("someone@{FAR}"), self.room.sender());
        let mail = Mail::plain(&self.room.mark("judged"), &sender, &user);
        let (from, to) = (format!("MAIL FROM:<{sender}>"), format!("RCPT TO:<{user}>"));
        let forged = format!("Authentication-Results: {hostname}; spf=pass smtp.mailfrom=forged.example\r\n");
        let content = forged + &as_data(&mail);
        let texts = ["EHLO client.example", &from, &to, "DATA", &content, "QUIT"];
        self.talk("", &texts)?.expect(5, "250")?;
        let header = header_of(&self.arrived(&user, &mail)?).replace("\r\n\t", " ");
        let verdict = format!("Authentication-Results: {hostname}; spf=fail smtp.mailfrom={sender};");
        if !header.contains(&verdict) || header.contains("forged.example") {
            return Err(Failure::wrong(format!(
                "the one verdict should be `{verdict}`: {header}"
            )));
        }
        Ok(())
    }

    /// The same client is refused at RCPT; for a domain that says nothing it may go on.
    fn fail_is_refused(&self) -> Outcome {
        let (from, to) = (
            format!("MAIL FROM:<someone@{FAR}>"),
            format!("RCPT TO:<{}>", self.room.sender()),
        );
        let says_nothing = "MAIL FROM:<someone@nothing.example>";
        let texts = ["EHLO client.example", &from, &to, "RSET", says_nothing, &to];
        let replies = self.talk("", &texts)?;
        replies.expect(3, "550 5.7.23")?;
        replies.expect(6, "250")
    }

    /// Mail with the author's signature over From and the body, as a client brings it that the reverse-path says nothing of.
    fn signed(&self, mark: &str, body: &str) -> Mail {
        let content = format!(
            "DKIM-Signature: {SIGNED}\r\n\t{SIGNATURE}\r\nSubject: {mark}\r\n\
             From: Ann <ann@signed.example>\r\n\r\n{body}\r\n"
        );
        Mail {
            mark: mark.to_owned(),
            from: "bounce@nothing.example".to_owned(),
            to: self.room.sender(),
            content: content.into_bytes(),
        }
    }

    /// A list has changed the mail, and sealed what it saw before that.
    fn sealed(&self, name: &str) -> Mail {
        let mut mail = self.signed(&self.room.mark(name), CHANGED);
        mail.content.splice(0..0, SET.bytes());
        mail
    }

    /// Mail of an author of whom the DNS says nothing.
    fn of_silence(&self, name: &str) -> Mail {
        let mark = self.room.mark(name);
        let content = format!("Subject: {mark}\r\nFrom: Ann <ann@{SILENT}>\r\n\r\nHello.\r\n");
        Mail {
            mark,
            from: "bounce@nothing.example".to_owned(),
            to: self.room.sender(),
            content: content.into_bytes(),
        }
    }

    fn strangers_and_silence_let_nothing_in(&self) -> Outcome {
        let sealed = self.brought(&self.sealed("a-strange-list"))?;
        sealed.expect(5, "550 5.7.26")?;
        self.brought(&self.of_silence("refused"))?.expect(5, "451 4.4.3")
    }

    /// Of the author's domain it is taken, and says so; of the sender's it is asked to come again.
    fn silence_is_judged_as_chosen(&self) -> Outcome {
        let mail = self.of_silence("taken");
        self.brought(&mail)?.expect(5, "250")?;
        let header = header_of(&self.arrived(&mail.to, &mail)?).replace("\r\n\t", " ");
        if !header.contains("dmarc=temperror") {
            return Err(Failure::wrong(format!("no `dmarc=temperror`: {header}")));
        }
        let from = format!("MAIL FROM:<someone@{SILENT}>");
        let to = format!("RCPT TO:<{}>", self.room.sender());
        self.talk("", &["EHLO client.example", &from, &to])?
            .expect(3, "451 4.4.3")
    }

    fn trusted_list_vouches(&self) -> Outcome {
        let mail = self.sealed("a-trusted-list");
        self.brought(&mail)?.expect(5, "250")?;
        let header = header_of(&self.arrived(&mail.to, &mail)?).replace("\r\n\t", " ");
        let told = format!("{LIST} vouches for it by ARC) header.from=signed.example policy.dmarc=none");
        if !header.contains(&told) {
            return Err(Failure::wrong(format!("no `{told}`: {header}")));
        }
        Ok(())
    }

    fn brought(&self, mail: &Mail) -> Outcome<Replies> {
        let (from, to) = (
            format!("MAIL FROM:<{}>", mail.from),
            format!("RCPT TO:<{}>", mail.to),
        );
        let content = as_data(mail);
        self.talk("", &["EHLO client.example", &from, &to, "DATA", &content, "QUIT"])
    }

    /// By default all is taken, and says what it is.
    fn signature_is_told(&self, name: &str, body: &str, dkim: &str, dmarc: &str) -> Outcome {
        let mail = self.signed(&self.room.mark(name), body);
        self.brought(&mail)?.expect(5, "250")?;
        let header = header_of(&self.arrived(&mail.to, &mail)?).replace("\r\n\t", " ");
        if !header.contains(dkim) || !header.contains(dmarc) {
            return Err(Failure::wrong(format!("no `{dkim}` and `{dmarc}`: {header}")));
        }
        Ok(())
    }

    /// What the author's domain does not stand behind is refused at the end of the message, and what it signed is not.
    fn forged_author_is_refused(&self) -> Outcome {
        let forged = self.signed(&self.room.mark("forged"), CHANGED);
        self.brought(&forged)?.expect(5, "550 5.7.26")?;
        self.signature_is_told(
            "still-signed",
            AS_SIGNED,
            "dkim=pass",
            "dmarc=pass header.from=signed.example",
        )
    }
}

const AS_SIGNED: &str = "This is what Ann wrote.";
const CHANGED: &str = "This is what somebody else wrote.";
/// Made once, with a key that is nobody's: the seed is 32 times the octet 42.
const SIGNED: &str = "v=1; a=ed25519-sha256; c=relaxed/relaxed; d=signed.example; s=s; h=from:from;\r\n\
    \tbh=fEHma6xQbL2Cyq0kyjDYly47v5d6qLct2FknH49Fzko=; b=";
const SIGNATURE: &str =
    "AFY+bo6z0NvGu85cHejKQrSh4Bl7wr0/sxOCxqpzamLcbZ1C+r14+BuWFztrqHwbEYffNNohedppDyunJZaKBA==";
/// Made with the same key: a chain of one set over From and the changed body, by a list that saw DMARC pass.
const SET: &str = "ARC-Seal: i=1; a=ed25519-sha256; cv=none; d=list.vouched.example; s=s;\r\n\
    \tb=r/QPZeUdbazN7U9mg+TmMkbHutc5BfexPr8aT7rvCAuIt8P10Mxdjbk5SyOHJaFJ+3SD65Z5PCgvmG92BbayDw==\r\n\
    ARC-Message-Signature: i=1; a=ed25519-sha256; c=relaxed/relaxed; d=list.vouched.example; s=s; h=from;\r\n\
    \tbh=dSc1nTFvlZrnCvTOmSfMlxtfBKPYp4pvyG9hyOzjBRQ=;\r\n\
    \tb=Wwqsi836eblqsGH5ofw6iHib/RK5HCNmN8dxNyiM+b6rDx0hamjLQlu6dPwt8/YF7OgtA/+pl3ZSJ6OWd6ycCA==\r\n\
    ARC-Authentication-Results: i=1; list.vouched.example; dmarc=pass header.from=signed.example\r\n";
const LIST: &str = "list.vouched.example";
const KEY: &str = "GX9rI+FshTLGq8g4+s1ep4m+DHaykgM0A5v6iz02jWE=";
