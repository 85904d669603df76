//! What a route logs in with: the spec and a Secret become what the pods are told. Pure.
//!
//! ```text
//!   spec.routes[].credentials ─► planned: is it sound by itself?   ─► until a Secret is read: `missing`, and mail waits
//!   the Secret's entries      ─► logins: what the pods log in with ─► or the entry that is wrong, and what to do
//! ```
//!
//! No sentence of it holds a value of a Secret.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use postroad_config::{
    ClientCertificate, ClientProof, Credentials, Endpoint, GoogleServiceAccount, Missing, OauthClient,
    Password, RouteTarget, TlsMode, token_endpoint,
};
use postroad_crds::relay_policy::{self as crd, CredentialType, RouteTlsMode};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use super::ses;
use crate::smtp_listener::build::certificates::{self, Pair};
use crate::smtp_listener::names::FEDERATED_TOKEN;
use crate::smtp_listener::validate::Invalid;

/// Entries of a Secret.
pub type Entries<'a> = BTreeMap<&'a str, &'a [u8]>;

/// The entries of a Secret.
pub fn entries(secret: &Secret) -> Entries<'_> {
    let data = secret.data.iter().flatten();
    data.map(|(name, value)| (name.as_str(), value.0.as_slice()))
        .collect()
}

/// Where a route logs in.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    hosts: &'a [Endpoint],
    /// The region that its provider is given with.
    region: Option<&'a str>,
}

impl<'a> Place<'a> {
    /// Of a route to these hosts.
    pub fn of(route: &'a crd::Route, hosts: &'a [Endpoint]) -> Self {
        let provider = route.provider.as_ref();
        Self {
            hosts,
            region: provider.and_then(|provider| provider.region.as_deref()),
        }
    }
}

/// Whether anybody logs in.
pub fn wanted(route: &crd::Route) -> Option<&crd::Credentials> {
    route
        .credentials
        .as_ref()
        .filter(|given| given.type_ != CredentialType::None)
}

/// How TLS is used with these credentials; `usual`: without a word of the route. Errors: it would carry them in clear.
pub fn tls(route: &crd::Route, usual: TlsMode) -> Result<TlsMode, Invalid> {
    let is_login = wanted(route).is_some();
    let names_authorities = route.tls.as_ref().is_some_and(|tls| tls.authorities.is_some());
    let usual = match usual {
        TlsMode::Opportunistic if is_login => TlsMode::Verified,
        _ if names_authorities => TlsMode::Verified,
        usual => usual,
    };
    let mode = route
        .tls
        .as_ref()
        .and_then(|tls| tls.mode)
        .map_or(usual, tls_mode);
    match mode {
        TlsMode::Encrypted | TlsMode::Verified => Ok(mode),
        mode if !is_login => Ok(mode),
        mode => Err(Invalid::new(
            "spec.routes.tls.mode",
            format!(
                "{mode:?} would carry credentials in clear; write Verified, or Encrypted where the certificate of the host \
                 cannot be checked"
            ),
        )),
    }
}

/// Authorities that the route trusts in place of the public ones. Errors: nobody would be asked for a certificate of theirs, or
/// there is none in it.
pub fn authorities(route: &crd::Route, mode: TlsMode) -> Result<Option<String>, Invalid> {
    let field = "spec.routes.tls.authorities";
    let Some(text) = route.tls.as_ref().and_then(|tls| tls.authorities.clone()) else {
        return Ok(None);
    };
    if mode != TlsMode::Verified && (mode != TlsMode::Automatic || route.direct.is_none()) {
        return Err(Invalid::new(
            field,
            format!(
                "{mode:?} checks no certificate of a host by its authority; write Verified for tls.mode, or Automatic for a \
                 direct route"
            ),
        ));
    }
    if crate::authorities::trusted(&text).is_some() {
        Ok(Some(text))
    } else {
        Err(Invalid::new(field, crate::authorities::UNSOUND))
    }
}

const fn tls_mode(mode: RouteTlsMode) -> TlsMode {
    match mode {
        RouteTlsMode::Disabled => TlsMode::Disabled,
        RouteTlsMode::Opportunistic => TlsMode::Opportunistic,
        RouteTlsMode::Encrypted => TlsMode::Encrypted,
        RouteTlsMode::Verified => TlsMode::Verified,
        RouteTlsMode::Automatic => TlsMode::Automatic,
        RouteTlsMode::DaneOnly => TlsMode::DaneOnly,
    }
}

