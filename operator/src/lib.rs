//! The controller that turns Postroad's custom resources into running mail servers.

pub mod dns;
