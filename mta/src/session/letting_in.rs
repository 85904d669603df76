//! Who is let in, at RCPT (`access` of the settings): what is asked of whom, and how a refusal is told.
//!
//! ```text
//!   user ────────────► rates.user                                        stranger ─► allow? deny? ─► name, DNS lists
//!   relayFrom, trustedPeers ─► nothing                                       ─► (callout, SPF) ─► greylist ─► rates.client
//! ```
//!
//! A recipient is judged by itself, as rules may name its domain. What the DNS says of a client is asked once in a session.

use std::net::IpAddr;
use std::sync::Arc;

use postroad_config::SendingRates;
use postroad_smtp::Reply;
use postroad_smtp::server::Session;

use super::driver::Driver;
use crate::access::greylist::{Key, Tuple};
use crate::access::rates::Counted;
use crate::access::room::site;
use crate::access::rules::{Ruling, Subject, ruling};
use crate::access::verdict::{Denied, Facts};
use crate::access::{Guard, Whose};
use crate::log::clean;
use crate::net::{Rank, network};
use crate::settings::Settings;

/// What is left to ask of a recipient that may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LetIn {
    /// Nothing.
    Known,
    /// The user's rates.
    User,
    /// Greylisting, and the client's rates.
    Stranger,
    /// The client's rates.
    Counted,
}

/// What `access` made of a transaction so far.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// The message has been counted.
    is_counted: bool,
    /// Of the recipients that were let in.
    tuples: Vec<Tuple>,
    /// Why, as the log tells it, of the recipient that was judged last.
    pub(super) told: Vec<String>,
}

/// What the DNS says of the client of this session, under these settings.
pub(super) struct OfClient {
    client: IpAddr,
    settings: Arc<Settings>,
    facts: Arc<Facts>,
}

impl Admission {
    /// Tells the guard that a message with these recipients was accepted.
    pub(super) fn accepted(self, guard: &Guard) {
        if !self.tuples.is_empty() {
            guard.passed(self.tuples);
        }
    }
}

impl Driver {
    /// Whether the owner of this server and the DNS let this recipient be asked for. Errors: the session is over before it is
    /// known.
    pub(super) async fn may_ask(
        &mut self,
        path: &str,
        session: &Session,
    ) -> Result<Result<LetIn, Denied>, Reply> {
        let client = self.client.ip();
        if session.identity().is_some() {
            return Ok(Ok(LetIn::User));
        }
        if Rank::of(&self.settings, self.port.role, client) != Rank::Stranger {
            return Ok(Ok(LetIn::Known));
        }
        let settings = Arc::clone(&self.settings);
        let access = &settings.set.file.access;
        self.tell(None);
        if !access.allow.is_empty() || !access.deny.is_empty() {
            let (helo, _) = session.client_name().unwrap_or_default();
            let subject = Subject::new(client, helo, &self.reverse_path(), path);
            match ruling(access, &subject) {
                Some(Ruling::Allowed(rule)) => {
                    self.tell(Some(format!("allow[{rule}]")));
                    return Ok(Ok(LetIn::Known));
                }
                Some(Ruling::Denied(rule)) => {
                    self.tell(Some(format!("deny[{rule}]")));
                    return Ok(Err(Denied::by_rule()));
                }
                None => {}
            }
        }
        if !has_an_address(client) {
            return Ok(Ok(LetIn::Known));
        }
        // RFC 5321 section 4.5.1: who is blocked can say so to the postmaster, if not too often.
        if is_postmaster(path) {
            return Ok(Ok(LetIn::Counted));
        }
        let facts = self.facts(&settings).await?;
        let Some(facts) = facts else {
            return Ok(Ok(LetIn::Stranger));
        };
        self.tell(Some(facts.told(access)));
        Ok(facts.denied(access).map_or(Ok(LetIn::Stranger), Err))
    }

