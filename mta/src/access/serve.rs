//! The verb by which other pods ask for what belongs to this one. The caller puts the check of tokens in front.

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};

use super::Guard;
use super::shared::{Question, VERB};
use crate::admin::refuse;

/// The verb.
pub fn router(guard: &Guard) -> Router {
    Router::new()
        .route(VERB, post(answer))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(guard.clone())
}

async fn answer(State(guard): State<Guard>, question: Result<Json<Question>, JsonRejection>) -> Response {
    match question {
        Ok(Json(question)) => Json(guard.answer(question)).into_response(),
        Err(error) => refuse(error.status(), &error.body_text()),
    }
}

const LARGEST_BODY: usize = 64 << 10;
