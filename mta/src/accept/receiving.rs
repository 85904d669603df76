//! One message on its way into the spool.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use postroad_config::Role;
use postroad_spool::{BodyKind, CommitError, EntryId, Envelope, Incoming, Recipient};
use postroad_verify::results::Field;

use super::edits::Edits;
use super::header::{Fault, Findings, HeaderScan, begins_folded};
use super::held::{Fed, Held};
use super::prefix::{self, Trace};
use super::{Brought, Intake, Transaction};
use crate::net::Room;
use crate::policy::{self, Context};
use crate::queue::clock;
use crate::queue::orders::HELD;
use crate::settings::Settings;
use crate::signing::{Facts, Signing};
use crate::verify::{Reading, Trouble};

/// A refusal at the end of a message, or of a message as such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Reply code.
    pub code: u16,
    /// Enhanced status code.
    pub enhanced: &'static str,
    /// One sentence, ours alone.
    pub text: &'static str,
}

/// Octets of one message, as they come.
pub struct Receiving {
    pub(super) intake: Intake,
    /// Gone after a refusal: the rest is read and thrown away.
    pub(super) incoming: Option<Incoming>,
    scan: HeaderScan,
    /// Of the whole message, once it has ended.
    pub(super) found: Option<Findings>,
    /// Its header, where filters may change it; otherwise it is with the body.
    pub(super) held: Option<Held>,
    /// It is to be held in the queue.
    pub(super) quarantined: bool,
    /// Takes fields out; gone once the header is over.
    edits: Option<Edits>,
    /// Reads what comes for the checks of its sender.
    reading: Option<Box<Reading>>,
    /// Octets that wait for a blocking thread.
    waiting: Vec<u8>,
    /// The memory for all of it.
    pub(super) room: Room,
    size: u64,
    /// Octets above 127 came, whatever was declared.
    pub(super) eight_bit: bool,
    limit: u64,
    refused: Option<Refused>,
    /// What is needed to sign or to seal it; none where neither is done.
    pub(super) signing: Option<Signing>,
}

impl Receiving {
    pub(super) fn new(intake: Intake, incoming: Incoming, role: Role, brought: Brought, room: Room) -> Self {
        let settings = intake.live.current();
        let limit = settings.set.file.limits.message_size.0;
        let trusted = matches!(brought, Brought::ByTrusted);
        let remove = &settings.header_edits(role).remove;
        Self {
            edits: Some(Edits::new(settings.hostname(), remove)),
            intake,
            incoming: Some(incoming),
            scan: HeaderScan::new(),
            found: None,
            held: Held::new(&settings, trusted),
            quarantined: false,
            reading: None,
            waiting: Vec::new(),
            room,
            size: 0,
            eight_bit: false,
            limit,
            refused: None,
            signing: match brought {
                Brought::ByTrusted => Signing::new(&settings),
                Brought::ByStranger { seal } => seal.map(|keys| Signing::sealing(&settings, keys)),
            },
        }
    }

    /// Has the message read by the checks of its sender. Before the first octet.
    pub fn read_by(&mut self, reading: Option<Reading>) {
        self.reading = reading.map(Box::new);
    }

    /// What was read; `None` where nothing was, or the message is refused.
    pub fn read(&mut self) -> Option<Reading> {
        self.reading.take().map(|reading| *reading)
    }

    /// It is to be sealed.
    pub fn is_sealed(&self) -> bool {
        self.signing.as_ref().is_some_and(Signing::is_seal)
    }

