//! What a route logs in with at its smart hosts. Secrets: none of them is shown by `Debug`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::check::Findings;
use crate::file::{Route, RouteTarget, TlsMode};
use crate::text::shorten;

/// What a route logs in with: exactly one of these.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Credentials {
    /// A user name and a password.
    Password(Password),
    /// A TLS client certificate; no AUTH.
    ClientCertificate(ClientCertificate),
    /// A token that a client of an OAuth 2.0 authority gets for itself (RFC 6749 section 4.4).
    OauthClient(OauthClient),
    /// A token that a Google service account gets in the name of a mailbox (RFC 7523).
    GoogleServiceAccount(GoogleServiceAccount),
    /// There should be something to log in with, and there is not: the route is not used until there is.
    Missing(Missing),
}

/// A user name and a password.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Password {
    /// User name, 1 to 255 octets.
    pub user: String,
    /// Password, 1 to 4096 octets.
    pub password: String,
}

/// A certificate and its key, in PEM.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCertificate {
    /// Chain, the own certificate first.
    pub certificate: String,
    /// Private key (PKCS #8, PKCS #1 or SEC1).
    pub key: String,
}

/// A client of an OAuth 2.0 authority.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OauthClient {
    /// The mailbox to log in as.
    pub user: String,
    /// Id of the client (Entra: the application).
    pub client_id: String,
    /// Where tokens are given: `https://…`; `http://` on the loopback alone.
    pub token_endpoint: String,
    /// What the token is to be for.
    pub scope: String,
    /// How the client proves itself to the authority.
    pub proof: ClientProof,
    /// Certificate authorities, PEM, one of which must vouch for the address of tokens; absent = the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
}

/// How a client proves itself to its authority: exactly one of these.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ClientProof {
    /// A client secret.
    Secret(String),
    /// A certificate that the authority knows; a statement signed with its key is sent (RFC 7523 section 2.2).
    Certificate(ClientCertificate),
    /// A file with a token that the authority trusts, read each time, such as that of a Kubernetes ServiceAccount.
    TokenFile(PathBuf),
}

/// A Google service account with domain-wide delegation.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GoogleServiceAccount {
    /// The mailbox to log in as.
    pub user: String,
    /// E-mail address of the account (`client_email`).
    pub account: String,
    /// Id of its key (`private_key_id`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Its private key in PEM (`private_key`).
    pub key: String,
    /// Where tokens are given (`token_uri`): `https://…`; `http://` on the loopback alone.
    pub token_endpoint: String,
    /// What the token is to be for.
    pub scope: String,
    /// Certificate authorities, PEM, one of which must vouch for the address of tokens; absent = the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
}

/// There is nothing to log in with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Missing {
    /// Why, and what to do, for people.
    pub reason: String,
}

impl Credentials {
    /// Where tokens are asked for, if they are.
    pub fn token_endpoint(&self) -> Option<&str> {
        match self {
            Self::OauthClient(client) => Some(&client.token_endpoint),
            Self::GoogleServiceAccount(account) => Some(&account.token_endpoint),
            Self::Password(_) | Self::ClientCertificate(_) | Self::Missing(_) => None,
        }
    }

    /// Who vouches for the address of tokens, where that is not the public authorities.
    pub fn authorities(&self) -> Option<&str> {
        match self {
            Self::OauthClient(client) => client.authorities.as_deref(),
            Self::GoogleServiceAccount(account) => account.authorities.as_deref(),
            Self::Password(_) | Self::ClientCertificate(_) | Self::Missing(_) => None,
        }
    }

    /// The same, with these authorities for the address of tokens.
    #[must_use]
    pub fn vouched_by(mut self, vouchers: Option<&str>) -> Self {
        let vouchers = vouchers.map(str::to_owned);
        match &mut self {
            Self::OauthClient(client) => client.authorities = vouchers,
            Self::GoogleServiceAccount(account) => account.authorities = vouchers,
            Self::Password(_) | Self::ClientCertificate(_) | Self::Missing(_) => {}
        }
        self
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Password({}, …)", self.user)
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate(…)")
    }
}

