//! The loop around the state machine: reads, writes, time limits, and when to end.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use jiff::Timestamp;
use postroad_config::{Port, Role, TlsMode};
use postroad_smtp::Reply;
use postroad_smtp::sasl::ChannelBindings;
use postroad_smtp::server::{Config, Event, Role as SmtpRole, Session, Tls};
use postroad_spool::EntryId;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::Shared;
use super::counted;
use super::envelope::Draft;
use super::hold;
use super::letting_in::OfClient;
use super::pace::Pace;
use super::verifying::Told;
use super::wire::Wire;
use crate::accept::{self, Receiving, Transaction};
use crate::auth::Authenticator;
use crate::log::clean;
use crate::settings::Settings;
use crate::tls::{self, Service};

/// One session.
pub(super) struct Driver {
    pub(super) shared: Shared,
    pub(super) port: Port,
    pub(super) client: SocketAddr,
    /// Of the session until a transaction begins, then of the transaction.
    pub(super) settings: Arc<Settings>,
    /// The open transaction.
    pub(super) draft: Option<Draft>,
    /// The message that comes.
    pub(super) receiving: Option<Receiving>,
    /// Failed logins.
    pub(super) failures: u32,
    /// The present login is not to be counted: it was not checked, as too many have failed, or it has been counted.
    pub(super) counted: bool,
    /// When the check of the present login began.
    pub(super) checked: Option<Instant>,
    /// What the DNS says of the client, once it was asked.
    pub(super) of_client: Option<Box<OfClient>>,
    /// TLS version and suite.
    pub(super) tls: Option<String>,
    accepted: u32,
    /// Messages that came to their end, accepted or not.
    pub(super) messages: u32,
    /// When the present transaction must be over.
    pub(super) deadline: Option<Instant>,
    /// How fast the present message comes in.
    pub(super) pace: Option<Pace>,
    /// Since when the present command is waited for.
    waits_since: Option<Instant>,
}

/// Why a session ended, for the log.
enum End {
    /// As the protocol has it.
    Closed,
    /// The client went away.
    Gone(io::Error),
    /// Time ran out.
    TimedOut,
}

/// How a message ended.
pub(super) enum Ending {
    /// It is on stable storage.
    Stored(EntryId),
    /// A filter wants it to go nowhere, and its client to believe otherwise.
    Discarded,
    /// It was not taken.
    Refused(Reply),
}

impl Ending {
    /// The client is asked to come again.
    fn is_for_now(&self) -> bool {
        matches!(self, Self::Refused(reply) if (400..500).contains(&reply.code()))
    }
}

/// A message that has ended, for the log.
struct Brought {
    identity: String,
    from: String,
    recipients: usize,
    size: u64,
    /// Why it was let in.
    access: String,
    told: Told,
}

impl Driver {
    pub(super) fn new(shared: Shared, port: Port, client: SocketAddr) -> Self {
        let settings = shared.live.current();
        Self {
            shared,
            port,
            client,
            settings,
            draft: None,
            receiving: None,
            failures: 0,
            counted: false,
            checked: None,
            of_client: None,
            tls: None,
            accepted: 0,
            messages: 0,
            deadline: None,
            pace: None,
            waits_since: None,
        }
    }

    /// Serves until the end, and logs it.
    pub(super) async fn run(mut self, stream: TcpStream) {
        if self.talks_early(&stream).await {
            return self.turn_away(stream).await;
        }
        let (session, end) = self.serve(stream).await;
        self.log(session.as_ref(), &end);
    }

    /// Serves until the end.
    pub(super) async fn run_unlogged(mut self, stream: TcpStream) {
        self.serve(stream).await;
    }

    async fn serve(&mut self, stream: TcpStream) -> (Option<Session>, End) {
        // Replies are small and waited for.
        let _ = stream.set_nodelay(true);
        match self.begin(stream).await {
            Ok((mut wire, mut session)) => {
                let end = self.drive(&mut wire, &mut session).await;
                (Some(session), end)
            }
            Err(end) => (None, end),
        }
    }

