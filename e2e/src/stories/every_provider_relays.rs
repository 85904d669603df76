//! Mail leaves through every provider that a `RelayPolicy` can name, each played by a stand-in under its own host name: over quota,
//! with tokens that end, with credentials that are taken back, set up wrong, while it wants less of everything, and while it is down.
//! All of it beside a neighbour who grabs for the mail. Nothing is returned, nothing comes twice, and no provider hears what another one gave.
//!
//! ```text
//!   all policies at once ─► act ─► act ─► … (all providers at once in each) ─► the account of every mail and every credential
//! ```

mod account;
mod fallback;
mod first;
mod misconfigured;
mod neighbour;
mod quota;
mod revoked;
mod slowed;
mod table;
mod together;
mod tokens;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::relay_cases::{self, Case};
use super::stand_ins::StandIns;
use crate::kubectl::{Failure, Namespace, Outcome, condition};
use crate::mail::Mail;
use crate::mail::submit::Security;
use crate::mailroom::{LISTENER, Mailroom};
use crate::report::seconds;
use crate::story::{Scene, discard};

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let neighbour = Namespace::new(&scene.world.cluster, &format!("{}-next", scene.namespace.name));
    discard(&neighbour)?;
    neighbour.create("restricted")?;
    let played = Play::new(scene).and_then(|mut play| play.all(&neighbour));
    let cleaned = discard(&neighbour);
    played.and(cleaned)
}

struct Play<'a> {
    room: Mailroom<'a>,
    stand_ins: StandIns<'a>,
    cases: Vec<Case>,
    domain: &'a str,
    /// Marks of the mails, and how often each comes.
    sent: Vec<(String, usize)>,
}

/// Its name, and what is played.
type Act<'a> = (&'static str, fn(&mut Play<'a>) -> Outcome);

impl<'a> Play<'a> {
    /// Everything is applied, and nothing was sent yet.
    fn new(scene: &'a Scene<'a>) -> Outcome<Self> {
        let begun = Instant::now();
        let stand_ins = StandIns::start(scene)?;
        let domain = scene.domain.as_str();
        let cases = relay_cases::all(&stand_ins.customer, domain);
        let mut room = Mailroom::new(scene, 1);
        let senders: BTreeSet<_> = cases
            .iter()
            .map(|case| format!("{}@{domain}", case.from))
            .collect();
        room.domain["spec"]["senders"][0]["addresses"] = json!(senders);
        let play = Self {
            room,
            stand_ins,
            cases,
            domain,
            sent: Vec::new(),
        };
        play.room.apply()?;
        play.apply_cases()?;
        eprintln!(
            "    stand-ins and policies were there after {}",
            seconds(begun.elapsed())
        );
        Ok(play)
    }

    fn all(&mut self, neighbour: &Namespace) -> Outcome {
        let acts: [Act<'a>; 7] = [
            ("every provider takes mail", Self::everybody_relays),
            ("over quota", Self::quotas_end),
            ("tokens end under a backlog", Self::tokens_end),
            ("credentials taken back", Self::credentials_end),
            ("set up wrong", Self::faults_are_told),
            ("throttled, and too many connections", Self::slowed_down),
            ("each provider is down", Self::each_is_down),
        ];
        self.grabbed_at(neighbour)?;
        for (name, act) in acts {
            let begun = Instant::now();
            act(self).map_err(|error| Failure::wrong(format!("{name}: {error}")))?;
            eprintln!("    {name}: {}", seconds(begun.elapsed()));
            self.is_let_in(neighbour)?;
        }
        self.nothing_is_lost()?;
        self.nobody_hears_of_others()
    }

    fn case(&self, name: &str) -> Outcome<&Case> {
        let found = self.cases.iter().find(|case| case.name == name);
        found.ok_or_else(|| Failure::wrong(format!("no case {name}")))
    }

    /// The authority that vouches for all hosts.
    fn authority(&self) -> &Value {
        &self.stand_ins.customer["authority"]
    }

    /// Policies and Secrets of all cases as the customer knows them now.
    fn apply_cases(&self) -> Outcome {
        let objects = self.cases.iter().flat_map(|case| {
            let policy = case.policy(self.domain, LISTENER, self.authority());
            case.secret().into_iter().chain([policy])
        });
        self.apply(&objects.collect::<Vec<_>>())
    }

    fn apply(&self, objects: &[Value]) -> Outcome {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.room.namespace().apply(&list.to_string())
    }

    /// Submits mails by each of these cases, with a mark of the act.
    fn send(&mut self, act: &str, names: &[&str], each: usize) -> Outcome {
        let mails = self.mails(act, names, each)?;
        self.submit(mails)
    }

    fn mails(&self, act: &str, names: &[&str], each: usize) -> Outcome<Vec<Mail>> {
        let mut mails = Vec::new();
        for name in names {
            let case = self.case(name)?;
            let (from, to) = (case.from, case.to(self.domain));
            for number in 0..each {
                let mark = self.room.mark(&format!("{act}-{name}.{number}."));
                mails.push(Mail::plain(
                    &mark,
                    &format!("{from}@{}", self.domain),
                    &format!("b@{to}"),
                ));
            }
        }
        Ok(mails)
    }

    fn submit(&mut self, mails: Vec<Mail>) -> Outcome {
        self.submit_parted(mails, 1)
    }

    /// The same of mails that leave in so many transactions each.
    fn submit_parted(&mut self, mails: Vec<Mail>, parts: usize) -> Outcome {
        self.room
            .send_all(&self.room.server(Security::StartTls)?, &mails)?;
        self.sent.extend(mails.into_iter().map(|mail| (mail.mark, parts)));
        Ok(())
    }

    fn mark(&self, act: &str, name: &str) -> String {
        self.room.mark(&format!("{act}-{name}."))
    }

    /// Names of all cases; `first`: one for each provider.
    fn names(&self, first: bool) -> Vec<&'static str> {
        let mut seen = BTreeSet::new();
        let cases = self
            .cases
            .iter()
            .filter(|case| seen.insert(case.of().to_owned()) || !first);
        cases.map(|case| case.name).collect()
    }

    /// The owner knows that the provider takes mail again, and has all of it tried.
    fn try_now(&self) -> Outcome {
        let command = ["/postroad-mta", "queue", "retry", "--all"];
        self.room.namespace().exec("edge-0", &command, b"").map(drop)
    }
}

fn expect(object: &Value, kind: &str, reason: &str, word: &str) -> Outcome {
    let found = condition(object, kind).cloned().unwrap_or_default();
    if found["reason"] == reason
        && found["message"]
            .as_str()
            .is_some_and(|message| message.contains(word))
    {
        return Ok(());
    }
    Err(Failure::wrong(format!(
        "{}: {kind} should be {reason} and name {word}: {found}",
        object["metadata"]["name"]
    )))
}

/// A port that no case uses, where Exim takes everybody's mail.
const THIEF: u16 = 25;
const LIMIT: Duration = Duration::from_mins(2);
