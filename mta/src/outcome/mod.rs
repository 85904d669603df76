//! What became of a recipient: the values, their log line and their figures.
//!
//! ```text
//!   deliver ─► Outcome ─┬─► record    the spool (queue::settle)
//!                       ├─► log       one JSON line per recipient
//!                       ├─► metrics   by outcome
//!                       └─► dsn       a notice, where one is due
//! ```
//!
//! May assume: text of a next hop has passed [`crate::dsn::text::one_line`] when an [`Outcome`] is made.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use postroad_config::provider::Kind;

use crate::deliver::protection::By;
use crate::metrics;

/// What one attempt means for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it is over.
    pub verdict: Verdict,
    /// Enhanced status code (RFC 3463).
    pub status: Status,
    /// Who said so.
    pub source: Source,
    /// The server that was talked to, or tried last.
    pub hop: Option<Hop>,
    /// The next hop reports on its own (RFC 3461): no notice of ours about a success.
    pub reported_by_hop: bool,
    /// Whether the next hop was told the time that the sender gives (RFC 2852). None: there is no such time, or the next
    /// hop is the end.
    pub time_passed_on: Option<bool>,
    /// What a reply of a provider asks for.
    pub reaction: Option<Kind>,
}

/// Whether the delivery to a recipient is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next hop took responsibility.
    Delivered,
    /// To be tried again.
    Deferred,
    /// Never.
    Failed,
}

/// Who said so, in one clean line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A reply of the next hop, with its code.
    NextHop(String),
    /// A reason of ours.
    Ourselves(String),
}

impl Source {
    /// The line.
    pub fn text(&self) -> &str {
        match self {
            Self::NextHop(text) | Self::Ourselves(text) => text,
        }
    }
}

/// A server that was talked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Its host name, or its address where it has none.
    pub host: String,
    /// Its address, when a connection was tried.
    pub address: Option<IpAddr>,
    /// Version and cipher suite, when the dialogue was inside TLS.
    pub tls: Option<Box<str>>,
    /// Who decided how TLS is used.
    pub tls_policy: By,
}

/// An enhanced status code (RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// 2, 4 or 5.
    pub class: u8,
    /// What it is about.
    pub subject: u16,
    /// What of it.
    pub detail: u16,
}

