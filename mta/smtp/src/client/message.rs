//! What is sent in one transaction, and what became of it.

use super::reply::{PeerReply, ReplyError};
use crate::command::{BodyType, By, Notify, Ret};
use crate::endings::Fault;
use crate::sasl::client::LoginError;

/// The envelope of one transaction.
#[derive(Clone, Debug)]
pub struct Message {
    /// Reverse-path without brackets; empty is the null one.
    pub reverse_path: String,
    /// Recipients; at least one.
    pub recipients: Vec<Recipient>,
    /// Exact octets of the message that will be given to [`super::Connection::body`].
    pub size: u64,
    /// Whether the body has octets above 127; sent as BODY (RFC 6152) where offered.
    pub body: BodyType,
    /// Whether the message needs SMTPUTF8 (RFC 6531): an address or a header field other than ASCII.
    pub smtputf8: bool,
    /// RET (RFC 3461), sent where DSN is offered.
    pub ret: Option<Ret>,
    /// ENVID (RFC 3461) in clear, sent as xtext where DSN is offered.
    pub envid: Option<String>,
    /// Sent as REQUIRETLS (RFC 8689); never without it.
    pub require_tls: bool,
    /// BY (RFC 2852), sent where DELIVERBY is offered.
    pub by: Option<By>,
    /// The recipients are only asked about: no content follows, and each outcome is the reply to RCPT.
    pub envelope_only: bool,
}

impl Message {
    /// A message of 7-bit octets without recipients yet.
    pub fn new(reverse_path: impl Into<String>, size: u64) -> Self {
        Self {
            reverse_path: reverse_path.into(),
            recipients: Vec::new(),
            size,
            body: BodyType::SevenBit,
            smtputf8: false,
            ret: None,
            envid: None,
            require_tls: false,
            by: None,
            envelope_only: false,
        }
    }
}

/// One recipient.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// Forward-path without brackets.
    pub forward_path: String,
    /// NOTIFY (RFC 3461), sent where DSN is offered.
    pub notify: Option<Notify>,
    /// ORCPT (RFC 3461) as `type;address` in clear, sent as xtext where DSN is offered.
    pub orcpt: Option<String>,
}

impl Recipient {
    /// A recipient without DSN parameters.
    pub fn new(forward_path: impl Into<String>) -> Self {
        Self {
            forward_path: forward_path.into(),
            notify: None,
            orcpt: None,
        }
    }
}

/// Where in the dialogue a reply was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Greeting.
    Greeting,
    /// EHLO, HELO or LHLO.
    Hello,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth,
    /// RSET.
    Reset,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, or a chunk that is not the last.
    Data,
    /// End of the message: only here a 2yz reply means that the peer has it.
    End,
    /// QUIT, or nothing.
    Idle,
}

impl Stage {
    /// The command, as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::Hello => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Reset => "RSET",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::End => "end of data",
            Self::Idle => "idle",
        }
    }
}

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Where it was decided.
    pub stage: Stage,
    /// The reply that decided it.
    pub reply: PeerReply,
}

impl Outcome {
    /// Whether the peer has taken the message for this recipient.
    pub fn is_delivered(&self) -> bool {
        self.stage == Stage::End && self.reply.is_positive()
    }
}

/// Why this message cannot be sent over this connection. Nothing was sent; the connection can be used on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsuited {
    /// No transaction can begin now: one is open, or the connection is not ready.
    #[error("the connection is not ready")]
    NotReady,
    /// There is no recipient.
    #[error("there is no recipient")]
    NoRecipient,
    /// SMTPUTF8 is needed and not offered: bounce with 5.6.7 (RFC 6531 section 3.6).
    #[error("the peer does not offer SMTPUTF8")]
    Smtputf8,
    /// 8BITMIME is needed and not offered: bounce with 5.6.3 (RFC 6152 section 3).
    #[error("the peer does not offer 8BITMIME")]
    EightBit,
    /// Larger than the peer takes: bounce with 5.3.4 (RFC 1870 section 5).
    #[error("the message is larger than the peer's limit of {0} octets")]
    TooLarge(u64),
    /// REQUIRETLS is needed and not offered inside TLS: bounce with 5.7.30 (RFC 8689 section 4.2.1).
    #[error("the peer does not offer REQUIRETLS")]
    RequireTls,
    /// The message is to come back when its time is over, and the peer does not promise that: bounce with 5.4.7 (RFC 2852
    /// section 4.1.4).
    #[error("the peer does not offer DELIVERBY")]
    DeliverBy,
    /// The message is to come back when its time is over, and less is left than the peer takes: bounce with 5.4.7 (RFC
    /// 2852 section 4.1.4).
    #[error("less time is left for the message than the peer takes")]
    TooLate,
    /// An address or parameter cannot be written into a command.
    #[error("an address cannot be written into a command")]
    Address,
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The peer closed the stream; `amid`: in the middle of a reply.
    #[error("the peer closed the connection")]
    Closed {
        /// In the middle of a reply.
        amid: bool,
    },
    /// The peer refused the connection as such, or said 421.
    #[error("the peer refused the session: {0}")]
    Refused(PeerReply),
    /// The peer refused STARTTLS, or does not offer it.
    #[error("the peer does not start TLS")]
    NoTls(Option<PeerReply>),
    /// What the peer sent is no reply.
    #[error("{0}")]
    Reply(#[from] ReplyError),
    /// A reply that fits nothing we asked, such as 354 to MAIL.
    #[error("the peer gave a reply out of place: {0}")]
    OutOfPlace(PeerReply),
    /// The peer talked without being asked, or replies were there before the command.
    #[error("the peer talked without being asked")]
    Unasked,
    /// Octets in clear behind the 220 of STARTTLS: somebody injects them (CVE-2011-0411 and its kind).
    #[error("the peer sent octets between STARTTLS and the handshake")]
    Injection,
    /// A login that cannot go on.
    #[error("{0}")]
    Login(#[from] LoginError),
    /// The body has a CR, LF or zero octet alone. Its end was not sent, so the peer has no message.
    #[error("the message has a line ending or octet that SMTP cannot carry")]
    Body(Fault),
    /// The body is shorter or longer than [`Message::size`] said. Its end was not sent.
    #[error("the message is not as long as its envelope says")]
    Length,
}

/// A connection that is over, and what was known by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub error: Error,
    /// Where in the dialogue.
    pub stage: Stage,
    /// What was decided of the open transaction's recipients, in their order; empty without a transaction. Those that
    /// are `None` are undecided: deferred.
    pub outcomes: Vec<Option<Outcome>>,
    /// The whole message was sent: the peer may have it for those that are undecided.
    pub uncertain: bool,
}
