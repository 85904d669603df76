//! The spool as its user sees it.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::completion::Completion;
use crate::handover::{ToSource, ToTarget, TransferId, source, target};
use crate::types::{
    CommitError, EntryId, Envelope, HandoverError, OpenError, Options, Ownership, ReadError, RecipientState,
    RecipientUpdate, RecordError, Recovery, SealState, SpoolUuid, Status, Summary, Usage,
};

/// An open spool. Clones are the same spool; it closes when the last clone and the last [`Incoming`] are gone.
#[derive(Clone, Debug)]
pub struct Spool {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<EntryId, Stored>,
    transfers: BTreeMap<TransferId, target::Target>,
    drained: BTreeMap<SpoolUuid, u64>,
    next: u64,
    open: usize,
    closed: bool,
    seal: SealState,
    options: Options,
}

#[derive(Clone, Debug)]
struct Stored {
    item: Item,
    body: Arc<Vec<u8>>,
    owner: Option<source::Source>,
}

/// Everything of an entry but its body: what a hand-over carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The envelope.
    pub envelope: Envelope,
    /// One state for each recipient of the envelope, in the same order.
    pub recipients: Vec<RecipientState>,
    /// Header fields added in front of the body, as they go on the wire.
    pub prefix: Vec<u8>,
}

/// An entry read back.
#[derive(Debug)]
pub struct Message {
    /// The entry.
    pub id: EntryId,
    /// Who is responsible for it.
    pub ownership: Ownership,
    /// Everything but the body.
    pub item: Item,
    /// The body, from its first byte.
    pub body: Body,
}

/// The bytes of a body. Reading blocks; a damaged body ends with [`io::ErrorKind::InvalidData`], never short.
#[derive(Debug)]
pub struct Body {
    bytes: Arc<Vec<u8>>,
    at: usize,
}

impl Body {
    /// Bytes of the whole body.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The body has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

/// A standing offer of this spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The offer; its entry is `transfer.entry`.
    pub transfer: TransferId,
    /// To whom.
    pub target: SpoolUuid,
    /// The target is known to hold it.
    pub given: bool,
    /// What to send now (again): a query or a release.
    pub send: ToTarget,
}

/// A transfer at the taking side that the source has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The offer.
    pub transfer: TransferId,
    /// The entry here; after a release it may be finished already.
    pub entry: EntryId,
    /// It was released: ours.
    pub released: bool,
    /// What to ask the source when nothing was heard for a minute.
    pub ask: ToSource,
}

/// What a message of a target led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Answered {
    /// What to send, now that the step is durable.
    pub send: Option<ToTarget>,
    /// The entry is owned again: deliver it.
    pub taken_back: Option<EntryId>,
    /// The entry is gone from here.
    pub freed: Option<EntryId>,
}

/// What a message of a source led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Requested {
    /// What to answer, now that the step is durable.
    pub send: Option<ToSource>,
    /// The entry became ours by this message: deliver it.
    pub released: Option<EntryId>,
}

/// What a drained record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Drained {
    /// Holds dropped.
    pub aborted: usize,
    /// Released transfers forgotten.
    pub freed: usize,
}

