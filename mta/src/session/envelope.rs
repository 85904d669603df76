//! MAIL and RCPT: what the policy says of them, and the transaction that grows from them.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use postroad_config::{Deliver, Inbound, Role};
use postroad_smtp::server::Session;
use postroad_smtp::{Address, BodyType, Mail, Rcpt, Reply, Ret as SmtpRet, encode_xtext};
use postroad_spool::{BodyKind, DeliverBy, Notify, Recipient, Ret};

use tokio::time::Instant;

use super::driver::Driver;
use super::hold;
use super::letting_in::Admission;
use super::pace::Pace;
use crate::accept::{Brought, Transaction};
use crate::deliver::callout::{Answer, Keeps};
use crate::log::clean;
use crate::net::{Rank, Room};
use crate::policy::{Accepted, Context, Refusal};
use crate::queue::clock;
use crate::settings::Settings;
use crate::signing::{Keys, sealer_for};
use crate::verify::{Pending, Rejection};

/// A transaction that is not yet a message.
pub(super) struct Draft {
    mail: Mail,
    recipients: Vec<Recipient>,
    /// Memory for them.
    room: Option<Room>,
    /// When it leaves, where its sender asked for a time.
    release: Option<Timestamp>,
    /// Until when it is to be delivered, where its sender said so.
    deliver_by: Option<DeliverBy>,
    /// Checks of its sender.
    pub(super) checks: Option<Pending>,
    /// Whether it is let in.
    pub(super) admission: Admission,
}

impl Draft {
    /// Its reverse-path, empty for the null one.
    pub(super) fn reverse_path(&self) -> String {
        text(self.mail.reverse_path.as_ref())
    }

    /// The memory of its recipients, to be held for as long as they are.
    pub(super) fn room(&mut self) -> Option<Room> {
        self.room.take()
    }

    /// Takes more recipients, where `room` has memory for all of them. `false`: it has not, and none is taken.
    fn take(&mut self, more: Vec<Recipient>, room: impl FnOnce() -> Option<Room>) -> bool {
        let all = self.recipients.iter().chain(&more);
        let octets = all.map(octets).sum();
        let Some(mut room) = self.room.take().or_else(room) else {
            return false;
        };
        let is_taken = room.keep(octets);
        self.room = Some(room);
        if is_taken {
            self.recipients.extend(more);
        }
        is_taken
    }
}

/// What a recipient takes.
fn octets(recipient: &Recipient) -> usize {
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    size_of::<Recipient>()
        + recipient.forward_path.len()
        + optional(&recipient.orcpt)
        + optional(&recipient.original)
}

impl Driver {
    pub(super) fn mail(&mut self, mail: Mail, session: &mut Session) {
        if self.must_end() {
            session.end(&self.leaving());
            return;
        }
        // Settings stay the same within a transaction.
        self.settings = self.shared.live.current();
        let limits = self.settings.set.file.limits;
        if self.messages >= limits.messages_per_connection {
            session.end(&Reply::new(
                421,
                "4.7.0",
                "Enough messages for one session, connect again",
            ));
            return;
        }
        let rank = self.rank(session);
        if self.shared.pressure.sheds(rank) {
            session.end(&Reply::new(421, "4.3.2", "Too little memory, try again later"));
            return;
        }
        if self.shared.budget.is_short(rank, session.is_tls()) {
            return too_little_memory(session);
        }
        if let Some(unable) = self.shared.intake.unable(mail.size) {
            session.answer(Reply::new(unable.code, unable.enhanced, unable.text));
            return;
        }
        let path = text(mail.reverse_path.as_ref());
        let held = mail.hold.as_ref();
        let release = held.map(|asked| hold::release(asked, Timestamp::now()));
        if release == Some(None) {
            session.answer(Reply::new(501, "5.5.4", "A message is not held for that time"));
            return;
        }
        let deliver_by = mail.by.map(|by| hold::deadline(by, clock::now()));
        let leaves = release.flatten().map(reckoned);
        if hold::is_contrary(leaves, deliver_by) {
            session.answer(Reply::new(
                501,
                "5.5.4",
                "A message is not held beyond its time to deliver by",
            ));
            return;
        }
        match self.context(session).sender(&path) {
            Ok(()) => {
                self.deadline = Some(Instant::now() + limits.transaction_time.get());
                let checks = self.begin_checks(&path, session);
                self.draft = Some(Draft {
                    checks,
                    mail,
                    recipients: Vec::new(),
                    room: None,
                    release: release.flatten(),
                    deliver_by,
                    admission: Admission::default(),
                });
                session.answer(Reply::ok("2.1.0", "Sender is fine"));
            }
            Err(refusal) => self.refuse("MAIL", &path, &refusal, session),
        }
    }