/// What stands in the place of the credentials until the Secret is read. Errors: the spec itself is wrong.
pub fn planned(route: &crd::Route, to: &RouteTarget, mode: TlsMode) -> Result<Option<Credentials>, Invalid> {
    let Some(given) = wanted(route) else {
        return Ok(None);
    };
    let RouteTarget::SmartHosts(hosts) = to else {
        return Err(invalid(
            "",
            "nobody logs in at the servers of recipients; give credentials to a route with smartHosts or a provider",
        ));
    };
    debug_assert!(matches!(mode, TlsMode::Encrypted | TlsMode::Verified));
    match given.type_ {
        CredentialType::AwsAccessKey => drop(region(given, Place::of(route, hosts))?),
        CredentialType::OAuthClient => {
            needed(given.user.as_ref(), ".user")?;
            needed(given.client_id.as_ref(), ".clientId")?;
            endpoint(given, None)?;
            let is_federated = given.proof == Some(crd::ClientProof::ServiceAccountToken);
            if is_federated == given.secret_ref.is_some() {
                return Err(invalid(
                    ".secretRef",
                    "give it, or proof ServiceAccountToken without it",
                ));
            }
        }
        CredentialType::GoogleServiceAccount => {
            needed(given.user.as_ref(), ".user")?;
            if given.token_endpoint.is_some() {
                endpoint(given, None)?;
            }
        }
        CredentialType::Password | CredentialType::ClientCertificate | CredentialType::None => {}
    }
    if given.secret_ref.is_none() && given.type_ != CredentialType::OAuthClient {
        return Err(invalid(".secretRef", "this type needs a Secret; name it"));
    }
    Ok(Some(missing("the Secret was not read yet")))
}

/// Stands in the place of credentials that cannot be used: the route waits, and says why.
pub fn missing(reason: impl Into<String>) -> Credentials {
    Credentials::Missing(Missing {
        reason: reason.into(),
    })
}

/// What the pods log in with. `entries`: those of the Secret; none where there is no Secret.
pub fn credentials(
    given: &crd::Credentials,
    place: Place<'_>,
    entries: &Entries<'_>,
    now: Timestamp,
) -> Result<Credentials, Invalid> {
    let user = || needed(given.user.as_ref(), ".user").cloned();
    Ok(match given.type_ {
        CredentialType::None => return Err(invalid(".type", "None logs nobody in")),
        CredentialType::Password => Credentials::Password(Password {
            user: text(entries, "username")?,
            password: text(entries, "password")?,
        }),
        CredentialType::AwsAccessKey => Credentials::Password(Password {
            user: access_key_id(entries)?,
            password: ses::password(&secret_key(entries)?, &region(given, place)?),
        }),
        CredentialType::ClientCertificate => Credentials::ClientCertificate(pair(entries, now)?),
        CredentialType::OAuthClient => Credentials::OauthClient(OauthClient {
            user: user()?,
            client_id: needed(given.client_id.as_ref(), ".clientId")?.clone(),
            token_endpoint: endpoint(given, None)?,
            scope: given.scope.clone().unwrap_or_else(|| MICROSOFT_SCOPE.to_owned()),
            proof: match given.proof.unwrap_or_default() {
                crd::ClientProof::ClientSecret => ClientProof::Secret(text(entries, "clientSecret")?),
                crd::ClientProof::Certificate => ClientProof::Certificate(rsa_pair(entries, now)?),
                crd::ClientProof::ServiceAccountToken => ClientProof::TokenFile(FEDERATED_TOKEN.into()),
            },
            authorities: None,
        }),
        CredentialType::GoogleServiceAccount => {
            Credentials::GoogleServiceAccount(google(given, user()?, entries)?)
        }
    })
}

