//! A whole message is shown to filters, and changed as they want it: before it is signed and stored, and before 250.
//!
//! ```text
//!   filters of the settings, one after the other:
//!   header, envelope, body ─► Filters::ask ─► verdict ─┬─► Accept: the changes are made, the next filter sees them
//!                                                      └─► anything else is the end
//!   at last: our own Authentication-Results stay ours, the header is looked at anew, what is signed is read anew
//! ```

use std::sync::Arc;

use postroad_config::{Filter, OnFailure};
use postroad_filter::header::Section;
use postroad_filter::{Answer, Change, Login, Malformed, Message, Refusal, Verdict};
use postroad_smtp::Address;
use postroad_spool::{BodyKind, Incoming, Notify, Recipient};

use super::Transaction;
use super::forged::ForgedFilter;
use super::header::HeaderScan;
use super::held::Held;
use super::receiving::{NO_ROOM, Receiving, Refused};
use crate::filter::{Body, Failure, Filters, Heard, Scanned};
use crate::log::clean;
use crate::signing::Signing;

/// What is known of the session besides the transaction.
#[derive(Clone, Copy, Debug)]
pub struct Met<'a> {
    /// Name of the port.
    pub port: &'a str,
    /// Port of the client; 0 where nobody knows.
    pub client_port: u16,
    /// TLS version and cipher suite.
    pub tls: Option<&'a str>,
}

/// What filters make of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filtered {
    /// It goes on: to be committed, or refused there for a reason of ours.
    Passed,
    /// It is refused in these words.
    Refused(Refusal),
    /// It goes nowhere, and its client is told that it was taken.
    Discarded,
}

/// One filter is through.
enum Next {
    Filter,
    End(Filtered),
}

impl Receiving {
    /// Shows the message, which has ended, to the filters that want it. Dropped on the way it is refused.
    pub async fn filter(
        &mut self,
        filters: &Filters,
        transaction: &mut Transaction,
        met: Met<'_>,
    ) -> Filtered {
        self.end(transaction).await;
        let Some(held) = self.held.take() else {
            return Filtered::Passed;
        };
        // Out of reach of a commit until all filters are through.
        let Some(incoming) = self.incoming.take() else {
            return Filtered::Passed;
        };
        let mut shown = Shown {
            section: held.header().cloned().unwrap_or_default(),
            incoming: Some(incoming),
            header_changed: false,
            body_changed: false,
            eight_bit: false,
            quarantined: false,
        };
        let settings = Arc::clone(&held.settings);
        for filter in &settings.set.file.filters {
            if !filter.mail.includes(held.trusted) {
                continue;
            }
            match self
                .ask(filters, filter, &held, transaction, met, &mut shown)
                .await
            {
                Ok(Next::Filter) => {}
                Ok(Next::End(end)) => return end,
                Err(refused) => {
                    self.refuse(refused);
                    return Filtered::Passed;
                }
            }
        }
        if let Err(refused) = self.take_over(held, shown).await {
            self.refuse(refused);
        }
        Filtered::Passed
    }

    /// Asks one filter and does what it wants.
    async fn ask(
        &mut self,
        filters: &Filters,
        filter: &Filter,
        held: &Held,
        transaction: &mut Transaction,
        met: Met<'_>,
        shown: &mut Shown,
    ) -> Result<Next, Refused> {
        let incoming = shown.incoming.as_ref().ok_or(UNREADABLE)?;
        let in_memory = incoming.in_memory().map_or(0, <[u8]>::len);
        // The header once here and once with the filter's client.
        if !self.room.set_aside(2 * shown.section.len() + in_memory + ASKING) {
            return Err(NO_ROOM);
        }
        let body = Body::of(incoming);
        let queue_id = incoming.id().to_string();
        let message = message(held, transaction, met, (&shown.section, &queue_id, body.len()));
        let largest = held.settings.set.file.limits.message_size.0;
        let spool = self.intake.spool.clone();
        let asked = filters.ask(filter, message, &body, &spool, largest).await;
        let done = match asked {
            Ok(heard) => done(filter, &queue_id, heard, transaction, shown).await,
            Err(failure) => Err(failure),
        };
        match done {
            // Its body could not be exchanged, whatever else may go on.
            _ if shown.incoming.is_none() => Err(UNREADABLE),
            Ok(next) => Ok(next),
            Err(failure) => failed(filter, &queue_id, &failure).map(|()| Next::Filter),
        }
    }

