//! A message on its way in: collected in memory, or in a body file once it is large.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::blob::BlobFile;
use crate::completion::Completion;
use crate::errors::{CommitError, HandoverError};
use crate::format::record::{MessageInfo, Record};
use crate::format::{extensions, message};
use crate::handover::{ToSource, TransferId};
use crate::io::File;
use crate::shared::{Job, NewMessage, OpenGuard, Shared};
use crate::spool::{Item, Spool};
use crate::types::{EntryId, Envelope, RecipientState};

/// What was written to a body file so far. Cheap to clone; reading it blocks on the disk.
#[derive(Clone, Debug)]
pub struct Written {
    file: Arc<dyn File>,
    len: u64,
}

impl Written {
    /// Reads up to the end of the buffer or of what was written; returns how many bytes.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        self.file.read_at(&mut buffer[..most], offset)
    }

    /// Bytes of it.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// There are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A message being received. Dropping it throws away what was written.
#[derive(Debug)]
pub struct Incoming {
    /// Keeps the spool open.
    _spool: Spool,
    shared: Arc<Shared>,
    id: EntryId,
    /// `None`: the sealed spool has said "empty".
    open: Option<OpenGuard>,
    inline: Vec<u8>,
    blob: Option<BlobFile>,
    prompt: bool,
}

impl Incoming {
    pub(crate) fn new(spool: Spool, shared: Arc<Shared>) -> Self {
        let id = EntryId::from_u64(shared.next_entry.fetch_add(1, Ordering::Relaxed));
        let open = shared.open_message();
        Self {
            _spool: spool,
            shared,
            id,
            open,
            inline: Vec::new(),
            blob: None,
            prompt: false,
        }
    }

    /// Its commit is durable before it is answered, whatever [`crate::Durability`] says: for a message in whose place another
    /// one is ended.
    #[must_use]
    pub fn promptly(mut self) -> Self {
        self.prompt = true;
        self
    }

    /// The id the entry will have.
    pub const fn id(&self) -> EntryId {
        self.id
    }

    /// Bytes of the body so far.
    pub fn len(&self) -> u64 {
        self.blob.as_ref().map_or(self.inline.len() as u64, BlobFile::len)
    }

    /// The body so far, where it is in memory.
    pub fn in_memory(&self) -> Option<&[u8]> {
        self.blob.is_none().then_some(&self.inline)
    }

    /// The body so far, where it is a body file.
    pub fn in_file(&self) -> Option<Written> {
        self.blob.as_ref().map(|blob| Written {
            file: blob.file(),
            len: blob.len(),
        })
    }

    /// Takes the body of another message in the place of its own; the other one is over. Blocks on the disk where either is
    /// a body file.
    pub fn take_body(&mut self, other: Self) -> Result<(), CommitError> {
        let Self { inline, blob, .. } = other;
        // Its file goes first: the other one gets its name.
        self.blob = None;
        self.inline = inline;
        if let Some(mut blob) = blob {
            blob.rename(self.id)?;
            self.blob = Some(blob);
        }
        Ok(())
    }

    /// No byte was written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next `more` bytes make (or keep) this a body file: [`Incoming::write`] and [`Incoming::commit`] block on
    /// the disk and belong off the reactor. Otherwise neither does IO.
    pub fn blocks(&self, more: usize) -> bool {
        self.blob.is_some() || self.inline.len() + more > self.inline_limit()
    }

    /// Half of a record at most: the rest is for envelope and prefix.
    fn inline_limit(&self) -> usize {
        self.shared
            .options
            .inline_limit
            .min(self.shared.max_payload() / 2)
    }

    /// Octets of memory that the body takes once `more` are written and it is no body file: what it needs at first, then
    /// twice what it has, so that a growing body is not copied for every piece.
    pub fn will_hold(&self, more: usize) -> usize {
        let (held, needed) = (self.inline.capacity(), self.inline.len() + more);
        match held {
            0 => needed,
            _ if needed <= held => held,
            _ => (2 * held).min(self.inline_limit()).max(needed),
        }
    }

