//! Every provider takes mail, and sees of it what its documentation wants.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{LIMIT, Play};
use crate::kubectl::{Failure, Outcome};
use crate::mail::Mail;
use crate::stories::relay_cases::{CONTROL_FIELDS, Case};

impl Play<'_> {
    /// One mail by each way into each provider.
    pub(super) fn everybody_relays(&mut self) -> Outcome {
        self.room.await_ready()?;
        let played: BTreeSet<_> = self.cases.iter().map(|case| case.of().to_owned()).collect();
        if played != self.stand_ins.names {
            return Err(Failure::wrong(format!(
                "cases for {played:?}, stand-ins for {:?}",
                self.stand_ins.names
            )));
        }
        self.await_all_good()?;
        let names = self.names(false);
        let mails = self.mails("first", &names, 1)?;
        // With a field for each provider that is steered by one.
        let steering = |mail: Mail| Mail {
            content: [CONTROL_FIELDS.as_bytes(), &mail.content].concat(),
            ..mail
        };
        self.submit(mails.into_iter().map(steering).collect())?;
        self.send_to_one_too_many()?;
        let found = self.await_mail("first", &names, 1)?;
        for (case, message) in self.cases.iter().zip(&found) {
            self.is_as_documented(case, message)?;
            is_steered_by_its_own(case, message)?;
        }
        self.is_parted()?;
        self.room.await_queue(0, LIMIT)?;
        for column in ["READY", "REACHABLE", "QUOTA"] {
            self.is_shown(&names, column, "True")?;
        }
        self.is_shown(&[LOGS_IN], "AUTHENTICATED", "True")
    }

    /// A mail to one recipient more than Amazon SES takes at once.
    fn send_to_one_too_many(&mut self) -> Outcome {
        let case = self.case(PARTED)?;
        let (from, to) = (format!("{}@{}", case.from, self.domain), case.to(self.domain));
        let mark = self.mark("parted", PARTED);
        let recipients: Vec<_> = (0..=AT_ONCE).map(|number| format!("b{number}@{to}")).collect();
        let mail = Mail {
            to: recipients.join(","),
            ..Mail::plain(&mark, &from, &format!("b0@{to}"))
        };
        self.submit_parted(vec![mail], 2)
    }

    /// All but one came at once, and nothing was refused for it.
    fn is_parted(&self) -> Outcome {
        let found = self.await_each("parted", &[PARTED], 2)?;
        let mut counts: Vec<_> = found
            .iter()
            .flatten()
            .map(|part| part["to"].as_array().map_or(0, Vec::len))
            .collect();
        counts.sort_unstable();
        let refusals = self.stand_ins.record()?.refusals(self.case(PARTED)?.of());
        if counts == [1, AT_ONCE] && refusals == 0 {
            return Ok(());
        }
        Err(Failure::wrong(format!(
            "{PARTED} should have been asked for {AT_ONCE} recipients and for 1: {counts:?}, {refusals} refusals"
        )))
    }

    /// The provider saw what its documentation wants.
    fn is_as_documented(&self, case: &Case, message: &Value) -> Outcome {
        let user = match case.credentials["type"].as_str() {
            None | Some("ClientCertificate") => json!(""),
            Some("AwsAccessKey") => case.secret["accessKeyId"].clone(),
            Some("Password") => case.secret["username"].clone(),
            Some(_) => case.credentials["user"].clone(),
        };
        let hello = if case.of() == "GoogleWorkspaceRelay" {
            self.domain.to_owned()
        } else {
            format!("mx.{}", self.domain)
        };
        let is_certified = case.credentials["type"] == "ClientCertificate";
        for (what, want) in [
            ("provider", json!(case.of())),
            ("host", json!(case.seen.host)),
            ("port", json!(case.seen.port)),
            ("mechanism", json!(case.seen.mechanism)),
            ("user", user),
            ("hello", json!(hello)),
            ("certified", json!(is_certified)),
            ("tls", json!("TLSv1_3")),
            ("from", json!(format!("{}@{}", case.from, self.domain))),
            ("to", json!([format!("b@{}", case.to(self.domain))])),
        ] {
            if message[what] != want {
                return Err(Failure::wrong(format!(
                    "{}: {what} should be {want}: {message}",
                    case.name
                )));
            }
        }
        Ok(())
    }
}

/// Of the fields that steer providers it saw its own, and no other.
fn is_steered_by_its_own(case: &Case, message: &Value) -> Outcome {
    let fields = message["fields"].as_array().map_or(&[][..], Vec::as_slice);
    let steering: Vec<_> = fields
        .iter()
        .filter_map(Value::as_str)
        .filter(|field| STEERING.iter().any(|begin| field.starts_with(begin)))
        .collect();
    if steering == Vec::from_iter(case.control_field()) {
        return Ok(());
    }
    Err(Failure::wrong(format!(
        "{}: of the fields that steer providers it should see {:?}: {steering:?}",
        case.name,
        case.control_field()
    )))
}

/// How such fields begin.
const STEERING: [&str; 5] = ["x-ses-", "x-smtpapi", "x-mailgun-", "x-mc-", "x-elasticemail-"];
/// A case that logs in.
const LOGS_IN: &str = "sendgrid";
/// The case of a provider that takes so many recipients at once.
const PARTED: &str = "amazon-ses";
const AT_ONCE: usize = 50;
