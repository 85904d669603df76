//! A domain's MTA-STS policy over HTTPS (RFC 8461 section 3.3).
//!
//! ```text
//!   mta-sts.DOMAIN ─► its addresses, none of ours ─► TLS, a public authority vouches for that name ─► GET ─► 200, text/plain, 64 KiB
//! ```
//!
//! No redirect is followed, no proxy is used, no cookie is kept; one minute for all of it.

use std::fmt;
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use postroad_verify::mta_sts::{LARGEST_POLICY, POLICY_PATH, Policy, policy_host};
use postroad_verify::tls_rpt::ResultType;

use crate::deliver::https::{Bounds, Https, NoHttps};
use crate::deliver::tls_fault::TlsFault;

/// What a fetch needs.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    /// The way to the host.
    pub(super) https: Https,
    /// 443; another one in tests.
    pub(super) port: u16,
}

impl Fetcher {
    /// Fetches and reads a policy.
    pub(super) async fn fetch(&self, domain: &str, bounds: Bounds<'_>) -> Result<Policy, NoPolicy> {
        let fetched = async {
            let text = self.text(&policy_host(domain), bounds).await?;
            Policy::parse(&text).map_err(|error| NoPolicy {
                result_type: ResultType::StsPolicyInvalid,
                reason: error.to_string(),
            })
        };
        tokio::time::timeout(PATIENCE, fetched).await.unwrap_or_else(|_| {
            Err(unfetched(&format!(
                "no policy within {} seconds",
                PATIENCE.as_secs()
            )))
        })
    }

    async fn text(&self, host: &str, bounds: Bounds<'_>) -> Result<Bytes, NoPolicy> {
        let mut sender = self.https.open(host, self.port, bounds).await?;
        let request = Request::get(POLICY_PATH)
            .header("host", host)
            .header("user-agent", concat!("postroad/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|error| unfetched(&error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| unfetched(&error))?;
        // RFC 8461 section 3.3: redirects are not followed; anything but 200 is no policy.
        if response.status() != StatusCode::OK {
            return Err(unfetched(&format!("{host} answered {}", response.status())));
        }
        let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        if !is_plain_text(kind.unwrap_or_default()) {
            return Err(unfetched(&format!("{host} did not answer with text/plain")));
        }
        let body = Limited::new(response.into_body(), LARGEST_POLICY).collect().await;
        Ok(body.map_err(|error| unfetched(&error))?.to_bytes())
    }
}

/// Why there is no policy although there is a record of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoPolicy {
    /// As a report tells it (RFC 8460 section 4.3.2.2).
    pub result_type: ResultType,
    /// In a sentence.
    pub reason: String,
}

fn unfetched(why: &dyn fmt::Display) -> NoPolicy {
    NoPolicy {
        result_type: ResultType::StsPolicyFetchError,
        reason: why.to_string(),
    }
}

/// A host that shows the wrong certificate is told apart from one that does not answer.
impl From<NoHttps> for NoPolicy {
    fn from(no: NoHttps) -> Self {
        let result_type = match no.fault {
            Some(TlsFault::Name | TlsFault::Expired | TlsFault::Untrusted) => ResultType::StsWebpkiInvalid,
            _ => ResultType::StsPolicyFetchError,
        };
        Self {
            result_type,
            reason: no.reason,
        }
    }
}

/// RFC 8461 section 3.2: the media type is text/plain, whatever its parameters.
fn is_plain_text(kind: &[u8]) -> bool {
    let kind = kind.split(|octet| *octet == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/plain")
}

/// For one fetch. RFC 8461 section 3.3 names this time.
const PATIENCE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_text_is_a_policy() {
        for (kind, want) in [
            ("text/plain", true),
            ("Text/Plain; charset=utf-8", true),
            ("text/plain ;x", true),
            ("text/html", false),
            ("text/plainer", false),
            ("", false),
        ] {
            assert_eq!(is_plain_text(kind.as_bytes()), want, "{kind}");
        }
    }
}