impl fmt::Debug for ClientProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(_) => f.write_str("Secret(…)"),
            Self::Certificate(_) => f.write_str("Certificate(…)"),
            Self::TokenFile(path) => write!(f, "TokenFile({})", path.display()),
        }
    }
}

impl fmt::Debug for GoogleServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GoogleServiceAccount({} as {}, …)", self.account, self.user)
    }
}

/// Host and port of the address of a token endpoint, and its path. Errors: what is wrong, and what to write instead.
///
/// Outside of TLS nothing is asked for but on the loopback, where tests are.
pub fn token_endpoint(url: &str) -> Result<TokenEndpoint<'_>, String> {
    let refuse = || {
        format!(
            "`{}` is no address for tokens; write https://HOST/PATH",
            shorten(url)
        )
    };
    let sound = url.len() <= LONGEST_URL && url.bytes().all(|octet| octet.is_ascii_graphic());
    let (scheme, rest) = url.split_once("://").filter(|_| sound).ok_or_else(refuse)?;
    let is_tls = match scheme {
        "https" => true,
        "http" => false,
        _ => return Err(refuse()),
    };
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    if authority.contains(['@', '?', '#']) || path.contains('#') {
        return Err(refuse());
    }
    let usual = if is_tls { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| refuse())?),
        _ => (authority, usual),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || port == 0 {
        return Err(refuse());
    }
    let is_loopback = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if !is_tls && !is_loopback {
        return Err(format!(
            "`{}` would carry secrets in clear; write https://",
            shorten(url)
        ));
    }
    Ok(TokenEndpoint {
        is_tls,
        host,
        port,
        path: if path.is_empty() { "/" } else { path },
    })
}

/// Parts of the address of a token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenEndpoint<'a> {
    /// Inside TLS.
    pub is_tls: bool,
    /// Host name or IP address, without brackets.
    pub host: &'a str,
    /// Port.
    pub port: u16,
    /// Path and query.
    pub path: &'a str,
}

/// Rules over what a route logs in with. `at`: path of the route.
pub(crate) fn check(at: &str, route: &Route, found: &mut Findings) {
    if let Some(vouchers) = &route.authorities {
        check_authorities(at, route, vouchers, found);
    }
    let Some(credentials) = &route.credentials else {
        return;
    };
    let field = |name: &str| format!("{at}.credentials{name}");
    found.require(
        matches!(route.to, RouteTarget::SmartHosts(_)),
        || field(""),
        || {
            "nobody logs in at the servers of recipients; give credentials to a route with smartHosts"
                .to_owned()
        },
    );
    found.require(
        matches!(route.tls, TlsMode::Encrypted | TlsMode::Verified),
        || format!("{at}.tls"),
        || {
            format!(
                "{:?} would carry credentials in clear; write Verified, or Encrypted where the certificate of the host \
                 cannot be checked",
                route.tls
            )
        },
    );
    let mut filled = |name: &str, text: &str, most: usize| {
        found.require(
            !text.is_empty() && text.len() <= most && !text.contains(['\0', '\r', '\n', '\u{1}']),
            || field(name),
            || format!("is empty, longer than {most} octets, or holds a line end; give it as it was issued"),
        );
    };
    match credentials {
        Credentials::Password(given) => {
            filled(".password.user", &given.user, 255);
            filled(".password.password", &given.password, LONGEST_SECRET);
        }
        Credentials::OauthClient(client) => {
            filled(".oauthClient.user", &client.user, 255);
            filled(".oauthClient.clientId", &client.client_id, 255);
            filled(".oauthClient.scope", &client.scope, 1_024);
            if let ClientProof::Secret(secret) = &client.proof {
                filled(".oauthClient.proof.secret", secret, LONGEST_SECRET);
            }
        }
        Credentials::GoogleServiceAccount(account) => {
            filled(".googleServiceAccount.user", &account.user, 255);
            filled(".googleServiceAccount.account", &account.account, 255);
            filled(".googleServiceAccount.scope", &account.scope, 1_024);
        }
        Credentials::ClientCertificate(_) | Credentials::Missing(_) => {}
    }
    let (kind, endpoint) = match credentials {
        Credentials::OauthClient(client) => ("oauthClient", &client.token_endpoint),
        Credentials::GoogleServiceAccount(account) => ("googleServiceAccount", &account.token_endpoint),
        _ => return,
    };
    if let Err(sentence) = token_endpoint(endpoint) {
        found.require(false, || field(&format!(".{kind}.tokenEndpoint")), || sentence);
    }
}

