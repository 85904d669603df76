//! Each provider is down while mail comes for a policy with two routes: the second one takes it, with its own credentials.
//!
//! ```text
//!   13 providers are down ─► Mailgun takes the mail of 13 policies        Mailgun is down ─► SendGrid takes that of the last one
//! ```
//!
//! The policies are there for this act alone: the others do not wait for them.

use serde_json::{Value, json};

use super::Play;
use crate::kubectl::{Failure, Outcome};
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
        self.replaced(&others, SUBSTITUTE)?;
        self.replaced(&last, SECOND_SUBSTITUTE)?;
        let gone = ["delete", "relaypolicies", "--selector=act=fallback"];
        self.room.namespace().kubectl(gone).map(drop)
    }

    /// While these are down, that one takes their mail.
    fn replaced(&mut self, names: &[&str], by: &str) -> Outcome {
        let cases = names.iter().map(|name| self.case(name));
        let providers: Vec<String> = cases
            .map(|case| case.map(|case| case.of().to_owned()))
            .collect::<Outcome<_>>()?;
        let providers: Vec<&str> = providers.iter().map(String::as_str).collect();
        self.stand_ins.order_each(&providers, "down", true)?;
        let mails = names.iter().map(|name| {
            let mark = self.room.mark(&format!("fallback-{name}.0."));
            Mail::plain(&mark, &self.room.sender(), &format!("b@{}", domain(name)))
        });
        self.submit(mails.collect())?;
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
        self.stand_ins.order_each(&providers, "down", false)
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