    /// The message as a whole is refused already; what follows is thrown away.
    pub fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Takes the next octets, after dots were unstuffed. A refusal is kept for [`Receiving::commit`].
    pub async fn write(&mut self, octets: &[u8]) {
        if self.size == 0 && begins_folded(octets) {
            // Nothing of it is header: every octet stays.
            self.edits = None;
        }
        self.size = self.size.saturating_add(octets.len() as u64);
        // RFC 1870 section 6.3.
        if self.size > self.limit {
            self.refuse(TOO_LARGE);
        }
        if self.incoming.is_none() {
            return;
        }
        // Before anybody reads the header as a whole.
        if !self.scan.is_done() {
            self.scan.feed(octets);
            if self.scan.is_too_large() {
                return self.refuse(HEADER_TOO_LARGE);
            }
        }
        if let Some(reading) = &mut self.reading
            && let Err(trouble) = reading.feed(octets, &mut self.room).await
        {
            return self.refuse(Refused::from(trouble));
        }
        self.eight_bit |= !octets.is_ascii();
        match self.edits.take() {
            None => self.store(octets).await,
            Some(mut edits) => {
                self.store(edits.feed(octets)).await;
                if edits.is_over() {
                    self.edited(&edits);
                } else {
                    self.edits = Some(edits);
                }
            }
        }
    }

    fn edited(&self, edits: &Edits) {
        self.intake.metrics.verdicts.forged_results.inc_by(edits.forged());
    }

    /// To its signatures, and into the spool; a header that filters may change is held instead.
    async fn store(&mut self, octets: &[u8]) {
        if self.incoming.is_none() {
            return;
        }
        if let Some(Err(_)) = self
            .signing
            .as_mut()
            .map(|signing| signing.feed(octets, &mut self.room))
        {
            return self.refuse(NO_ROOM);
        }
        let fed = self.held.as_mut().map(|held| held.feed(octets, &mut self.room));
        match fed {
            None | Some(Ok(Fed::All)) => self.put(octets).await,
            Some(Ok(Fed::Some(body))) => self.put(&body).await,
            Some(Ok(Fed::Nothing)) => {}
            Some(Err(refused)) => self.refuse(refused),
        }
    }

    /// Into the spool; on a blocking thread where it goes to a file.
    async fn put(&mut self, octets: &[u8]) {
        let Some(incoming) = &mut self.incoming else {
            return;
        };
        let in_file = incoming.blocks(0);
        if !incoming.blocks(octets.len()) {
            if self.room.collect(incoming.will_hold(octets.len())) {
                let written = incoming.write(octets);
                self.check(written);
                return;
            }
            self.intake.metrics.spilled.inc();
        }
        // A file is written in large pieces, and in small ones where there is no memory for those.
        let roomy = in_file && self.room.collect(WRITE_SIZE + PIECE);
        if roomy {
            let more = (WRITE_SIZE + PIECE).saturating_sub(self.waiting.len());
            self.waiting.reserve_exact(more);
        }
        self.waiting.extend_from_slice(octets);
        let enough = if roomy { WRITE_SIZE } else { SMALL_WRITE };
        // What was collected goes at once when the body becomes a file: its memory is what is short.
        if !in_file || self.waiting.len() >= enough {
            self.spill(roomy).await;
        }
    }

    /// No octet comes any more: all of them are stored, and the message is judged.
    pub(super) async fn end(&mut self, transaction: &Transaction) {
        if self.found.is_some() {
            return;
        }
        if let Some(mut edits) = self.edits.take() {
            self.store(edits.finish()).await;
            self.edited(&edits);
        }
        if let Some(body) = self.held.as_mut().map(Held::finish) {
            self.put(&body).await;
        }
        self.spill(false).await;
        let mut found = std::mem::take(&mut self.scan).finish();
        let settings = self.intake.live.current();
        if let Err(refused) = self.judge(&settings, transaction, &found) {
            self.refuse(refused);
        }
        if found.headless && self.is_sealed() {
            // What was read for the seal as a header is body.
            self.signing = None;
        }
        // Its own end keeps a held header apart from the body.
        found.headless &= self.held.is_none();
        self.found = Some(found);
    }

