//! The message that tells a sender what became of the mail (RFC 3464 in RFC 6522, RFC 6533 when international).
//!
//! ```text
//!   multipart/report ─┬─ text/plain                         for people
//!                     ├─ message/delivery-status            for programs
//!                     └─ message/rfc822 or its headers      what was sent
//! ```
//!
//! Pure. Text of strangers passes through `text::one_line` and nothing else; only the original message is copied as it
//! is, behind a boundary that nobody can guess.
//!
//! May assume: all recipients of one notice share the action.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::text::{Charset, one_line};

/// What became of the recipients (RFC 3464 section 2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Not delivered, and not tried again.
    Failed,
    /// Not delivered yet, still tried.
    Delayed,
    /// Stored for the recipient.
    Delivered,
    /// Handed to a server that does not report further (RFC 3461 section 5.2.2).
    Relayed,
}

/// A notice about one message.
#[derive(Clone, Debug)]
pub struct Notice<'a> {
    /// Our name.
    pub hostname: &'a str,
    /// Reverse-path of the message: who gets the notice. Never null.
    pub to: &'a str,
    /// Decoded ENVID of the message.
    pub envelope_id: Option<&'a str>,
    /// Our id of the message.
    pub queue_id: &'a str,
    /// When the message was accepted, in milliseconds since 1970.
    pub arrived: u64,
    /// The time now.
    pub now: u64,
    /// Unguessable: 16 octets or more in hex. Names the boundary and the notice.
    pub token: &'a str,
    /// What became of the recipients.
    pub action: Action,
    /// The recipients, at least one.
    pub recipients: Vec<About>,
    /// What is returned of the message.
    pub original: Original<'a>,
    /// Whether the message came with SMTPUTF8, so that its sender understands UTF-8 (RFC 6533 section 3).
    pub international: bool,
}

/// One recipient of a notice.
#[derive(Clone, Debug)]
pub struct About {
    /// The address that was tried.
    pub address: String,
    /// ORCPT as the sender gave it: type and decoded address (RFC 3461 section 4.2).
    pub original: Option<(String, String)>,
    /// Enhanced status code, such as `5.1.1` (RFC 3463).
    pub status: String,
    /// The server that spoke last.
    pub remote: Option<String>,
    /// What it said; none when the reason is ours.
    pub diagnostic: Option<String>,
    /// Why, in one sentence, when the reason is ours.
    pub reason: Option<String>,
    /// The last attempt, in milliseconds since 1970; 0 = none was made.
    pub last_attempt: u64,
    /// Until when it is tried; `Delayed` only.
    pub retry_until: Option<u64>,
}

