//! Plain HTTP for the kubelet and for scrapes: no secrets, nothing changes by it.
//!
//! `/livez` only shows that the process answers: a restart mends nothing that `/readyz` complains of.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE as CONTENT_TYPE_HEADER;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Mutex;

use super::{Status, now};
use crate::metrics::standing::MOST_SITES;
use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::queue::{Queue, clock};

#[derive(Clone)]
struct Shown {
    status: Status,
    metrics: Arc<Metrics>,
    queue: Option<Queue>,
    looked: Arc<Mutex<Looked>>,
}

/// When the queue last said how it stands.
#[derive(Debug, Default)]
struct Looked(Option<Instant>);

pub(super) fn router(status: Status, metrics: Arc<Metrics>, queue: Option<Queue>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
        .with_state(Shown {
            status,
            metrics,
            queue,
            looked: Arc::default(),
        })
}

/// Alive, and not ready for this reason.
pub(super) fn idle(reason: &'static str) -> Router {
    let not_ready = async move || (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n"));
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(not_ready))
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
    if let Some(queue) = &shown.queue {
        look(queue, &shown).await;
    }
    match shown.metrics.text() {
        Ok(text) => ([(CONTENT_TYPE_HEADER, CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Anybody may scrape: the scheduler looks through its sites for all who do so within a second once.
async fn look(queue: &Queue, shown: &Shown) {
    let mut looked = shown.looked.lock().await;
    if looked.is_fresh(Instant::now()) {
        return;
    }
    if let Some((tally, busiest)) = queue.standing(MOST_SITES).await {
        shown.metrics.standing.observe(tally, &busiest, clock::now());
        *looked = Looked(Some(Instant::now()));
    }
}

impl Looked {
    fn is_fresh(&self, now: Instant) -> bool {
        self.0.is_some_and(|at| now.saturating_duration_since(at) < FRESH)
    }
}

/// What the queue said is shown again for so long.
const FRESH: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_queue_said_is_shown_again_for_a_second() {
        let now = Instant::now();
        assert!(!Looked::default().is_fresh(now));
        let looked = Looked(Some(now));
        assert!(looked.is_fresh(now + Duration::from_millis(999)));
        assert!(!looked.is_fresh(now + FRESH));
    }
}
