//! Reasons of ours why there is no delivery: each with its verdict, its status and what it says of the site.
//!
//! Pure. What a next hop says is judged in `reply.rs`.

use postroad_config::provider::Kind;
use postroad_smtp::client::PeerReply;

use super::connect::NoTls;
use super::demand::Lack;
use super::exchanges::NoExchange;
use super::protection::{By, Refusal};
use crate::logins::fault::NoLogin;
use crate::outcome::{Hop, Outcome, Status, Verdict};
use crate::queue::window::Feedback;

/// An attempt that ended without a word of a next hop about the recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setback {
    /// The outcome for every recipient.
    pub outcome: Outcome,
    /// What it says of the site; none when it says nothing.
    pub feedback: Option<Feedback>,
}

impl Setback {
    /// The site cannot be reached now.
    pub fn dead(status: Status, reason: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::ours(Verdict::Deferred, status, reason),
            feedback: Some(Feedback::Dead),
        }
    }

    /// Its route rests. What was learnt of other ways of the attempt stays.
    pub fn resting(outcome: Outcome, before: Option<&Self>) -> Self {
        Self {
            outcome,
            feedback: before.and_then(|before| before.feedback),
        }
    }

    /// The message is larger than the route takes. RFC 3463 section 3.4, X.3.4.
    pub fn too_large(most: u64) -> Self {
        Self::never(
            Status::new(5, 3, 4),
            format!("the message is larger than the {most} octets that this route takes"),
        )
    }

    /// The site will never take it.
    pub fn never(status: Status, reason: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::ours(Verdict::Failed, status, reason),
            feedback: None,
        }
    }

    /// Something of ours failed; the site has no part in it.
    pub fn ours(reason: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::ours(Verdict::Deferred, Status::new(4, 3, 0), reason),
            feedback: None,
        }
    }

    /// The message is damaged on disk.
    pub fn lost() -> Self {
        Self {
            outcome: Outcome::body_lost(),
            feedback: None,
        }
    }

    /// A message with REQUIRETLS finds no TLS (RFC 8689 section 4.2.1). That is a matter of the message: the site lives.
    pub fn unprotected(whom: &str, no: &NoTls) -> Self {
        let reason = format!("no proven TLS with {whom}, which REQUIRETLS needs: {}", no.reason);
        if no.lasting {
            Self::never(Status::new(5, 7, 10), reason)
        } else {
            Self {
                outcome: Outcome::ours(Verdict::Deferred, Status::new(4, 7, 10), reason),
                feedback: None,
            }
        }
    }

    /// Nobody is logged in at a smart host: a fault of the configuration or of the moment, never of a recipient. The lane waits.
    pub fn not_logged_in(whom: &str, no: &NoLogin) -> Self {
        let status = no.reply.as_ref().and_then(PeerReply::enhanced);
        // RFC 4954 section 6: X.7.8 is about credentials.
        let (_, subject, detail) = status.unwrap_or((4, 7, 8));
        let setback = Self::dead(
            Status::new(4, subject, detail),
            format!("not logged in at {whom}: {}: {}", no.fault.name(), no.reason),
        );
        if no.fault.is_on_hold() {
            setback.until_mended()
        } else {
            setback
        }
    }

    /// A configured name has no address, by a DNS that answers.
    pub fn misnamed(reason: String) -> Self {
        Self::dead(Status::new(4, 4, 3), reason).until_mended()
    }

    /// A fault of the configuration: its mail is on hold.
    #[must_use]
    pub(super) fn until_mended(mut self) -> Self {
        self.outcome.reaction = Some(Kind::Configuration);
        self
    }

    /// No server of the domain has a name that is beyond doubt, see [`super::demand::is_proven`].
    pub fn unproven(domain: &str) -> Self {
        Self::never(
            Status::new(5, 7, 10),
            format!(
                "neither DNSSEC nor an MTA-STS policy proves the names of the mail servers of {domain}, which REQUIRETLS needs"
            ),
        )
    }

    /// A server gets nothing, by what is published about it. Nothing of that is known of the site's other domains. RFC 3463
    /// section 3.8, X.7.5.
    pub fn refused(to: &str, host: &str, refusal: &Refusal) -> Self {
        let reason = match refusal {
            Refusal::Unproven => return Self::unproven(to),
            Refusal::Unknown(question) => {
                format!("whether {host} has a TLSA record is not known: no answer to {question}")
            }
            Refusal::NoDane => format!(
                "{host} has no TLSA record that DNSSEC proves and SMTP can use, which the route needs (DaneOnly)"
            ),
            Refusal::NotNamed => format!("the MTA-STS policy of {to} does not name {host}"),
        };
        Self {
            outcome: Outcome::ours(Verdict::Deferred, Status::new(4, 7, 5), reason),
            feedback: None,
        }
    }

    /// There is no TLS with a server, and who asks for it. That of a domain's policy is no word about the others at the site.
    pub fn no_tls(whom: &str, no: &NoTls, by: By) -> Self {
        let setback = Self::dead(
            Status::new(4, 7, 5),
            format!("no TLS with {whom} as {by} asks: {}", no.reason),
        );
        match by {
            By::MtaSts => Self {
                feedback: None,
                ..setback
            },
            _ => setback,
        }
    }

    /// A server does not promise what the message needs.
    pub fn lacks(whom: &str, lack: Lack) -> Self {
        match lack {
            // RFC 8689 section 4.2.1.
            Lack::RequireTls => Self::never(
                Status::new(5, 7, 30),
                format!("{whom} does not offer REQUIRETLS, which this message needs"),
            ),
            // RFC 2852 section 4.1.4.
            Lack::DeliverBy => Self::never(
                Status::new(5, 4, 7),
                format!(
                    "{whom} does not promise to return mail in time (DELIVERBY), which this message needs"
                ),
            ),
            Lack::LeastTime(seconds) => Self::never(
                Status::new(5, 4, 7),
                format!(
                    "{whom} needs {seconds} seconds to return mail in time, and this message has less left"
                ),
            ),
        }
    }

    /// No server was ready to take the message in the time that an attempt has. RFC 3463 section 3.5, X.4.2.
    pub fn tardy() -> Self {
        Self::dead(
            Status::new(4, 4, 2),
            "no server was ready to take the message in the time of an attempt",
        )
    }

    /// The time within which the sender wants it delivered ran out (RFC 2852 section 4.1.3).
    pub fn late() -> Self {
        Self {
            outcome: Outcome::late(),
            feedback: None,
        }
    }

    /// The same about a server.
    #[must_use]
    pub fn at(mut self, hop: Hop) -> Self {
        self.outcome = self.outcome.at(hop);
        self
    }

    /// What the DNS says of a domain.
    pub fn of_exchange(domain: &str, why: &NoExchange) -> Self {
        match why {
            // RFC 3463 section 3.2, X.1.2.
            NoExchange::NoDomain => Self::never(
                Status::new(5, 1, 2),
                format!("the domain {domain} does not exist"),
            ),
            // RFC 7505 section 4.1: 556 and 5.1.10.
            NoExchange::NullMx => Self::never(
                Status::new(5, 1, 10),
                format!("the domain {domain} takes no mail (null MX)"),
            ),
            // RFC 3463 section 3.5, X.4.6.
            NoExchange::Ourselves => Self::never(
                Status::new(5, 4, 6),
                format!("the MX of {domain} is this server, which does not receive for it: a loop"),
            ),
            // RFC 3463 section 3.5, X.4.3.
            NoExchange::Unknown(reason) => Self::dead(
                Status::new(4, 4, 3),
                format!("the DNS gives no answer about {domain}: {reason}"),
            ),
        }
    }

    /// No host of a domain has an address. RFC 5321 section 5.1 calls that an error to be reported, not one to be waited
    /// out.
    pub fn nowhere(domain: &str) -> Self {
        Self::never(
            Status::new(5, 4, 4),
            format!("no mail server of {domain} has an address"),
        )
    }

    /// The hosts of a domain have addresses that mail may not go to.
    pub fn private(domain: &str) -> Self {
        Self::never(
            Status::new(5, 4, 4),
            format!(
                "the mail servers of {domain} have private addresses only; `allowedNetworks` of a policy may permit them"
            ),
        )
    }

    /// The domain is an address in brackets. RFC 3463 section 3.2, X.1.2.
    pub fn literal(domain: &str) -> Self {
        Self::never(
            Status::new(5, 1, 2),
            format!("mail to {domain} is not passed on; `allowedNetworks` of a policy may name its network"),
        )
    }
}

#[cfg(test)]
mod tests {
    use postroad_config::admin::LoginFault;

    use super::*;
    use crate::logins::fault::advice;

    #[test]
    fn no_fault_of_a_login_returns_mail_and_one_that_somebody_has_to_mend_puts_it_on_hold() {
        for fault in LoginFault::ALL {
            let no = NoLogin::new(fault, format!("why; {}", advice(fault)));
            let outcome = Setback::not_logged_in("smtp.example", &no).outcome;
            assert_eq!(outcome.verdict, Verdict::Deferred, "{fault:?}");
            let is_asked_for_patience = fault == LoginFault::LoginsThrottled;
            assert_eq!(outcome.is_on_hold(), !is_asked_for_patience, "{fault:?}");
            let text = outcome.source.text();
            assert!(
                text.contains(fault.name()) && text.contains(advice(fault)),
                "{text}"
            );
        }
    }
}
