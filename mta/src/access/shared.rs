//! What pods ask each other: each greylist tuple and each count belongs to one of them; and what they tell each other of routes.
//!
//! ```text
//!   this pod ─► owner of the key ─┬─ ourselves ─► answered here
//!                                 └─ another pod ─► POST /v1/shared, within 50 ms ─► its answer
//!                                                        └─ none: the mail goes on unchecked
//! ```

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use postroad_config::FleetPod;
use postroad_spool::SpoolUuid;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use super::greylist::{Key, Tuple};
use super::rates::What;
use crate::deliver::lanes::News;
use crate::dns::{Dns, Scope};
use crate::handover::{Ourselves, Peer, PeerError};
use crate::settings::Live;

/// The verb of the admin API.
pub const VERB: &str = "/v1/shared";

/// Asked of the pod that owns the key in it. Conditions (delay, rates) are those of the pod that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "ask")]
pub enum Question {
    /// Does this mail have to wait?
    Wait(Tuple),
    /// A message of it was accepted.
    Passed(Tuple),
    /// Is there room for so many messages and recipients? They are counted, then.
    Count {
        /// Client or user.
        of: Key,
        /// The site that it is of (`access::room`); an older version does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        site: Option<Key>,
        /// Which rates.
        whose: Whose,
        /// Messages.
        messages: u32,
        /// Recipients.
        recipients: u32,
    },
    /// These facts are yours now, as lines of the journal.
    Adopt {
        /// At most [`MOST_FACTS`].
        facts: Vec<String>,
    },
    /// May this pod use a route that so many may use at once?
    Turn {
        /// Policy and number.
        route: String,
        /// Pods.
        most: u32,
        /// Who asks.
        pod: String,
    },
    /// These routes rest, or are used again; asked of every pod.
    Routes(News),
}

/// Whose rates hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whose {
    /// `access.rates.client`.
    Client,
    /// `access.rates.user`.
    User,
}

/// An answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Seconds to wait; 0 = go on.
    pub wait: u64,
    /// Of what there was too much, of a count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<What>,
}

/// How long another pod is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For an answer, while a client waits.
    pub answer: Duration,
    /// For a connection.
    pub connect: Duration,
    /// A pod without a connection is left alone for this time.
    pub away: Duration,
    /// For an answer that no client waits for.
    pub errand: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer: Duration::from_millis(50),
            connect: Duration::from_secs(1),
            away: Duration::from_secs(5),
            errand: Duration::from_secs(10),
        }
    }
}

/// The connection is no more.
struct Closed;

/// The other pods, with connections that stay open.
pub(crate) struct Others {
    live: Live,
    dns: Dns,
    spool: SpoolUuid,
    patience: Patience,
    links: Mutex<HashMap<String, Link>>,
}

#[derive(Default)]
struct Link {
    idle: Vec<Peer>,
    away_until: Option<Instant>,
}

impl Others {
    pub(crate) fn new(live: Live, dns: Dns, spool: SpoolUuid, patience: Patience) -> Self {
        Self {
            live,
            dns,
            spool,
            patience,
            links: Mutex::default(),
        }
    }

    /// Asks a pod; `None` where it does not answer in time.
    pub(super) async fn ask(&self, pod: &FleetPod, question: &Question) -> Option<Said> {
        let body = serde_json::to_vec(question).ok()?;
        let limit = match question {
            Question::Wait(_) | Question::Count { .. } | Question::Turn { .. } => self.patience.answer,
            Question::Passed(_) | Question::Adopt { .. } | Question::Routes(_) => self.patience.errand,
        };
        let said = self.post(pod, VERB, body, limit).await?;
        serde_json::from_slice(&said).ok()
    }

    /// Brings something to a pod that no client waits for; `None` where it does not answer in time.
    pub(crate) async fn bring(&self, pod: &FleetPod, verb: &str, body: Vec<u8>) -> Option<Bytes> {
        self.post(pod, verb, body, self.patience.errand).await
    }

    async fn post(&self, pod: &FleetPod, verb: &str, body: Vec<u8>, limit: Duration) -> Option<Bytes> {
        if let Some(peer) = self.idle(&pod.name)
            && let Ok(said) = self.over(peer, pod, verb, &body, limit).await
        {
            return said;
        }
        let peer = self.connect(pod).await?;
        self.over(peer, pod, verb, &body, limit).await.unwrap_or_default()
    }