    pub(super) async fn rcpt(&mut self, rcpt: &Rcpt, session: &mut Session) {
        let path = rcpt
            .forward_path
            .as_ref()
            .map_or_else(|| "postmaster".to_owned(), |path| path.as_str().to_owned());
        let accepted = match self.context(session).recipient(&path) {
            Ok(accepted) => accepted,
            Err(refusal) => return self.refuse("RCPT", &path, &refusal, session),
        };
        let let_in = match Box::pin(self.may_ask(&path, session)).await {
            Ok(Ok(let_in)) => let_in,
            Ok(Err(denied)) => return self.deny(&path, &denied, session),
            Err(over) => return session.end(&over),
        };
        // A null reverse-path is not refused for want of it (RFC 8689 section 5).
        let bound = |draft: &Draft| draft.mail.require_tls && draft.mail.reverse_path.is_some();
        let require_tls = self.draft.as_ref().is_some_and(bound);
        if require_tls || accepted.ask.is_some() {
            let rank = self.rank(session);
            let asked = self.ask_stores(&accepted, &path, require_tls, rank);
            // In a place of its own: most sessions never ask, and each would carry the room for it.
            match Box::pin(self.unless_over(asked)).await {
                Ok(Ok(())) => {}
                Ok(Err(refusal)) => return self.refuse("RCPT", &path, &refusal, session),
                Err(over) => return session.end(&over),
            }
        }
        match Box::pin(self.sender_stands()).await {
            Ok(Ok(())) => {}
            Ok(Err(rejection)) => return self.reject(&path, &rejection, session),
            Err(over) => return session.end(&over),
        }
        match Box::pin(self.may_come(let_in, &path, session)).await {
            Ok(Ok(())) => {}
            Ok(Err(denied)) => return self.deny(&path, &denied, session),
            Err(over) => return session.end(&over),
        }
        let rank = self.rank(session);
        let Some(draft) = &mut self.draft else {
            session.answer(Reply::new(503, "5.5.1", "Say MAIL first"));
            return;
        };
        // Aliases multiply: what one RCPT stands for is bounded, and so is the whole.
        if draft.recipients.len() + accepted.to.len() > MOST_EXPANDED {
            session.answer(Reply::new(452, "4.5.3", "Too many recipients"));
            return;
        }
        let notify = rcpt.notify.map_or(Notify::UNSET, notify);
        let orcpt = rcpt.orcpt.as_deref().map(encode_orcpt);
        let more = accepted.to.into_iter().map(|forward_path| Recipient {
            forward_path,
            notify,
            // RFC 3461 section 6.2.7: behind an alias the sender still reads the address it knows.
            orcpt: orcpt
                .clone()
                .or_else(|| (accepted.aliased && path.is_ascii()).then(|| original(&path))),
            original: accepted.aliased.then(|| path.clone()),
        });
        if !draft.take(more.collect(), || self.shared.budget.recipients(rank)) {
            return too_little_memory(session);
        }
        session.answer(Reply::ok("2.1.5", "Recipient is fine"));
    }

    /// A body comes, if there is room for it.
    pub(super) fn begin_message(&mut self, session: &mut Session) {
        let Some(room) = self.shared.budget.begin(self.rank(session), session.is_tls()) else {
            return too_little_memory(session);
        };
        self.pace = Some(Pace::new(Instant::now().into_std()));
        let trusted = session.identity().is_some() || self.settings.may_relay(self.client.ip());
        let brought = if trusted {
            Brought::ByTrusted
        } else {
            let draft = self.draft.as_mut();
            Brought::ByStranger {
                seal: draft.and_then(|draft| seal(&self.settings, draft)),
            }
        };
        let mut receiving = self.shared.intake.begin(self.port.role, brought, room);
        let checks = self.draft.as_ref().and_then(|draft| draft.checks.as_ref());
        receiving.read_by(checks.and_then(Pending::reading));
        self.receiving = Some(receiving);
        session.answer(Reply::ok("2.0.0", "Go on"));
    }