impl Status {
    /// The code `class.subject.detail`.
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        Self {
            class,
            subject,
            detail,
        }
    }

    /// The same of another class: a deferral that became a failure.
    #[must_use]
    pub const fn of_class(self, class: u8) -> Self {
        Self { class, ..self }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl Outcome {
    /// An outcome for a reason of ours.
    pub fn ours(verdict: Verdict, status: Status, reason: impl Into<String>) -> Self {
        Self {
            verdict,
            status,
            source: Source::Ourselves(reason.into()),
            hop: None,
            reported_by_hop: false,
            time_passed_on: None,
            reaction: None,
        }
    }

    /// The time that the sender gave is over (RFC 2852 section 4.1.3). The obstacle was transient.
    pub fn late() -> Self {
        Self::ours(
            Verdict::Deferred,
            Status::new(4, 4, 7),
            "the time within which its sender wants it delivered is over",
        )
    }

    /// A route rests (`deliver/lanes.rs`). RFC 3463 section 3.5, X.4.5.
    pub fn resting(reaction: Kind, why: impl Into<String>) -> Self {
        Self {
            reaction: Some(reaction),
            ..Self::ours(Verdict::Deferred, Status::new(4, 4, 5), why)
        }
    }

    /// Whether it waits for somebody to mend the configuration or the account, or for a quota: `deliver/holds.rs`.
    pub fn is_on_hold(&self) -> bool {
        let waits = matches!(self.reaction, Some(Kind::Configuration | Kind::Quota));
        self.verdict == Verdict::Deferred && waits
    }

    /// Whether its sender, or where it goes, is not set up right at the smart host. Mail of others goes on, so the policy is not on hold,
    /// but this recipient is, where the mail is ours.
    pub fn is_refused_by_setup(&self) -> bool {
        self.verdict == Verdict::Deferred && self.reaction == Some(Kind::Sender)
    }

    /// There is nothing left to be delivered. RFC 3463 section 3.4, X.3.0.
    pub fn body_lost() -> Self {
        Self::ours(
            Verdict::Failed,
            Status::new(5, 3, 0),
            "the storage of the mail system has lost the content of this message",
        )
    }

    /// The same with the server it is about.
    #[must_use]
    pub fn at(mut self, hop: Hop) -> Self {
        self.hop = Some(hop);
        self
    }

    /// What the spool keeps of it: the status and the line, so that a notice can be written after a restart.
    pub fn kept(&self) -> String {
        let host = self.hop.as_ref().map_or("", |hop| hop.host.as_str());
        match &self.source {
            Source::NextHop(text) => format!("{} {host} said: {text}", self.status),
            Source::Ourselves(text) => format!("{} {text}", self.status),
        }
    }
}

/// One line of the log about one recipient.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Our id of the message.
    pub queue_id: &'a str,
    /// Reverse-path; empty is the null one.
    pub sender: &'a str,
    /// The recipient.
    pub recipient: &'a str,
    /// The site that the job waited for.
    pub site: &'a str,
    /// Name of the policy that decided the route.
    pub route: &'a str,
    /// Attempts made, this one included.
    pub attempts: u32,
    /// Seconds since the message was accepted.
    pub delay_seconds: u64,
    /// Of them and of the attempt, by what they went into.
    pub delays: Delays,
    /// When the next attempt is due, in milliseconds since 1970; deferrals only.
    pub next_attempt: Option<u64>,
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// From the acceptance to the begin of this attempt.
    pub queue: Duration,
    /// Finding and reaching servers: DNS, connections, greetings, TLS; those in vain as well.
    pub connect: Duration,
    /// Transactions: from MAIL to the last reply.
    pub transaction: Duration,
}

/// Writes the log line and counts. `over`: the lifetime ran out with this outcome.
pub fn tell(line: &Line<'_>, outcome: &Outcome, over: bool, metrics: &metrics::Metrics) {
    let (event, counted) = match (outcome.verdict, over) {
        (Verdict::Delivered, _) => ("delivered", metrics::Outcome::Delivered),
        (Verdict::Failed, _) => ("failed", metrics::Outcome::Failed),
        (Verdict::Deferred, true) => ("expired", metrics::Outcome::Expired),
        (Verdict::Deferred, false) => ("deferred", metrics::Outcome::Deferred),
    };
    if let Some(hop) = &outcome.hop {
        metrics.tls_policies.count(hop.tls_policy, counted);
    }
    metrics.deliver(counted);
    metrics.site_deliveries.count(line.site, counted);
    if counted == metrics::Outcome::Delivered {
        // Whole seconds are exact up to 2^32 of them.
        metrics
            .delivery_delay
            .observe(u32::try_from(line.delay_seconds).map_or(f64::from(u32::MAX), f64::from));
    }
    let hop = outcome.hop.as_ref();
    let address = hop.and_then(|hop| hop.address);
    tracing::info!(
        event,
        queue_id = line.queue_id,
        sender = crate::log::clean(line.sender),
        recipient = crate::log::clean(line.recipient),
        site = crate::log::clean(line.site),
        route = line.route,
        host = hop.map_or_else(String::new, |hop| crate::log::clean(&hop.host)),
        address = address.map_or_else(String::new, |address| address.to_string()),
        tls = hop.and_then(|hop| hop.tls.as_deref()).unwrap_or_default(),
        tls_policy = hop.map_or("", |hop| hop.tls_policy.name()),
        status = %outcome.status,
        reaction = outcome.reaction.map_or("", Kind::name),
        reply = crate::log::clean(outcome.source.text()),
        remote_id = outcome_id(outcome).unwrap_or_default(),
        attempts = line.attempts,
        delay_seconds = line.delay_seconds,
        delay_queue = seconds(line.delays.queue),
        delay_connect = seconds(line.delays.connect),
        delay_transaction = seconds(line.delays.transaction),
        next_attempt = line.next_attempt,
        "{event}"
    );
}