/// The key of a service account as Google gives it: one JSON object.
fn google(
    given: &crd::Credentials,
    user: String,
    entries: &Entries<'_>,
) -> Result<GoogleServiceAccount, Invalid> {
    let name = "key.json";
    let key: Value = serde_json::from_str(&text(entries, name)?).map_err(|_| {
        entry(
            name,
            "is no JSON; give the file that Google offered when the key was made",
        )
    })?;
    let field = |field: &str| {
        let value = key[field].as_str().filter(|value| !value.is_empty());
        value.map(str::to_owned).ok_or_else(|| {
            let sentence = format!(
                "has no `{field}`; give the whole file that Google offered when the key of the service account was made"
            );
            entry(name, sentence)
        })
    };
    if key["type"].as_str().is_some_and(|kind| kind != "service_account") {
        return Err(entry(
            name,
            "is no key of a service account; make one for a service account",
        ));
    }
    let private = field("private_key")?;
    if !is_rsa(&private) {
        return Err(entry(
            name,
            "has a `private_key` that is no RSA key in PEM; give the file as Google offered it",
        ));
    }
    let uri = key["token_uri"].as_str().unwrap_or(GOOGLE_TOKENS);
    // What is in a Secret is told to nobody, and it is not the field of the spec that is wrong.
    if given.token_endpoint.is_none() && given.tenant.is_none() && token_endpoint(uri).is_err() {
        return Err(entry(
            name,
            "has a `token_uri` that is no address for tokens; give the file as Google offered it",
        ));
    }
    Ok(GoogleServiceAccount {
        user,
        account: field("client_email")?,
        key_id: key["private_key_id"].as_str().map(str::to_owned),
        key: private,
        token_endpoint: endpoint(given, Some(uri))?,
        scope: given.scope.clone().unwrap_or_else(|| GOOGLE_SCOPE.to_owned()),
        authorities: None,
    })
}

/// Where tokens are given.
fn endpoint(given: &crd::Credentials, usual: Option<&str>) -> Result<String, Invalid> {
    let of_tenant = given
        .tenant
        .as_ref()
        .map(|tenant| format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token"));
    let url = given
        .token_endpoint
        .clone()
        .or(of_tenant)
        .or_else(|| usual.map(str::to_owned))
        .ok_or_else(|| invalid(".tenant", "is missing; give it, or tokenEndpoint"))?;
    token_endpoint(&url).map_err(|sentence| invalid(".tokenEndpoint", sentence))?;
    Ok(url)
}

/// The region of the smart host, which the password is good for alone: that in its name, or, behind a name of one's own, that of the
/// provider.
fn region(given: &crd::Credentials, place: Place<'_>) -> Result<String, Invalid> {
    let in_names = place.hosts.iter().filter_map(|host| ses::region_of(&host.host));
    let of_hosts: Vec<&str> = in_names.chain(place.region).collect();
    let region = match (&given.region, of_hosts.first()) {
        (Some(region), _) => region.clone(),
        (None, Some(region)) => (*region).to_owned(),
        (None, None) => {
            return Err(invalid(
                ".region",
                "is missing, and neither the smart host nor provider.region names one; give it, such as eu-west-1",
            ));
        }
    };
    if !ses::is_region(&region) {
        let sentence = format!("`{region}` is no region of AWS; write it as eu-west-1");
        return Err(invalid(".region", sentence));
    }
    if let Some(other) = of_hosts.iter().find(|other| **other != region) {
        return Err(invalid(
            ".region",
            format!(
                "`{region}` is not the region of the smart host or of its provider, `{other}`, and a password is good for one region; leave \
                 it out, or write the same in both"
            ),
        ));
    }
    Ok(region)
}

fn access_key_id(entries: &Entries<'_>) -> Result<String, Invalid> {
    let name = "accessKeyId";
    let id = text(entries, name)?;
    let is_id = (16..=128).contains(&id.len())
        && id
            .bytes()
            .all(|octet| octet.is_ascii_uppercase() || octet.is_ascii_digit());
    if !is_id {
        return Err(entry(
            name,
            "is no id of an AWS access key, such as AKIA and 16 more letters and digits",
        ));
    }
    if id.starts_with("ASIA") {
        return Err(entry(
            name,
            "is of a temporary key, which SES does not take for SMTP; make a long-term key of an IAM user with \
             ses:SendRawEmail",
        ));
    }
    Ok(id)
}

fn secret_key(entries: &Entries<'_>) -> Result<String, Invalid> {
    let name = "secretAccessKey";
    let key = text(entries, name)?;
    let is_key = key.len() >= 16
        && key
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'='));
    // A password that was made of a key looks much like one, and would be refused at the login.
    let is_password = key.len() == 44 && key.starts_with('B');
    if !is_key || is_password {
        return Err(entry(
            name,
            "is no secret key of AWS (40 characters); a password made for SMTP belongs into credentials of type Password",
        ));
    }
    Ok(key)
}

