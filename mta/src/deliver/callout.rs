//! Recipient verification: the host that gets a domain's mail is asked by MAIL and RCPT whether a recipient exists, before
//! that recipient gets 250 from us. No message is sent.
//!
//! ```text
//!   RCPT ─► known? ─┬─► link ─► MAIL FROM:<> ─► RCPT ─► RSET, QUIT ─► Answer
//!                   └─◄ kept: yes for an hour, no for ten minutes; whatever was not answered is not kept
//! ```
//!
//! Only whole dialogues teach: a lost connection, a refused MAIL or a 4yz says nothing of the recipient, and the client is
//! asked to come again. A host that does not answer is left alone for a moment, and holds up nobody but its own recipients.

mod places;
mod promise;

pub use promise::Keeps;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postroad_config::{Deliver, TlsMode};
use postroad_smtp::client::{Event, Message, Outcome, PeerReply, Recipient, Stage, Unsuited};
use tokio::time::timeout_at;

use self::places::Places;
use super::control::Passing;
use super::hosts::{Finder, Server};
use super::link::{Link, Target, Trouble};
use super::patience::Patience;
use super::plan::{Protocol, To};
use super::protection::Protection;
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
    places: Places,
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
            places: Places::default(),
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
        let place = self.0.places.of(host);
        if place.is_silent() {
            return Answer::Unknown;
        }
        let until = tokio::time::Instant::now() + PATIENCE;
        let Ok(Ok(_slot)) = timeout_at(until, place.dialogues.acquire()).await else {
            return Answer::Unknown;
        };
        // Found out by those in front.
        if place.is_silent() {
            return Answer::Unknown;
        }
        let Some(_room) = self.0.budget.ask() else {
            return Answer::Unknown;
        };
        // Otherwise as the mail itself goes to the host of a domain.
        let tls = if require_tls {
            TlsMode::Verified
        } else {
            TlsMode::Opportunistic
        };
        let dialogue = self.dialogue(host, forward_path, (hostname, tls));
        let answer = timeout_at(until, dialogue).await.ok().flatten();
        // Without TLS it may answer others.
        if !require_tls || answer.is_some() {
            place.found(answer.is_some());
        }
        let answer = answer.unwrap_or(Answer::Unknown);
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

    /// `None`: none of its servers led a whole dialogue.
    async fn dialogue(&self, host: &Deliver, forward_path: &str, how: (&str, TlsMode)) -> Option<Answer> {
        for server in &self.servers(host, how.0).await {
            for address in &server.addresses {
                match self.one(server, *address, forward_path, how).await {
                    Ok(answer) => return Some(answer),
                    Err(trouble) => {
                        tracing::info!(host = server.host, %address, ?trouble, "a recipient could not be verified");
                    }
                }
            }
        }
        None
    }

    async fn one(
        &self,
        server: &Server,
        address: std::net::SocketAddr,
        forward_path: &str,
        (hostname, tls): (&str, TlsMode),
    ) -> Result<Answer, Trouble> {
        let protection = Protection::from(tls);
        let target = Target {
            server,
            address,
            tls: &protection,
            require_tls: false,
            hostname,
            login: None,
            recipients: None,
            messages: None,
            implicit_tls: false,
            passing: Passing::All,
            rewrite: None,
            lane: None,
            patience: Patience::default(),
            seen: None,
            authorities: None,
            witness: None,
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

/// For one answer with all waits; the client waits for five minutes (RFC 5321 section 4.5.3.2.3).
const PATIENCE: Duration = Duration::from_secs(30);
/// Answers that are kept.
const MOST_KNOWN: usize = 50_000;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::poll;
    use postroad_config::Endpoint;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use super::*;
    use crate::dns::table::Table;
    use crate::metrics::Metrics;

    fn callout() -> Callout {
        let budget = Budget::new(&Metrics::new());
        Callout::new(Dns::new(Table::default()), ClientTls::public().unwrap(), budget)
    }

    fn host(address: SocketAddr) -> Deliver {
        Deliver::Lmtp(Endpoint {
            host: address.ip().to_string(),
            port: address.port(),
        })
    }

    /// A store that takes every recipient; where it is.
    async fn store() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (read, mut write) = stream.into_split();
                    let mut lines = BufReader::new(read).lines();
                    write.write_all(b"220 store.example LMTP\r\n").await.unwrap();
                    while let Ok(Some(_)) = lines.next_line().await {
                        if write.write_all(b"250 2.0.0 ok\r\n").await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn a_store_that_says_nothing_holds_up_no_recipient_of_another() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let callout = callout();
        let hung = host(silent.local_addr().unwrap());
        let paths: Vec<String> = (0..100).map(|number| format!("r{number}@hung.example")).collect();
        let mut waiting: Vec<_> = paths
            .iter()
            .map(|path| Box::pin(callout.ask(&hung, path, "us.example", false)))
            .collect();
        for asked in &mut waiting {
            assert!(poll!(asked).is_pending());
        }
        let good = host(store().await);
        let answer = callout.ask(&good, "a@good.example", "us.example", false).await;
        assert_eq!(answer, Answer::Exists);
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_asked_is_left_alone_for_a_moment() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = host(listener.local_addr().unwrap());
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        tokio::spawn(async move {
            // It hangs up at once.
            while listener.accept().await.is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let callout = callout();
        for path in ["a@gone.example", "b@gone.example", "c@gone.example"] {
            let answer = callout.ask(&gone, path, "us.example", false).await;
            assert_eq!(answer, Answer::Unknown, "{path}");
        }
        assert_eq!(seen.load(Ordering::Relaxed), 1);
    }

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