/// To the millisecond.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000.0).round() / 1_000.0
}

fn outcome_id(outcome: &Outcome) -> Option<String> {
    match (&outcome.source, outcome.verdict) {
        (Source::NextHop(text), Verdict::Delivered) => remote_id(text).map(crate::log::clean),
        _ => None,
    }
}

/// The id under which a next hop queued a message, as most servers say it: `250 2.0.0 Ok: queued as 4Xyz`.
pub fn remote_id(reply: &str) -> Option<&str> {
    let lower = reply.to_ascii_lowercase();
    let after = ["queued as ", "queued with id ", "id=", "queued id "]
        .iter()
        .find_map(|mark| lower.find(mark).map(|at| at + mark.len()))?;
    let id = reply.get(after..)?.split([' ', ';', ',', ')', '>']).next()?;
    (!id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_the_next_hop_is_found_in_its_words() {
        for (reply, id) in [
            ("250 2.0.0 Ok: queued as 4Xyz", Some("4Xyz")),
            ("250 OK id=1abc-0000-2D", Some("1abc-0000-2D")),
            ("250 ok", None),
            ("250 queued as ", None),
        ] {
            assert_eq!(remote_id(reply), id, "{reply}");
        }
    }

    #[derive(Clone, Default)]
    struct Page(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Page {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            let mut page = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            page.extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_field_of_the_delivery_log_is_described_and_text_of_peers_stays_in_its_line() {
        let page = Page::default();
        let to = page.clone();
        let log = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || to.clone())
            .finish();
        let line = Line {
            queue_id: "1",
            sender: "s@x.example",
            recipient: "r@y.example\r\nforged",
            route: "mail/p",
            site: "y.example",
            attempts: 2,
            delay_seconds: 3,
            delays: Delays {
                queue: Duration::from_micros(2_500_400),
                connect: Duration::from_millis(40),
                transaction: Duration::from_millis(460),
            },
            next_attempt: Some(4),
        };
        let metrics = metrics::Metrics::new();
        tracing::subscriber::with_default(log, || {
            for verdict in [Verdict::Delivered, Verdict::Deferred, Verdict::Failed] {
                let outcome = Outcome::ours(verdict, Status::new(4, 4, 1), "no");
                tell(&line, &outcome, false, &metrics);
                tell(&line, &outcome, true, &metrics);
            }
        });
        let said = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        assert_eq!(said.lines().count(), 6);
        let described = include_str!("../../../docs/reference/delivery-log.md");
        for line in said.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let delays =
                ["delay_queue", "delay_connect", "delay_transaction"].map(|name| line[name].as_f64());
            assert_eq!(delays, [Some(2.5), Some(0.04), Some(0.46)]);
            let event = line.get("event").unwrap().as_str().unwrap();
            assert!(described.contains(&format!("`{event}`")), "{event}");
            for name in line.as_object().unwrap().keys() {
                assert!(
                    described.contains(&format!("| `{name}` |")),
                    "{name} is not described"
                );
            }
        }
    }

    #[test]
    fn what_is_kept_names_status_and_speaker() {
        let hop = Hop {
            host: "mx.example".into(),
            address: None,
            tls: None,
            tls_policy: By::Route,
        };
        let mut outcome = Outcome::ours(Verdict::Deferred, Status::new(4, 4, 1), "no connection").at(hop);
        assert_eq!(outcome.kept(), "4.4.1 no connection");
        outcome.source = Source::NextHop("451 later".into());
        assert_eq!(outcome.kept(), "4.4.1 mx.example said: 451 later");
    }
}