    /// Ends the message, stores it, and returns its id once it is on stable storage.
    pub async fn commit(mut self, transaction: Transaction) -> Result<EntryId, Refused> {
        let began = Instant::now();
        self.end(&transaction).await;
        let found = self.found.take().unwrap_or_default();
        let settings = self.intake.live.current();
        let Some(id) = self.incoming.as_ref().map(Incoming::id) else {
            return Err(self.refusal());
        };
        let prefix = write_prefix(&settings, &transaction, &found, &id.to_string());
        let prefix = self.signed(prefix, &found, &transaction).await;
        let Some(incoming) = self.incoming.take() else {
            return Err(self.refusal());
        };
        let header = self.held.take().map(|held| held.write());
        let prefix = [prefix.into_bytes(), header.unwrap_or_default()].concat();
        let until = transaction.release.map_or(0, reckoned);
        let until = if self.quarantined { HELD } else { until };
        let mut envelope = envelope(&settings, transaction);
        if self.eight_bit && envelope.body == BodyKind::SevenBit {
            // What it is called from here on is true, so that no next hop gets 8 bits as 7BIT (RFC 6152 section 3).
            envelope.body = BodyKind::EightBitMime;
        }
        let completion = if incoming.blocks(0) {
            let turn = self.room.writer().await;
            let work = move || {
                let completion = incoming.commit_held(envelope, prefix, until);
                drop(turn);
                completion
            };
            tokio::task::spawn_blocking(work)
                .await
                .map_err(|_| Refused::from(&CommitError::Closed))?
        } else {
            incoming.commit_held(envelope, prefix, until)
        };
        let id = completion.await.map_err(|error| Refused::from(&error))?;
        let metrics = &self.intake.metrics;
        metrics.accepted.inc();
        metrics.accepted_octets.inc_by(self.size);
        metrics.commit.observe(began.elapsed().as_secs_f64());
        (self.intake.stored)(id);
        Ok(id)
    }

    fn refusal(&self) -> Refused {
        let closed = || Refused::from(&CommitError::Closed);
        self.refused.clone().unwrap_or_else(closed)
    }

    /// The prefix with signatures on top, or with a seal, where the message gets them.
    async fn signed(&mut self, prefix: String, found: &Findings, transaction: &Transaction) -> String {
        let signing = self.signing.take().filter(|_| self.incoming.is_some());
        let facts = Facts {
            from: &found.from,
            // Of a message without a header nothing can be sealed.
            chain: transaction.chain.clone().filter(|_| !found.headless),
        };
        let Some(ready) = signing.and_then(|signing| signing.finish(facts, &mut self.room)) else {
            return prefix;
        };
        let (keys, is_seal) = (Arc::clone(&ready.keys), ready.is_seal());
        match self.intake.pool.sign(ready, &prefix).await {
            Ok(fields) => {
                if is_seal {
                    self.intake.metrics.signatures.sealed();
                } else {
                    self.intake.metrics.signatures.made(&keys.algorithms);
                }
                return fields + &prefix;
            }
            Err(error) if is_seal => {
                // It goes on as it is: whoever gets it judges it by itself (RFC 8617 section 5.1.2).
                tracing::info!(domain = keys.signer.domain(), %error, "a message is not sealed");
            }
            Err(error) => {
                self.intake.metrics.signatures.omitted(&error);
                tracing::warn!(domain = keys.signer.domain(), %error, "a message is not signed");
                // What the next try mends is tried again; what lies in the message is not held against it.
                if !error.is_of_message() {
                    self.refuse(NOT_SIGNED);
                }
            }
        }
        prefix
    }

