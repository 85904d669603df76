//! AUTH: verifiers, tokens, and what follows a failure.

use std::time::Duration;

use jiff::Timestamp;
use postroad_smtp::Reply;
use postroad_smtp::server::Session;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::driver::Driver;
use crate::log::clean;
use crate::metrics::Refused;
use crate::settings::Settings;
use crate::tokens::{TokenError, looks_like_token};

impl Driver {
    pub(super) async fn check_password(&mut self, user: &str, password: String, session: &mut Session) {
        let password = Zeroizing::new(password);
        let settings = self.shared.live.current();
        if settings.submitters().is_some() && looks_like_token(&password) {
            return match self.judge_token(&settings, user, &password).await {
                Some(Ok(identity)) => session.password_checked(&identity, Some(true)),
                Some(Err(_)) => session.password_checked(user, Some(false)),
                None => session.password_checked(user, None),
            };
        }
        if !self.may_try(user) {
            return session.password_checked(user, None);
        }
        self.checked = Some(Instant::now());
        let good = self
            .shared
            .auth
            .password(&settings, user, password.as_bytes())
            .await;
        session.password_checked(user, Some(good));
    }

    pub(super) async fn check_token(&mut self, user: &str, token: String, session: &mut Session) {
        let token = Zeroizing::new(token);
        let settings = self.shared.live.current();
        match self.judge_token(&settings, user, &token).await {
            Some(Ok(identity)) => session.token_checked(Ok(identity)),
            Some(Err(error)) => session.token_checked(Err(&error.to_string())),
            None => session.token_unchecked(),
        }
    }

    /// A refusal is counted here, not at the end of the dialogue: a client may leave before.
    async fn judge_token(
        &mut self,
        settings: &Settings,
        user: &str,
        token: &str,
    ) -> Option<Result<String, TokenError>> {
        self.checked = Some(Instant::now());
        let judged = self
            .shared
            .auth
            .token(settings, self.client.ip(), user, token, unix_now())
            .await;
        self.counted = !matches!(judged, Some(Ok(_)));
        if let Some(Err(error)) = &judged {
            tracing::warn!(port = self.port.name, client = %self.client.ip(), %error, "token refused");
        }
        judged
    }

    pub(super) fn find_verifier(&mut self, user: &str, session: &mut Session) {
        if !self.may_try(user) {
            return session.password_checked(user, None);
        }
        let settings = self.shared.live.current();
        session.verifier_found(self.shared.auth.scram(&settings, user));
    }

    /// Too many failures came before: nothing is checked, and the reply (454) does not tell whether it would have been right.
    fn may_try(&mut self, user: &str) -> bool {
        let may = self.shared.auth.allows(self.client.ip(), user);
        self.counted = !may;
        may
    }

    /// After a failure the reply waits: the same for every kind of failure, longer each time. The time that the check took
    /// is part of it, so that it tells nothing of the user.
    pub(super) async fn authenticated(&mut self, user: &str, success: bool, session: &mut Session) {
        let counted = std::mem::take(&mut self.counted);
        if !user.is_empty() && !counted {
            self.shared.auth.tried(self.client.ip(), user, success);
        }
        let began = self.checked.take().unwrap_or_else(Instant::now);
        if success {
            tracing::info!(port = self.port.name, client = %self.client.ip(), user = clean(user), "logged in");
            return;
        }
        self.failures += 1;
        self.shared.refused(Refused::Authentication);
        tracing::warn!(
            port = self.port.name,
            client = %self.client.ip(),
            user = clean(user),
            failures = self.failures,
            "login failed"
        );
        tokio::time::sleep_until(due(began, self.failures)).await;
        if self.failures >= MOST_FAILURES {
            session.end(&Reply::new(421, "4.7.0", "Too many failed logins"));
        }
    }
}

/// The clock of the tokens: seconds since 1970.
fn unix_now() -> i64 {
    Timestamp::now().as_second()
}

/// When the reply to a failure leaves.
fn due(began: Instant, failures: u32) -> Instant {
    began + DELAY * failures
}

const DELAY: Duration = Duration::from_millis(500);
const MOST_FAILURES: u32 = 3;