/// What is returned of the message.
#[derive(Clone, Copy, Debug)]
pub enum Original<'a> {
    /// All of it.
    Full(&'a [u8]),
    /// Its header section.
    Headers(&'a [u8]),
}

/// Writes the notice with CRLF line ends.
pub fn compose(notice: &Notice<'_>) -> Vec<u8> {
    let original = match notice.original {
        Original::Full(bytes) | Original::Headers(bytes) => bytes,
    };
    let mut out = Writer {
        bytes: Vec::with_capacity(4_096 + original.len()),
        charset: charset(notice),
    };
    head(&mut out, notice, !original.is_ascii());
    people(&mut out, notice);
    status(&mut out, notice);
    returned(&mut out, notice, original);
    out.bytes
}

fn charset(notice: &Notice<'_>) -> Charset {
    if notice.international {
        Charset::Unicode
    } else {
        Charset::Ascii
    }
}

struct Writer {
    bytes: Vec<u8>,
    charset: Charset,
}

impl Writer {
    /// A line of ours; parts of strangers in it must have passed `clean`.
    fn line(&mut self, line: &str) {
        self.bytes.extend_from_slice(line.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn clean(&self, text: &str) -> String {
        one_line(text, self.charset, LONGEST_TEXT)
    }

    fn field(&mut self, name: &str, value: &str) {
        let value = self.clean(value);
        self.line(&format!("{name}: {value}"));
    }
}

fn head(out: &mut Writer, notice: &Notice<'_>, eight_bit: bool) {
    out.line(&format!(
        "From: Mail Delivery System <MAILER-DAEMON@{}>",
        notice.hostname
    ));
    out.field("To", &format!("<{}>", notice.to));
    out.line(&format!("Subject: {}", subject(notice.action)));
    out.line(&format!("Date: {}", date(notice.now)));
    out.line(&format!("Message-ID: <{}@{}>", notice.token, notice.hostname));
    // RFC 3834 section 5: no program answers a notice.
    out.line("Auto-Submitted: auto-replied");
    out.line("MIME-Version: 1.0");
    out.line("Content-Type: multipart/report; report-type=delivery-status;");
    out.line(&format!("\tboundary=\"{}\"", notice.token));
    // RFC 2045 section 6.4: a multipart may not hide 8-bit parts.
    if eight_bit || notice.international {
        out.line("Content-Transfer-Encoding: 8bit");
    }
    out.line("");
    out.line("This is a delivery status notification in MIME format (RFC 3464).");
    out.line("");
}

fn subject(action: Action) -> &'static str {
    match action {
        Action::Failed => "Undelivered mail: your message could not be delivered",
        Action::Delayed => "Delayed mail: your message has not been delivered yet",
        Action::Delivered => "Delivered mail: your message was delivered",
        Action::Relayed => "Relayed mail: your message was handed on",
    }
}

fn people(out: &mut Writer, notice: &Notice<'_>) {
    out.line(&format!("--{}", notice.token));
    let charset = if notice.international { "utf-8" } else { "us-ascii" };
    out.line(&format!("Content-Type: text/plain; charset={charset}"));
    if notice.international {
        out.line("Content-Transfer-Encoding: 8bit");
    }
    out.line("");
    out.line(&format!("This is the mail server {}.", notice.hostname));
    out.line("");
    for line in explanation(notice.action) {
        out.line(line);
    }
    for about in &notice.recipients {
        out.line("");
        let address = out.clean(&about.address);
        out.line(&format!("  <{address}>"));
        out.line(&format!("    {}", because(out, about)));
    }
    out.line("");
    out.line(&format!("Our number of the message: {}", notice.queue_id));
    out.line("");
}

fn explanation(action: Action) -> &'static [&'static str] {
    match action {
        Action::Failed => &[
            "Your message could not be delivered to the recipients below. It will not be tried",
            "again. If you need help, send this notice to your postmaster.",
        ],
        Action::Delayed => &[
            "Your message has not been delivered to the recipients below yet. You need not send",
            "it again: the server keeps trying, and tells you if it gives up.",
        ],
        Action::Delivered => &["Your message was delivered to the recipients below."],
        Action::Relayed => &[
            "Your message was handed to the next mail server for the recipients below. That",
            "server does not report whether it reaches them.",
        ],
    }
}

fn because(out: &Writer, about: &About) -> String {
    match (&about.diagnostic, &about.reason) {
        (Some(said), _) => {
            let remote = about.remote.as_deref().unwrap_or("the next mail server");
            format!("{} said: {}", out.clean(remote), out.clean(said))
        }
        (None, Some(reason)) => out.clean(reason),
        (None, None) => format!("status {}", out.clean(&about.status)),
    }
}

fn status(out: &mut Writer, notice: &Notice<'_>) {
    out.line(&format!("--{}", notice.token));
    // RFC 6533 section 4.
    let kind = if notice.international {
        "global-delivery-status"
    } else {
        "delivery-status"
    };
    out.line(&format!("Content-Type: message/{kind}"));
    if notice.international {
        out.line("Content-Transfer-Encoding: 8bit");
    }
    out.line("");
    out.line(&format!("Reporting-MTA: dns; {}", notice.hostname));
    if let Some(id) = notice.envelope_id {
        out.field("Original-Envelope-Id", id);
    }
    out.line(&format!("Arrival-Date: {}", date(notice.arrived)));
    for about in &notice.recipients {
        out.line("");
        recipient(out, notice, about);
    }
    out.line("");
}

fn recipient(out: &mut Writer, notice: &Notice<'_>, about: &About) {
    if let Some((kind, address)) = &about.original {
        out.field("Original-Recipient", &format!("{kind}; {address}"));
    }
    let kind = if about.address.is_ascii() {
        "rfc822"
    } else {
        "utf-8"
    };
    out.field("Final-Recipient", &format!("{kind}; {}", about.address));
    out.line(&format!("Action: {}", action(notice.action)));
    out.field("Status", &about.status);
    if let Some(remote) = &about.remote {
        out.field("Remote-MTA", &format!("dns; {remote}"));
    }
    match (&about.diagnostic, &about.reason) {
        (Some(said), _) => out.field("Diagnostic-Code", &format!("smtp; {said}")),
        (None, Some(reason)) => out.field("Diagnostic-Code", &format!("X-Postroad; {reason}")),
        (None, None) => {}
    }
    if about.last_attempt > 0 {
        out.line(&format!("Last-Attempt-Date: {}", date(about.last_attempt)));
    }
    if let Some(until) = about.retry_until {
        out.line(&format!("Will-Retry-Until: {}", date(until)));
    }
}

fn action(action: Action) -> &'static str {
    match action {
        Action::Failed => "failed",
        Action::Delayed => "delayed",
        Action::Delivered => "delivered",
        Action::Relayed => "relayed",
    }
}

fn returned(out: &mut Writer, notice: &Notice<'_>, original: &[u8]) {
    out.line(&format!("--{}", notice.token));
    let kind = match (notice.original, notice.international) {
        (Original::Full(_), false) => "message/rfc822",
        (Original::Headers(_), false) => "text/rfc822-headers",
        (Original::Full(_), true) => "message/global",
        (Original::Headers(_), true) => "message/global-headers",
    };
    out.line(&format!("Content-Type: {kind}"));
    if notice.international || !original.is_ascii() {
        out.line("Content-Transfer-Encoding: 8bit");
    }
    out.line("");
    out.bytes.extend_from_slice(original);
    if !original.ends_with(b"\r\n") {
        out.line("");
    }
    out.line("");
    out.line(&format!("--{}--", notice.token));
}

/// RFC 5322 section 3.3, in UTC. A time that no calendar holds is shown as 1970.
fn date(milliseconds: u64) -> String {
    let time = i64::try_from(milliseconds)
        .ok()
        .and_then(|at| Timestamp::from_millisecond(at).ok());
    let time = time.unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC);
    jiff::fmt::rfc2822::to_string(&time).unwrap_or_default()
}

/// With the field's name it stays below the 998 octets of a line (RFC 5322 section 2.1.1).
const LONGEST_TEXT: usize = 800;

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
