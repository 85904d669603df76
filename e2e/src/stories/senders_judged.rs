//! Mail of other servers is judged by SPF: the verdict stands in the mailbox, a forged one does not, and a `fail` is refused
//! once that is chosen, without a restart.

use serde_json::json;

use super::desk::{Desk, as_data, header_of};
use crate::kubectl::{Failure, Outcome};
use crate::mail::Mail;
use crate::mailroom::{LISTENER, Mailroom};
use crate::peers::FAR;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let room = Mailroom::new(scene, 1).open()?;
    let desk = Desk::new(&room, scene)?;
    desk.verdict_is_written()?;
    desk.listener(&json!({"verification": {"spf": {"mode": "Reject"}}}))?;
    desk.fail_is_refused()?;
    desk.listener(&json!({"verification": null}))?;
    desk.verdict_is_written()?;
    desk.same_process()
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
}
