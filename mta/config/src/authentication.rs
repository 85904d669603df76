//! Who may submit without a password: ServiceAccounts, by the tokens that their cluster signs.
//!
//! The same tokens as at the admin API (JWT, RFC 7519), for an audience of their own. Who such a client is, is the token's
//! subject: `system:serviceaccount:<namespace>:<name>`, as Kubernetes writes it. `senders` and `match` name it so.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::check::Findings;
use crate::domain::DomainName;
use crate::text::shorten;

/// Who may submit besides `users`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Authentication {
    /// ServiceAccounts, by OAUTHBEARER, XOAUTH2 and PLAIN (the token in the place of the password). Absent = none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<ServiceAccounts>,
}

/// Whose tokens are taken as credentials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccounts {
    /// `iss` of every token.
    pub issuer: String,
    /// `aud` that every token must carry, such as `smtp.postroad.dev/mail/edge`.
    pub audience: String,
    /// JSON Web Key Set (RFC 7517) as JSON text.
    pub key_set: String,
    /// A token that also carries one of these audiences is refused (the API server's own): it could do more than send mail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_audiences: Vec<String>,
    /// Who is asked whether a token was revoked; absent = nobody: a token holds until its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Review>,
}

/// Who says whether a token was revoked, by HTTPS (`POST /v1/token-review`). While he cannot be asked, tokens get 454.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Review {
    /// Where he is.
    pub address: SocketAddr,
    /// The name that he must prove.
    pub server_name: DomainName,
    /// Authorities for that, PEM.
    pub authorities: String,
}

/// Mail that a policy may be for at all: that of the ServiceAccounts of one namespace, and that of these domains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Within {
    /// Namespace of the ServiceAccounts.
    pub namespace: String,
    /// Domains of the reverse-path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sender_domains: Vec<DomainName>,
}

/// What the identity of every ServiceAccount begins with. No name of a user does.
pub const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// The identity of a ServiceAccount.
pub fn service_account(namespace: &str, name: &str) -> String {
    format!("{SERVICE_ACCOUNT}{namespace}:{name}")
}

/// Namespace and name in the identity of a ServiceAccount. `None` for any other text.
pub fn as_service_account(identity: &str) -> Option<(&str, &str)> {
    let (namespace, name) = identity.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    (is_name(namespace) && is_name(name)).then_some((namespace, name))
}

/// RFC 1123 section 2.1, with dots: what Kubernetes calls a DNS subdomain.
fn is_name(text: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-.".contains(&octet);
    !text.is_empty() && text.len() <= 253 && text.bytes().all(plain)
}

pub(crate) fn check(authentication: &Authentication, found: &mut Findings) {
    let Some(accounts) = &authentication.service_accounts else {
        return;
    };
    let at = |field: &str| format!("authentication.serviceAccounts.{field}");
    for (field, value) in [("issuer", &accounts.issuer), ("audience", &accounts.audience)] {
        found.require(
            !value.is_empty(),
            || at(field),
            || "is empty; every token would be refused".into(),
        );
    }
    found.require(
        !accounts.refused_audiences.contains(&accounts.audience),
        || at("refusedAudiences"),
        || {
            format!(
                "holds the audience `{}`, so that every token would be refused; take it out",
                shorten(&accounts.audience)
            )
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_back_and_nothing_else_is_one() {
        let identity = service_account("shop", "orders");
        assert_eq!(identity, "system:serviceaccount:shop:orders");
        assert_eq!(as_service_account(&identity), Some(("shop", "orders")));
        for other in [
            "",
            "alice",
            "system:serviceaccount:shop",
            "system:serviceaccount::orders",
            "system:serviceaccount:shop:",
            "system:serviceaccount:shop:a:b",
            "system:serviceaccount:shop:Orders",
            "system:node:a:b",
        ] {
            assert_eq!(as_service_account(other), None, "{other}");
        }
    }
}
