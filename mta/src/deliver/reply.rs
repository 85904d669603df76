//! What a reply of a next hop means (RFC 5321 section 4.2.1, RFC 3463).
//!
//! Pure.

use postroad_config::provider::Reaction;
use postroad_smtp::client::{self, PeerReply, Stage};

use crate::dsn::text::{Charset, one_line};
use crate::outcome::{Hop, Outcome, Source, Status, Verdict};
use crate::queue::window::Feedback;

/// What a reply means for a recipient: 2yz is a promise after the end of the data only.
pub fn verdict(stage: Stage, reply: &PeerReply) -> Verdict {
    match (reply.code(), stage) {
        (200..=299, Stage::End) => Verdict::Delivered,
        // RFC 5321 section 4.5.3.1.10: 552 to RCPT may mean too many recipients and is to be treated as 452.
        (552, Stage::Rcpt) => Verdict::Deferred,
        (500..=599, _) => Verdict::Failed,
        _ => Verdict::Deferred,
    }
}

/// The outcome for a recipient.
pub fn outcome(said: &client::Outcome, hop: &Hop) -> Outcome {
    from_reply(verdict(said.stage, &said.reply), &said.reply, hop)
}

/// An outcome with this verdict, for this reply.
pub fn from_reply(verdict: Verdict, reply: &PeerReply, hop: &Hop) -> Outcome {
    let class = match verdict {
        Verdict::Delivered => 2,
        Verdict::Deferred => 4,
        Verdict::Failed => 5,
    };
    Outcome {
        verdict,
        status: status(reply).unwrap_or(Status::new(class, 0, 0)).of_class(class),
        source: Source::NextHop(one_line(&reply.to_string(), Charset::Unicode, LONGEST)),
        hop: Some(hop.clone()),
        reported_by_hop: false,
        time_passed_on: None,
        reaction: None,
    }
}

/// The outcome of a reply of a provider, by what the reply asks for.
pub fn by_reaction(reaction: Reaction, reply: &PeerReply, hop: &Hop) -> Outcome {
    let verdict = if reaction.is_final() {
        Verdict::Failed
    } else {
        Verdict::Deferred
    };
    Outcome {
        reaction: Some(reaction.kind()),
        ..from_reply(verdict, reply, hop)
    }
}

/// What a reply says of the site: 421 and policy deferrals (4.7.x) ask to slow down. Greylisting (RFC 6647 section 5.1) is
/// about one message, which comes back anyway.
pub fn feedback(reply: &PeerReply) -> Feedback {
    let policy = status(reply).is_some_and(|status| status.class == 4 && status.subject == 7);
    let text = reply.text().to_ascii_lowercase();
    let rate = reply.code() / 100 == 4
        && ["rate", "too many", "throttl"]
            .iter()
            .any(|word| text.contains(word));
    let greylisted = ["greylist", "graylist", "grey-list"]
        .iter()
        .any(|word| text.contains(word));
    if reply.code() == 421 || ((policy || rate) && !greylisted) {
        Feedback::Busy
    } else {
        Feedback::Good
    }
}

/// A reply to RCPT says that the transaction has enough recipients: 452, or 552 of old servers (RFC 5321 section
/// 4.5.3.1.10), with X.5.3 (RFC 3463 section 3.6) or in words, as 452 may also mean a full disk.
pub fn is_too_many(reply: &PeerReply) -> bool {
    matches!(reply.code(), 452 | 552)
        && match reply.enhanced() {
            Some((_, subject, detail)) => (subject, detail) == (5, 3),
            None => reply.text().to_ascii_lowercase().contains("too many recipients"),
        }
}

fn status(reply: &PeerReply) -> Option<Status> {
    let (class, subject, detail) = reply.enhanced()?;
    Some(Status::new(class, subject, detail))
}

/// What is kept of a reply; the spool keeps 512 octets with status and host.
const LONGEST: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, enhanced: (u8, u16, u16), text: &str) -> PeerReply {
        PeerReply::made(code, enhanced, text)
    }

    #[test]
    fn the_first_digit_decides_but_for_too_many_recipients() {
        use Verdict::{Deferred, Delivered, Failed};
        for (stage, code, want) in [
            (Stage::End, 250, Delivered),
            (Stage::Rcpt, 250, Deferred),
            (Stage::End, 354, Deferred),
            (Stage::End, 421, Deferred),
            (Stage::Rcpt, 450, Deferred),
            (Stage::Rcpt, 550, Failed),
            (Stage::Rcpt, 552, Deferred),
            (Stage::End, 552, Failed),
            (Stage::Mail, 554, Failed),
        ] {
            assert_eq!(
                verdict(stage, &reply(code, (0, 0, 0), "")),
                want,
                "{stage:?} {code}"
            );
        }
    }

    #[test]
    fn the_status_has_the_class_of_the_verdict() {
        let hop = Hop {
            host: "mx".into(),
            address: None,
            tls: None,
            tls_policy: crate::deliver::protection::By::Route,
        };
        let said = |stage, code, enhanced| client::Outcome {
            stage,
            reply: reply(code, enhanced, "x"),
        };
        let status = |said| outcome(&said, &hop).status;
        assert_eq!(status(said(Stage::Rcpt, 550, (5, 1, 1))), Status::new(5, 1, 1));
        assert_eq!(status(said(Stage::Rcpt, 552, (5, 5, 3))), Status::new(4, 5, 3));
    }

    #[test]
    fn who_asks_to_slow_down_is_heard() {
        for (code, enhanced, text, want) in [
            (421, (4, 0, 0), "bye", Feedback::Busy),
            (
                451,
                (4, 7, 1),
                "Greylisted, come back in 5 minutes",
                Feedback::Good,
            ),
            (
                451,
                (4, 7, 650),
                "your IP was temporarily limited",
                Feedback::Busy,
            ),
            (452, (4, 5, 3), "Too many messages", Feedback::Busy),
            (450, (4, 2, 0), "mailbox busy", Feedback::Good),
            (550, (5, 7, 1), "rate", Feedback::Good),
        ] {
            assert_eq!(feedback(&reply(code, enhanced, text)), want, "{code} {text}");
        }
    }
}