    /// Octets so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn judge(&self, settings: &Settings, transaction: &Transaction, found: &Findings) -> Result<(), Refused> {
        // RFC 5321 section 6.3.
        let own = found
            .hops
            .iter()
            .filter(|hop| *hop == settings.hostname())
            .count();
        if found.received > MOST_RECEIVED || own > MOST_OWN || is_back(transaction, found) {
            return Err(LOOP);
        }
        let context = Context {
            settings,
            complete: self.intake.live.complete(),
            role: transaction.role,
            identity: transaction.identity.as_deref(),
            may_relay: settings.may_relay(transaction.client),
        };
        let submission = transaction.role == Role::Submission;
        match found.fault {
            Some(Fault::TooLarge) => return Err(HEADER_TOO_LARGE),
            Some(Fault::FromTooLarge) if submission => return Err(HEADER_TOO_LARGE),
            _ => {}
        }
        context
            .author(&found.from)
            .map_err(|refusal| Refused::from(&refusal))?;
        transaction
            .refusal
            .as_ref()
            .map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// Writes what waits to the body file, on a blocking thread. `keep`: the memory for the next piece.
    async fn spill(&mut self, keep: bool) {
        if self.waiting.is_empty() {
            return;
        }
        let Some(mut incoming) = self.incoming.take() else {
            return;
        };
        let octets = std::mem::take(&mut self.waiting);
        let turn = self.room.writer().await;
        let work = tokio::task::spawn_blocking(move || {
            let written = incoming.write_to_file(&octets);
            drop(turn);
            (incoming, octets, written)
        });
        match work.await {
            Ok((incoming, mut octets, written)) => {
                if keep {
                    octets.clear();
                    self.waiting = octets;
                } else {
                    drop(octets);
                    self.room.release();
                }
                self.incoming = Some(incoming);
                self.check(written);
            }
            Err(_) => self.refuse(Refused::from(&CommitError::Closed)),
        }
    }

    fn check(&mut self, written: Result<(), CommitError>) {
        if let Err(error) = written {
            self.refuse(Refused::from(&error));
        }
    }

    /// The first refusal stays; what was written is thrown away at once.
    pub(super) fn refuse(&mut self, refused: Refused) {
        self.refused.get_or_insert(refused);
        self.incoming = None;
        self.waiting = Vec::new();
        self.reading = None;
        self.signing = None;
        self.held = None;
        self.room.keep(0);
        self.room.keep_to_seal(0);
        self.room.set_aside(0);
        self.room.release();
    }
}

fn write_prefix(settings: &Settings, transaction: &Transaction, found: &Findings, id: &str) -> String {
    let at = Timestamp::now();
    let recipient = match transaction.recipients.as_slice() {
        // The address that was asked for, not the one behind an alias: that one is nobody's business.
        [only] => Some(only.original.as_deref().unwrap_or(&only.forward_path)),
        _ => None,
    };
    let edits = settings.header_edits(transaction.role);
    // On top, where readers look first (RFC 8601 section 4.1).
    let results = transaction.results.as_ref().map(Field::text);
    let mut prefix = results.unwrap_or_default();
    prefix += &prefix::received(&Trace {
        helo: &transaction.helo,
        client: (!edits.hide_client_address).then_some(transaction.client),
        hostname: settings.hostname(),
        with: prefix::with(
            transaction.esmtp,
            transaction.smtputf8,
            transaction.tls,
            transaction.identity.is_some(),
        ),
        id,
        recipient,
        at,
    });
    if transaction.role == Role::Submission {
        if !found.message_id {
            prefix += &prefix::message_id(id, settings.hostname());
        }
        if !found.date {
            prefix += &prefix::date(at);
        }
        if let Some(sender) = sender_of(transaction, found) {
            prefix += &prefix::sender(sender);
        }
    }
    for (name, value) in &edits.add {
        prefix += &prefix::field(name, value);
    }
    if found.headless {
        prefix += "\r\n";
    }
    prefix
}

/// Who sent it, where several wrote it and nobody says which of them did. The user may use the reverse-path, which is why it
/// was taken.
fn sender_of<'a>(transaction: &'a Transaction, found: &Findings) -> Option<&'a str> {
    let path = transaction.reverse_path.as_str();
    let [from] = found.from.as_slice() else {
        return None;
    };
    let several = policy::authors(from).is_some_and(|authors| authors.len() > 1);
    let known = transaction.identity.is_some() && !path.is_empty();
    (several && known && !found.sender && prefix::can_be_written(path)).then_some(path)
}

/// It was delivered to each of its recipients before, more than once (RFC 9228): somebody sends it round. Once may be a
/// person who sends an old message on to the same address.
fn is_back(transaction: &Transaction, found: &Findings) -> bool {
    let times = |path: &str| {
        let path = path.to_ascii_lowercase();
        found.delivered_to.iter().filter(|to| **to == path).count()
    };
    let seen = |recipient: &Recipient| {
        let original = recipient.original.as_deref().map_or(0, times);
        original.max(times(&recipient.forward_path)) > 1
    };
    !found.delivered_to.is_empty() && transaction.recipients.iter().all(seen)
}