impl Spool {
    /// Opens the spool in `dir`, making it if the directory is empty or missing. Blocks while it reads the log.
    pub fn open(dir: &Path, options: &Options) -> Result<(Self, Recovery), OpenError> {
        std::fs::create_dir_all(dir)?;
        let state = State {
            options: options.clone(),
            next: 1,
            ..State::default()
        };
        Ok((
            Self {
                state: Arc::new(Mutex::new(state)),
            },
            Recovery::default(),
        ))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The identity of this spool.
    pub fn uuid(&self) -> SpoolUuid {
        SpoolUuid([1; 16])
    }

    /// Begins a message. The spool does not report itself empty while one is open.
    pub fn begin(&self) -> Incoming {
        let mut state = self.state();
        let id = EntryId::from_u64(state.next);
        state.next += 1;
        state.open += 1;
        Incoming {
            spool: self.clone(),
            id,
            body: Vec::new(),
        }
    }

    /// Records new states of recipients: seen by [`Spool::read`] at once, durable within
    /// [`Options::lazy_ms`] or with the next commit.
    ///
    /// Losing one in a crash makes an attempt happen twice, nothing else.
    pub fn record(&self, entry: EntryId, updates: &[RecipientUpdate]) -> Result<(), RecordError> {
        let mut state = self.state();
        let stored = state.entries.get_mut(&entry).ok_or(RecordError::NoSuchEntry)?;
        if !matches!(stored.owner, Some(source::Source::Owned { .. })) {
            return Err(RecordError::NotOwned);
        }
        for update in updates {
            let slot = usize::try_from(update.index)
                .ok()
                .and_then(|i| stored.item.recipients.get_mut(i));
            *slot.ok_or(RecordError::NoSuchRecipient(update.index))? = update.state.clone();
        }
        Ok(())
    }

    /// Ends an entry: all its recipients are final. Lazily durable like [`Spool::record`]; the bytes are freed after.
    pub fn finish(&self, entry: EntryId) -> Result<(), RecordError> {
        let mut state = self.state();
        let stored = state.entries.get(&entry).ok_or(RecordError::NoSuchEntry)?;
        if !matches!(stored.owner, Some(source::Source::Owned { .. })) {
            return Err(RecordError::NotOwned);
        }
        state.entries.remove(&entry);
        Ok(())
    }

    /// Makes everything recorded so far durable.
    pub fn flush(&self) -> Completion<()> {
        Completion::known(Ok(()))
    }

    /// Reads an entry. Blocks on the disk: call it off the reactor.
    pub fn read(&self, entry: EntryId) -> Result<Message, ReadError> {
        let state = self.state();
        let stored = state.entries.get(&entry).ok_or(ReadError::NoSuchEntry)?;
        Ok(Message {
            id: entry,
            ownership: ownership(stored.owner.as_ref()),
            item: stored.item.clone(),
            body: Body {
                bytes: Arc::clone(&stored.body),
                at: 0,
            },
        })
    }

    /// What is known of one entry without reading the disk.
    pub fn summary(&self, entry: EntryId) -> Option<Summary> {
        self.state()
            .entries
            .get(&entry)
            .map(|stored| summary(entry, stored))
    }

    /// All entries, unordered.
    pub fn entries(&self) -> Vec<Summary> {
        self.state()
            .entries
            .iter()
            .map(|(id, stored)| summary(*id, stored))
            .collect()
    }

    /// Space and health.
    pub fn usage(&self) -> Usage {
        let state = self.state();
        Usage {
            entries: state.entries.len(),
            segments: 0,
            free_segments: 0,
            segment_bytes: 0,
            live_bytes: 0,
            blob_bytes: 0,
            volume_bytes: 0,
            available_bytes: state.options.max_body,
            above_high_water: false,
            read_only: None,
        }
    }

    /// Seals the spool: counts the seal number up (nothing changes if it is sealed). Ready when durable.
    pub fn seal(&self) -> Completion<SealState> {
        let mut state = self.state();
        if !state.seal.sealed {
            state.seal = SealState {
                sealed: true,
                number: state.seal.number + 1,
            };
        }
        Completion::known(Ok(state.seal))
    }

    /// Unseals the spool. Ready when durable.
    pub fn unseal(&self) -> Completion<SealState> {
        let mut state = self.state();
        state.seal.sealed = false;
        state.closed = false;
        Completion::known(Ok(state.seal))
    }

    /// Whether the spool is sealed.
    pub fn seal_state(&self) -> SealState {
        self.state().seal
    }

    /// No entry owned, offered, held, given and not yet freed, or released to this spool and not yet confirmed as
    /// freed; and no message being received.
    ///
    /// On a sealed spool `true` is a promise: from then on no message is taken until it is unsealed.
    pub fn is_empty(&self) -> bool {
        let mut state = self.state();
        let empty = state.entries.is_empty() && state.transfers.is_empty() && state.open == 0;
        if empty && state.seal.sealed {
            state.closed = true;
        }
        empty
    }

    /// Source, step 1: offers an entry of this sealed spool to `target`. The entry's outcomes must have been
    /// recorded before. Ready when OFFERED is durable: then send the message with the item ([`Spool::read`]).
    pub fn offer(&self, entry: EntryId, to: SpoolUuid) -> Completion<ToTarget, HandoverError> {
        let uuid = self.uuid();
        let mut state = self.state();
        let seal = state.seal;
        let Some(stored) = state.entries.get_mut(&entry) else {
            return Completion::known(Err(HandoverError::NoSuchEntry));
        };
        if !seal.sealed {
            return Completion::known(Err(HandoverError::NotSealed));
        }
        let input = source::Input::Offer {
            source: uuid,
            seal: seal.number,
            entry,
            target: to,
        };
        let step = source::step(stored.owner.as_ref(), &input);
        match (step.next, step.send) {
            (source::Next::Become(next), Some((_, message))) => {
                stored.owner = Some(next);
                Completion::known(Ok(message))
            }
            _ => Completion::known(Err(HandoverError::NotOwned)),
        }
    }

    /// Source: the target `from` (authenticated) said `message`. Ready when the step is durable (steps GIVEN,
    /// FREED, take-back); then send the answer.
    pub fn answered(&self, from: SpoolUuid, message: ToSource) -> Completion<Answered, HandoverError> {
        let mut state = self.state();
        let entry = message.transfer().entry;
        let owner = state.entries.get(&entry).and_then(|stored| stored.owner);
        let step = source::step(owner.as_ref(), &source::Input::Heard { from, message });
        let mut answered = Answered {
            send: step.send.map(|(_, m)| m),
            ..Answered::default()
        };
        match step.next {
            source::Next::Same => {}
            source::Next::Become(next) => {
                if let Some(stored) = state.entries.get_mut(&entry) {
                    stored.owner = Some(next);
                }
                if matches!(next, source::Source::Owned { .. }) {
                    answered.taken_back = Some(entry);
                }
            }
            source::Next::Free => {
                state.entries.remove(&entry);
                answered.freed = Some(entry);
            }
        }
        Completion::known(Ok(answered))
    }

    /// Source: all standing offers, with what to send now; after a start and when nothing was heard for a while.
    pub fn standing(&self) -> Vec<Standing> {
        let state = self.state();
        let offers = state.entries.values().filter_map(|stored| {
            let owner = stored.owner.as_ref();
            let (target, send) = source::step(owner, &source::Input::Resume).send?;
            let given = matches!(owner, Some(source::Source::Given { .. }));
            Some(Standing {
                transfer: send.transfer(),
                target,
                given,
                send,
            })
        });
        offers.collect()
    }

    /// Target: a source said `message` (anything; for an offer see [`Incoming::hold`], which needs the item:
    /// called with a new offer this answers nothing and the item has to be read). Ready when the step is durable.
    pub fn requested(&self, message: ToTarget) -> Completion<Requested, HandoverError> {
        let mut state = self.state();
        let transfer = message.transfer();
        let known = state.transfers.get(&transfer).copied();
        let input = target::Input::Heard {
            message,
            hold: EntryId::from_u64(0),
            refuse: false,
        };
        let step = target::step(known.as_ref(), &input);
        if matches!(step.next, target::Next::Hold(_)) {
            return Completion::known(Ok(Requested::default()));
        }
        let released = state.apply(transfer, step.next);
        Completion::known(Ok(Requested {
            send: step.send,
            released,
        }))
    }

    /// Target: all transfers the sources have not ended.
    pub fn holds(&self) -> Vec<Hold> {
        let state = self.state();
        let holds = state.transfers.iter().filter_map(|(transfer, known)| {
            let ask = target::step(Some(known), &target::Input::Ask(*transfer)).send?;
            let (entry, released) = match known {
                target::Target::Held { hold } => (*hold, false),
                target::Target::Released { hold } => (*hold, true),
            };
            Some(Hold {
                transfer: *transfer,
                entry,
                released,
                ask,
            })
        });
        holds.collect()
    }

    /// Target: `source` was declared drained with this seal: holds of that seal and earlier are dropped, released
    /// transfers forgotten, later offers of them refused. Not kept on disk: the caller repeats it after each start,
    /// before it listens.
    pub fn drained(&self, source: SpoolUuid, seal: u64) -> Completion<Drained> {
        let mut state = self.state();
        let known = state.drained.entry(source).or_default();
        *known = seal.max(*known);
        let over: Vec<_> = state.transfers.keys().copied().collect();
        let mut drained = Drained::default();
        for transfer in over.into_iter().filter(|t| t.source == source && t.seal <= seal) {
            let step = target::step(state.transfers.get(&transfer), &target::Input::Drained);
            match step.next {
                target::Next::Drop(_) => drained.aborted += 1,
                _ => drained.freed += 1,
            }
            state.apply(transfer, step.next);
        }
        Completion::known(Ok(drained))
    }
}

impl State {
    fn apply(&mut self, transfer: TransferId, next: target::Next) -> Option<EntryId> {
        match next {
            target::Next::Same | target::Next::Hold(_) => None,
            target::Next::Release(hold) => {
                self.transfers.insert(transfer, target::Target::Released { hold });
                if let Some(stored) = self.entries.get_mut(&hold) {
                    stored.owner = Some(source::Source::Owned { generation: 0 });
                }
                Some(hold)
            }
            target::Next::Drop(hold) => {
                self.transfers.remove(&transfer);
                self.entries.remove(&hold);
                None
            }
            target::Next::Forget => {
                self.transfers.remove(&transfer);
                None
            }
        }
    }
}

fn ownership(owner: Option<&source::Source>) -> Ownership {
    match owner {
        Some(source::Source::Owned { .. }) => Ownership::Owned,
        Some(source::Source::Offered { .. }) => Ownership::Offered,
        Some(source::Source::Given { .. }) => Ownership::Given,
        None => Ownership::Held,
    }
}

fn summary(id: EntryId, stored: &Stored) -> Summary {
    let pending = stored
        .item
        .recipients
        .iter()
        .filter(|r| r.status == Status::Pending);
    Summary {
        id,
        ownership: ownership(stored.owner.as_ref()),
        arrived: stored.item.envelope.arrived,
        expires: stored.item.envelope.expires,
        size: (stored.item.prefix.len() + stored.body.len()) as u64,
        recipients: stored.item.recipients.len(),
        pending: pending.clone().count(),
        next_attempt: pending.map(|r| r.next_attempt).min().unwrap_or(0),
    }
}

/// A message being received. Dropping it throws away what was written.
#[derive(Debug)]
pub struct Incoming {
    spool: Spool,
    id: EntryId,
    body: Vec<u8>,
}

impl Incoming {
    /// The id the entry will have.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// Bytes of the body so far.
    pub fn len(&self) -> u64 {
        self.body.len() as u64
    }

