//! The configuration of the Postroad MTA, and the types of its admin API: the contract between the daemon and
//! whoever drives it (a person with a file, or the operator).
//!
//! Pure: no IO, no clock. The caller reads the files and hands over their text.
//!
//! ```text
//!   base text + shard texts ─► set::assemble ─► ConfigSet   complete, checked, or a list of sentences
//!   ConfigFile ─► render ─► text                            what the operator writes, parsed back before it is written
//! ```
//!
//! Assumes nothing about where the text comes from: it may be hostile, and is bounded and refused with a sentence
//! that names the field, the value and the mend.

mod access;
pub mod admin;
mod admission;
mod authentication;
mod check;
mod credentials;
mod dkim;
mod domain;
mod endpoint;
mod explain;
mod file;
mod filter;
mod limits;
mod mailbox;
pub mod provider;
mod reports;
mod rewriting;
mod set;
mod shard;
mod spool;
mod text;
mod tls;
mod trust_anchor;
mod upstream;
mod users;
mod verification;
mod whereabouts;

pub use access::{HeaderEdits, Headers, ProxyMode, ProxyProtocol};
pub use admission::{
    Access, AccessRates, AccessRule, DnsBlocklist, Greylisting, ReverseDns, ReverseDnsMode, SendingRates,
};
pub use authentication::{
    Authentication, Review, SERVICE_ACCOUNT, ServiceAccounts, Within, as_service_account, service_account,
};
pub use check::{Problem, Problems, Sections};
pub use credentials::{
    ClientCertificate, ClientProof, Credentials, GoogleServiceAccount, Missing, OauthClient, Password,
    TokenEndpoint, token_endpoint,
};
pub use dkim::{ArcSeal, Dkim, KeySource, SigningKey, is_selector};
pub use domain::{DomainName, DomainNameError};
pub use endpoint::endpoint_mistake;
pub use explain::{Explained, explain, locate, nearest};
pub use file::{
    AdminApi, AdminSection, Alias, ConfigFile, Deliver, Dnssec, Domain, Drained, Endpoint, FORMAT, FleetPod,
    Inbound, Match, Peers, Policy, Port, RecipientMode, Recipients, Retry, Role, Route, RouteTarget, Sender,
    TlsMode, TokenAuthority, TokenRole, TokenRule, User,
};
pub use filter::{Filter, FilterService, FilterTimeouts, FilteredMail, OnFailure};
pub use limits::{Durability, LONGEST_ROUTE_RATE, Limits, QueueSection, Rate, RouteLimits};
pub use mailbox::{Mailbox, MailboxError};
pub use reports::{DmarcReports, ReportMode, Reports, TlsReports};
pub use rewriting::{Rewriting, check_sender};
pub use set::{AssembleError, ConfigSet, assemble, assemble_onto};
pub use shard::{SHARDS, ShardFile, hash, shard_file_name, shard_of};
pub use spool::{NEWEST_SPOOL_FORMAT, OLDEST_SPOOL_FORMAT, SpoolSection};
pub use text::{Octets, Period, TextError};
pub use tls::{TlsSection, TlsSource, TlsVersion};
pub use trust_anchor::{TrustAnchor, TrustAnchorError};
pub use users::{LoginSecret, check_user_name};
pub use verification::{
    ArcSection, CheckMode, DkimSection, DmarcMode, DmarcSection, SpfMode, SpfSection, TemporaryError,
    Verification,
};
pub use whereabouts::spool_directory;

/// Writes a configuration file (or a shard) as YAML.
///
/// Errors: none in practice; a value that cannot be written is reported as text.
pub fn render<T: serde::Serialize>(value: &T) -> Result<String, String> {
    serde_saphyr::to_string(value).map_err(|error| error.to_string())
}