/// As the queue counts time.
fn reckoned(at: Timestamp) -> u64 {
    clock::reckoned(u64::try_from(at.as_millisecond()).unwrap_or(0))
}

/// What the sender was promised beyond the first format of the spool; a later one may add to it.
fn promised(transaction: &Transaction) -> Envelope {
    Envelope {
        require_tls: transaction.require_tls,
        deliver_by: transaction.deliver_by,
        ..Envelope::default()
    }
}

fn envelope(settings: &Settings, transaction: Transaction) -> Envelope {
    // RFC 4865 section 3: the time of a held message begins with its release.
    let arrived = transaction.release.map_or_else(clock::now, reckoned);
    let queue = &settings.set.file.queue;
    let lifetime = if transaction.reverse_path.is_empty() {
        queue.null_sender_lifetime
    } else {
        queue.lifetime
    };
    let lifetime = lifetime.get().as_millis();
    let promised = promised(&transaction);
    let mut recipients: Vec<Recipient> = Vec::with_capacity(transaction.recipients.len());
    let mut seen = std::collections::HashSet::new();
    for recipient in transaction.recipients {
        // Two aliases may lead to one mailbox; it gets the message once.
        if seen.insert(recipient.forward_path.clone()) {
            recipients.push(recipient);
        }
    }
    Envelope {
        reverse_path: transaction.reverse_path,
        recipients,
        ret: transaction.ret,
        envid: transaction.envid,
        body: transaction.body,
        smtputf8: transaction.smtputf8,
        identity: transaction.identity,
        client: transaction.client.to_string(),
        arrived,
        expires: arrived.saturating_add(u64::try_from(lifetime).unwrap_or(u64::MAX)),
        ..promised
    }
}

impl From<&CommitError> for Refused {
    fn from(error: &CommitError) -> Self {
        let (code, enhanced) = error.reply();
        let text = match error {
            CommitError::Full => "Not enough storage now, try again later",
            CommitError::ReadOnly(_) => "The storage has an error, try again later",
            CommitError::TooLarge => TOO_LARGE.text,
            CommitError::Format => "What the message asks for cannot be kept here now, try again later",
            CommitError::Sealed | CommitError::Closed => "This server is leaving service, try again later",
        };
        Self { code, enhanced, text }
    }
}

impl From<Trouble> for Refused {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::TooLarge => HEADER_TOO_LARGE,
            Trouble::NoRoom => NO_ROOM,
        }
    }
}

impl From<&policy::Refusal> for Refused {
    fn from(refusal: &policy::Refusal) -> Self {
        Self {
            code: refusal.code,
            enhanced: refusal.enhanced,
            text: refusal.text,
        }
    }
}

/// Written to a body file in pieces of this size.
const WRITE_SIZE: usize = 256 << 10;
/// The same where memory is short.
const SMALL_WRITE: usize = 8 << 10;
/// Largest piece of a body that comes at once.
const PIECE: usize = 64 << 10;
/// RFC 5321 section 6.3.
const MOST_RECEIVED: usize = 100;
/// Hops that we made ourselves: forwarding may bring mail back now and then, and no more often than that.
const MOST_OWN: usize = 10;
const LOOP: Refused = Refused {
    code: 554,
    enhanced: "5.4.6",
    text: "Too many hops: this message is in a loop",
};
const TOO_LARGE: Refused = Refused {
    code: 552,
    enhanced: "5.3.4",
    text: "The message is larger than is taken here",
};
pub(super) const NO_ROOM: Refused = Refused {
    code: 452,
    enhanced: "4.3.1",
    text: "Too little memory, try again later",
};
const NOT_SIGNED: Refused = Refused {
    code: 451,
    enhanced: "4.7.5",
    text: "The message cannot be signed now, try again later",
};
pub(super) const HEADER_TOO_LARGE: Refused = Refused {
    code: 552,
    enhanced: "5.3.4",
    text: "The header is larger than is taken here",
};
