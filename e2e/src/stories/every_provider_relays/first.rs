//! Every provider takes mail, and sees of it what its documentation wants.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{LIMIT, Play};
use crate::kubectl::{Failure, Outcome};
use crate::stories::relay_cases::Case;

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
        self.send("first", &names, 1)?;
        let found = self.await_mail("first", &names, 1)?;
        for (case, message) in self.cases.iter().zip(&found) {
            self.is_as_documented(case, message)?;
        }
        self.room.await_queue(0, LIMIT)?;
        eprintln!("{}", self.room.namespace().kubectl(["get", "relaypolicies"])?);
        Ok(())
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
