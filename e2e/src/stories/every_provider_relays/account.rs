//! The account at the end: each mail came once, none went the neighbour's way, and each credential was said to its giver alone.

use std::collections::{BTreeMap, BTreeSet};

use super::{LIMIT, Play, THIEF};
use crate::kubectl::{Failure, Outcome};

impl Play<'_> {
    /// Each mail of all acts came once, so none was returned; none went the neighbour's way.
    pub(super) fn nothing_is_lost(&self) -> Outcome {
        self.room.await_queue(0, LIMIT)?;
        let record = self.stand_ins.record()?;
        let all = record.rows("messages");
        if let Some(stolen) = all
            .iter()
            .find(|message| message["provider"] == "Exim" && message["port"] == THIEF)
        {
            return Err(Failure::wrong(format!("it went the neighbour's way: {stolen}")));
        }
        for (mark, parts) in &self.sent {
            let came = record.messages(mark).len();
            if came != *parts {
                return Err(Failure::wrong(format!(
                    "{mark} came {came} times, and not {parts}"
                )));
            }
        }
        let sent: usize = self.sent.iter().map(|(_, parts)| parts).sum();
        if all.len() != sent {
            return Err(Failure::wrong(format!(
                "{sent} mails were sent, {} came",
                all.len()
            )));
        }
        Ok(())
    }

    /// Each credential was said to the provider that gave it, and to no other.
    pub(super) fn nobody_hears_of_others(&self) -> Outcome {
        let record = self.stand_ins.record()?;
        let mut heard: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for login in record.rows("logins") {
            let secret = login["secret"].as_str().unwrap_or_default();
            heard
                .entry(secret)
                .or_default()
                .insert(login["provider"].as_str().unwrap_or_default());
        }
        if heard.len() < self.cases.len() {
            return Err(Failure::wrong(format!(
                "{} credentials were heard in all",
                heard.len()
            )));
        }
        match heard.values().find(|by| by.len() != 1) {
            None => Ok(()),
            Some(by) => Err(Failure::wrong(format!("one credential was said to {by:?}"))),
        }
    }
}
