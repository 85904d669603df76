//! The controller that turns Postroad's custom resources into running mail servers.

pub mod dns;
pub mod mail_domain;
pub mod relay_policy;
