//! The client's side of SMTP (RFC 5321) and LMTP (RFC 2033): one connection, many transactions.
//!
//! ```text
//!   greeting ─► EHLO/LHLO ─► Ready ─► start_tls ─► StartTls ─► tls_started ─► EHLO ─► Ready
//!                              ├─► log_in ─► LoggedIn or LoginRefused ─► Ready           │
//!                              └─► send ─► NeedBody* ─► Sent(one outcome per recipient) ┘─► send … ─► quit ─► Closed
//! ```
//!
//! A driver loop, with arrays in place of a socket:
//!
//! ```
//! use postroad_smtp::client::{Config, Connection, Event, Message, Recipient};
//!
//! let mut replies = [
//!     &b"220 mx.example.org ready\r\n"[..],
//!     b"250-mx.example.org\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
//!     b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go on\r\n",
//!     b"250 2.0.0 stored\r\n",
//!     b"221 2.0.0 goodbye\r\n",
//! ]
//! .into_iter();
//! let body = b"Subject: hello\r\n\r\nhello\r\n";
//! let mut connection = Connection::new(Config::smtp("mail.example.com"));
//! let mut wire = Vec::new();
//! let mut done = false;
//! loop {
//!     match connection.poll() {
//!         Event::NeedInput => {
//!             wire.extend(connection.take_output()); // write it, then read
//!             match replies.next() {
//!                 Some(octets) => connection.feed(octets),
//!                 None => connection.closed(), // the peer closed the stream
//!             }
//!         }
//!         Event::Ready if done => connection.quit(),
//!         Event::Ready => {
//!             let mut message = Message::new("a@example.com", body.len() as u64);
//!             message.recipients.push(Recipient::new("b@example.org"));
//!             connection.send(message).unwrap();
//!         }
//!         // Write take_output() first, so that at most one piece of the body is in memory.
//!         Event::NeedBody => {
//!             connection.body(body);
//!             connection.body_end();
//!         }
//!         Event::Sent(outcomes) => {
//!             assert!(outcomes.iter().all(|outcome| outcome.is_delivered()));
//!             done = true;
//!         }
//!         Event::StartTls | Event::TlsRefused(_) => unreachable!("start_tls was not called"),
//!         Event::LoggedIn | Event::LoginRefused(_) => unreachable!("log_in was not called"),
//!         Event::Failed(failure) => panic!("{}", failure.error),
//!         Event::Closed => break,
//!     }
//! }
//! assert!(wire.ends_with(b"hello\r\n.\r\nQUIT\r\n"));
//! ```

mod body;
mod capabilities;
mod connection;
mod message;
mod reply;
mod transaction;

pub use capabilities::Capabilities;
pub use connection::{Config, Connection, Event, Protocol};
pub use message::{Error, Failure, Message, Outcome, Recipient, Stage, Unsuited};
pub use reply::{PeerReply, ReplyError};