    /// The handshake where TLS comes first, then the state machine with the greeting in its output.
    async fn begin(&mut self, stream: TcpStream) -> Result<(Option<Wire>, Session), End> {
        let mut wire = Wire::Plain(stream);
        let mut bindings = ChannelBindings::default();
        if self.port.tls == TlsMode::Implicit {
            (wire, bindings) = self.secure(wire).await?;
        }
        Ok((Some(wire), Session::new(self.config(bindings))))
    }

    fn config(&self, bindings: ChannelBindings) -> Config {
        let settings = &self.settings;
        let limits = &settings.set.file.limits;
        let offered = settings.tls().is_some();
        Config {
            hostname: settings.hostname().to_owned(),
            role: match self.port.role {
                Role::Transfer => SmtpRole::Transfer,
                Role::Submission => SmtpRole::Submission,
            },
            tls: match self.port.tls {
                TlsMode::Implicit => Tls::Active,
                TlsMode::StartTls => Tls::Required,
                TlsMode::Opportunistic if offered => Tls::Offered,
                _ => Tls::Unavailable,
            },
            size_limit: limits.message_size.0,
            recipients_limit: limits.recipients_per_message,
            login_required: !settings.may_relay(self.client.ip()),
            messages_limit: limits.messages_per_connection,
            // For users alone: other servers deliver at once (RFC 4865 section 3).
            hold: (self.port.role == Role::Submission)
                .then(|| (hold::LONGEST, hold::latest(Timestamp::now()))),
            require_tls: self.shared.intake.keeps_extensions(),
            deliver_by: self.may_give_time(self.client.ip()),
            stand_in: settings.may_stand_in(self.client.ip()),
            mechanisms: Authenticator::mechanisms(settings),
            bindings,
        }
    }

    /// Whether this client may give a time (RFC 2852). A time that is over means a notice, and the sender that a stranger names
    /// may be forged.
    pub(super) fn may_give_time(&self, client: IpAddr) -> bool {
        let is_known = self.port.role == Role::Submission || self.settings.may_relay(client);
        is_known && self.shared.intake.keeps_extensions()
    }

