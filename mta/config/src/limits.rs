//! Limits of sessions and messages, the times of the queue, and the shaping of a route; with the rules over them.

use serde::{Deserialize, Serialize};

use crate::check::Findings;
use crate::file::unset;
use crate::text::{Octets, Period};

/// Limits of sessions and messages.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Largest message (RFC 1870), 64Ki to 1Gi.
    pub message_size: Octets,
    /// Recipients of one transaction, 100 (RFC 5321 section 4.5.3.1.8) to 50,000.
    pub recipients_per_message: u32,
    /// Sessions open at once.
    pub connections: u32,
    /// Sessions open at once from one address.
    pub connections_per_client: u32,
    /// Messages of one session, 1 to 1,000,000; then it is ended with 421.
    #[serde(skip_serializing_if = "usual_messages_per_connection")]
    pub messages_per_connection: u32,
    /// Octets per second that a client must send while it sends a message, over any minute: 1 to 1Mi. Slower ones get 421.
    #[serde(skip_serializing_if = "usual_minimum_data_rate")]
    pub minimum_data_rate: Octets,
    /// Longest time from MAIL to the reply after the data, 1m to 4h.
    #[serde(skip_serializing_if = "usual_transaction_time")]
    pub transaction_time: Period,
    /// How long a stranger at a port without implicit TLS waits for the greeting, at most 30s. Whoever talks before it is
    /// refused. 0s: everybody is greeted at once.
    #[serde(skip_serializing_if = "usual_greeting_delay")]
    pub greeting_delay: Period,
    /// Memory that sessions may hold at once for what is under way, 8Mi to 1Ti; absent = a fifth of the memory of the
    /// control group, or of the machine. Where it is short, bodies go to files at once, and then clients get 452.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer_memory: Option<Octets>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: Octets(50 << 20),
            recipients_per_message: 1_000,
            connections: 2_000,
            connections_per_client: 50,
            messages_per_connection: 1_000,
            minimum_data_rate: Octets(256),
            transaction_time: Period::from_secs(30 * 60),
            greeting_delay: Period::from_secs(0),
            buffer_memory: None,
        }
    }
}

/// How mail is stored, and how long it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct QueueSection {
    /// Undelivered mail is returned after this time (RFC 5321 section 4.5.4.1 asks for 4 to 5 days). A change holds for mail
    /// that waits as well.
    pub lifetime: Period,
    /// The same for mail with the null reverse-path, which nobody can be told of.
    #[serde(skip_serializing_if = "usual_null_sender_lifetime")]
    pub null_sender_lifetime: Period,
    /// The sender is told of a delay after this time (RFC 3461 section 4.1, `NOTIFY=DELAY`).
    #[serde(skip_serializing_if = "usual_delay_notice")]
    pub delay_notice: Period,
    /// What 250 after the data means.
    #[serde(skip_serializing_if = "unset")]
    pub durability: Durability,
}

impl Default for QueueSection {
    fn default() -> Self {
        Self {
            lifetime: Period::from_secs(5 * 86_400),
            null_sender_lifetime: Period::from_secs(2 * 86_400),
            delay_notice: Period::from_secs(4 * 3_600),
            durability: Durability::Durable,
        }
    }
}

/// What 250 after the data means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// The mail is on stable storage.
    #[default]
    Durable,
    /// The mail is with the operating system: a lost node or a power cut may lose what came in the last second.
    Relaxed,
}

/// How fast a route is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RouteLimits {
    /// Messages over time; all of them hold. At most 4.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Rate>,
    /// Recipients over time, for a next hop that counts those; all of them hold, and those of `messages` too. At most 4.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<Rate>,
    /// Connections open at once to one site, 1 to 1,000; absent = what the feedback of the site allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Pods of `peers.fleet` that a route to smart hosts belongs to, 1 to 1,000; the others hand their mail over to these. Absent =
    /// all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<u32>,
    /// Recipients of one transaction, 1 to 1,000; absent = 100, or what the next hop says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipients_per_transaction: Option<u32>,
    /// Messages of one connection, 1 to 1,000,000; absent = 100, or what the next hop says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_connection: Option<u32>,
    /// Largest message, 64Ki to 1Gi: larger ones take the next route, or come back. Absent = what the next hop says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_size: Option<Octets>,
}

/// A number of messages, or of recipients, in a length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rate {
    /// How many, 1 to 1,000,000.
    pub count: u32,
    /// In this time, 1s to 100d; of a route, up to 1000d.
    pub per: Period,
}