    /// No byte was written yet.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The next `more` bytes make (or keep) this a body file: [`Incoming::write`] and [`Incoming::commit`] block on
    /// the disk and belong off the reactor. Otherwise neither does IO.
    pub fn blocks(&self, more: usize) -> bool {
        self.body.len() + more > self.spool.state().options.inline_limit
    }

    /// Appends to the body, as it goes on the wire without dot-stuffing.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), CommitError> {
        self.body.extend_from_slice(bytes);
        Ok(())
    }

    /// Commits the message with all recipients pending. Ready when it is durable: then answer 250.
    pub fn commit(self, envelope: Envelope, prefix: Vec<u8>) -> Completion<EntryId> {
        let recipients = vec![RecipientState::default(); envelope.recipients.len()];
        let item = Item {
            envelope,
            recipients,
            prefix,
        };
        let owner = Some(source::Source::Owned { generation: 0 });
        let mut state = self.spool.state();
        if state.closed {
            return Completion::known(Err(CommitError::Sealed));
        }
        state.entries.insert(
            self.id,
            Stored {
                item,
                body: Arc::new(self.body.clone()),
                owner,
            },
        );
        Completion::known(Ok(self.id))
    }

    /// Target, step 2: commits the item of an offer as held. Ready when HELD is durable, with what to answer.
    pub fn hold(self, transfer: TransferId, item: Item) -> Completion<ToSource, HandoverError> {
        let mut state = self.spool.state();
        if state.seal.sealed {
            return Completion::known(Err(HandoverError::Sealed));
        }
        if state
            .drained
            .get(&transfer.source)
            .is_some_and(|seal| transfer.seal <= *seal)
        {
            return Completion::known(Err(HandoverError::Drained));
        }
        let known = state.transfers.get(&transfer).copied();
        let message = ToTarget::Offer(transfer);
        let step = target::step(
            known.as_ref(),
            &target::Input::Heard {
                message,
                hold: self.id,
                refuse: false,
            },
        );
        if let target::Next::Hold(hold) = step.next {
            state.transfers.insert(transfer, target::Target::Held { hold });
            state.entries.insert(
                hold,
                Stored {
                    item,
                    body: Arc::new(self.body.clone()),
                    owner: None,
                },
            );
        }
        Completion::known(step.send.ok_or(HandoverError::NoSuchEntry))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let mut state = self.spool.state();
        state.open = state.open.saturating_sub(1);
    }
}
