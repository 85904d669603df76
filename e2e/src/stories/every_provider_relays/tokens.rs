//! Tokens end under a backlog: they are renewed, and nothing is returned.

use serde_json::json;

use super::{LIMIT, Play};
use crate::kubectl::{Failure, Outcome};
use crate::mailroom::LISTENER;

impl Play<'_> {
    /// More mail than a token's life has time for.
    pub(super) fn tokens_end(&mut self) -> Outcome {
        let before = self.tokens()?;
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
        self.down(true)?;
        self.send("token", &TOKENS, BACKLOG)?;
        self.down(false)?;
        self.try_now()?;
        self.await_mail("token", &TOKENS, BACKLOG)?;
        self.room.await_queue(0, LIMIT)?;
        let got = self.tokens()? - before;
        if got < 2 * TOKENS.len() {
            return Err(Failure::wrong(format!(
                "{got} tokens were got for all of it: none was renewed"
            )));
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

    fn tokens(&self) -> Outcome<usize> {
        let record = self.stand_ins.record()?;
        let refused = record.rows("tokens").iter().find(|row| !row["refused"].is_null());
        match refused {
            None => Ok(record.rows("tokens").len()),
            Some(row) => Err(Failure::wrong(format!("a token was refused: {row}"))),
        }
    }
}

/// Cases that log in with tokens.
const TOKENS: [&str; 2] = ["gmail", "microsoft-365"];
/// Mails for each of [`TOKENS`]: more than one a second in a token's life.
const BACKLOG: usize = 9;
