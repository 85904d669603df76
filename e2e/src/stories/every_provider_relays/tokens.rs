//! Tokens end under a backlog: they are renewed, and nothing is returned.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{LIMIT, Play};
use crate::kubectl::{Failure, Outcome};
use crate::mailroom::LISTENER;
use crate::stories::stand_ins::Record;

impl Play<'_> {
    /// More mail than a token's life has time for.
    pub(super) fn tokens_end(&mut self) -> Outcome {
        self.stand_ins
            .order(&json!({"tokenLife": 6, "endTokens": true}))?;
        // Each message has a connection and a login of its own, and there is more of it than a token's life has time for.
        let slow = json!([{"count": 1, "per": "1s"}]);
        let mut policies = Vec::new();
        for name in TOKENS {
            let mut policy = self.case(name)?.policy(self.domain, LISTENER, self.authority());
            policy["spec"]["routes"][0]["limits"] =
                json!({"messages": slow, "messagesPerConnection": 1, "connections": 1});
            policies.push(policy);
        }
        self.apply(&policies)?;
        // The pods have it: no part of the backlog leaves at once.
        self.await_condition(&TOKENS, "Ready", "True")?;
        self.down(true)?;
        self.send("token", &TOKENS, BACKLOG)?;
        let before = self.stand_ins.record()?.rows("logins").len();
        self.down(false)?;
        self.try_now()?;
        self.await_mail("token", &TOKENS, BACKLOG)?;
        self.room.await_queue(0, LIMIT)?;
        let record = self.stand_ins.record()?;
        for name in TOKENS {
            let used = tokens(&record, before, &self.case(name)?.credentials["user"]);
            if used.len() < 2 {
                return Err(Failure::wrong(format!(
                    "the backlog of {name} left with {} tokens, and not with one after the other",
                    used.len()
                )));
            }
        }
        if let Some(row) = record.rows("tokens").iter().find(|row| !row["refused"].is_null()) {
            return Err(Failure::wrong(format!("a token was refused: {row}")));
        }
        self.stand_ins.order(&json!({"tokenLife": 3_599}))
    }

    fn down(&self, is: bool) -> Outcome {
        let cases = TOKENS.iter().map(|name| self.case(name));
        let names: Vec<&str> = cases
            .map(|case| case.map(super::Case::of))
            .collect::<Outcome<_>>()?;
        self.stand_ins.order_each(&names, "down", is)
    }
}

/// Tokens by which a mailbox was let in since then.
fn tokens<'a>(record: &'a Record, before: usize, user: &Value) -> BTreeSet<&'a str> {
    let logins = record.rows("logins").iter().skip(before);
    let own = logins.filter(|login| login["user"] == *user && login["taken"] == true);
    own.filter_map(|login| login["secret"].as_str()).collect()
}

/// Cases that log in with tokens.
const TOKENS: [&str; 2] = ["gmail", "microsoft-365"];
/// Mails for each of [`TOKENS`]: more than one a second in a token's life.
const BACKLOG: usize = 9;