    /// All filters are through: what they made of the message is the message.
    async fn take_over(&mut self, mut held: Held, shown: Shown) -> Result<(), Refused> {
        let incoming = shown.incoming.ok_or(UNREADABLE)?;
        self.room.set_aside(shown.section.len());
        self.quarantined = shown.quarantined;
        if shown.header_changed {
            self.change_header(&mut held, &shown.section);
        }
        self.eight_bit |= shown.eight_bit;
        if shown.header_changed || shown.body_changed {
            let body = Body::of(&incoming);
            self.sign_anew(&held, &body).await?;
        }
        self.incoming = Some(incoming);
        self.held = Some(held);
        Ok(())
    }

    /// Another header: its Authentication-Results in our name were not written by us, and what we know of it is known anew.
    fn change_header(&mut self, held: &mut Held, section: &Section) {
        let mut forged = ForgedFilter::new(held.settings.hostname());
        let mut kept = Vec::with_capacity(section.len());
        forged.feed(&section.write(), &mut kept);
        forged.finish(&mut kept);
        if forged.removed() > 0 {
            tracing::warn!(
                fields = forged.removed(),
                "a filter wrote Authentication-Results in our name; those are taken out"
            );
        }
        self.eight_bit |= !kept.is_ascii();
        held.replace(Section::parse(&kept));
        if let Some(found) = &mut self.found {
            let mut scan = HeaderScan::new();
            scan.feed(&kept);
            *found = scan.finish();
        }
    }

    /// Reads the changed message for its signatures.
    async fn sign_anew(&mut self, held: &Held, body: &Body) -> Result<(), Refused> {
        let Some(mut signing) = self.signing.take().map(Signing::anew) else {
            return Ok(());
        };
        self.room.keep(0);
        let mut next = bytes::Bytes::from(held.write());
        let mut read = 0;
        loop {
            signing.feed(&next, &mut self.room).map_err(|_| NO_ROOM)?;
            next = body.piece(read).await.map_err(|_| UNREADABLE)?;
            read += next.len() as u64;
            if next.is_empty() {
                break;
            }
        }
        self.signing = Some(signing);
        Ok(())
    }
}

/// A message as the next filter sees it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is what became of it, by itself"
)]
struct Shown {
    section: Section,
    /// Gone where it could not be exchanged for another one.
    incoming: Option<Incoming>,
    header_changed: bool,
    body_changed: bool,
    /// Octets above 127 came with another body.
    eight_bit: bool,
    quarantined: bool,
}

fn message(
    held: &Held,
    transaction: &Transaction,
    met: Met<'_>,
    (header, queue_id, body): (&Section, &str, u64),
) -> Message {
    let mut recipients: Vec<String> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for recipient in &transaction.recipients {
        // The address that was asked for: behind it may be many.
        let path = recipient.original.as_ref().unwrap_or(&recipient.forward_path);
        if seen.insert(path) {
            recipients.push(path.clone());
        }
    }
    let tls = met.tls.map(|tls| {
        let (version, suite) = tls.split_once(' ').unwrap_or((tls, ""));
        (version.to_owned(), suite.to_owned())
    });
    Message {
        hostname: held.settings.hostname().to_owned(),
        port_name: met.port.to_owned(),
        queue_id: queue_id.to_owned(),
        client: transaction.client,
        client_port: met.client_port,
        helo: transaction.helo.clone(),
        tls,
        login: transaction.identity.clone().map(|user| Login { user }),
        reverse_path: transaction.reverse_path.clone(),
        eight_bit: transaction.body == BodyKind::EightBitMime,
        smtputf8: transaction.smtputf8,
        recipients,
        header: header.clone(),
        body,
    }
}

/// Does what a filter wants, all of it or nothing. Errors: it wants what cannot be done.
async fn done(
    filter: &Filter,
    queue_id: &str,
    heard: Heard,
    transaction: &mut Transaction,
    shown: &mut Shown,
) -> Result<Next, Failure> {
    let Heard {
        answer,
        new_body,
        scan,
    } = heard;
    let body_changed = new_body.is_some();
    if answer.verdict == Verdict::Accept {
        let (mut section, mut changed) = (shown.section.clone(), false);
        let mut envelope = transaction.clone();
        for change in &answer.changes {
            changed |= section.apply(change);
            readdress(&mut envelope, change)?;
        }
        if section.len() > MOST_HEADER {
            return Err(Malformed("it makes the header too large").into());
        }
        if let Some(new_body) = new_body {
            shown.eight_bit |= new_body.eight_bit;
            exchange(&mut shown.incoming, new_body.incoming).await?;
        }
        shown.section = section;
        *transaction = envelope;
        shown.header_changed |= changed;
        shown.body_changed |= body_changed;
        shown.quarantined |= answer.quarantine.is_some();
    }
    tell(filter, queue_id, &answer, &scan.unwrap_or_default(), body_changed);
    Ok(match answer.verdict {
        Verdict::Refuse(refusal) => Next::End(Filtered::Refused(refusal)),
        Verdict::Discard => Next::End(Filtered::Discarded),
        // Nobody is left to get it.
        Verdict::Accept if transaction.recipients.is_empty() => Next::End(Filtered::Discarded),
        Verdict::Accept => Next::Filter,
    })
}

