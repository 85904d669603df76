//! Recipient verification: the host that gets a domain's mail is asked by MAIL and RCPT whether a recipient exists, before
//! that recipient gets 250 from us. No message is sent.
//!
//! ```text
//!   RCPT ─► known? ─┬─► link ─► MAIL FROM:<> ─► RCPT ─► RSET, QUIT ─► Answer
//!                   └─◄ kept: yes for an hour, no for ten minutes; whatever was not answered is not kept
//! ```
//!
//! Only whole dialogues teach: a lost connection, a refused MAIL or a 4yz says nothing of the recipient, and the client is
//! asked to come again.

mod promise;

pub use promise::Keeps;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postroad_config::{Deliver, TlsMode};
use postroad_smtp::client::{Event, Message, Outcome, PeerReply, Recipient, Stage, Unsuited};
use tokio::sync::Semaphore;

use super::hosts::{Finder, Server};
use super::link::{Link, Target, Trouble};
use super::patience::Patience;
use super::plan::{Protocol, To};
use super::tls::ClientTls;
use crate::dns::Dns;
use crate::net::Budget;

/// What the host says of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It takes mail for it.
    Exists,
    /// There is no such mailbox.
    Missing,
    /// It refuses the recipient for another reason of its own.
    Denied,
    /// The mailbox is full now.
    Full,
    /// It cannot be told now.
    Unknown,
}

/// Asks, and remembers. Cheap to clone.
#[derive(Clone)]
pub struct Callout(Arc<Inner>);

struct Inner {
    dns: Dns,
    tls: ClientTls,
    /// Dialogues at once.
    slots: Semaphore,
    /// The same about promises: a host that does not answer holds up no recipient of another.
    promise_slots: Semaphore,
    known: Mutex<Known>,
    budget: Budget,
    /// What hosts promise.
    promises: Mutex<HashMap<Deliver, (Keeps, Instant)>>,
}

/// Answers by host and recipient.
type Known = HashMap<(Deliver, String), (Answer, Instant)>;

impl Callout {
    /// Without any answers yet.
    pub fn new(dns: Dns, tls: ClientTls, budget: Budget) -> Self {
        Self(Arc::new(Inner {
            dns,
            tls,
            slots: Semaphore::new(MOST_DIALOGUES),
            promise_slots: Semaphore::new(MOST_PROMISES),
            known: Mutex::default(),
            budget,
            promises: Mutex::default(),
        }))
    }

    /// Whether the host takes mail for this forward-path. `require_tls`: it is asked inside proven TLS or not at all.
    pub async fn ask(&self, host: &Deliver, forward_path: &str, hostname: &str, require_tls: bool) -> Answer {
        let key = (host.clone(), forward_path.to_owned());
        if let Some(answer) = self.recall(&key) {
            return answer;
        }
        let dialogue = async {
            let Ok(_slot) = self.0.slots.acquire().await else {
                return Answer::Unknown;
            };
            let Some(_room) = self.0.budget.ask() else {
                return Answer::Unknown;
            };
            // Otherwise as the mail itself goes to the host of a domain.
            let tls = if require_tls {
                TlsMode::Verified
            } else {
                TlsMode::Opportunistic
            };
            self.dialogue(host, forward_path, (hostname, tls)).await
        };
        let answer = tokio::time::timeout(PATIENCE, dialogue)
            .await
            .unwrap_or(Answer::Unknown);
        self.keep(key, answer);
        answer
    }

    /// The servers of a host of the configuration; none where it has no address now.
    async fn servers(&self, host: &Deliver, hostname: &str) -> Vec<Server> {
        let (endpoint, protocol) = match host {
            Deliver::Lmtp(endpoint) => (endpoint, Protocol::Lmtp),
            Deliver::Smtp(endpoint) => (endpoint, Protocol::Smtp),
        };
        let to = To::Hosts {
            hosts: vec![endpoint.clone()],
            protocol,
        };
        let finder = Finder {
            dns: &self.0.dns,
            hostname,
            port: endpoint.port,
        };
        finder.find(&to, None, || 0).await.unwrap_or_default()
    }

    async fn dialogue(&self, host: &Deliver, forward_path: &str, how: (&str, TlsMode)) -> Answer {
        for server in &self.servers(host, how.0).await {
            for address in &server.addresses {
                match self.one(server, *address, forward_path, how).await {
                    Ok(answer) => return answer,
                    Err(trouble) => {
                        tracing::info!(host = server.host, %address, ?trouble, "a recipient could not be verified");
                    }
                }
            }
        }
        Answer::Unknown
    }

