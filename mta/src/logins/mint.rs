//! One token of an authority: the form is made, sent, and the answer judged; once more with the authority's time where our clock
//! turns out to be wrong.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use postroad_config::admin::LoginFault;
use postroad_config::{ClientProof, Credentials, OauthClient, token_endpoint};

use super::answer::{Said, Token, unanswered};
use super::ask;
use super::assertion::{form, of_account, of_client};
use super::fault::{NoLogin, TOLERATED_SKEW, advice};
use crate::deliver::tls::ClientTls;
use crate::dns::Dns;
use crate::queue::clock;

/// Whom to ask with what.
#[derive(Clone, Debug)]
pub struct Way {
    /// Finds the authority.
    pub dns: Dns,
    /// Proves it.
    pub tls: ClientTls,
}

/// Gets a token. `skew`: how far the authority's clock was before ours when it was last seen to matter, in seconds.
pub async fn mint(way: &Way, credentials: &Credentials, skew: &mut i64) -> Result<Token, NoLogin> {
    let Some(url) = credentials.token_endpoint() else {
        let fault = LoginFault::CredentialsMissing;
        return Err(NoLogin::new(fault, "these credentials know no tokens"));
    };
    let endpoint = token_endpoint(url).map_err(|sentence| NoLogin::new(LoginFault::KeyInvalid, sentence))?;
    let mut again = true;
    loop {
        let now = seconds();
        let form = request(credentials, now.saturating_add(*skew)).await?;
        let proven = credentials.authorities().map_or_else(
            || way.tls.public_names(),
            |authorities| way.tls.vouched(authorities),
        );
        let said = ask::post(&way.dns, proven, endpoint, form).await;
        let said = said.map_err(|no| unanswered(endpoint.host, &no))?;
        match said.token(endpoint.host, now) {
            Err(no) if again && is_of_the_clock(&no, &said, now, *skew) => {
                *skew = said.skew(now).unwrap_or(0);
                again = false;
            }
            told => return told,
        }
    }
}

/// Whether a statement dated by the authority's clock may do better. The refusals of some do not say that it is about time.
fn is_of_the_clock(no: &NoLogin, said: &Said, now: i64, skew: i64) -> bool {
    let shown = said.skew(now).unwrap_or(0);
    let is_about_statements = matches!(no.fault, LoginFault::ClockSkew | LoginFault::TokenRefused);
    is_about_statements && shown.saturating_sub(skew).unsigned_abs() > TOLERATED_SKEW
}

/// The form that asks for a token.
async fn request(credentials: &Credentials, now: i64) -> Result<String, NoLogin> {
    match credentials {
        Credentials::GoogleServiceAccount(account) => Ok(form(&[
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", &of_account(account, now)?),
        ])),
        Credentials::OauthClient(client) => Ok(match &client.proof {
            ClientProof::Secret(secret) => of_client_with(client, &[("client_secret", secret)]),
            ClientProof::Certificate(certificate) => {
                let statement = of_client(client, certificate, now, clock::token())?;
                of_client_with(client, &asserted(&statement))
            }
            ClientProof::TokenFile(path) => of_client_with(client, &asserted(&read(path).await?)),
        }),
        _ => Err(NoLogin::new(
            LoginFault::CredentialsMissing,
            "these credentials know no tokens",
        )),
    }
}

/// RFC 7523 section 2.2.
fn asserted(statement: &str) -> [(&str, &str); 2] {
    [
        (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
        ("client_assertion", statement),
    ]
}

/// RFC 6749 section 4.4.2.
fn of_client_with(client: &OauthClient, proof: &[(&str, &str)]) -> String {
    let mut fields = vec![
        ("grant_type", "client_credentials"),
        ("client_id", client.client_id.as_str()),
        ("scope", client.scope.as_str()),
    ];
    fields.extend_from_slice(proof);
    form(&fields)
}

/// The token of a ServiceAccount; the kubelet renews the file.
async fn read(path: &Path) -> Result<String, NoLogin> {
    let shown = path.display().to_string();
    let path = path.to_owned();
    let text = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
    let text = text.ok().and_then(Result::ok).map(|text| text.trim().to_owned());
    text.filter(|text| !text.is_empty() && text.len() <= LONGEST_FILE)
        .ok_or_else(|| {
            let fault = LoginFault::CredentialsMissing;
            NoLogin::new(fault, format!("no token in {shown}; {}", advice(fault)))
        })
}

fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

const LONGEST_FILE: usize = 32 << 10;