/// The message gets the other body. Off the reactor, as either may be a file.
async fn exchange(incoming: &mut Option<Incoming>, new_body: Incoming) -> Result<(), Failure> {
    let storage = |error: &dyn ToString| Failure::Storage(error.to_string());
    let Some(mut before) = incoming.take() else {
        return Err(storage(&"the message is gone"));
    };
    let work = tokio::task::spawn_blocking(move || before.take_body(new_body).map(|()| before));
    let exchanged = work.await.map_err(|error| storage(&error))?;
    *incoming = Some(exchanged.map_err(|error| storage(&error))?);
    Ok(())
}

/// A change of the envelope.
fn readdress(transaction: &mut Transaction, change: &Change) -> Result<(), Malformed> {
    let utf8 = transaction.smtputf8;
    let parsed = |path: &str| {
        let address =
            Address::parse(path, utf8).map_err(|_| Malformed("it names an address that is none"))?;
        Ok::<_, Malformed>(address.as_str().to_owned())
    };
    match change {
        Change::From(path) if path.is_empty() => transaction.reverse_path.clear(),
        Change::From(path) => transaction.reverse_path = parsed(path)?,
        Change::AddRecipient(path) => {
            let forward_path = parsed(path)?;
            transaction.recipients.push(Recipient {
                forward_path,
                notify: Notify::UNSET,
                orcpt: None,
                original: None,
            });
        }
        Change::RemoveRecipient(path) => transaction.recipients.retain(|recipient| {
            let known = recipient.original.as_ref().unwrap_or(&recipient.forward_path);
            !known.eq_ignore_ascii_case(path)
        }),
        Change::Add { .. } | Change::Insert { .. } | Change::Replace { .. } | Change::Remove { .. } => {}
    }
    Ok(())
}

/// What follows where a filter could not be asked.
fn failed(filter: &Filter, queue_id: &str, failure: &Failure) -> Result<(), Refused> {
    tracing::warn!(
        event = "filtered",
        queue_id,
        filter = filter.name,
        verdict = "failed",
        on_failure = ?filter.on_failure,
        reason = clean(&failure.to_string()),
        "a filter could not be asked"
    );
    match filter.on_failure {
        OnFailure::TempFail => Err(NOT_FILTERED),
        OnFailure::Reject => Err(NOT_FILTERED_FOR_GOOD),
        OnFailure::Accept => Ok(()),
    }
}

fn tell(filter: &Filter, queue_id: &str, answer: &Answer, scan: &Scanned, body_changed: bool) {
    let (verdict, reason) = match &answer.verdict {
        Verdict::Accept if answer.quarantine.is_some() => ("quarantine", answer.quarantine.as_deref()),
        Verdict::Accept => ("accept", None),
        Verdict::Discard => ("discard", None),
        Verdict::Refuse(refusal) if refusal.is_temporary() => ("temp-fail", Some(refusal.text.as_str())),
        Verdict::Refuse(refusal) => ("reject", Some(refusal.text.as_str())),
    };
    tracing::info!(
        event = "filtered",
        queue_id,
        filter = filter.name,
        verdict,
        reason = clean(reason.unwrap_or_default()),
        changes = answer.changes.len(),
        body_changed,
        action = scan.action,
        score = scan.score,
        required = scan.required,
        symbols = scan.symbols,
        "filtered"
    );
}

/// For one filter at a time: a packet that comes, one that goes, pieces of the body.
const ASKING: usize = 512 << 10;
/// With all that filters add.
const MOST_HEADER: usize = 2 << 20;
const NOT_FILTERED: Refused = Refused {
    code: 451,
    enhanced: "4.7.1",
    text: "A filter cannot be asked now, try again later",
};
const NOT_FILTERED_FOR_GOOD: Refused = Refused {
    code: 554,
    enhanced: "5.7.1",
    text: "A filter could not be asked about this message",
};
const UNREADABLE: Refused = Refused {
    code: 451,
    enhanced: "4.3.0",
    text: "The storage has an error, try again later",
};
