//! Version v1alpha1.

pub mod mail_domain;
pub mod relay_policy;
pub mod smtp_listener;

pub use mail_domain::{MailDomain, MailDomainSpec, MailDomainStatus};
pub use relay_policy::{RelayPolicy, RelayPolicySpec, RelayPolicyStatus};
pub use smtp_listener::{SmtpListener, SmtpListenerSpec, SmtpListenerStatus};
