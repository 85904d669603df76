//! Who is who on the ports, and what is done to the header of their mail; with the rules over it.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::check::Findings;
use crate::text::shorten;

/// The PROXY protocol (versions 1 and 2) on all ports: a load balancer says who the client is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProxyProtocol {
    /// Whether connections begin with its header.
    pub mode: ProxyMode,
    /// Networks of the load balancers. Nobody else is believed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_sources: Vec<IpNet>,
}

/// Whether connections begin with a PROXY header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProxyMode {
    /// None does.
    #[default]
    Disabled,
    /// Those of `trustedSources` do; all others are taken for what they are.
    Optional,
    /// All do, and all come from `trustedSources`; others are closed.
    Required,
}

/// What is done to the header of accepted mail, by the role of the port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Headers {
    /// Mail of users.
    #[serde(skip_serializing_if = "HeaderEdits::is_nothing")]
    pub submission: HeaderEdits,
    /// Mail of other servers.
    #[serde(skip_serializing_if = "HeaderEdits::is_nothing")]
    pub transfer: HeaderEdits,
}

/// Changes of a header. The body is never touched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HeaderEdits {
    /// Leaves the client's name and address out of the Received field that we add.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hide_client_address: bool,
    /// Fields to add, name → value. At most 16.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, String>,
    /// Names of fields to take out. At most 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

impl HeaderEdits {
    /// Whether nothing is changed.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Fields that trace or identify a message; an edit must not forge or drop them.
const KEPT: [&str; 8] = [
    "received",
    "return-path",
    "from",
    "date",
    "message-id",
    "authentication-results",
    "dkim-signature",
    "resent-from",
];

/// Rules over `proxyProtocol`.
pub(crate) fn check_proxy(proxy: &ProxyProtocol, found: &mut Findings) {
    found.require(
        proxy.mode == ProxyMode::Disabled || !proxy.trusted_sources.is_empty(),
        || "proxyProtocol.trustedSources".into(),
        || {
            format!(
                "is empty, so that mode {:?} would believe nobody; name the load balancers' networks",
                proxy.mode
            )
        },
    );
    check_networks("proxyProtocol.trustedSources", &proxy.trusted_sources, found);
}

/// Rules over a list of networks that are trusted with something: never the whole world.
pub(crate) fn check_networks(field: &str, networks: &[IpNet], found: &mut Findings) {
    found.require(
        networks.len() <= 256,
        || field.to_owned(),
        || format!("{} networks are too many; give at most 256", networks.len()),
    );
    for (index, network) in networks.iter().enumerate() {
        let least = if network.addr().is_ipv4() { 8 } else { 16 };
        found.require(
            network.prefix_len() >= least,
            || format!("{field}[{index}]"),
            || {
                format!(
                    "{network} is a large part of the world, and whoever is in it would be trusted; name networks of /{least} or smaller"
                )
            },
        );
    }
}

/// Rules over `headers`.
pub(crate) fn check_headers(headers: &Headers, found: &mut Findings) {
    for (role, edits) in [
        ("submission", &headers.submission),
        ("transfer", &headers.transfer),
    ] {
        check_edits(&format!("headers.{role}"), &edits.add, &edits.remove, found);
    }
}

/// Rules over edits of a header; `path` is theirs.
pub(crate) fn check_edits(
    path: &str,
    add: &BTreeMap<String, String>,
    remove: &[String],
    found: &mut Findings,
) {
    let at = |field: &str| format!("{path}.{field}");
    found.require(
        add.len() <= 16 && remove.len() <= 32,
        || path.to_owned(),
        || "has too many edits; add at most 16 fields and remove at most 32".into(),
    );
    for name in add.keys().chain(remove) {
        let field = if add.contains_key(name) { "add" } else { "remove" };
        found.require(
            is_field_name(name),
            || at(field),
            || {
                format!(
                    "`{}` is not a field name (RFC 5322 section 2.2); use 1 to 76 printable characters without `:`",
                    shorten(name)
                )
            },
        );
        found.require(
            !KEPT.contains(&name.to_ascii_lowercase().as_str()),
            || at(field),
            || format!("`{name}` traces or identifies the message; it cannot be edited"),
        );
    }
    for value in add.values() {
        found.require(
            value.len() <= 512 && value.bytes().all(|octet| (b' '..=b'~').contains(&octet)),
            || at("add"),
            || {
                format!(
                    "`{}` cannot be a field's value; use at most 512 printable ASCII characters",
                    shorten(value)
                )
            },
        );
    }
}

fn is_field_name(name: &str) -> bool {
    (1..=76).contains(&name.len())
        && name
            .bytes()
            .all(|octet| (b'!'..=b'~').contains(&octet) && octet != b':')
}
