//! Each provider says in its own words that it wants less, of messages or of connections.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{LIMIT, Play};
use crate::kubectl::{Failure, Outcome, until};
use crate::stories::relay_cases::Case;

impl Play<'_> {
    /// Mail waits as it is told to, and goes then.
    pub(super) fn slowed_down(&mut self) -> Outcome {
        let before = self.stand_ins.record()?;
        let names = self.names(true);
        self.stand_ins.order_all("throttled", true)?;
        let odd = ODD.iter().map(|(provider, at, text)| {
            let odd = json!({"at": at, "text": text, "times": 2});
            json!({"provider": provider, "throttled": false, "odd": odd})
        });
        self.stand_ins.order(&odd.collect())?;
        self.send("slow", &names, 1)?;
        let mut silent = Vec::new();
        let said = until(LIMIT, || {
            let record = self.stand_ins.record()?;
            let cases = names.iter().map(|name| self.case(name).map(Case::of));
            silent = cases.collect::<Outcome<Vec<_>>>()?;
            silent.retain(|of| record.refusals(of) <= before.refusals(of));
            Ok(silent.is_empty())
        });
        said.map_err(|_| Failure::wrong(format!("{silent:?} were never asked while they want less")))?;
        self.are_understood()?;
        self.stand_ins.order_all("throttled", false)?;
        self.try_now()?;
        self.await_mail("slow", &names, 1)?;
        self.room.await_queue(0, LIMIT)
    }

    /// The delivery log says what each reply was read as.
    fn are_understood(&self) -> Outcome {
        let namespace = self.room.namespace();
        let mut behind = BTreeSet::from(READ_AS);
        let came = until(LIMIT, || {
            let log = namespace.kubectl(["logs", "pod/edge-0", "--since=5m"])?;
            let lines = log
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            for line in lines.filter(|line| line["event"] == "deferred") {
                behind.retain(|(name, reaction)| {
                    line["route"] != format!("{}/{name}", namespace.name) || line["reaction"] != *reaction
                });
            }
            Ok(behind.is_empty())
        });
        came.map_err(|_| Failure::wrong(format!("no line of the log has the reaction of {behind:?}")))
    }
}

/// Policies, and what the reply of their provider has to be read as.
const READ_AS: [(&str, &str); 5] = [
    ("google-workspace-relay", "Throttle"),
    ("gmail", "Sender"),
    ("microsoft-365", "Concurrency"),
    ("amazon-ses", "Throttle"),
    ("postfix", "Throttle"),
];

/// Replies that the other acts do not have: a code that says later with a status that says never, as Google lists it, and connections that
/// are too many, for a mailbox and for a host.
const ODD: [(&str, &str, &str); 3] = [
    (
        "Gmail",
        "Mail",
        "421 5.7.32 This mail has been rate limited because there is a From: header alignment issue.",
    ),
    (
        "Microsoft365",
        "Mail",
        "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded",
    ),
    (
        "ExchangeServer",
        "Connect",
        "421 4.3.2 The maximum number of concurrent connections has exceeded a limit, closing transmission channel",
    ),
];
