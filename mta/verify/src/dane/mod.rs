//! DANE for SMTP (RFC 7672): a mail server's certificate, as TLSA records that DNSSEC proves say it.
//!
//! ```text
//!   host, port ─► Search ─ addresses ─┬─ proven ──────────────► TLSA at the end of the aliases, then at the host
//!                                     ├─ an alias, not proven ─► is the alias itself? ─► TLSA at the host
//!                                     └─ not proven ───────────► no DANE
//!   TLSA records ─► Tlsa::usable ─┬─ some ─► Dane::Usable      the certificate must match one
//!                                 └─ none ─► Dane::Unusable    TLS, whatever the certificate
//!   no answer to any of these ─────────────► Dane::Unknown     later
//! ```
//!
//! Pure. Whether an answer is proven is the caller's to say: a validating resolver tells it by the AD bit (RFC 4035 section
//! 3.2.3). May assume: the host's own name is trusted, out of a proven MX record or of the configuration.

mod record;
mod search;

pub use record::{Selector, Tlsa, Usage};
pub use search::{Answer, Dane, Kind, Question, Search, Step};