// Usual values are not written, so that a daemon that does not know the field yet reads the file.

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn usual_messages_per_connection(value: &u32) -> bool {
    *value == Limits::default().messages_per_connection
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn usual_minimum_data_rate(value: &Octets) -> bool {
    *value == Limits::default().minimum_data_rate
}

fn usual_transaction_time(value: &Period) -> bool {
    *value == Limits::default().transaction_time
}

fn usual_greeting_delay(value: &Period) -> bool {
    *value == Limits::default().greeting_delay
}

fn usual_null_sender_lifetime(value: &Period) -> bool {
    *value == QueueSection::default().null_sender_lifetime
}

fn usual_delay_notice(value: &Period) -> bool {
    *value == QueueSection::default().delay_notice
}

/// Rules over `limits`.
pub(crate) fn check_limits(limits: &Limits, found: &mut Findings) {
    found.require(
        (64 << 10..=1 << 30).contains(&limits.message_size.0),
        || "limits.messageSize".into(),
        || format!("{} is not between 64Ki and 1Gi", limits.message_size),
    );
    found.require(
        (100..=50_000).contains(&limits.recipients_per_message),
        || "limits.recipientsPerMessage".into(),
        || {
            format!(
                "{} is not between 100 and 50000 (RFC 5321 section 4.5.3.1.8)",
                limits.recipients_per_message
            )
        },
    );
    for (name, value, most) in [
        ("connections", limits.connections, 100_000),
        ("connectionsPerClient", limits.connections_per_client, 100_000),
        ("messagesPerConnection", limits.messages_per_connection, 1_000_000),
    ] {
        found.require(
            (1..=most).contains(&value),
            || format!("limits.{name}"),
            || format!("{value} is not between 1 and {most}"),
        );
    }
    found.require(
        (1..=1 << 20).contains(&limits.minimum_data_rate.0),
        || "limits.minimumDataRate".into(),
        || {
            format!(
                "{} is not between 1 and 1Mi octets per second",
                limits.minimum_data_rate
            )
        },
    );
    found.require(
        (60..=4 * 3_600).contains(&limits.transaction_time.get().as_secs()),
        || "limits.transactionTime".into(),
        || format!("{} is not between 1m and 4h", limits.transaction_time),
    );
    found.require(
        limits.greeting_delay.get().as_secs() <= 30,
        || "limits.greetingDelay".into(),
        || {
            format!(
                "{} is longer than 30s: servers would not wait so long",
                limits.greeting_delay
            )
        },
    );
    let buffers = limits.buffer_memory.unwrap_or(Octets(8 << 20));
    found.require(
        (8 << 20..=1 << 40).contains(&buffers.0),
        || "limits.bufferMemory".into(),
        || format!("{buffers} is not between 8Mi and 1Ti"),
    );
}

/// Rules over `queue`.
pub(crate) fn check_queue(queue: &QueueSection, found: &mut Findings) {
    for (name, value) in [
        ("lifetime", queue.lifetime),
        ("nullSenderLifetime", queue.null_sender_lifetime),
    ] {
        found.require(
            value.get().as_secs() >= 60,
            || format!("queue.{name}"),
            || format!("{value} is shorter than 1m; mail would be returned before a second attempt"),
        );
    }
    found.require(
        queue.delay_notice.get().as_secs() >= 60,
        || "queue.delayNotice".into(),
        || {
            format!(
                "{} is shorter than 1m; senders would be told of every retry",
                queue.delay_notice
            )
        },
    );
}

/// Rules over the `limits` of a route; `at` is the path of the route.
pub(crate) fn check_route(limits: &RouteLimits, at: &str, found: &mut Findings) {
    for (rates, what) in [(&limits.messages, "messages"), (&limits.recipients, "recipients")] {
        check_rates(rates, LONGEST_ROUTE_RATE, &format!("{at}.limits.{what}"), found);
    }
    for (name, value) in [
        ("connections", limits.connections),
        ("recipientsPerTransaction", limits.recipients_per_transaction),
        ("pods", limits.pods),
    ] {
        found.require(
            value.is_none_or(|value| (1..=1_000).contains(&value)),
            || format!("{at}.limits.{name}"),
            || format!("{} is not between 1 and 1000", value.unwrap_or_default()),
        );
    }
    found.require(
        limits
            .messages_per_connection
            .is_none_or(|value| (1..=1_000_000).contains(&value)),
        || format!("{at}.limits.messagesPerConnection"),
        || "is not between 1 and 1000000".into(),
    );
    found.require(
        limits
            .message_size
            .is_none_or(|size| (64 << 10..=1 << 30).contains(&size.0)),
        || format!("{at}.limits.messageSize"),
        || "is not between 64Ki and 1Gi".into(),
    );
}

/// Longest time over which a rate of clients is counted.
pub(crate) const LONGEST_RATE: Period = Period::from_secs(100 * 86_400);

/// The same of a route: a rate of 100 days is shared by up to ten pods, and each has one message in ten times as long.
pub const LONGEST_ROUTE_RATE: Period = Period::from_secs(1_000 * 86_400);

/// Rules over a list of rates, each over a time up to the longest.
pub(crate) fn check_rates(rates: &[Rate], longest: Period, at: &str, found: &mut Findings) {
    found.require(
        rates.len() <= 4,
        || at.to_owned(),
        || format!("{} rates are too many; give at most 4", rates.len()),
    );
    for (number, rate) in rates.iter().enumerate() {
        found.require(
            (1..=1_000_000).contains(&rate.count),
            || format!("{at}[{number}].count"),
            || format!("{} is not between 1 and 1000000", rate.count),
        );
        found.require(
            (Period::from_secs(1)..=longest).contains(&rate.per),
            || format!("{at}[{number}].per"),
            || format!("{} is not between 1s and {longest}", rate.per),
        );
    }
}
