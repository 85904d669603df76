//! What a reply of a next hop means (RFC 5321 section 4.2.1, RFC 3463).
//!
//! Pure.

use postroad_smtp::client::ClientReply;

use crate::dsn::text::{Charset, one_line};
use crate::outcome::{Hop, Outcome, Source, Status, Verdict};
use crate::queue::window::Feedback;

/// What a reply means for a recipient: 2yz counts after the end of the data only, which is when it is asked.
pub fn verdict(reply: &ClientReply) -> Verdict {
    match reply.code {
        200..=299 => Verdict::Delivered,
        // RFC 5321 section 4.5.3.1.10: 552 for "too many recipients" is to be treated as 452.
        552 if is_too_many(reply) => Verdict::Deferred,
        500..=599 => Verdict::Failed,
        _ => Verdict::Deferred,
    }
}

/// The outcome for a recipient.
pub fn outcome(reply: &ClientReply, hop: &Hop) -> Outcome {
    let verdict = verdict(reply);
    let class = match verdict {
        Verdict::Delivered => 2,
        Verdict::Deferred => 4,
        Verdict::Failed => 5,
    };
    Outcome {
        verdict,
        status: status(reply).unwrap_or(Status::new(class, 0, 0)).of_class(class),
        source: Source::NextHop(line(reply)),
        hop: Some(hop.clone()),
        reported_by_hop: false,
    }
}

/// The reply in one clean line for logs and notices.
pub fn line(reply: &ClientReply) -> String {
    one_line(&reply.to_line(), Charset::Unicode, LONGEST)
}

/// What a reply says of the site: 421 and policy deferrals (4.7.x) ask to slow down.
pub fn feedback(reply: &ClientReply) -> Feedback {
    let policy = status(reply).is_some_and(|status| status.class == 4 && status.subject == 7);
    let text = reply.text.to_ascii_lowercase();
    let rate = reply.code / 100 == 4 && ["rate", "too many", "throttl"].iter().any(|word| text.contains(word));
    if reply.code == 421 || policy || rate {
        Feedback::Busy
    } else {
        Feedback::Good
    }
}

fn is_too_many(reply: &ClientReply) -> bool {
    reply.enhanced.as_deref() == Some("5.5.3") || reply.text.to_ascii_lowercase().contains("too many")
}

fn status(reply: &ClientReply) -> Option<Status> {
    let mut numbers = reply.enhanced.as_deref()?.split('.');
    let class = numbers.next()?.parse().ok()?;
    let subject = numbers.next()?.parse().ok()?;
    let detail = numbers.next()?.parse().ok()?;
    Some(Status::new(class, subject, detail))
}

/// What is kept of a reply; the spool keeps 512 octets with status and host.
const LONGEST: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, enhanced: &str, text: &str) -> ClientReply {
        ClientReply {
            code,
            enhanced: Some(enhanced.to_owned()).filter(|code| !code.is_empty()),
            text: text.into(),
        }
    }

    #[test]
    fn the_first_digit_decides_but_for_too_many_recipients() {
        use Verdict::{Deferred, Delivered, Failed};
        for (code, enhanced, text, want) in [
            (250, "2.0.0", "", Delivered),
            (354, "", "", Deferred),
            (421, "", "", Deferred),
            (450, "4.2.0", "", Deferred),
            (550, "5.1.1", "", Failed),
            (552, "5.5.3", "", Deferred),
            (552, "", "Too many recipients", Deferred),
            (552, "5.3.4", "too big", Failed),
        ] {
            assert_eq!(verdict(&reply(code, enhanced, text)), want, "{code} {enhanced} {text}");
        }
    }

    #[test]
    fn the_status_has_the_class_of_the_verdict() {
        let hop = Hop {
            host: "mx".into(),
            address: None,
        };
        for (code, enhanced, want) in [
            (550, "5.1.1", Status::new(5, 1, 1)),
            (550, "", Status::new(5, 0, 0)),
            (552, "5.5.3", Status::new(4, 5, 3)),
        ] {
            assert_eq!(outcome(&reply(code, enhanced, "x"), &hop).status, want, "{code} {enhanced}");
        }
    }

    #[test]
    fn who_asks_to_slow_down_is_heard() {
        for (code, enhanced, text, want) in [
            (421, "", "bye", Feedback::Busy),
            (451, "4.7.1", "greylisted", Feedback::Busy),
            (452, "4.5.3", "Too many messages", Feedback::Busy),
            (450, "4.2.0", "mailbox busy", Feedback::Good),
            (550, "5.7.1", "rate", Feedback::Good),
        ] {
            assert_eq!(feedback(&reply(code, enhanced, text)), want, "{code} {text}");
        }
    }
}
