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
use crate::counted::count;

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
                observe(&metrics);
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
    tracing::info!(address = %listener.local_addr()?, "/livez, /readyz and /metrics are served");
    axum::serve(listener, router).await
}

/// What is true at this moment.
fn observe(ctx: &Ctx) {
    ctx.metrics.leads(ctx.leadership.holds());
    ctx.metrics.failing(ctx.failures.persisting());
    let counts = [
        ("SmtpListener", count(&ctx.listeners.state())),
        ("MailDomain", count(&ctx.domains.state())),
        ("RelayPolicy", count(&ctx.policies.state())),
    ];
    for (kind, counts) in counts {
        for (ready, number) in counts {
            ctx.metrics.objects(kind, ready, number);
        }
    }
}
