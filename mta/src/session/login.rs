//! AUTH: verifiers, and what follows a failure.

use std::time::Duration;

use postroad_smtp::Reply;
use postroad_smtp::server::Session;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::driver::Driver;
use crate::log::clean;
use crate::metrics::Refused;

impl Driver {
    pub(super) async fn check_password(&mut self, user: &str, password: String, session: &mut Session) {
        let password = Zeroizing::new(password);
        if !self.may_try(user) {
            return session.password_checked(user, None);
        }
        self.checked = Some(Instant::now());
        let settings = self.shared.live.current();
        let good = self
            .shared
            .auth
            .password(&settings, user, password.as_bytes())
            .await;
        session.password_checked(user, Some(good));
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
        self.throttled = !may;
        may
    }

    /// After a failure the reply waits: the same for every kind of failure, longer each time. The time that the check took
    /// is part of it, so that it tells nothing of the user.
    pub(super) async fn authenticated(&mut self, user: &str, success: bool, session: &mut Session) {
        if !user.is_empty() && !std::mem::take(&mut self.throttled) {
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

/// When the reply to a failure leaves.
fn due(began: Instant, failures: u32) -> Instant {
    began + DELAY * failures
}

const DELAY: Duration = Duration::from_millis(500);
const MOST_FAILURES: u32 = 3;
