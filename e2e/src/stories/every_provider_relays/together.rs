//! Waits for all providers at once: one question to the cluster, or to the stand-ins, for all of them.

use serde_json::Value;

use super::{LIMIT, Play};
use crate::kubectl::{Failure, Outcome, condition, is, until};

impl Play<'_> {
    /// Waits until the test holds for each of these policies, and gives them in this order.
    pub(super) fn await_policies(
        &self,
        names: &[&str],
        what: &str,
        test: impl Fn(&str, &Value) -> bool,
    ) -> Outcome<Vec<Value>> {
        let mut found = Vec::new();
        let mut behind = Vec::new();
        let came = until(LIMIT, || {
            let all = self.room.namespace().get(["relaypolicies"])?;
            let items = all["items"].as_array().map_or(&[][..], Vec::as_slice);
            let of_name = |name: &&str| items.iter().find(|item| item["metadata"]["name"] == **name);
            found = names
                .iter()
                .map(|name| of_name(name).cloned().unwrap_or_default())
                .collect();
            let pairs = names.iter().zip(&found);
            behind = pairs
                .filter(|(name, policy)| !test(name, policy))
                .map(|(name, policy)| format!("{name}: {}", policy["status"]["conditions"]))
                .collect();
            Ok(behind.is_empty())
        });
        came.map_err(|_| {
            Failure::wrong(format!(
                "{what} did not come within {LIMIT:?} for {}",
                behind.join("; ")
            ))
        })?;
        Ok(found)
    }

    /// The same for a condition, of the policies as they are now.
    pub(super) fn await_condition(&self, names: &[&str], kind: &str, status: &str) -> Outcome<Vec<Value>> {
        self.await_policies(names, &format!("{kind}={status}"), |_, policy| {
            let generation = &policy["metadata"]["generation"];
            condition(policy, kind)
                .is_some_and(|found| found["status"] == status && found["observedGeneration"] == *generation)
        })
    }

    /// Waits until all is well with all cases.
    pub(super) fn await_all_good(&self) -> Outcome {
        let logs_in = |name: &str| self.case(name).is_ok_and(|case| !case.credentials.is_null());
        self.await_policies(&self.names(false), "all conditions True", |name, policy| {
            CONDITIONS.iter().all(|kind| is(policy, kind, "True"))
                && (!logs_in(name) || is(policy, "UpstreamAuthenticated", "True"))
        })
        .map(drop)
    }

    /// Waits until that many mails of the act were taken by way of each of these, and gives the first of each in this order.
    pub(super) fn await_mail(&self, act: &str, names: &[&str], each: usize) -> Outcome<Vec<Value>> {
        let found = self.await_each(act, names, each)?;
        Ok(found
            .into_iter()
            .filter_map(|taken| taken.into_iter().next())
            .collect())
    }

    /// The same, and gives all of each.
    pub(super) fn await_each(&self, act: &str, names: &[&str], each: usize) -> Outcome<Vec<Vec<Value>>> {
        let marks: Vec<_> = names.iter().map(|name| self.mark(act, name)).collect();
        let mut found = Vec::new();
        let mut behind = Vec::new();
        let came = until(LIMIT, || {
            let record = self.stand_ins.record()?;
            found.clear();
            behind.clear();
            for (name, mark) in names.iter().zip(&marks) {
                let messages = record.messages(mark);
                if messages.len() < each {
                    behind.push(format!("{name}: {} of {each}", messages.len()));
                }
                found.push(messages);
            }
            Ok(behind.is_empty())
        });
        came.map_err(|_| {
            Failure::wrong(format!(
                "mail {act} did not come within {LIMIT:?}: {}",
                behind.join(", ")
            ))
        })?;
        Ok(found)
    }

    /// No mail of the act was taken by way of these.
    pub(super) fn none_came(&self, act: &str, names: &[&str]) -> Outcome {
        let record = self.stand_ins.record()?;
        let taken = names
            .iter()
            .find(|name| !record.messages(&self.mark(act, name)).is_empty());
        match taken {
            None => Ok(()),
            Some(name) => Err(Failure::wrong(format!("mail {act} of {name} was taken"))),
        }
    }
}

const CONDITIONS: [&str; 5] = [
    "Ready",
    "Accepted",
    "UpstreamReachable",
    "UpstreamSecured",
    "QuotaAvailable",
];
