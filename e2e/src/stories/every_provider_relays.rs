//! Mail leaves through every provider that a `RelayPolicy` can name, each played by a stand-in under its own host name: over quota,
//! with tokens that end, with credentials that are taken back, while it is down, and while it wants less of everything. All of it
//! beside a neighbour who grabs for the mail. Nothing is returned, nothing comes twice, and no provider hears what another one gave.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::relay_cases::{self, Case};
use super::stand_ins::StandIns;
use crate::kubectl::{Failure, Namespace, Outcome, condition, is, until};
use crate::mail::Mail;
use crate::mail::submit::{Security, Server};
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
    sent: Vec<String>,
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
        for case in &play.cases {
            play.apply(case)?;
        }
        let authority = &play.stand_ins.customer["authority"];
        let routes = ["sendgrid", "mailgun"].map(|name| play.case(name).map(|case| case.route(authority)));
        let routes: Vec<Value> = routes.into_iter().collect::<Outcome<_>>()?;
        let mut fallback = play.case("sendgrid")?.policy(domain, LISTENER, authority);
        fallback["metadata"]["name"] = json!("fallback");
        fallback["spec"]["match"]["recipientDomains"] = json!([FALLBACK]);
        fallback["spec"]["routes"] = json!(routes);
        play.room.namespace().apply(&fallback.to_string())?;
        eprintln!(
            "    stand-ins and policies were there after {}",
            seconds(begun.elapsed())
        );
        Ok(play)
    }

    fn all(&mut self, neighbour: &Namespace) -> Outcome {
        let acts: [Act<'a>; 6] = [
            ("every provider takes mail", Self::everybody_relays),
            ("over quota", Self::quotas_end),
            ("tokens end under a backlog", Self::tokens_end),
            ("credentials taken back", Self::credentials_end),
            ("a provider is down", Self::one_is_down),
            ("throttled, and too many connections", Self::slowed_down),
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

    fn apply(&self, case: &Case) -> Outcome {
        let authority = &self.stand_ins.customer["authority"];
        let policy = case.policy(self.domain, LISTENER, authority);
        for object in case.secret().iter().chain([&policy]) {
            self.room.namespace().apply(&object.to_string())?;
        }
        Ok(())
    }

    /// Somebody next door writes policies for all mail and for other people's, to a host of theirs.
    fn grabbed_at(&self, neighbour: &Namespace) -> Outcome {
        let thief = json!([{"smartHosts": [{"host": "exim.corp.example", "port": THIEF}], "tls": {"mode": "Opportunistic"}}]);
        for (name, terms) in [
            ("all", json!({})),
            ("senders", json!({"senderDomains": [self.domain]})),
            (
                "recipients",
                json!({"recipientDomains": self.cases.iter().map(|case| case.to(self.domain)).collect::<Vec<_>>()}),
            ),
        ] {
            let grab = json!({
                "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy", "metadata": {"name": name},
                "spec": {
                    "listenerRefs": [{"name": LISTENER, "namespace": self.room.namespace().name}],
                    "priority": 1_000_000, "match": terms, "routes": thief,
                },
            });
            neighbour.apply(&grab.to_string())?;
        }
        for name in GRABS {
            let found = neighbour.wait_condition(name, "Accepted", "False", LIMIT)?;
            expect(&found, "Accepted", "NotPermitted", LISTENER)?;
        }
        Ok(())
    }

    /// From the second act on the neighbour's policies are even let in. They are for the neighbour's own mail all the same.
    fn is_let_in(&self, neighbour: &Namespace) -> Outcome {
        let edge = format!("smtplistener/{LISTENER}");
        let attach = json!({"spec": {"attach": {"from": "All"}}});
        self.room.namespace().patch(&edge, &attach)?;
        for name in GRABS {
            neighbour.wait_condition(name, "Accepted", "True", LIMIT)?;
        }
        Ok(())
    }

    /// Submits a mail by each of these cases, with a mark of the act.
    fn send(&mut self, act: &str, names: &[&str], each: usize) -> Outcome {
        let server = self.server()?;
        for name in names {
            let case = self.case(name)?;
            let (from, to) = (case.from, case.to(self.domain));
            for number in 0..each {
                let mark = self.room.mark(&format!("{act}-{name}.{number}."));
                let mail = Mail::plain(&mark, &format!("{from}@{}", self.domain), &format!("b@{to}"));
                self.room.send(&server, &mail)?;
                self.sent.push(mark);
            }
        }
        Ok(())
    }

    fn server(&self) -> Outcome<Server> {
        self.room.server(Security::StartTls)
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

    /// Act 1.
    fn everybody_relays(&mut self) -> Outcome {
        self.room.await_ready()?;
        let played: BTreeSet<_> = self.cases.iter().map(|case| case.of().to_owned()).collect();
        if played != self.stand_ins.names {
            return Err(Failure::wrong(format!(
                "cases for {played:?}, stand-ins for {:?}",
                self.stand_ins.names
            )));
        }
        for case in &self.cases {
            self.is_good(case)?;
        }
        let names = self.names(false);
        self.send("first", &names, 1)?;
        for case in &self.cases {
            let found = self
                .stand_ins
                .await_messages(&self.mark("first", case.name), 1, LIMIT)?;
            self.is_as_documented(case, &found[0])?;
        }
        self.room.await_queue(0, LIMIT)?;
        eprintln!("{}", self.room.namespace().kubectl(["get", "relaypolicies"])?);
        Ok(())
    }

    fn is_good(&self, case: &Case) -> Outcome {
        let object = format!("relaypolicy/{}", case.name);
        let logs_in = !case.credentials.is_null();
        self.room
            .namespace()
            .wait_for(&object, "all conditions True", LIMIT, |policy| {
                CONDITIONS.iter().all(|kind| is(policy, kind, "True"))
                    && (!logs_in || is(policy, "UpstreamAuthenticated", "True"))
            })
            .map(drop)
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

    /// Act 2.
    fn quotas_end(&mut self) -> Outcome {
        self.stand_ins.order_all("overQuota", true)?;
        let names = self.names(true);
        self.send("quota", &names, 1)?;
        for name in &names {
            let object = format!("relaypolicy/{name}");
            if self.case(name)?.seen.tells_quota {
                let policy =
                    self.room
                        .namespace()
                        .wait_condition(&object, "QuotaAvailable", "False", LIMIT)?;
                expect(&policy, "QuotaAvailable", "QuotaUsedUp", "")?;
                if !self
                    .stand_ins
                    .record()?
                    .messages(&self.mark("quota", name))
                    .is_empty()
                {
                    return Err(Failure::wrong(format!("{name} took mail over its quota")));
                }
            } else {
                self.stand_ins
                    .await_messages(&self.mark("quota", name), 1, LIMIT)?;
            }
        }
        let queued = self.stand_ins.record()?.messages(&self.mark("quota", "mandrill"));
        if queued[0]["queued"] != true {
            return Err(Failure::wrong(
                "Mandrill takes what is over the quota, and keeps it",
            ));
        }
        self.stand_ins.order_all("overQuota", false)?;
        self.try_now()?;
        for name in &names {
            self.stand_ins
                .await_messages(&self.mark("quota", name), 1, LIMIT)?;
        }
        for name in &names {
            let object = format!("relaypolicy/{name}");
            self.room
                .namespace()
                .wait_condition(&object, "QuotaAvailable", "True", LIMIT)?;
        }
        self.room.await_queue(0, LIMIT)
    }

    /// The owner knows that the provider takes mail again, and has all of it tried.
    fn try_now(&self) -> Outcome {
        let command = ["/postroad-mta", "queue", "retry", "--all"];
        self.room.namespace().exec("edge-0", &command, b"").map(drop)
    }

    /// Act 3.
    fn tokens_end(&mut self) -> Outcome {
        let before = self.tokens()?;
        self.stand_ins
            .order(&json!({"tokenLife": 6, "endTokens": true}))?;
        // Each message has a connection and a login of its own, and there is more of it than a token's life has time for.
        let slow = json!([{"count": 1, "per": "1s"}]);
        for name in TOKENS {
            let mut policy =
                self.case(name)?
                    .policy(self.domain, LISTENER, &self.stand_ins.customer["authority"]);
            policy["spec"]["routes"][0]["limits"] =
                json!({"messages": slow, "messagesPerConnection": 1, "connections": 1});
            self.room.namespace().apply(&policy.to_string())?;
            self.stand_ins
                .order(&json!({"provider": self.case(name)?.of(), "down": true}))?;
        }
        self.send("token", &TOKENS, BACKLOG)?;
        for name in TOKENS {
            self.stand_ins
                .order(&json!({"provider": self.case(name)?.of(), "down": false}))?;
        }
        self.try_now()?;
        for name in TOKENS {
            self.stand_ins
                .await_messages(&self.mark("token", name), BACKLOG, LIMIT)?;
        }
        self.room.await_queue(0, LIMIT)?;
        let got = self.tokens()? - before;
        if got < 2 * TOKENS.len() {
            return Err(Failure::wrong(format!(
                "{got} tokens were got for all of it: none was renewed"
            )));
        }
        self.stand_ins.order(&json!({"tokenLife": 3_599}))
    }

    fn tokens(&self) -> Outcome<usize> {
        let record = self.stand_ins.record()?;
        let refused = record.rows("tokens").iter().find(|row| !row["refused"].is_null());
        match refused {
            None => Ok(record.rows("tokens").len()),
            Some(row) => Err(Failure::wrong(format!("a token was refused: {row}"))),
        }
    }

    /// Act 4.
    fn credentials_end(&mut self) -> Outcome {
        self.stand_ins.order_all("renew", true)?;
        self.send("revoked", &REVOKED, 1)?;
        let begun = Instant::now();
        for name in REVOKED {
            // Mail that is not let in says so: the next test of a login that was good is five minutes away.
            let object = format!("relaypolicy/{name}");
            let found =
                self.room
                    .namespace()
                    .wait_condition(&object, "UpstreamAuthenticated", "False", LIMIT)?;
            let message =
                condition(&found, "UpstreamAuthenticated").map(|found| found["message"].to_string());
            if !message.is_some_and(|message| message.contains("Secret")) {
                return Err(Failure::wrong(format!(
                    "{name}: no sentence says what to do: {}",
                    found["status"]
                )));
            }
            if !self
                .stand_ins
                .record()?
                .messages(&self.mark("revoked", name))
                .is_empty()
            {
                return Err(Failure::wrong(format!("{name} took mail with what it took back")));
            }
        }
        eprintln!("    all of them showed after {}", seconds(begun.elapsed()));
        self.stand_ins.renewed()?;
        self.cases = relay_cases::all(&self.stand_ins.customer, self.domain);
        for case in &self.cases {
            self.apply(case)?;
        }
        for name in REVOKED {
            self.stand_ins
                .await_messages(&self.mark("revoked", name), 1, LIMIT)?;
        }
        for case in &self.cases {
            self.is_good(case)?;
        }
        self.room.await_queue(0, LIMIT)
    }

    /// Act 5.
    fn one_is_down(&mut self) -> Outcome {
        self.stand_ins
            .order(&json!({"provider": "SendGrid", "down": true}))?;
        let mark = self.room.mark("fallback.");
        let mail = Mail::plain(&mark, &self.room.sender(), &format!("b@{FALLBACK}"));
        self.room.send(&self.server()?, &mail)?;
        self.sent.push(mark.clone());
        let found = self.stand_ins.await_messages(&mark, 1, LIMIT)?;
        let login = &self.stand_ins.customer["logins"]["Mailgun"]["username"];
        if found[0]["provider"] != "Mailgun" || found[0]["user"] != *login {
            return Err(Failure::wrong(format!(
                "Mailgun should have taken it, as {login}: {}",
                found[0]
            )));
        }
        self.stand_ins
            .order(&json!({"provider": "SendGrid", "down": false}))
    }

    /// Act 6: each says in its own words that it wants less, of messages or of connections.
    fn slowed_down(&mut self) -> Outcome {
        let before = self.stand_ins.record()?;
        let names = self.names(true);
        self.stand_ins.order_all("throttled", true)?;
        for (provider, at, text) in ODD {
            let odd = json!({"at": at, "text": text, "times": 2});
            self.stand_ins
                .order(&json!({"provider": provider, "throttled": false, "odd": odd}))?;
        }
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
        self.stand_ins.order_all("throttled", false)?;
        self.try_now()?;
        for name in &names {
            self.stand_ins
                .await_messages(&self.mark("slow", name), 1, LIMIT)?;
        }
        self.room.await_queue(0, LIMIT)
    }

    /// Each mail of all acts came once, so none was returned; none went the neighbour's way.
    fn nothing_is_lost(&self) -> Outcome {
        self.room.await_queue(0, LIMIT)?;
        let record = self.stand_ins.record()?;
        for mark in &self.sent {
            let came = record.messages(mark).len();
            if came != 1 {
                return Err(Failure::wrong(format!("{mark} came {came} times")));
            }
        }
        let all = record.rows("messages");
        if let Some(stolen) = all
            .iter()
            .find(|message| message["provider"] == "Exim" && message["port"] == THIEF)
        {
            return Err(Failure::wrong(format!("it went the neighbour's way: {stolen}")));
        }
        if all.len() != self.sent.len() {
            return Err(Failure::wrong(format!(
                "{} mails were sent, {} came",
                self.sent.len(),
                all.len()
            )));
        }
        // What the provider takes at once.
        match record.most_open("Microsoft365") {
            0..=3 => Ok(()),
            open => Err(Failure::wrong(format!(
                "{open} connections were open at Microsoft 365, which takes 3"
            ))),
        }
    }

    /// Each credential was said to the provider that gave it, and to no other.
    fn nobody_hears_of_others(&self) -> Outcome {
        let record = self.stand_ins.record()?;
        let mut heard: std::collections::BTreeMap<&str, BTreeSet<&str>> = std::collections::BTreeMap::new();
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
        "{kind} should be {reason} and name {word}: {found}"
    )))
}

const CONDITIONS: [&str; 5] = [
    "Ready",
    "Accepted",
    "UpstreamReachable",
    "UpstreamSecured",
    "QuotaAvailable",
];
const GRABS: [&str; 3] = ["relaypolicy/all", "relaypolicy/senders", "relaypolicy/recipients"];
/// Cases that log in with tokens.
const TOKENS: [&str; 2] = ["gmail", "microsoft-365"];
/// Cases whose credentials are taken back while mail comes.
const REVOKED: [&str; 5] = [
    "microsoft-365",
    "amazon-ses",
    "sendgrid",
    "exchange-server",
    "postfix",
];
/// Mails for each of [`TOKENS`]: more than one a second in a token's life.
const BACKLOG: usize = 9;
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
/// The domain whose mail has two routes.
const FALLBACK: &str = "fallback.to.example";
/// A port that no case uses.
const THIEF: u16 = 587;
const LIMIT: Duration = Duration::from_mins(2);