    /// Whether a recipient that exists is taken now. Errors: as of [`Self::may_ask`].
    pub(super) async fn may_come(
        &mut self,
        let_in: LetIn,
        path: &str,
        session: &Session,
    ) -> Result<Result<(), Denied>, Reply> {
        let settings = Arc::clone(&self.settings);
        let access = &settings.set.file.access;
        if let_in == LetIn::Stranger && access.greylisting.is_some() {
            let tuple = Tuple::new(self.client.ip(), &self.reverse_path(), path);
            let wait = self.unless_over(self.shared.guard.waits(tuple)).await?;
            if wait > 0 {
                self.tell(Some(format!("greylisting: {wait} seconds left")));
                return Ok(Err(Denied::until(wait)));
            }
            self.tell(Some("greylisting: passed".to_owned()));
            if let Some(draft) = &mut self.draft
                && draft.admission.tuples.len() < MOST_TUPLES
            {
                draft.admission.tuples.push(tuple);
            }
        }
        let (whose, rates, counted) = match let_in {
            LetIn::Known => return Ok(Ok(())),
            LetIn::User => {
                let user = session.identity().unwrap_or_default();
                let of = Key::of(&["user", user]);
                (Whose::User, &access.rates.user, Counted { of, site: of })
            }
            LetIn::Stranger | LetIn::Counted => {
                let client = network(self.client.ip()).to_string();
                (
                    Whose::Client,
                    &access.rates.client,
                    Counted {
                        of: Key::of(&["client", client.as_str()]),
                        site: site(self.client.ip()),
                    },
                )
            }
        };
        if *rates == SendingRates::default() {
            return Ok(Ok(()));
        }
        let is_first = self
            .draft
            .as_ref()
            .is_some_and(|draft| !draft.admission.is_counted);
        let counted = self
            .unless_over(self.shared.guard.count(counted, whose, is_first))
            .await?;
        if let Err(excess) = counted {
            self.tell(Some(format!(
                "rates: {:?} for {} seconds",
                excess.what, excess.wait
            )));
            return Ok(Err(Denied::by_rate(whose, excess)));
        }
        if let Some(draft) = &mut self.draft {
            draft.admission.is_counted = true;
        }
        Ok(Ok(()))
    }

    /// What the DNS says of the client; `None` where nothing is asked.
    async fn facts(&mut self, settings: &Arc<Settings>) -> Result<Option<Arc<Facts>>, Reply> {
        let access = &settings.set.file.access;
        let asks_a_name = access.reverse_dns.mode != postroad_config::ReverseDnsMode::Disabled;
        if !asks_a_name && access.dns_blocklists.is_empty() {
            return Ok(None);
        }
        let client = self.client.ip();
        if let Some(known) = &self.of_client
            && known.client == client
            && Arc::ptr_eq(&known.settings, settings)
        {
            return Ok(Some(Arc::clone(&known.facts)));
        }
        let facts = Arc::new(self.unless_over(self.shared.guard.facts(access, client)).await?);
        self.of_client = Some(Box::new(OfClient {
            client,
            settings: Arc::clone(settings),
            facts: Arc::clone(&facts),
        }));
        Ok(Some(facts))
    }

    /// Adds to what the log tells of the recipient; `None`: another recipient begins.
    fn tell(&mut self, what: Option<String>) {
        let Some(draft) = &mut self.draft else { return };
        match what {
            Some(what) => draft.admission.told.push(what),
            None => draft.admission.told.clear(),
        }
    }

    fn reverse_path(&self) -> String {
        self.draft
            .as_ref()
            .map(super::envelope::Draft::reverse_path)
            .unwrap_or_default()
    }

    /// Refuses a recipient, and says why in the log and, where that tells nothing that is not for strangers, to the client.
    pub(super) fn deny(&self, path: &str, denied: &Denied, session: &mut Session) {
        self.shared.metrics.access.deny(denied.check);
        let told = self.draft.as_ref().map(|draft| draft.admission.told.join("; "));
        let (helo, _) = session.client_name().unwrap_or_default();
        tracing::info!(
            event = "refused",
            port = self.port.name,
            client = %self.client.ip(),
            identity = clean(session.identity().unwrap_or("")),
            command = "RCPT",
            helo = clean(helo),
            from = clean(&self.reverse_path()),
            path = clean(path),
            code = denied.refusal.code,
            reason = denied.refusal.text,
            check = ?denied.check,
            access = clean(&told.unwrap_or_default()),
            "refused"
        );
        session.answer(Reply::new(
            denied.refusal.code,
            denied.refusal.enhanced,
            denied.text(),
        ));
    }
}

/// Programs of this machine are on no list, and a client without an address cannot be asked for.
fn has_an_address(client: IpAddr) -> bool {
    let client = client.to_canonical();
    !client.is_loopback() && !client.is_unspecified()
}

fn is_postmaster(path: &str) -> bool {
    let local = path.rsplit_once('@').map_or(path, |(local, _)| local);
    local.eq_ignore_ascii_case("postmaster")
}

/// Of one message, whose tuples are remembered.
const MOST_TUPLES: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_postmaster_is_found_in_every_domain() {
        for path in ["postmaster", "Postmaster@example.com", "POSTMASTER@x.example"] {
            assert!(is_postmaster(path), "{path}");
        }
        for path in [
            "postmaster2@example.com",
            "a@postmaster",
            "not-postmaster@example.com",
        ] {
            assert!(!is_postmaster(path), "{path}");
        }
    }

    #[test]
    fn this_machine_and_nobody_have_no_address_to_ask_for() {
        let has = |text: &str| has_an_address(text.parse().unwrap());
        assert!(has("192.0.2.1") && has("::ffff:192.0.2.1") && has("10.0.0.1"));
        for none in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::"] {
            assert!(!has(none), "{none}");
        }
    }
}
