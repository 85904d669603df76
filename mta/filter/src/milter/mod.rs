//! The mail server's side of milter, version 6: one message asked of one filter.
//!
//! ```text
//!   Client::new(message) ─► poll ─┬─► Send      octets for the filter
//!                                 ├─► NeedInput wait that long for its octets, then feed
//!                                 ├─► NeedBody  read the next piece of the body, then give_body
//!                                 ├─► Body      the next octets of another body
//!                                 └─► Done      the answer; send farewell() and hang up
//! ```
//!
//! The message is complete before the filter hears of it, so all stages run one after the other: options, CONNECT, HELO, MAIL,
//! RCPT, DATA, fields, end of header, body, end of message. A filter that refuses one recipient refuses the message: its
//! recipients have been told otherwise by then.
//!
//! Source: the protocol as libmilter 8.17 speaks it (`libmilter/mfapi.h` and `mfdef.h` name its numbers); it has no RFC.

mod client;
mod commands;
mod macros;
mod options;
mod packet;
mod reply;

pub use client::{Client, Event, MOST_CHANGES, Wait};
pub use options::{Actions, Options, Steps};
pub use packet::{LONGEST, Packet, Packets};
pub use reply::Reply;

/// Most octets of a message in one packet (`MILTER_CHUNK_SIZE`).
pub const CHUNK: usize = 65_535;