fn pair(entries: &Entries<'_>, now: Timestamp) -> Result<ClientCertificate, Invalid> {
    let pair = Pair {
        certificate: text(entries, "tls.crt")?,
        key: text(entries, "tls.key")?,
    };
    let Some(facts) = certificates::facts(&pair.certificate) else {
        return Err(entry(
            "tls.crt",
            "holds no certificate in PEM; give it whole, from its line BEGIN CERTIFICATE to its line END",
        ));
    };
    if PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).is_err() {
        return Err(entry(
            "tls.key",
            "holds no private key in PEM; give it whole, from its line BEGIN PRIVATE KEY to its line END",
        ));
    }
    if !certificates::belong_together(&pair) {
        return Err(entry(
            "tls.key",
            "is no key of the certificate in tls.crt; give both of one pair",
        ));
    }
    if facts.not_after < now.as_second() {
        return Err(entry(
            "tls.crt",
            "is past its end by our clock; renew the certificate, or set the clocks of the nodes by NTP",
        ));
    }
    if facts.not_before > now.as_second() {
        return Err(entry(
            "tls.crt",
            format!(
                "is of the future by our clock, which says {now:.0}; wait, or set the clocks of the nodes by NTP"
            ),
        ));
    }
    Ok(ClientCertificate {
        certificate: pair.certificate,
        key: pair.key,
    })
}

/// The authority takes statements that an RSA key signed.
fn rsa_pair(entries: &Entries<'_>, now: Timestamp) -> Result<ClientCertificate, Invalid> {
    let pair = pair(entries, now)?;
    if is_rsa(&pair.key) {
        Ok(pair)
    } else {
        Err(entry(
            "tls.key",
            "is no RSA key; the statements to the authority are signed with one",
        ))
    }
}

fn is_rsa(pem: &str) -> bool {
    match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
        Ok(PrivateKeyDer::Pkcs8(key)) => aws_lc_rs::rsa::KeyPair::from_pkcs8(key.secret_pkcs8_der()).is_ok(),
        Ok(PrivateKeyDer::Pkcs1(key)) => aws_lc_rs::rsa::KeyPair::from_der(key.secret_pkcs1_der()).is_ok(),
        _ => false,
    }
}

/// An entry of the Secret as text, without the line end that files have.
fn text(entries: &Entries<'_>, name: &str) -> Result<String, Invalid> {
    let Some(value) = entries.get(name) else {
        let there: Vec<&str> = entries.keys().copied().take(8).collect();
        let there = if there.is_empty() {
            "it is empty".to_owned()
        } else {
            format!("it has {}", there.join(", "))
        };
        return Err(entry(name, format!("is missing ({there}); add it")));
    };
    let text = std::str::from_utf8(value).map_err(|_| entry(name, "is not UTF-8 text"))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(entry(name, "is empty; fill it in"));
    }
    Ok(text.to_owned())
}

fn needed<'a>(value: Option<&'a String>, field: &str) -> Result<&'a String, Invalid> {
    value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| invalid(field, "is missing; give it"))
}

fn invalid(field: &str, sentence: impl Into<String>) -> Invalid {
    Invalid::new(&format!("spec.routes.credentials{field}"), sentence)
}

fn entry(name: &str, sentence: impl std::fmt::Display) -> Invalid {
    invalid(
        ".secretRef",
        format!("the entry `{name}` of the Secret {sentence}"),
    )
}

const MICROSOFT_SCOPE: &str = "https://outlook.office365.com/.default";
const GOOGLE_SCOPE: &str = "https://mail.google.com/";
const GOOGLE_TOKENS: &str = "https://oauth2.googleapis.com/token";

#[cfg(test)]
mod tests;
