//! Credentials are taken back while mail comes: the condition says so, the mail is kept, and goes with the new ones.

use std::time::Instant;

use super::{LIMIT, Play, expect};
use crate::kubectl::{Failure, Outcome, condition};
use crate::report::seconds;
use crate::stories::relay_cases;

impl Play<'_> {
    /// Every provider that gave something to log in with takes it back, and gives something else. Those that know the customer by an
    /// address or a certificate know the customer no more.
    pub(super) fn credentials_end(&mut self) -> Outcome {
        self.stand_ins.order_all("renew", true)?;
        self.are_unknown(true)?;
        self.send("revoked", &REVOKED, 1)?;
        self.send("revoked", &UNKNOWN, 1)?;
        let begun = Instant::now();
        // Mail that is not let in says so: the next test of a login that was good is five minutes away.
        for policy in self.await_condition(&REVOKED, "UpstreamAuthenticated", "False")? {
            let message =
                condition(&policy, "UpstreamAuthenticated").map(|found| found["message"].to_string());
            if !message.is_some_and(|message| message.contains("Secret")) {
                return Err(Failure::wrong(format!(
                    "{}: no sentence says what to do: {}",
                    policy["metadata"]["name"], policy["status"]
                )));
            }
        }
        self.is_shown(&REVOKED, "AUTHENTICATED", "False")?;
        self.none_came("revoked", &REVOKED)?;
        self.are_told_to_be_unknown()?;
        eprintln!(
            "    {} credentials that were taken back showed after {}",
            REVOKED.len(),
            seconds(begun.elapsed())
        );
        self.stand_ins.renewed()?;
        self.cases = relay_cases::all(&self.stand_ins.customer, self.domain);
        self.apply_cases()?;
        self.await_mail("revoked", &REVOKED, 1)?;
        self.are_unknown(false)?;
        self.try_now()?;
        self.await_mail("revoked", &UNKNOWN, 1)?;
        self.await_all_good()?;
        self.await_condition(&UNKNOWN, "UpstreamAccepting", "True")?;
        self.is_shown(&REVOKED, "AUTHENTICATED", "True")?;
        self.room.await_queue(0, LIMIT)
    }

    fn are_unknown(&self, is: bool) -> Outcome {
        let cases = UNKNOWN.iter().map(|name| self.case(name));
        let providers: Vec<&str> = cases
            .map(|case| case.map(super::Case::of))
            .collect::<Outcome<_>>()?;
        self.stand_ins.order_each(&providers, "unknown", is)
    }

    /// The provider refuses the account, in its own words, and its mail is kept.
    fn are_told_to_be_unknown(&self) -> Outcome {
        let told = self.await_condition(&UNKNOWN, "UpstreamAccepting", "False")?;
        for (policy, words) in told.iter().zip(NOT_KNOWN) {
            expect(policy, "UpstreamAccepting", "AccountRefused", words)?;
        }
        self.none_came("revoked", &UNKNOWN)
    }
}

/// All cases whose provider can take back what it gave: passwords, keys and client secrets. Certificates, the key of Google's service
/// account and the pods' own tokens are the customer's.
const REVOKED: [&str; 12] = [
    "gmail-app-password",
    "microsoft-365",
    "microsoft-365-hve",
    "exchange-server",
    "amazon-ses",
    "sendgrid",
    "mailgun",
    "mandrill",
    "smtp2go",
    "elastic-email",
    "postfix",
    "exim",
];
/// Cases whose provider knows the customer without a login.
const UNKNOWN: [&str; 2] = ["google-workspace-relay", "microsoft-365-connector"];
/// What it says to somebody else.
const NOT_KNOWN: [&str; 2] = ["Mail relay denied", "TenantAttribution; Relay Access Denied"];
