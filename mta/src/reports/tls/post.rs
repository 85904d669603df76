//! A report over the web: one POST (RFC 8460 section 5.4). Where it may go is decided as for MTA-STS policies: to public addresses, or
//! those that the route permits. No redirect is followed.

use std::time::Duration;

use axum::http::Request;
use bytes::Bytes;
use http_body_util::Full;
use ipnet::IpNet;
use postroad_verify::tls_rpt::{MEDIA_TYPE, Web};

use crate::deliver::https::{Bounds, Https};

/// Posts the compressed report. Errors: why the place did not take it, in a sentence.
pub(super) async fn post(https: &Https, to: &Web, allowed: &[IpNet], file: &[u8]) -> Result<(), String> {
    let posted = async {
        let bounds = Bounds {
            allowed,
            authorities: None,
        };
        let opened = https.open(&to.host, to.port, bounds).await;
        let mut sender = opened.map_err(|no| no.reason)?;
        let request = Request::post(&to.path)
            .header("host", authority(to))
            .header("user-agent", concat!("postroad/", env!("CARGO_PKG_VERSION")))
            .header("content-type", MEDIA_TYPE)
            .body(Full::new(Bytes::copy_from_slice(file)))
            .map_err(|error| error.to_string())?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status();
        status
            .is_success()
            .then_some(())
            .ok_or_else(|| format!("{} answered {status}", to.host))
    };
    tokio::time::timeout(PATIENCE, posted)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} seconds", PATIENCE.as_secs())))
}

fn authority(to: &Web) -> String {
    if to.port == 443 {
        to.host.clone()
    } else {
        format!("{}:{}", to.host, to.port)
    }
}

/// For all of it.
const PATIENCE: Duration = Duration::from_mins(1);
