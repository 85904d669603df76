//! Reports about TLS (RFC 8460): where a domain wants them, what is counted, and how a report is written.
//!
//! ```text
//!   TXT _smtp._tls.DOMAIN ─► Record ─► Place: an address, or where to POST
//!   Session (policy, success or failure) × how often ─► Report ─► JSON, file name, subject
//! ```
//!
//! Pure: the caller asks, counts, sends and passes the clock in.

mod place;
mod record;
mod report;
mod session;

pub use place::{Place, Web};
pub use record::{Record, RecordError, question, uris};
pub use report::{MEDIA_TYPE, Report};
pub use session::{Failure, Policy, PolicyType, ResultType, Session};
