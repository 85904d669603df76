//! Plain HTTP for the kubelet and for scrapes: no secrets, nothing changes by it.
//!
//! `/livez` only shows that the process answers: a restart mends nothing that `/readyz` complains of.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE as CONTENT_TYPE_HEADER;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Status, now};
use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::queue::{Queue, clock};

#[derive(Clone)]
struct Shown {
    status: Status,
    metrics: Arc<Metrics>,
    queue: Option<Queue>,
}

pub(super) fn router(status: Status, metrics: Arc<Metrics>, queue: Option<Queue>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
        .with_state(Shown {
            status,
            metrics,
            queue,
        })
}

/// 200 while new sessions are served, 503 with the reasons otherwise.
async fn ready(State(shown): State<Shown>) -> Response {
    let reasons = shown.status.not_ready().await;
    if reasons.is_empty() {
        "ok\n".into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{}\n", reasons.join("; ")),
        )
            .into_response()
    }
}

async fn scrape(State(shown): State<Shown>) -> Response {
    if let Ok(state) = shown.status.state().await {
        shown.metrics.observe(&state, now());
    }
    if let Some(queue) = &shown.queue
        && let Some((tally, sites)) = queue.standing().await
    {
        shown.metrics.standing.observe(tally, sites, clock::now());
    }
    match shown.metrics.text() {
        Ok(text) => ([(CONTENT_TYPE_HEADER, CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
