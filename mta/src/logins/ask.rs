//! Asks an authority for a token: one POST, inside TLS that proves the host, bounded in time and size. IO only.
//!
//! No redirect is followed: it would carry secrets to a host that nobody named.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use axum::http::header::{CONTENT_TYPE, DATE, HOST};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::fmt::rfc2822::DateTimeParser;
use postroad_config::TokenEndpoint;
use rustls::ClientConfig;
use std::net::SocketAddr;

use super::answer::Said;
use crate::deliver::connect::{self, Stream};
use crate::deliver::tls_fault::TlsFault;
use crate::dns::{Dns, Scope};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAnswer {
    /// In a few words.
    pub why: String,
    /// Its certificate is of the future by our clock.
    pub is_of_the_clock: bool,
}

impl From<String> for NoAnswer {
    fn from(why: String) -> Self {
        Self {
            why,
            is_of_the_clock: false,
        }
    }
}

/// Sends a form.
pub async fn post(
    dns: &Dns,
    tls: Arc<ClientConfig>,
    to: TokenEndpoint<'_>,
    form: String,
) -> Result<Said, NoAnswer> {
    match tokio::time::timeout(LONGEST, exchange(dns, tls, to, form)).await {
        Ok(said) => said,
        Err(_) => Err(format!("no answer within {} s", LONGEST.as_secs()).into()),
    }
}

async fn exchange(
    dns: &Dns,
    tls: Arc<ClientConfig>,
    to: TokenEndpoint<'_>,
    form: String,
) -> Result<Said, NoAnswer> {
    let stream = stream(dns, tls, to).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // Ends when the sender is dropped.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let host = if to.host.contains(':') {
        format!("[{}]:{}", to.host, to.port)
    } else {
        format!("{}:{}", to.host, to.port)
    };
    let request = Request::post(to.path)
        .header(HOST, host.trim_end_matches(":443"))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("accept", "application/json")
        .body(Full::new(Bytes::from(form)))
        .map_err(|error| error.to_string())?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
    // RFC 9110 section 5.6.7: the form of RFC 5322.
    let date = date.and_then(|date| DateTimeParser::new().parse_timestamp(date).ok());
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    let body = body.map_err(|_| format!("its answer is larger than {LARGEST} octets, or broke off"))?;
    Ok(Said {
        status,
        date: date.map(jiff::Timestamp::as_second),
        body: body.to_bytes().to_vec(),
    })
}

/// The first of its addresses that answers.
async fn stream(dns: &Dns, tls: Arc<ClientConfig>, to: TokenEndpoint<'_>) -> Result<Stream, NoAnswer> {
    let addresses = dns
        .addresses(to.host, Scope::Configured)
        .await
        .map_err(|error| format!("no address: {error}"))?;
    let mut why = "no address".to_owned();
    for address in addresses.into_iter().take(MOST_ADDRESSES) {
        match connect::connect(SocketAddr::new(address, to.port), CONNECT).await {
            Ok(stream) if !to.is_tls => return Ok(Stream::Plain(stream)),
            Ok(stream) => {
                let secured = connect::handshake(stream, to.host, tls, CONNECT).await;
                return secured.map_err(|no| NoAnswer {
                    why: format!("no TLS: {}", no.reason),
                    is_of_the_clock: no.fault == TlsFault::NotYetValid,
                });
            }
            Err(no) => why = format!("no connection to {address}: {}", no.reason),
        }
    }
    Err(why.into())
}

const LONGEST: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(8);
const MOST_ADDRESSES: usize = 2;
const LARGEST: usize = 64 << 10;
