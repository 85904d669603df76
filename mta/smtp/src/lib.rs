//! SMTP, LMTP and SASL as state machines: octets in, events and octets out. No sockets, no clock.
//!
//! ```text
//!   socket ─► feed ─► poll ─► Event ─► the driver decides ─► answer ─┐
//!     ▲                 ▲                                            │
//!     └── take_output ──┴────────────────────────────────────────────┘
//! ```
//!
//! A driver loop of the server side, with an array in place of a socket:
//!
//! ```
//! use postroad_smtp::server::{Config, Event, Session};
//! use postroad_smtp::Reply;
//!
//! let mut session = Session::new(Config::transfer("mx.example.org"));
//! session.feed(b"EHLO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n");
//! session.feed(b"Subject: hello\r\n\r\nhello\r\n.\r\nQUIT\r\n");
//! let mut body = Vec::new();
//! loop {
//!     match session.poll() {
//!         Event::Mail(_) => session.answer(Reply::ok("2.1.0", "sender ok")),
//!         Event::Rcpt(_) => session.answer(Reply::ok("2.1.5", "recipient ok")),
//!         Event::BodyBegin => session.answer(Reply::ok("2.0.0", "go on")),
//!         Event::Body(octets) => body.extend_from_slice(&octets),
//!         Event::BodyEnd(_) => session.answer(Reply::ok("2.0.0", "stored")), // only once it is on disk
//!         Event::NeedInput | Event::Close => break, // write take_output(), then read or close
//!         _ => {}
//!     }
//! }
//! assert_eq!(body, b"Subject: hello\r\n\r\nhello\r\n");
//! assert!(session.take_output().ends_with(b"250 2.0.0 stored\r\n221 2.0.0 goodbye\r\n"));
//! ```
//!
//! Assumes nothing of the peer: any octets in any pieces are answered or refused, never a panic, in bounded memory.

pub mod address;
pub mod client;
mod command;
mod endings;
mod line;
pub mod proxy;
mod reply;
pub mod sasl;
pub mod server;
mod xclient;
mod xtext;

pub use address::{Address, AddressDomain, AddressError};
pub use command::{BodyType, By, ByMode, Command, CommandError, Hold, Mail, Notify, Rcpt, Ret};
pub use reply::Reply;
pub use xclient::{Said, StandIn};
pub use xtext::{decode as decode_xtext, encode as encode_xtext};
