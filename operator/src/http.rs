//! `/livez`, `/readyz` and `/metrics` in plain HTTP.
//!
//! Ready means that the stores are filled; a process that stands by for the leader is ready too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use crate::context::Ctx;

/// Serves until the process ends. Errors: the address cannot be listened on.
pub async fn serve(address: SocketAddr, ctx: Arc<Ctx>) -> std::io::Result<()> {
    let metrics = ctx.clone();
    let router = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route(
            "/readyz",
            get(move || async move {
                if ctx.filled.load(Ordering::Relaxed) {
                    (StatusCode::OK, "ok")
                } else {
                    (
                        StatusCode::SERVICE_UNAVAILABLE,
                        "the objects are not all known yet",
                    )
                }
            }),
        )
        .route(
            "/metrics",
            get(move || async move {
                metrics.metrics.leads(metrics.leadership.holds());
                (
                    [(
                        "content-type",
                        "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    )],
                    metrics.metrics.text(),
                )
            }),
        );
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, router).await
}