    /// Asks the hosts that get the mail what has to be known of them before a recipient is taken.
    async fn ask_stores(
        &self,
        accepted: &Accepted,
        path: &str,
        require_tls: bool,
        rank: Rank,
    ) -> Result<(), Refusal> {
        if require_tls {
            // First of all: the recipient is part of what is not said in clear.
            if rank == Rank::Stranger && self.leads_out(&accepted.to) {
                return Err(NO_PROVEN_TLS);
            }
            self.keeps_tls(&accepted.to).await?;
        }
        match &accepted.ask {
            Some(host) => self.verify(host, path, require_tls).await,
            None => Ok(()),
        }
    }

    /// Asks the hosts that get the mail of our own domains whether they keep REQUIRETLS.
    async fn keeps_tls(&self, to: &[String]) -> Result<(), Refusal> {
        for host in self.stores(to) {
            match self
                .shared
                .callout
                .keeps_tls(&host, self.settings.hostname())
                .await
            {
                Keeps::Yes => {}
                // RFC 8689 section 4.2.1 and RFC 5248: X.7.30.
                Keeps::NotOffered => {
                    return Err(Refusal::new(
                        550,
                        "5.7.30",
                        "The mail store of this recipient does not offer REQUIRETLS",
                    ));
                }
                Keeps::NoTls => return Err(NO_PROVEN_TLS),
                Keeps::Unknown => {
                    return Err(Refusal::new(
                        451,
                        "4.4.3",
                        "The mail store could not be asked for this recipient, try again later",
                    ));
                }
            }
        }
        Ok(())
    }

    /// An alias leads out of our domains: what lies behind is asked for REQUIRETLS only when the mail is under way.
    fn leads_out(&self, to: &[String]) -> bool {
        !to.iter().all(|path| self.inbound_of(path).is_some())
    }

    fn stores(&self, to: &[String]) -> HashSet<Deliver> {
        let inbound = to.iter().filter_map(|path| self.inbound_of(path));
        inbound.map(|inbound| inbound.deliver_to.clone()).collect()
    }

    /// How mail for that path is received here, if it is.
    fn inbound_of(&self, path: &str) -> Option<&Inbound> {
        let (_, domain) = path.rsplit_once('@')?;
        self.settings.domain(&domain.parse().ok()?)?.inbound.as_ref()
    }

    /// Asks the host that gets the mail.
    async fn verify(&self, host: &Deliver, path: &str, require_tls: bool) -> Result<(), Refusal> {
        let hostname = self.settings.hostname();
        match self.shared.callout.ask(host, path, hostname, require_tls).await {
            Answer::Exists => Ok(()),
            Answer::Missing => Err(Refusal::new(550, "5.1.1", "No such mailbox here")),
            Answer::Denied => Err(Refusal::new(
                550,
                "5.7.1",
                "The mail store refuses this recipient",
            )),
            Answer::Full => Err(Refusal::new(
                452,
                "4.2.2",
                "This mailbox is full, try again later",
            )),
            Answer::Unknown => Err(Refusal::new(
                451,
                "4.4.3",
                "The mail store could not be asked for this recipient, try again later",
            )),
        }
    }

    /// All that is known when the last octet is there.
    pub(super) fn transaction(&self, draft: Draft, session: &Session) -> Transaction {
        let (helo, esmtp) = session.client_name().unwrap_or_default();
        let mail = draft.mail;
        Transaction {
            role: self.port.role,
            reverse_path: text(mail.reverse_path.as_ref()),
            recipients: draft.recipients,
            release: draft.release,
            ret: mail.ret.map(|ret| match ret {
                SmtpRet::Full => Ret::Full,
                SmtpRet::Headers => Ret::Headers,
            }),
            envid: mail.envid.as_deref().map(encode_xtext),
            body: match mail.body {
                Some(BodyType::EightBit) => BodyKind::EightBitMime,
                Some(BodyType::SevenBit) | None => BodyKind::SevenBit,
            },
            smtputf8: mail.smtputf8,
            require_tls: mail.require_tls,
            deliver_by: draft.deliver_by,
            identity: session.identity().map(str::to_owned),
            client: self.client.ip(),
            helo: helo.to_owned(),
            esmtp,
            tls: session.is_tls(),
            results: None,
            chain: None,
            refusal: None,
        }
    }

