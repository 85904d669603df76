//! Credentials are taken back while mail comes: the condition says so, the mail is kept, and goes with the new ones.

use std::time::Instant;

use super::{LIMIT, Play};
use crate::kubectl::{Failure, Outcome, condition};
use crate::report::seconds;
use crate::stories::relay_cases;

impl Play<'_> {
    /// Every provider that gave something to log in with takes it back, and gives something else.
    pub(super) fn credentials_end(&mut self) -> Outcome {
        self.stand_ins.order_all("renew", true)?;
        self.send("revoked", &REVOKED, 1)?;
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
        self.none_came("revoked", &REVOKED)?;
        eprintln!(
            "    {} credentials that were taken back showed after {}",
            REVOKED.len(),
            seconds(begun.elapsed())
        );
        self.stand_ins.renewed()?;
        self.cases = relay_cases::all(&self.stand_ins.customer, self.domain);
        self.apply_cases()?;
        self.await_mail("revoked", &REVOKED, 1)?;
        self.await_all_good()?;
        self.room.await_queue(0, LIMIT)
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