/// Certificates are taken apart by whoever has the means; here it is seen that there are some.
fn check_authorities(at: &str, route: &Route, vouchers: &str, found: &mut Findings) {
    let field = || format!("{at}.authorities");
    let is_direct = matches!(route.to, RouteTarget::Direct { .. });
    found.require(
        route.tls == TlsMode::Verified || (is_direct && route.tls == TlsMode::Automatic),
        field,
        || {
            "is for tls Verified, or Automatic where the route is direct; leave it out, or write one of them"
                .to_owned()
        },
    );
    found.require(
        vouchers.contains("-----BEGIN CERTIFICATE-----") && vouchers.len() <= LONGEST_AUTHORITIES,
        field,
        || format!("is no PEM with certificates of at most {LONGEST_AUTHORITIES} octets; give those of the authorities"),
    );
}

const LONGEST_AUTHORITIES: usize = 64 << 10;
const LONGEST_SECRET: usize = 4_096;
const LONGEST_URL: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_for_tokens_are_taken_apart_or_refused() {
        let parts = |url| token_endpoint(url).map(|found| (found.is_tls, found.host, found.port, found.path));
        for (url, want) in [
            (
                "https://oauth2.googleapis.com/token",
                (true, "oauth2.googleapis.com", 443, "/token"),
            ),
            ("https://login.example:8443", (true, "login.example", 8443, "/")),
            (
                "http://127.0.0.1:8080/a?b=c",
                (false, "127.0.0.1", 8080, "/a?b=c"),
            ),
            ("http://[::1]:8080/a", (false, "::1", 8080, "/a")),
            ("https://[::1]/a", (true, "::1", 443, "/a")),
        ] {
            assert_eq!(parts(url), Ok(want), "{url}");
        }
        for url in [
            "",
            "oauth2.googleapis.com/token",
            "ftp://a/b",
            "https://",
            "https:///token",
            "https://user@a/token",
            "https://a:0/token",
            "https://a:99999/token",
            "https://a/to ken",
            "https://a/b\r\nX: y",
            "http://a.example/token",
            "http://192.0.2.1/token",
            "http://localhost/token",
        ] {
            let error = parts(url).unwrap_err();
            assert!(error.contains("https://"), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let certificate = ClientCertificate {
            certificate: "CANARY".into(),
            key: "CANARY".into(),
        };
        let client = |proof| {
            Credentials::OauthClient(OauthClient {
                user: "u".into(),
                client_id: "c".into(),
                token_endpoint: "https://a/b".into(),
                scope: "s".into(),
                proof,
                authorities: None,
            })
        };
        for credentials in [
            Credentials::Password(Password {
                user: "u".into(),
                password: "CANARY".into(),
            }),
            Credentials::ClientCertificate(certificate.clone()),
            client(ClientProof::Secret("CANARY".into())),
            client(ClientProof::Certificate(certificate)),
            Credentials::GoogleServiceAccount(GoogleServiceAccount {
                user: "u".into(),
                account: "a".into(),
                key_id: None,
                key: "CANARY".into(),
                token_endpoint: "https://a/b".into(),
                scope: "s".into(),
                authorities: None,
            }),
        ] {
            let shown = format!("{credentials:?}");
            assert!(!shown.contains("CANARY"), "{shown}");
        }
    }
}