    /// How much the client is worth.
    pub(super) fn rank(&self, session: &Session) -> Rank {
        if session.identity().is_some() {
            Rank::User
        } else {
            Rank::of(&self.settings, Role::Transfer, self.client.ip())
        }
    }

    fn context<'a>(&'a self, session: &'a Session) -> Context<'a> {
        Context {
            settings: &self.settings,
            complete: self.shared.live.complete(),
            role: self.port.role,
            identity: session.identity(),
            may_relay: self.settings.may_relay(self.client.ip()),
        }
    }

    fn refuse(&self, command: &str, path: &str, refusal: &Refusal, session: &mut Session) {
        self.tell_refused(command, path, (refusal, ""), session);
        session.answer(Reply::new(refusal.code, refusal.enhanced, refusal.text));
    }

    /// Refuses a recipient for its sender's SPF record, with what that says of it.
    fn reject(&self, path: &str, rejection: &Rejection, session: &mut Session) {
        let refusal = &rejection.refusal;
        self.tell_refused("RCPT", path, (refusal, &rejection.explanation), session);
        session.answer(Reply::new(refusal.code, refusal.enhanced, rejection.text()));
    }

    /// `explanation`: the sender's own, for the log.
    fn tell_refused(
        &self,
        command: &str,
        path: &str,
        (refusal, explanation): (&Refusal, &str),
        session: &Session,
    ) {
        tracing::info!(
            event = "refused",
            port = self.port.name,
            client = %self.client.ip(),
            identity = clean(session.identity().unwrap_or("")),
            command,
            path = clean(path),
            code = refusal.code,
            reason = refusal.text,
            explanation = (!explanation.is_empty()).then(|| clean(explanation)),
            "refused"
        );
    }
}

/// Who seals the message, where its checks run: what nobody has judged is not vouched for. They look at its chain then.
fn seal(settings: &Settings, draft: &mut Draft) -> Option<Arc<Keys>> {
    let checks = draft.checks.as_mut()?;
    let sealer = sealer_for(settings, &draft.recipients)?;
    checks.for_seal();
    Some(sealer)
}

fn too_little_memory(session: &mut Session) {
    session.answer(Reply::new(452, "4.3.1", "Too little memory, try again later"));
}

/// By the clock of the queue.
fn reckoned(at: Timestamp) -> u64 {
    clock::reckoned(u64::try_from(at.as_millisecond()).unwrap_or(0))
}

fn text(path: Option<&Address>) -> String {
    path.map(|path| path.as_str().to_owned()).unwrap_or_default()
}

fn notify(notify: postroad_smtp::Notify) -> Notify {
    let set = [
        (notify.success, Notify::SUCCESS),
        (notify.failure, Notify::FAILURE),
        (notify.delay, Notify::DELAY),
    ];
    let given = set
        .into_iter()
        .filter(|(given, _)| *given)
        .fold(Notify::UNSET, |all, (_, one)| all.with(one));
    if given == Notify::UNSET {
        Notify::NEVER
    } else {
        given
    }
}

fn encode_orcpt(orcpt: &str) -> String {
    match orcpt.split_once(';') {
        Some((kind, address)) => format!("{kind};{}", encode_xtext(address)),
        None => original(orcpt),
    }
}

fn original(path: &str) -> String {
    format!("rfc822;{}", encode_xtext(path))
}

const MOST_EXPANDED: usize = 50_000;

/// RFC 8689 section 4.2.1 and RFC 5248: X.7.10.
const NO_PROVEN_TLS: Refusal = Refusal::new(
    550,
    "5.7.10",
    "There is no proven TLS with the mail store of this recipient",
);
