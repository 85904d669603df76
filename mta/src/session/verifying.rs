//! Checks of the sender: begun at MAIL, waited for at RCPT where they may refuse it, told in the header at the end.

use postroad_config::Role;
use postroad_smtp::Reply;
use postroad_smtp::server::Session;

use super::driver::Driver;
use crate::accept::Transaction;
use crate::policy::Refusal;
use crate::verify::{self, Pending, Sender, Spf};

impl Driver {
    /// Begins the checks where mail of strangers comes in: not for users, nor for clients that may relay.
    pub(super) fn begin_checks(&self, reverse_path: &str, session: &Session) -> Option<Pending> {
        let client = self.client.ip();
        let is_known = session.identity().is_some() || self.settings.may_relay(client);
        if self.port.role != Role::Transfer || is_known {
            return None;
        }
        let (helo, _) = session.client_name().unwrap_or_default();
        let sender = Sender {
            client,
            helo: helo.to_owned(),
            reverse_path: reverse_path.to_owned(),
            receiver: self.settings.hostname().to_owned(),
        };
        self.shared
            .verifier
            .begin(self.settings.set.file.verification, sender)
    }

    /// Whether the sender may go on, where the settings let a verdict refuse it. Errors: the session is over before it is known.
    pub(super) async fn sender_stands(&mut self) -> Result<Result<(), Refusal>, Reply> {
        let section = self.settings.set.file.verification.spf;
        let checks = self.draft.as_mut().and_then(|draft| draft.checks.take());
        let Some(mut checks) = checks else {
            return Ok(Ok(()));
        };
        let mut stands = Ok(Ok(()));
        if verify::may_refuse(section) {
            let asked = async { verify::refusal(section, checks.spf().await).map_or(Ok(()), Err) };
            stands = self.unless_over(asked).await;
        }
        if let Some(draft) = &mut self.draft {
            draft.checks = Some(checks);
        }
        stands
    }

    /// Puts the verdicts into the transaction. Gives that of SPF for the log; empty where nothing was asked.
    pub(super) async fn conclude(&self, checks: Option<Pending>, transaction: &mut Transaction) -> String {
        let Some(mut checks) = checks else {
            return String::new();
        };
        let spf = self.unless_over(checks.spf()).await;
        let spf = spf.map_or_else(|_| Spf::unknown(), Spf::clone);
        let hostname = self.settings.hostname();
        let field = verify::field(hostname, &transaction.helo, &transaction.reverse_path, &spf);
        transaction.results = Some(field);
        spf.deciding().to_string()
    }
}