    async fn one(
        &self,
        server: &Server,
        address: std::net::SocketAddr,
        forward_path: &str,
        (hostname, tls): (&str, TlsMode),
    ) -> Result<Answer, Trouble> {
        let target = Target {
            server,
            address,
            tls,
            require_tls: false,
            hostname,
            recipients: None,
            patience: Patience::default(),
        };
        let mut link = Link::open(&target, &self.0.tls).await?;
        let mut message = Message::new("", 0);
        message.recipients.push(Recipient::new(forward_path));
        message.envelope_only = true;
        let answer = match link.connection().send(message) {
            Ok(()) => match link.next(link.patience.envelope).await? {
                Event::Sent(outcomes) => outcomes.first().map_or(Answer::Unknown, judge),
                _ => Answer::Unknown,
            },
            Err(Unsuited::Smtputf8) => Answer::Denied,
            Err(_) => Answer::Unknown,
        };
        // The answer is known: the client need not wait for good manners.
        tokio::spawn(link.quit());
        Ok(answer)
    }

    fn recall(&self, key: &(Deliver, String)) -> Option<Answer> {
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (answer, since) = known.get(key)?;
        let lifetime = lifetime(*answer)?;
        (since.elapsed() < lifetime).then_some(*answer)
    }

    fn keep(&self, key: (Deliver, String), answer: Answer) {
        if lifetime(answer).is_none() {
            return;
        }
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN {
            known.retain(|_, (answer, since)| {
                lifetime(*answer).is_some_and(|lifetime| since.elapsed() < lifetime)
            });
            // Guessed recipients must not push out those that get mail.
            if known.len() >= MOST_KNOWN {
                known.retain(|_, (answer, _)| *answer == Answer::Exists);
            }
        }
        if known.len() < MOST_KNOWN {
            known.insert(key, (answer, Instant::now()));
        }
    }
}

/// How long an answer is kept; `None`: not at all.
fn lifetime(answer: Answer) -> Option<Duration> {
    match answer {
        Answer::Exists => Some(Duration::from_hours(1)),
        Answer::Missing | Answer::Denied => Some(Duration::from_mins(10)),
        Answer::Full | Answer::Unknown => None,
    }
}

/// What the reply says of the recipient. A refusal of anything but RCPT is about us, not about it.
fn judge(outcome: &Outcome) -> Answer {
    let reply = &outcome.reply;
    if outcome.stage != Stage::Rcpt {
        return Answer::Unknown;
    }
    match (reply.code(), subject(reply)) {
        (200..=299, _) => Answer::Exists,
        // RFC 5321 section 4.2.3: exceeded storage.
        (552, _) | (500.., Some(2)) => Answer::Full,
        (550 | 551 | 553 | 554, None | Some(1)) => Answer::Missing,
        (550..=556, _) => Answer::Denied,
        _ => Answer::Unknown,
    }
}

/// The subject of the enhanced status code (RFC 3463 section 3): 1 is addressing, 2 the mailbox.
fn subject(reply: &PeerReply) -> Option<u16> {
    reply.enhanced().map(|(_, subject, _)| subject)
}

/// Dialogues at once about recipients, and about promises; more wait.
const MOST_DIALOGUES: usize = 32;
const MOST_PROMISES: usize = 8;
/// For one answer with all waits; the client waits for five minutes (RFC 5321 section 4.5.3.2.3).
const PATIENCE: Duration = Duration::from_secs(30);
/// Answers that are kept.
const MOST_KNOWN: usize = 50_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refused_recipient_is_missing() {
        let judged = |stage, code, enhanced| {
            judge(&Outcome {
                stage,
                reply: PeerReply::made(code, enhanced, ""),
            })
        };
        for (stage, code, enhanced, want) in [
            (Stage::Rcpt, 250, (2, 1, 5), Answer::Exists),
            (Stage::Rcpt, 550, (5, 1, 1), Answer::Missing),
            (Stage::Rcpt, 550, (5, 7, 1), Answer::Denied),
            (Stage::Rcpt, 552, (5, 2, 2), Answer::Full),
            (Stage::Rcpt, 451, (4, 1, 1), Answer::Unknown),
            (Stage::Rcpt, 503, (5, 5, 1), Answer::Unknown),
            (Stage::Mail, 550, (5, 1, 1), Answer::Unknown),
            (Stage::Data, 451, (4, 5, 0), Answer::Unknown),
        ] {
            assert_eq!(
                judged(stage, code, enhanced),
                want,
                "{stage:?} {code} {enhanced:?}"
            );
        }
    }
}
