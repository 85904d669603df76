//! What people read in a notice: what happened, and what they can do about it.
//!
//! Pure. The words follow the enhanced status code (RFC 3463), the one thing that every server says in the same way.

use super::compose::Action;

/// What happened to the recipients below.
pub fn explanation(action: Action) -> &'static [&'static str] {
    match action {
        Action::Failed => &[
            "Your message could not be delivered to the recipients below. It will not be tried",
            "again. If you need help, send this notice to your postmaster.",
        ],
        Action::Delayed => &[
            "Your message has not been delivered to the recipients below yet. You need not send",
            "it again: the server keeps trying, and tells you if it gives up.",
        ],
        Action::Delivered => &["Your message was delivered to the recipients below."],
        Action::Relayed => &[
            "Your message was handed to the next mail server for the recipients below. You may hear",
            "no more of it from here on.",
        ],
        Action::Expanded => &[
            "Your message was accepted for the addresses below and sent on to all who are behind",
            "them. You get no report about each of them.",
        ],
    }
}

/// What the sender can do, by the status code of a failure.
pub fn advice(status: &str) -> Option<&'static str> {
    let (_, reason) = status.split_once('.')?;
    Some(match reason {
        "1.1" | "1.6" | "2.1" => "Check how the address is written; it may have changed or be closed.",
        "1.2" | "1.10" | "4.4" | "4.3" => "Check the part behind the @; that domain takes no mail now.",
        "1.3" => "The address is not written as addresses are; check it.",
        "2.2" => "The mailbox is full. Try again later, or reach the recipient in another way.",
        "2.3" | "3.4" => "The message is too large. Send less, or a link to it.",
        "4.1" | "4.2" | "4.5" | "4.7" => {
            "The other server could not be reached in time. Send it again later, or tell the recipient."
        }
        "6.3" | "6.7" | "6.9" => {
            "The other server does not take these characters. Use an address and text without accents."
        }
        "7.10" | "7.30" => {
            "The way there is not protected as you asked. Send it without that request, or in another way."
        }
        _ if reason.starts_with("7.") => {
            "The other side refuses it by its rules. Ask your postmaster, or the recipient in another way."
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_decides_and_not_the_class() {
        assert_eq!(advice("5.1.1"), advice("4.1.1"));
        assert!(advice("5.7.26").is_some_and(|advice| advice.contains("rules")));
        for unknown in ["5.0.0", "x", "", "5.1.1 x"] {
            assert_eq!(advice(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn lines_for_people_fit_a_terminal() {
        for reason in ["1.1", "1.2", "1.3", "2.2", "2.3", "4.1", "6.7", "7.1"] {
            let advice = advice(&format!("5.{reason}")).unwrap();
            assert!(advice.len() <= 96, "{advice}");
        }
    }
}