    /// Appends to the body, as it goes on the wire without dot-stuffing.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), CommitError> {
        if self.blocks(bytes.len()) {
            return self.write_to_file(bytes);
        }
        self.admit(bytes)?;
        let room = self.will_hold(bytes.len()) - self.inline.len();
        self.inline.reserve_exact(room);
        self.inline.extend_from_slice(bytes);
        Ok(())
    }

    /// The same, and the body is a file from now on, however short it is. Blocks on the disk.
    pub fn write_to_file(&mut self, bytes: &[u8]) -> Result<(), CommitError> {
        self.admit(bytes)?;
        self.spilled()?.write(bytes)
    }

    fn admit(&self, bytes: &[u8]) -> Result<(), CommitError> {
        if self.open.is_none() {
            return Err(CommitError::Sealed);
        }
        if self.len() + bytes.len() as u64 > self.shared.options.max_body {
            return Err(CommitError::TooLarge);
        }
        Ok(())
    }

    /// The body file, made now if there is none yet.
    fn spilled(&mut self) -> Result<&mut BlobFile, CommitError> {
        let blob = if let Some(blob) = self.blob.take() {
            blob
        } else {
            let mut blob = BlobFile::create(&self.shared, self.id)?;
            blob.write(&std::mem::take(&mut self.inline))?;
            blob
        };
        Ok(self.blob.insert(blob))
    }

    /// Commits the message with all recipients pending. Ready when it is durable: then answer 250.
    pub fn commit(self, envelope: Envelope, prefix: Vec<u8>) -> Completion<EntryId> {
        self.commit_held(envelope, prefix, 0)
    }

    /// The same, with the first attempt not before this time (milliseconds since 1970).
    pub fn commit_held(self, envelope: Envelope, prefix: Vec<u8>, until: u64) -> Completion<EntryId> {
        let state = RecipientState {
            next_attempt: until,
            ..RecipientState::default()
        };
        let recipients = vec![state; envelope.recipients.len()];
        let shared = Arc::clone(&self.shared);
        match self.message(
            None,
            Item {
                envelope,
                recipients,
                prefix,
            },
        ) {
            Ok(message) => {
                let (reply, completion) = Completion::channel();
                shared.submit(Job::Message(Box::new(message), reply));
                completion
            }
            Err(error) => Completion::known(Err(error)),
        }
    }

    /// Target, step 2: commits the item of an offer as held. Ready when HELD is durable, with what to answer.
    ///
    /// On [`HandoverError::Sealed`] and [`HandoverError::Drained`] answer [`ToSource::Unknown`]: nothing is held.
    pub fn hold(self, transfer: TransferId, item: Item) -> Completion<ToSource, HandoverError> {
        let shared = Arc::clone(&self.shared);
        match self.message(Some(transfer), item) {
            Ok(message) => {
                let (reply, completion) = Completion::channel();
                shared.submit(Job::Hold(Box::new(message), transfer, reply));
                completion
            }
            Err(error) => Completion::known(Err(error.into())),
        }
    }

    fn message(mut self, origin: Option<TransferId>, item: Item) -> Result<NewMessage, CommitError> {
        if let Some(reason) = self.shared.read_only() {
            return Err(CommitError::ReadOnly(reason.to_owned()));
        }
        let open = self.open.take().ok_or(CommitError::Sealed)?;
        let Item {
            envelope,
            mut recipients,
            prefix,
        } = item;
        let format = extensions::format_of(&envelope);
        if format > self.shared.write_format() {
            return Err(CommitError::Format);
        }
        recipients.resize(envelope.recipients.len(), RecipientState::default());
        let max = self.shared.max_payload();
        let encode = |body| message::encode(origin.as_ref(), &envelope, &recipients, &prefix, body);
        // A snapshot of all states without reply texts has to fit in a record too.
        let least = encode((0, 0)).len().max(recipients.len() * 32);
        if least > max {
            return Err(CommitError::TooLarge);
        }
        if self.blob.is_none() && least + self.inline.len() > max {
            self.spilled()?;
        }
        let (body_len, body_crc) = match &self.blob {
            Some(blob) => blob.sync()?,
            // Of its own, so that an envelope is known to be whole when the body is not. Cheaper than combining two checksums.
            None => (self.inline.len() as u64, crc32c::crc32c(&self.inline)),
        };
        let head = encode((body_len, body_crc));
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head), &self.inline);
        let record = Record::Message(MessageInfo {
            format,
            blob: self.blob.is_some(),
            prefix_len: prefix.len() as u64,
            body_len,
            arrived: envelope.arrived,
            expires: envelope.expires,
            states: recipients,
            origin,
        });
        Ok(NewMessage {
            id: self.id,
            record,
            head,
            body: self.inline,
            crc,
            blob: self.blob,
            open,
            prompt: self.prompt,
        })
    }
}
