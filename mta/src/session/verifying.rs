//! Checks of the sender: begun at MAIL, waited for at RCPT where they may refuse it, told in the header at the end.

use postroad_config::{ConfigFile, ReportMode, Role};
use postroad_smtp::Reply;
use postroad_smtp::server::Session;
use postroad_verify::dkim::overall;
use postroad_verify::dmarc::report::Row;

use super::driver::Driver;
use crate::accept::{Receiving, Transaction};
use crate::policy::Refusal;
use crate::reports::Kind;
use crate::signing::Chain;
use crate::verify::{self, Pending, Rejection, Sender, Spf, Verdicts};

impl Driver {
    /// Begins the checks where mail of strangers comes in: not for users, nor for clients that may relay.
    pub(super) fn begin_checks(&self, reverse_path: &str, session: &Session) -> Option<Pending> {
        let client = self.client.ip();
        let is_known = session.identity().is_some() || self.settings.may_relay(client);
        if self.port.role != Role::Transfer || is_known {
            return None;
        }
        let (helo, _) = session.client_name().unwrap_or_default();
        let file = &self.settings.set.file;
        let sender = self.sender(helo, reverse_path);
        let checks = self.shared.verifier.begin(&file.verification, sender)?;
        Some(if reports_dmarc(file) {
            checks.for_reports()
        } else {
            checks
        })
    }

    fn sender(&self, helo: &str, reverse_path: &str) -> Sender {
        Sender {
            client: self.client.ip(),
            helo: helo.to_owned(),
            reverse_path: reverse_path.to_owned(),
            receiver: self.settings.hostname().to_owned(),
        }
    }

    /// Whether the sender may go on, where the settings let a verdict refuse it. Errors: the session is over before it is known.
    pub(super) async fn sender_stands(&mut self) -> Result<Result<(), Rejection>, Reply> {
        let section = self.settings.set.file.verification.spf;
        let checks = self.draft.as_mut().and_then(|draft| draft.checks.take());
        let Some(mut checks) = checks else {
            return Ok(Ok(()));
        };
        let mut stands = Ok(Ok(()));
        if verify::may_refuse(section) {
            let asked = async {
                let spf = checks.spf().await;
                spf.and_then(|spf| verify::refusal(section, spf))
                    .map_or(Ok(()), Err)
            };
            stands = self.unless_over(asked).await;
        }
        if let Some(draft) = &mut self.draft {
            draft.checks = Some(checks);
        }
        stands
    }

    /// Puts the verdicts into the transaction, and a refusal where they ask for one. Gives them for the log.
    pub(super) async fn conclude(
        &self,
        checks: Option<Pending>,
        receiving: &mut Receiving,
        transaction: &mut Transaction,
    ) -> Told {
        let Some(checks) = checks else {
            return Told::default();
        };
        let reading = receiving.read();
        let verification = &self.settings.set.file.verification;
        let concluded = checks.conclude(
            reading,
            verification,
            &transaction.helo,
            &transaction.reverse_path,
        );
        let Ok(verdicts) = self.unless_over(concluded).await else {
            // Nobody knows, and the client may come again.
            transaction.refusal = Some(LEAVING);
            return Told::default();
        };
        let field = verdicts.field(
            verification,
            self.settings.hostname(),
            &transaction.helo,
            &transaction.reverse_path,
        );
        let seals = verdicts.arc.clone().filter(|_| receiving.is_sealed());
        transaction.chain = seals.and_then(|chain| Chain::new(chain, &field.text()));
        transaction.results = Some(field);
        transaction.refusal = verdicts.refusal(verification);
        let mut told = Told::of(&verdicts);
        if reports_dmarc(&self.settings.set.file) {
            let sender = self.sender(&transaction.helo, &transaction.reverse_path);
            told.row = verdicts.row(verification, &sender).map(Box::new);
        }
        told
    }
}

impl Driver {
    /// Counts a message that its client is not to bring again for the report to its author's domain, whatever else refuses it
    /// (RFC 9990 section 2.1).
    pub(super) fn report(&self, row: Option<&Row>) {
        if let Some(row) = row {
            self.shared.reports.count(Kind::Dmarc, &row.policy.domain, row);
        }
    }
}

/// Verdicts as words of the log; empty where nothing was asked.
#[derive(Default)]
pub(super) struct Told {
    pub(super) spf: String,
    pub(super) dkim: String,
    pub(super) arc: String,
    pub(super) dmarc: String,
    /// The author's domain.
    pub(super) author: String,
    /// Another that an address in the shown name has.
    pub(super) shown: String,
    /// What it is in the report to that domain.
    pub(super) row: Option<Box<Row>>,
}

impl Told {
    fn of(verdicts: &Verdicts) -> Self {
        let author = verdicts.dmarc.as_ref().and_then(|dmarc| dmarc.author.as_ref());
        Self {
            spf: text(verdicts.spf.as_ref().map(Spf::deciding)),
            dkim: text(verdicts.dkim.as_deref().map(overall)),
            arc: text(verdicts.arc.as_ref().map(|arc| arc.verdict)),
            dmarc: text(verdicts.dmarc.as_ref().map(|dmarc| dmarc.verdict)),
            author: text(author),
            shown: text(verdicts.shown.as_ref()),
            row: None,
        }
    }
}

fn reports_dmarc(file: &ConfigFile) -> bool {
    file.reports.dmarc.mode == ReportMode::Daily
}

fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

const LEAVING: Refusal = Refusal::new(421, "4.3.2", "This server is leaving service, try again later");
