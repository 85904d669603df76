//! The admin API: who may do what, and what the verbs answer. Types: [`postroad_config::admin`].
//!
//! ```text
//!   request ─► Gate (401, 403) ─► verb ─► State | Refusal
//! ```

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use postroad_config::TokenRole;
use postroad_config::admin::{LostRequest, PortShown, RelayTest, SealRequest, UpstreamTest};

use super::access::{Gate, refuse};
use super::queue::By;
use super::{Status, now};
use crate::deliver::probe::Prober;
use crate::handover::{Handover, LostError, UnsealError};
use crate::metrics::Metrics;
use crate::net::Ports;
use crate::relay_test;
use crate::settings::Live;

#[derive(Clone)]
struct Api {
    status: Status,
    handover: Handover,
    ports: Option<Ports>,
    prober: Option<(Prober, Live)>,
    metrics: Arc<Metrics>,
    testing: Arc<tokio::sync::Mutex<()>>,
    probing: Arc<tokio::sync::Semaphore>,
}

/// What the verbs speak of.
pub(super) struct Served {
    pub(super) status: Status,
    pub(super) handover: Handover,
    pub(super) ports: Option<Ports>,
    pub(super) prober: Option<(Prober, Live)>,
    pub(super) metrics: Arc<Metrics>,
}

pub(super) fn router(served: Served, verbs: Option<Router>, among_pods: Router, gate: Gate) -> Router {
    let api = Api {
        status: served.status,
        handover: served.handover,
        ports: served.ports,
        prober: served.prober,
        metrics: served.metrics,
        testing: Arc::default(),
        probing: Arc::new(tokio::sync::Semaphore::new(MOST_PROBED)),
    };
    let told = Router::new()
        .route("/v1/state", get(state))
        .layer(from_fn_with_state(gate.clone(), either));
    let commanded = Router::new()
        .route("/v1/certificates", get(certificates))
        .route("/v1/network", get(network))
        .route("/v1/relay-test", post(relay_test))
        .route("/v1/upstream-test", post(upstream_test))
        .route("/v1/seal", post(seal))
        .route("/v1/unseal", post(unseal))
        .route("/v1/lost", post(lost))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(from_fn_with_state(gate.clone(), operator));
    let verbs = verbs
        .unwrap_or_default()
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(from_fn_with_state(gate.clone(), administrator))
        .layer(from_fn(in_time));
    let handed = among_pods.layer(from_fn_with_state(gate, either));
    told.merge(commanded)
        .layer(from_fn(in_time))
        .with_state(api)
        .merge(verbs)
        .merge(handed)
}

async fn operator(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    admitted(&gate, &[TokenRole::Operator], request, next).await
}

async fn either(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    admitted(&gate, &[TokenRole::Operator, TokenRole::Peer], request, next).await
}

/// Orders about mail are logged with who gave them.
async fn administrator(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let roles = [TokenRole::Operator, TokenRole::Admin];
    match gate.admit(request.headers(), &roles, now()) {
        Ok(bearer) => {
            request.extensions_mut().insert(By(bearer.subject));
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

async fn admitted(gate: &Gate, roles: &[TokenRole], request: Request, next: Next) -> Response {
    match gate.admit(request.headers(), roles, now()) {
        Ok(_) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// A verb that takes too long answers 503; what it began goes on or is undone by its own rules.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(VERB_TIME, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, &"the verb took too long"),
    }
}

async fn state(State(api): State<Api>) -> Response {
    match api.status.state().await {
        Ok(state) => Json(state).into_response(),
        Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error),
    }
}

/// Looks by a handshake with each port of ours.
async fn certificates(State(api): State<Api>) -> Response {
    match &api.ports {
        Some(ports) => Json(ports.shown().await).into_response(),
        None => Json(Vec::<PortShown>::new()).into_response(),
    }
}

/// What was seen; nobody is asked.
async fn network(State(api): State<Api>) -> Response {
    Json(api.metrics.seen.state()).into_response()
}

/// Tries to relay through ports that the operator names: those of this listener.
async fn relay_test(State(api): State<Api>, request: Result<Json<RelayTest>, JsonRejection>) -> Response {
    let test = match request {
        Ok(Json(test)) => test,
        Err(error) => return refuse(error.status(), &error.body_text()),
    };
    if test.targets.len() > MOST_TESTED || test.names.len() > MOST_NAMES {
        return refuse(
            StatusCode::BAD_REQUEST,
            &format!("at most {MOST_TESTED} targets and {MOST_NAMES} names"),
        );
    }
    // One at a time: a test is a few hundred lines of dialogue.
    let Ok(_turn) = api.testing.try_lock() else {
        return refuse(StatusCode::CONFLICT, &"a test is under way");
    };
    Json(relay_test::run(&test).await).into_response()
}

/// Tries the smart hosts of a policy that this pod has.
async fn upstream_test(
    State(api): State<Api>,
    request: Result<Json<UpstreamTest>, JsonRejection>,
) -> Response {
    let test = match request {
        Ok(Json(test)) => test,
        Err(error) => return refuse(error.status(), &error.body_text()),
    };
    let Some((prober, live)) = &api.prober else {
        return refuse(StatusCode::NOT_FOUND, &"this process relays no mail");
    };
    let Ok(_turn) = api.probing.try_acquire() else {
        return refuse(StatusCode::CONFLICT, &"enough tests are under way");
    };
    let settings = live.current();
    match prober.test(&settings.set.file, &test.policy).await {
        Some(tested) => Json(tested).into_response(),
        None => refuse(StatusCode::NOT_FOUND, &"there is no policy of that name"),
    }
}

async fn seal(State(api): State<Api>, request: Result<Json<SealRequest>, JsonRejection>) -> Response {
    let targets = match request {
        Ok(Json(request)) => request.targets,
        Err(error) => return refuse(error.status(), &error.body_text()),
    };
    if targets.len() > MOST_TARGETS || targets.iter().any(|target| target.len() > LONGEST_TARGET) {
        return refuse(
            StatusCode::BAD_REQUEST,
            &format!("at most {MOST_TARGETS} targets of the form IP:port"),
        );
    }
    match api.handover.seal(targets).await {
        Ok(number) => {
            tracing::info!(number, "sealed");
            state(State(api)).await
        }
        Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error),
    }
}

async fn unseal(State(api): State<Api>) -> Response {
    match api.handover.unseal().await {
        Ok(()) => {
            tracing::info!("unsealed");
            state(State(api)).await
        }
        Err(error @ UnsealError::Given(_)) => refuse(StatusCode::CONFLICT, &error),
        Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error),
    }
}

async fn lost(State(api): State<Api>, request: Result<Json<LostRequest>, JsonRejection>) -> Response {
    let spool = match request {
        Ok(Json(request)) => request.spool,
        Err(error) => return refuse(error.status(), &error.body_text()),
    };
    match api.handover.declare_lost(&spool).await {
        Ok(()) => state(State(api)).await,
        Err(error @ (LostError::NoSpool(_) | LostError::Ourselves)) => {
            refuse(StatusCode::BAD_REQUEST, &error)
        }
        Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error),
    }
}

const LARGEST_BODY: usize = 64 << 10;
/// Policies that are tried at once.
const MOST_PROBED: usize = 8;
const MOST_TARGETS: usize = 256;
const MOST_TESTED: usize = 32;
const MOST_NAMES: usize = 8;
const LONGEST_TARGET: usize = 100;
const VERB_TIME: Duration = Duration::from_secs(30);
