//! The one way into the spool: what is accepted is on stable storage when this says so.
//!
//! ```text
//!   Intake::begin ─► Receiving::write … ─► Receiving::commit ─► prefix, envelope ─► spool ─► EntryId, then "250"
//!                       │ header scan, size      │ loops, authors; filters           └─► the queue is told
//!                       └─ small bodies: no IO; large ones: on blocking threads
//! ```
//!
//! The body is never rewritten and never held whole beyond the spool's inline limit, and where memory is short not at all. What we add is a prefix.

mod edit;
mod edits;
mod filtering;
mod forged;
mod fullness;
mod header;
mod held;
pub mod prefix;
mod receiving;

pub use filtering::{Filtered, Met};
pub use header::{Fault, Findings, HeaderScan};
pub use receiving::{Receiving, Refused};

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use postroad_config::Role;
use postroad_spool::{BodyKind, CommitError, DeliverBy, EntryId, Envelope, Recipient, Ret, Spool};
use postroad_verify::results::Field;

use self::fullness::Fullness;
use crate::metrics::Metrics;
use crate::net::Room;
use crate::policy::Refusal;
use crate::settings::{Live, Settings};
use crate::signing::{Chain, Keys, Pool, Ready};

/// Takes messages. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    spool: Spool,
    live: Live,
    metrics: Arc<Metrics>,
    pool: Pool,
    stored: Arc<dyn Fn(EntryId) + Send + Sync>,
    fullness: Fullness,
}

/// Whose a message is.
#[derive(Clone, Debug)]
pub enum Brought {
    /// Of a user, or of a client that may relay: it is signed.
    ByTrusted,
    /// Of a stranger.
    ByStranger {
        /// What it is sealed with, where it goes on to another server.
        seal: Option<Arc<Keys>>,
    },
}

/// One transaction as the session knows it when the last octet is there.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is what the client said or did, by itself"
)]
pub struct Transaction {
    /// What the port is for.
    pub role: Role,
    /// Reverse-path without brackets; empty is the null one.
    pub reverse_path: String,
    /// Recipients after aliases; at least one.
    pub recipients: Vec<Recipient>,
    /// When it leaves, where its sender asked for a time (RFC 4865).
    pub release: Option<Timestamp>,
    /// RET, see RFC 3461.
    pub ret: Option<Ret>,
    /// ENVID, still as xtext.
    pub envid: Option<String>,
    /// BODY, see RFC 6152.
    pub body: BodyKind,
    /// SMTPUTF8, see RFC 6531.
    pub smtputf8: bool,
    /// REQUIRETLS, see RFC 8689.
    pub require_tls: bool,
    /// Until when it is to be delivered, see RFC 2852.
    pub deliver_by: Option<DeliverBy>,
    /// Who has authenticated.
    pub identity: Option<String>,
    /// Address of the client.
    pub client: IpAddr,
    /// What it called itself.
    pub helo: String,
    /// It said EHLO.
    pub esmtp: bool,
    /// Over TLS.
    pub tls: bool,
    /// What is known of its sender, for the header; absent where nothing was asked.
    pub results: Option<Field>,
    /// What is sealed where it goes on to another server.
    pub chain: Option<Chain>,
    /// Why the message is refused for what is known of its sender.
    pub refusal: Option<Refusal>,
}

impl Intake {
    /// `stored` is told of each entry that became durable.
    pub fn new(
        spool: Spool,
        live: Live,
        metrics: Arc<Metrics>,
        stored: impl Fn(EntryId) + Send + Sync + 'static,
    ) -> Self {
        Self {
            spool,
            live,
            metrics,
            pool: Pool::default(),
            stored: Arc::new(stored),
            fullness: Fullness::default(),
        }
    }

    /// Begins a message from outside, at a port of that role, in this room.
    pub fn begin(&self, role: Role, brought: Brought, room: Room) -> Receiving {
        Receiving::new(self.clone(), self.spool.begin(), role, brought, room)
    }

    /// Stores a message that we wrote ourselves (a notice). Nothing is added but its signatures, and nothing judged. Durable when this returns,
    /// also where `durability` is `Relaxed`: the message that it is about ends then.
    pub async fn own(&self, envelope: Envelope, message: Vec<u8>) -> Result<EntryId, CommitError> {
        let mut incoming = self.spool.begin().promptly();
        let (settings, metrics) = (self.live.current(), Arc::clone(&self.metrics));
        let commit = tokio::task::spawn_blocking(move || {
            let fields = own_signatures(&settings, &message, &metrics);
            incoming.write(&message)?;
            Ok::<_, CommitError>(incoming.commit(envelope, fields.into_bytes()))
        });
        let id = commit.await.map_err(|_| CommitError::Closed)??.await?;
        (self.stored)(id);
        Ok(id)
    }

    /// Bounds what waits by this memory: it is not to be what ends the process. With more, new mail gets 452 until there is
    /// room.
    pub fn follow_memory(&self, memory: Option<u64>) {
        let most = memory.map_or(u64::MAX, |memory| memory / 10 * 6);
        self.spool.set_most_memory(most);
    }

    /// Why a message of that declared size cannot be taken now, as a reply; `None` when all is well.
    pub fn unable(&self, size: Option<u64>) -> Option<Refused> {
        // RFC 5321 section 4.2.3.
        let unable = self.spool.unable();
        self.fullness
            .looked_at(matches!(unable, Some(CommitError::Full)), &self.spool);
        // RFC 1870 section 6.1: said before the body is sent in vain.
        let full = || {
            size.is_some_and(|size| !self.spool.has_room(size))
                .then_some(CommitError::Full)
        };
        unable.or_else(full).as_ref().map(Refused::from)
    }

    /// Whether REQUIRETLS and BY are kept with a message: not in the older of the spool's formats.
    pub fn keeps_extensions(&self) -> bool {
        self.spool.keeps_extensions()
    }

    /// Whether the spool takes nothing for now: it is sealed, or its volume has failed or hangs. New sessions get 421.
    pub fn is_closed(&self) -> bool {
        self.spool.seal_state().sealed || self.spool.is_read_only() || self.spool.is_stalled()
    }
}

/// Signatures of a notice, where the domain that we are named after has keys. Without them it goes all the same.
fn own_signatures(settings: &Settings, message: &[u8], metrics: &Metrics) -> String {
    let Some(ready) = Ready::whole(settings, message) else {
        return String::new();
    };
    match ready.sign("", crate::signing::now()) {
        Ok(fields) => {
            metrics.signatures.made(&ready.keys.algorithms);
            fields
        }
        Err(error) => {
            metrics.signatures.omitted(&error);
            String::new()
        }
    }
}