    /// Asks over a connection. Errors: the pod has closed it, which it may do while nobody asks.
    async fn over(
        &self,
        mut peer: Peer,
        pod: &FleetPod,
        verb: &str,
        body: &[u8],
        limit: Duration,
    ) -> Result<Option<Bytes>, Closed> {
        match timeout(limit, peer.post(verb, body.to_vec())).await {
            Ok(Ok(said)) => {
                self.put_back(&pod.name, peer);
                Ok(Some(said))
            }
            Ok(Err(PeerError::Unreachable(..))) => Err(Closed),
            Ok(Err(error)) => {
                tracing::warn!(pod = pod.name, %error, "another pod refuses to say what it knows");
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }

    async fn connect(&self, pod: &FleetPod) -> Option<Peer> {
        if self.is_away(&pod.name) {
            return None;
        }
        let connected = async {
            let address = self.address(pod).await?;
            let ourselves = Ourselves {
                spool: self.spool,
                address: None,
            };
            Peer::connect(&self.live, address, ourselves, self.patience.errand)
                .await
                .map_err(|error| error.to_string())
        };
        let error = match timeout(self.patience.connect, connected).await {
            Ok(Ok(peer)) => return Some(peer),
            Ok(Err(error)) => error,
            Err(_) => "it does not answer in time".to_owned(),
        };
        tracing::warn!(
            pod = pod.name,
            error,
            "another pod cannot be asked: mail passes its share of greylisting and rates, and its reports wait for their rows"
        );
        let mut links = self.links();
        let link = links.entry(pod.name.clone()).or_default();
        link.idle.clear();
        link.away_until = Some(Instant::now() + self.patience.away);
        None
    }

    /// Where the admin endpoint of a pod is. Errors: a sentence.
    pub(super) async fn address(&self, pod: &FleetPod) -> Result<SocketAddr, String> {
        let found = self.dns.addresses(&pod.admin.host, Scope::Configured).await;
        let addresses = found.map_err(|error| error.to_string())?;
        let address = addresses.first().ok_or("it has no address")?;
        Ok(SocketAddr::new(*address, pod.admin.port))
    }

    /// Forgets pods that are none of the fleet any more.
    pub(crate) fn follow(&self, fleet: &[FleetPod]) {
        self.links()
            .retain(|name, _| fleet.iter().any(|pod| pod.name == *name));
    }

    fn idle(&self, name: &str) -> Option<Peer> {
        self.links().get_mut(name)?.idle.pop()
    }

    fn is_away(&self, name: &str) -> bool {
        let until = self.links().get(name).and_then(|link| link.away_until);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn put_back(&self, name: &str, peer: Peer) {
        let mut links = self.links();
        let link = links.entry(name.to_owned()).or_default();
        if link.idle.len() < MOST_IDLE {
            link.idle.push(peer);
        }
    }

    fn links(&self) -> std::sync::MutexGuard<'_, HashMap<String, Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Facts of one request: 40 kB.
pub const MOST_FACTS: usize = 400;
/// Connections to one pod that wait for the next question.
const MOST_IDLE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_and_said_reads_back() {
        let tuple = Tuple {
            tuple: Key(u128::MAX),
            client: Key(1),
            site: None,
        };
        for question in [
            Question::Wait(tuple),
            Question::Passed(tuple),
            Question::Count {
                of: Key(3),
                site: Some(Key(4)),
                whose: Whose::User,
                messages: 1,
                recipients: 2,
            },
            Question::Adopt {
                facts: vec!["c".into()],
            },
            Question::Turn {
                route: "mail/p#0".into(),
                most: 2,
                pod: "edge-1".into(),
            },
            Question::Routes(News {
                generation: 3,
                resumed: vec!["mail/p#0".into()],
                ..News::default()
            }),
        ] {
            let text = serde_json::to_string(&question).unwrap();
            assert_eq!(
                serde_json::from_str::<Question>(&text).unwrap(),
                question,
                "{text}"
            );
        }
        // What an older version asks.
        let old = r#"{"ask":"count","of":"00000000000000000000000000000003","whose":"User","messages":1,"recipients":2}"#;
        let read: Question = serde_json::from_str(old).unwrap();
        assert!(matches!(read, Question::Count { site: None, .. }), "{read:?}");
        let said = Said {
            wait: 3,
            of: Some(What::Recipients),
        };
        assert_eq!(
            serde_json::to_string(&said).unwrap(),
            r#"{"wait":3,"of":"Recipients"}"#
        );
        assert_eq!(
            serde_json::from_str::<Said>(r#"{"wait":0}"#).unwrap(),
            Said::default()
        );
    }
}
