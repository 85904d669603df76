//! Who may use a verb of the admin API: bearer token in, role out (RFC 6750 section 2.1).
//!
//! ```text
//!   Authorization: Bearer … ─► Gate::admit ─► Bearer | 401 (no good token) | 403 (good token, wrong role)
//! ```
//!
//! The key set is parsed once per configuration. A token's text goes nowhere but into the authenticator.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Json;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use postroad_config::TokenRole;
use postroad_config::admin::Refusal;

use crate::metrics::{Admitted, Metrics};
use crate::tokens::{Authenticator, Bearer, TokenError};

/// Admits requests by the newest key set. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    authenticator: Arc<ArcSwap<Authenticator>>,
    metrics: Arc<Metrics>,
}

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// No bearer token.
    #[error("a bearer token is needed")]
    Missing,
    /// A token that does not hold.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Its role may not do this.
    #[error("the token's role may not do this")]
    Role,
}

impl Gate {
    /// A gate with a first key set.
    pub fn new(authenticator: Authenticator, metrics: Arc<Metrics>) -> Self {
        Self {
            authenticator: Arc::new(ArcSwap::from_pointee(authenticator)),
            metrics,
        }
    }

    /// Judges by another key set from now on.
    pub fn replace(&self, authenticator: Authenticator) {
        self.authenticator.store(Arc::new(authenticator));
    }

    /// Admits a request whose bearer has one of these roles. `now`: seconds since 1970.
    pub fn admit(&self, headers: &HeaderMap, roles: &[TokenRole], now: i64) -> Result<Bearer, NotAdmitted> {
        let judged = self.judge(headers, roles, now);
        self.metrics.admit(match &judged {
            Ok(_) => Admitted::Yes,
            Err(NotAdmitted::Role | NotAdmitted::Token(TokenError::Subject)) => Admitted::Forbidden,
            Err(_) => Admitted::Unauthenticated,
        });
        judged
    }

    fn judge(&self, headers: &HeaderMap, roles: &[TokenRole], now: i64) -> Result<Bearer, NotAdmitted> {
        let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, token) = value
            .and_then(|value| value.split_once(' '))
            .ok_or(NotAdmitted::Missing)?;
        // RFC 9110 section 11.1: the scheme is compared without regard to case.
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(NotAdmitted::Missing);
        }
        let bearer = self.authenticator.load().authenticate(token.trim(), now)?;
        if roles.contains(&bearer.role) {
            Ok(bearer)
        } else {
            Err(NotAdmitted::Role)
        }
    }
}

impl IntoResponse for NotAdmitted {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Missing | Self::Token(_) if self != Self::Token(TokenError::Subject) => {
                StatusCode::UNAUTHORIZED
            }
            _ => StatusCode::FORBIDDEN,
        };
        let mut response = refuse(status, &self);
        if status == StatusCode::UNAUTHORIZED {
            let challenge = axum::http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// A refusal with its sentence as the body.
pub fn refuse(status: StatusCode, error: &dyn std::fmt::Display) -> Response {
    (
        status,
        Json(Refusal {
            error: error.to_string(),
        }),
    )
        .into_response()
}