    async fn drive(&mut self, wire: &mut Option<Wire>, session: &mut Session) -> End {
        loop {
            let step = match session.poll() {
                Event::NeedInput => self.read(wire, session).await,
                Event::StartTls => self.start_tls(wire, session).await,
                Event::Close => {
                    let closed = self.write(wire, session).await;
                    if let Some(wire) = wire {
                        let _ = timeout(LAST_WORD, wire.shutdown()).await;
                    }
                    return closed.err().unwrap_or(End::Closed);
                }
                event => {
                    self.decide(event, session).await;
                    if session.output_len() > OUTPUT {
                        self.write(wire, session).await
                    } else {
                        Ok(())
                    }
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Events that need a decision.
    async fn decide(&mut self, event: Event, session: &mut Session) {
        match event {
            Event::StandIn(of) => self.stand_in(&of, session),
            Event::Mail(mail) => self.mail(mail, session),
            Event::Rcpt(rcpt) => self.rcpt(&rcpt, session).await,
            Event::BodyBegin => self.begin_message(session),
            Event::Body(octets) => {
                if let Some(receiving) = &mut self.receiving {
                    receiving.write(&octets).await;
                }
            }
            Event::BodyEnd(_) => self.end_message(session).await,
            Event::Reset => self.forget(),
            Event::CheckPassword { user, password } => self.check_password(&user, password, session).await,
            Event::CheckToken { user, token } => Box::pin(self.check_token(&user, token, session)).await,
            Event::FindVerifier { user } => self.find_verifier(&user, session),
            Event::Authenticated { user, success } => self.authenticated(&user, success, session).await,
            Event::NeedInput | Event::StartTls | Event::Close => {}
        }
    }

    /// The last octet is there: into the spool, and only then 250.
    async fn end_message(&mut self, session: &mut Session) {
        let admission = self
            .draft
            .as_mut()
            .map(|draft| std::mem::take(&mut draft.admission));
        let admission = admission.unwrap_or_default();
        // Until the end of this: the recipients are there until then.
        let _room = self.draft.as_mut().and_then(Draft::room);
        let draft = self.draft.take().map(|mut draft| (draft.checks.take(), draft));
        let transaction = draft.map(|(checks, draft)| (checks, self.transaction(draft, session)));
        let (Some((checks, mut transaction)), Some(mut receiving)) = (transaction, self.receiving.take())
        else {
            self.forget();
            session.answer(Reply::new(
                451,
                "4.3.0",
                "Something went wrong here, try again later",
            ));
            return;
        };
        self.deadline = None;
        self.pace = None;
        self.messages += 1;
        let told = Box::pin(self.conclude(checks, &mut receiving, &mut transaction)).await;
        let filtered = Box::pin(self.filter(&mut receiving, &mut transaction)).await;
        let brought = Brought {
            identity: clean(transaction.identity.as_deref().unwrap_or_default()),
            from: clean(&transaction.reverse_path),
            recipients: transaction.recipients.len(),
            size: receiving.size(),
            access: clean(&admission.told.join("; ")),
            told,
        };
        let ending = match filtered {
            Ok(()) => self.commit(receiving, transaction).await,
            Err(ending) => ending,
        };
        self.log_ending(&brought, &ending);
        if !ending.is_for_now() {
            self.report(brought.told.row.as_deref());
        }
        match ending {
            Ending::Stored(id) => {
                self.accepted += 1;
                self.shared.metrics.seen.accepted_from(self.client.ip());
                admission.accepted(&self.shared.guard);
                session.answer(Reply::ok("2.0.0", format!("queued as {id}")));
            }
            Ending::Discarded => session.answer(Reply::ok("2.0.0", "accepted")),
            Ending::Refused(reply) if reply.code() == 421 => {
                session.answer(reply);
                session.end(&self.leaving());
            }
            Ending::Refused(reply) => session.answer(reply),
        }
    }

    /// Into the spool.
    async fn commit(&self, receiving: Receiving, transaction: Transaction) -> Ending {
        // The room for it is needed for a moment only; idle sessions do without.
        let mut commit = Box::pin(receiving.commit(transaction));
        let stored = if let Ok(stored) = timeout(self.shared.patience.commit, &mut commit).await {
            stored
        } else {
            // The client would come again by itself. Should it be stored yet, the queue has to hear of it.
            tokio::spawn(commit);
            Err(HANGS)
        };
        match stored {
            Ok(id) => Ending::Stored(id),
            Err(refused) => Ending::Refused(Reply::new(refused.code, refused.enhanced, refused.text)),
        }
    }

    fn log_ending(&self, brought: &Brought, ending: &Ending) {
        let told = &brought.told;
        match ending {
            Ending::Stored(id) => tracing::info!(
                event = "accepted",
                queue_id = %id,
                port = self.port.name,
                client = %self.client.ip(),
                identity = brought.identity,
                from = brought.from,
                recipients = brought.recipients,
                size = brought.size,
                tls = self.tls.as_deref().unwrap_or(""),
                spf = told.spf,
                dkim = told.dkim,
                arc = told.arc,
                dmarc = told.dmarc,
                author = told.author,
                shown = told.shown,
                access = brought.access,
                "accepted"
            ),
            Ending::Discarded => tracing::info!(
                event = "discarded",
                port = self.port.name,
                client = %self.client.ip(),
                identity = brought.identity,
                from = brought.from,
                recipients = brought.recipients,
                size = brought.size,
                "discarded"
            ),
            Ending::Refused(reply) => tracing::info!(
                event = "refused",
                command = "DATA",
                port = self.port.name,
                client = %self.client.ip(),
                identity = brought.identity,
                from = brought.from,
                code = reply.code(),
                reason = reply.text(),
                spf = told.spf,
                dkim = told.dkim,
                arc = told.arc,
                dmarc = told.dmarc,
                author = told.author,
                shown = told.shown,
                "refused"
            ),
        }
    }

    /// Drops what came of a transaction.
    pub(super) fn forget(&mut self) {
        self.draft = None;
        self.receiving = None;
        self.deadline = None;
        self.pace = None;
    }

    /// Why this session shall end now, between transactions.
    pub(super) fn must_end(&self) -> bool {
        self.shared.lifecycle.sessions().is_cancelled() || self.shared.intake.is_closed()
    }

    /// RFC 5321 section 3.8.
    pub(super) fn leaving(&self) -> Reply {
        let hostname = self.settings.hostname();
        Reply::new(
            421,
            "4.3.2",
            format!("{hostname} is leaving service, try again later"),
        )
    }

    /// Waits for an answer of somebody else, as long as the session may go on: many recipients of one read may wait one after
    /// the other. Errors: it may not, and is to be told so.
    pub(super) async fn unless_over<T>(&self, asked: impl Future<Output = T>) -> Result<T, Reply> {
        let deadline = async {
            match self.deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.shared.lifecycle.cut().cancelled() => Err(self.leaving()),
            () = deadline => Err(Reply::new(421, "4.4.2", TOO_LONG)),
            answer = asked => Ok(answer),
        }
    }

    async fn read(&mut self, wire: &mut Option<Wire>, session: &mut Session) -> Result<(), End> {
        if !session.in_transaction() && self.must_end() {
            session.end(&self.leaving());
            return Ok(());
        }
        self.write(wire, session).await?;
        let Some(stream) = wire else {
            return Err(End::Closed);
        };
        let idle = !session.in_transaction();
        let now = Instant::now();
        // What comes of a message has a pace; of a command, no part counts but the whole.
        if self.pace.is_some() {
            self.waits_since = None;
        }
        let since = *self.waits_since.get_or_insert(now);
        // It may get crowded meanwhile.
        let again = now + self.shared.patience.crowded;
        let limit = (since + self.patience(session)).min(again);
        let limit = self.deadline.map_or(limit, |deadline| deadline.min(limit));
        let look = self
            .pace
            .map(|pace| Instant::from_std(pace.next_look(now.into_std())));
        let limit = look.map_or(limit, |look| look.min(limit));
        let stop = self.shared.lifecycle.sessions().clone();
        let cut = self.shared.lifecycle.cut().clone();
        let read = tokio::select! {
            // A client that sent something is heard first.
            biased;
            read = timeout_at(limit, read_into(stream, session)) => read,
            () = stop.cancelled(), if idle => {
                session.end(&self.leaving());
                return Ok(());
            }
            () = cut.cancelled() => {
                session.end(&self.leaving());
                return Ok(());
            }
        };
        match read {
            Ok(Ok(0)) => Err(End::Gone(io::ErrorKind::UnexpectedEof.into())),
            Ok(Ok(count)) => {
                if let Some(pace) = &mut self.pace {
                    pace.came(count, Instant::now().into_std());
                }
                self.keep_up(wire, session, since).await
            }
            Ok(Err(error)) => Err(End::Gone(error)),
            Err(_) => self.keep_up(wire, session, since).await,
        }
    }

    /// How long the present command may take.
    fn patience(&self, session: &Session) -> Duration {
        let open = u64::try_from(self.shared.metrics.sessions.get()).unwrap_or(0);
        let most = self.settings.set.file.limits.connections;
        self.shared
            .patience
            .of(open, self.rank(session).connections(most))
    }

    /// Ends a session whose client is silent, slow, or at one transaction for too long.
    async fn keep_up(
        &mut self,
        wire: &mut Option<Wire>,
        session: &mut Session,
        since: Instant,
    ) -> Result<(), End> {
        let now = Instant::now();
        let limits = &self.settings.set.file.limits;
        let least = limits.minimum_data_rate.0;
        let slow = |pace: &mut Pace| pace.is_too_slow(least, now.into_std());
        let text = if self.deadline.is_some_and(|deadline| now >= deadline) {
            TOO_LONG
        } else if self.pace.as_mut().is_some_and(slow) {
            "This message comes too slowly"
        } else if now >= since + self.patience(session) {
            "No whole command came in time"
        } else {
            return Ok(());
        };
        session.end(&Reply::new(421, "4.4.2", text));
        let _ = self.write(wire, session).await;
        Err(End::TimedOut)
    }

    async fn write(&mut self, wire: &mut Option<Wire>, session: &mut Session) -> Result<(), End> {
        for (code, enhanced) in session.take_refusals() {
            self.shared.refused(counted::class(code, enhanced));
        }
        let output = session.take_output();
        let Some(stream) = wire.as_mut().filter(|_| !output.is_empty()) else {
            return Ok(());
        };
        self.waits_since = None;
        let write = async {
            stream.write_all(&output).await?;
            stream.flush().await
        };
        match timeout(WRITE, write).await {
            Ok(written) => written.map_err(End::Gone),
            Err(_) => Err(End::TimedOut),
        }
    }

    async fn start_tls(&mut self, wire: &mut Option<Wire>, session: &mut Session) -> Result<(), End> {
        self.forget();
        self.write(wire, session).await?;
        let plain = wire.take().ok_or(End::Closed)?;
        let (secured, bindings) = self.secure(plain).await?;
        *wire = Some(secured);
        session.tls_started(bindings);
        Ok(())
    }

    /// Ends when a handshake is waited for no longer, as we leave. There is nothing to say in the midst of one.
    async fn gives_up(&self) {
        let life = &self.shared.lifecycle;
        let late = async {
            life.sessions().cancelled().await;
            sleep(LAST_WORD).await;
        };
        tokio::select! {
            () = life.cut().cancelled() => {}
            () = late => {}
        }
    }

    async fn secure(&mut self, wire: Wire) -> Result<(Wire, ChannelBindings), End> {
        // The newest certificate, however old the session is.
        let settings = self.shared.live.current();
        let served = settings
            .tls()
            .ok_or_else(|| End::Gone(io::Error::other("no certificate")))?;
        let config = Arc::clone(served.config(Service::of(&self.port)));
        let secured = tokio::select! {
            secured = timeout(HANDSHAKE, Box::pin(wire.secure(config))) => secured,
            () = self.gives_up() => return Err(End::TimedOut),
        };
        let wire = secured.map_err(|_| End::TimedOut)?.map_err(End::Gone)?;
        self.tls = wire.tls();
        let bindings = match wire.connection() {
            Some(connection) if self.port.role == Role::Submission => tls::bindings(connection, served),
            _ => ChannelBindings::default(),
        };
        Ok((wire, bindings))
    }

    fn log(&self, session: Option<&Session>, end: &End) {
        let (helo, _) = session.and_then(Session::client_name).unwrap_or_default();
        let how = match end {
            End::Closed => "closed".to_owned(),
            End::TimedOut => "timed out".to_owned(),
            End::Gone(error) if error.kind() == io::ErrorKind::UnexpectedEof => "client hung up".to_owned(),
            End::Gone(error) => clean(&error.to_string()),
        };
        tracing::info!(
            port = self.port.name,
            client = %self.client,
            helo = clean(helo),
            tls = self.tls.as_deref().unwrap_or(""),
            accepted = self.accepted,
            failed_logins = self.failures,
            end = how,
            "session ended"
        );
    }
}

/// Reads once and feeds what came. The room is on the stack of the poll, so that a session which waits holds none.
async fn read_into(stream: &mut Wire, session: &mut Session) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut room = [MaybeUninit::uninit(); READ];
        let mut buffer = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
        session.feed(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    })
    .await
}

const HANGS: accept::Refused = accept::Refused {
    code: 451,
    enhanced: "4.3.0",
    text: "The storage does not answer, try again later",
};
const TOO_LONG: &str = "This transaction takes too long";
const WRITE: Duration = Duration::from_mins(5);
const HANDSHAKE: Duration = Duration::from_secs(30);
const LAST_WORD: Duration = Duration::from_secs(5);
const READ: usize = 16 << 10;
/// Replies that may wait for one write.
const OUTPUT: usize = 16 << 10;
