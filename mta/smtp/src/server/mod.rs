//! The server's side of SMTP (RFC 5321): one session.
//!
//! The state is small and whole: what the client has said of itself, who it is, what transaction is open, and what the
//! session waits for. Each verb has one function; an answer of the driver is taken in one place.

mod session;

pub use session::{Config, Event, Role, Session, Tls};

pub use crate::endings::Fault;

/// End of a body that can be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyEnd {
    /// Octets of the body, with its header fields.
    pub octets: u64,
}
