//! Each provider is down while mail comes for a policy with two routes: the second one takes it, with its own credentials.
//!
//! ```text
//!   13 providers are down ─► Mailgun takes the mail of 13 policies        Mailgun is down ─► SendGrid takes that of the last one
//! ```
//!
//! The policies are there for this act alone: the others do not wait for them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{LIMIT, Play};
use crate::kubectl::{Failure, Outcome, until};
use crate::mail::Mail;
use crate::mailroom::LISTENER;

impl Play<'_> {
    /// All providers but the one that stands in for them, then that one.
    pub(super) fn each_is_down(&mut self) -> Outcome {
        let names = self.names(true);
        let policies = names.iter().map(|name| self.with_fallback(name));
        self.apply(&policies.collect::<Outcome<Vec<_>>>()?)?;
        let made: Vec<String> = names.iter().map(|name| fallback(name)).collect();
        let made: Vec<&str> = made.iter().map(String::as_str).collect();
        // Ready: the pods have it in their configuration.
        self.await_condition(&made, "Ready", "True")?;
        let (last, others): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| **name == SUBSTITUTE);
        self.go_down(&others)?;
        self.are_told_to_rest(&others)?;
        self.replaced(&others, SUBSTITUTE)?;
        self.go_down(&last)?;
        self.replaced(&last, SECOND_SUBSTITUTE)?;
        let gone = ["delete", "relaypolicies", "--selector=act=fallback"];
        self.room.namespace().kubectl(gone).map(drop)
    }

    fn are_down(&self, names: &[&str], is: bool) -> Outcome {
        let cases = names.iter().map(|name| self.case(name));
        let providers: Vec<&str> = cases
            .map(|case| case.map(super::Case::of))
            .collect::<Outcome<_>>()?;
        self.stand_ins.order_each(&providers, "down", is)
    }

    /// These are down, and a mail comes for each.
    fn go_down(&mut self, names: &[&str]) -> Outcome {
        self.are_down(names, true)?;
        let mails = names.iter().map(|name| {
            let mark = self.room.mark(&format!("fallback-{name}.0."));
            Mail::plain(&mark, &self.room.sender(), &format!("b@{}", domain(name)))
        });
        let mails = mails.collect();
        self.submit(mails)
    }

    /// That one has taken their mail.
    fn replaced(&self, names: &[&str], by: &str) -> Outcome {
        let found = self.await_mail("fallback", names, 1)?;
        let provider = self.case(by)?.of();
        let login = &self.stand_ins.customer["logins"][provider]["username"];
        for (name, message) in names.iter().zip(&found) {
            if message["provider"] != provider || message["user"] != *login {
                return Err(Failure::wrong(format!(
                    "{provider} should have taken the mail of {name}, as {login}: {message}"
                )));
            }
        }
        self.are_down(names, false)
    }

    /// Each of their policies has said that its first route rests, and that the second is used. Not all of them at once: each rests
    /// for half a minute.
    fn are_told_to_rest(&self, names: &[&str]) -> Outcome {
        let mut behind: BTreeSet<String> = names.iter().map(|name| fallback(name)).collect();
        let came = until(LIMIT, || {
            let all = self
                .room
                .namespace()
                .get(["relaypolicies", "--selector=act=fallback"])?;
            let items = all["items"].as_array().map_or(&[][..], Vec::as_slice);
            for policy in items.iter().filter(|policy| is_told(policy)) {
                behind.remove(policy["metadata"]["name"].as_str().unwrap_or_default());
            }
            Ok(behind.is_empty())
        });
        came.map_err(|_| Failure::wrong(format!("no status says that the first route rests: {behind:?}")))
    }

    /// The policy of a case with a second route, for a domain of its own.
    fn with_fallback(&self, name: &str) -> Outcome<Value> {
        let substitute = if name == SUBSTITUTE {
            SECOND_SUBSTITUTE
        } else {
            SUBSTITUTE
        };
        let authority = self.authority();
        let mut policy = self.case(name)?.policy(self.domain, LISTENER, authority);
        policy["metadata"] = json!({"name": fallback(name), "labels": {"act": "fallback"}});
        policy["spec"]["match"] = json!({"recipientDomains": [domain(name)]});
        policy["spec"]["routes"] = json!([
            self.case(name)?.route(authority),
            self.case(substitute)?.route(authority)
        ]);
        Ok(policy)
    }
}

/// The first route cannot be reached and rests, and the second is used.
fn is_told(policy: &Value) -> bool {
    let routes = &policy["status"]["routes"];
    let first = &routes[0];
    first["state"] == "Resting" && first["reason"] == "Unreachable" && routes[1]["state"] == "Usable"
}

fn fallback(name: &str) -> String {
    format!("{name}-fallback")
}

fn domain(name: &str) -> String {
    format!("{name}.fallback.example")
}

/// The case that takes the mail of all others.
const SUBSTITUTE: &str = "mailgun";
/// The one that takes the mail of that.
const SECOND_SUBSTITUTE: &str = "sendgrid";
