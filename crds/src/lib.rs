//! Postroad's custom resources, group `postroad.dev`: the types, their rules, and the list from which YAML, reference and
//! chart are made (`cargo crdgen`).
//!
//! A field is here only when it has its effect. Rules that one object can show by itself are in the schema; what takes two
//! objects is a condition.
#![allow(
    clippy::duplicated_attributes,
    reason = "each print column of a kind has a `type_` of its own"
)]
#![allow(
    clippy::doc_markdown,
    reason = "the texts are what `kubectl explain` shows: names of kinds without marks"
)]

pub mod common;
pub mod conditions;
pub mod reference;
pub mod v1alpha1;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub use v1alpha1::{
    MailDomain, MailDomainSpec, MailDomainStatus, RelayPolicy, RelayPolicySpec, RelayPolicyStatus,
    SmtpListener, SmtpListenerSpec, SmtpListenerStatus,
};
pub use v1alpha1::{mail_domain, relay_policy, smtp_listener};

/// Group of all kinds.
pub const GROUP: &str = "postroad.dev";

/// All definitions: one list for generation, operator and tests.
pub fn all_crds() -> Vec<CustomResourceDefinition> {
    vec![SmtpListener::crd(), MailDomain::crd(), RelayPolicy::crd()]
}
