//! Opens a connection and logs in, as the route wants it.
//!
//! ```text
//!   held? ─► a proof (a token perhaps) ─► connection, TLS ─► AUTH ─┬─ taken ─► ready for mail
//!                                             a token that is refused: once more with a new one
//!                                                                  └─ refused ─► nobody tries for a while
//! ```
//!
//! A connection is opened for one route alone, whose hosts alone see what it logs in with, and only inside of TLS: the protocol
//! machine does not say it elsewhere.

use postroad_config::Credentials;
use postroad_config::admin::LoginFault;
use postroad_smtp::client::{Error, Event, Failure, Stage};
use postroad_smtp::sasl::client::{Login, Proof};

use super::link::{Link, Target, Trouble};
use super::tls::ClientTls;
use crate::logins::fault::{NoLogin, advice};
use crate::logins::{Id, Logins};

/// What a route logs in with, and its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a> {
    pub(super) credentials: &'a Credentials,
    pub(super) id: Id,
}

impl<'a> Key<'a> {
    pub(super) fn of(credentials: Option<&'a Credentials>) -> Option<Self> {
        credentials.map(|credentials| Self {
            credentials,
            id: Id::of(credentials),
        })
    }
}

/// Opens a connection, logged in where the target has credentials. After a refusal it is not tried before the pause is over.
pub(super) async fn open(target: &Target<'_>, tls: &ClientTls, logins: &Logins) -> Result<Link, Trouble> {
    match target.login {
        Some(key) => match logins.held(key.id) {
            Some(no) => Err(Trouble::Login(no)),
            None => log_in_at(target, key, tls, logins, false).await,
        },
        None => Link::open(target, tls).await,
    }
}

/// Logs in; `anyway`: whether there is a pause or not.
pub(super) async fn log_in_at(
    target: &Target<'_>,
    key: Key<'_>,
    tls: &ClientTls,
    logins: &Logins,
    anyway: bool,
) -> Result<Link, Trouble> {
    let (mut turn, mut is_first) = (None, true);
    loop {
        let proof = logins
            .proof(key.id, key.credentials)
            .await
            .map_err(Trouble::Login)?;
        let mut link = Link::open(target, tls).await?;
        let Some(proof) = proof else {
            return Ok(link);
        };
        if turn.is_none() {
            turn = logins.turn(key.id).await;
        }
        if let Some(no) = logins.held(key.id).filter(|_| !anyway) {
            tokio::spawn(link.quit());
            return Err(Trouble::Login(no));
        }
        let refused = match link.log_in(&proof).await {
            Ok(()) => {
                logins.passed(key.id);
                return Ok(link);
            }
            Err(Trouble::Login(no)) => no,
            Err(other) => return Err(other),
        };
        tokio::spawn(link.quit());
        match proof {
            // It may have been taken back before its end.
            Proof::Token { token, .. } if is_first && refused.fault == LoginFault::CredentialsRefused => {
                logins.forget(key.id, &token);
                is_first = false;
            }
            _ => {
                tell(target, &refused);
                logins.refused(key.id, &refused);
                return Err(Trouble::Login(refused));
            }
        }
    }
}

fn tell(target: &Target<'_>, no: &NoLogin) {
    tracing::warn!(
        event = "login_failed",
        host = crate::log::clean(&target.server.host),
        fault = no.fault.name(),
        reason = crate::log::clean(&no.reason),
        "nobody is logged in; mail waits"
    );
}

impl Link {
    async fn log_in(&mut self, proof: &Proof) -> Result<(), Trouble> {
        let no = |fault, reason: String| Trouble::Login(NoLogin::new(fault, reason));
        let offered = &self.connection().capabilities().mechanisms;
        let Some(mechanism) = proof.choose(offered) else {
            let fault = LoginFault::MechanismNotOffered;
            let wanted: Vec<_> = proof
                .mechanisms()
                .iter()
                .map(|mechanism| mechanism.name())
                .collect();
            let offered = if offered.is_empty() {
                "no logins".to_owned()
            } else {
                crate::dsn::text::one_line(&offered.join(" "), crate::dsn::text::Charset::Ascii, 200)
            };
            let wanted = wanted.join(", ");
            return Err(no(
                fault,
                format!("it offers {offered} and not one of {wanted}; {}", advice(fault)),
            ));
        };
        let login =
            Login::new(proof, mechanism).map_err(|error| no(LoginFault::KeyInvalid, error.to_string()))?;
        if !self.connection().log_in(login) {
            return Err(no(
                LoginFault::MechanismNotOffered,
                "nobody logs in outside of TLS".to_owned(),
            ));
        }
        let user = match proof {
            Proof::Password { user, .. } | Proof::Token { user, .. } => user,
        };
        let as_what = format!("{user} by {}", mechanism.name());
        let refused = match self.next(self.patience.greeting).await {
            Ok(Event::LoggedIn) => None,
            // Some close behind the refusal.
            Ok(Event::LoginRefused(reply))
            | Err(Trouble::Failed(Failure {
                error: Error::Refused(reply),
                stage: Stage::Auth,
                ..
            })) => Some(NoLogin::refused(reply, &as_what)),
            Ok(_) => return Err(self.lost("the connection ended")),
            Err(Trouble::Failed(Failure {
                error: Error::Login(error),
                ..
            })) => Some(NoLogin::new(
                LoginFault::ServerNotTrusted,
                format!("{error}; {}", advice(LoginFault::ServerNotTrusted)),
            )),
            Err(other) => return Err(other),
        };
        match refused {
            Some(no) => Err(Trouble::Login(no)),
            // `Ready` follows.
            None => match self.next(self.patience.greeting).await? {
                Event::Ready => Ok(()),
                _ => Err(self.lost("the connection ended")),
            },
        }
    }
}
