//! Asking filters about a message: the client's side of milter, and rspamd's answers. No sockets, no clock.
//!
//! ```text
//!   Message ─┬─► milter::Client  ─► octets to send, octets fed, pieces of the body asked for ─┐
//!            └─► rspamd::request ─► fields of HTTP;  rspamd::answer ◄── JSON                  ├─► Answer: verdict, changes
//!   header::Section ◄── changes of the header, when all of it is known ◄──────────────────────┘
//! ```
//!
//! May assume nothing of a filter: it may be broken or hostile. What it says is bounded, checked, and taken as a whole or not
//! at all.

mod answer;
pub mod header;
mod message;
pub mod milter;
pub mod rspamd;

pub use answer::{Answer, Change, Malformed, Refusal, Verdict};
pub use message::{Login, Message};
