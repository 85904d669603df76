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

use std::net::IpAddr;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::text::{Charset, one_line};
use super::{address, advice};

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
    /// An alias, sent on to all whom it stands for (RFC 3461 section 5.2.7.3).
    Expanded,
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
    /// Until when its sender wanted it delivered (RFC 2852 section 5), in the same way.
    pub deliver_by: Option<u64>,
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
    /// Whether the message came with SMTPUTF8, so that its sender understands UTF-8 (RFC 6533 section 3). It is used where
    /// there is something that ASCII cannot say.
    pub smtputf8: bool,
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
    /// Its header section, as nobody asked for more.
    Headers(&'a [u8]),
    /// Its header section, as all of it would be too much.
    TooLarge(&'a [u8]),
}

impl<'a> Original<'a> {
    fn octets(self) -> &'a [u8] {
        match self {
            Self::Full(octets) | Self::Headers(octets) | Self::TooLarge(octets) => octets,
        }
    }
}

/// Writes the notice with CRLF line ends.
pub fn compose(notice: &Notice<'_>) -> Vec<u8> {
    let original = notice.original.octets();
    let mut out = Writer {
        bytes: Vec::with_capacity(4_096 + original.len()),
        international: is_international(notice),
    };
    head(&mut out, notice, !original.is_ascii());
    people(&mut out, notice);
    status(&mut out, notice);
    returned(&mut out, notice, original);
    out.bytes
}

/// Whether UTF-8 is needed and understood. Otherwise the form of RFC 3464 is the one that more programs can read.
pub fn is_international(notice: &Notice<'_>) -> bool {
    let text_of = |about: &About| {
        let original = about.original.as_ref().map_or("", |(_, address)| address);
        let said = about.diagnostic.as_deref().unwrap_or_default();
        [about.address.as_str(), original, said]
            .iter()
            .any(|text| !text.is_ascii())
    };
    notice.smtputf8
        && (!notice.to.is_ascii()
            || !header_section(notice.original.octets()).is_ascii()
            || notice.recipients.iter().any(text_of))
}

fn header_section(octets: &[u8]) -> &[u8] {
    let end = memchr::memmem::find(octets, b"\r\n\r\n").unwrap_or(octets.len());
    octets.get(..end).unwrap_or_default()
}

struct Writer {
    bytes: Vec<u8>,
    international: bool,
}

impl Writer {
    /// A line of ours; parts of strangers in it must have passed `clean`.
    fn line(&mut self, line: &str) {
        self.bytes.extend_from_slice(line.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn charset(&self) -> Charset {
        if self.international {
            Charset::Unicode
        } else {
            Charset::Ascii
        }
    }

    fn clean(&self, text: &str) -> String {
        one_line(text, self.charset(), LONGEST_TEXT)
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
    if eight_bit || out.international {
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
        Action::Expanded => "Expanded mail: your message was sent on to a group",
    }
}

fn people(out: &mut Writer, notice: &Notice<'_>) {
    out.line(&format!("--{}", notice.token));
    let charset = if out.international { "utf-8" } else { "us-ascii" };
    out.line(&format!("Content-Type: text/plain; charset={charset}"));
    if out.international {
        out.line("Content-Transfer-Encoding: 8bit");
    }
    out.line("");
    out.line(&format!("This is the mail server {}.", notice.hostname));
    out.line("");
    for line in advice::explanation(notice.action) {
        out.line(line);
    }
    for about in &notice.recipients {
        out.line("");
        let address = out.clean(&about.address);
        out.line(&format!("  <{address}>"));
        out.line(&format!("    {}", because(out, about)));
        let advice = advice::advice(&about.status).filter(|_| notice.action == Action::Failed);
        if let Some(advice) = advice {
            out.line(&format!("    {advice}"));
        }
        if let Some(until) = about.retry_until {
            out.line(&format!("    It is tried until {}.", date(until)));
        }
    }
    out.line("");
    if let Original::TooLarge(_) = notice.original {
        out.line("Your message is too large to be returned; only its header follows.");
    }
    out.line(&format!("Our number of the message: {}", notice.queue_id));
    out.line("");
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
    let kind = if out.international {
        "global-delivery-status"
    } else {
        "delivery-status"
    };
    out.line(&format!("Content-Type: message/{kind}"));
    if out.international {
        out.line("Content-Transfer-Encoding: 8bit");
    }
    out.line("");
    out.line(&format!("Reporting-MTA: dns; {}", notice.hostname));
    if let Some(id) = notice.envelope_id {
        out.field("Original-Envelope-Id", id);
    }
    out.line(&format!("Arrival-Date: {}", date(notice.arrived)));
    if let Some(deadline) = notice.deliver_by {
        out.line(&format!("Deliver-By-Date: {}", date(deadline)));
    }
    for about in &notice.recipients {
        out.line("");
        recipient(out, notice, about);
    }
    out.line("");
}

fn recipient(out: &mut Writer, notice: &Notice<'_>, about: &About) {
    if let Some((kind, address)) = &about.original {
        let original = address::original(kind, address, out.charset());
        out.line(&format!("Original-Recipient: {original}"));
    }
    let tried = address::typed(&about.address, out.charset());
    out.line(&format!("Final-Recipient: {tried}"));
    out.line(&format!("Action: {}", action(notice.action)));
    out.field("Status", &about.status);
    if let Some(remote) = &about.remote {
        out.field("Remote-MTA", &format!("dns; {}", host(remote)));
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

/// A server without a name is written as an address literal (RFC 3464 section 2.1.2).
fn host(remote: &str) -> String {
    match remote.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => format!("[{address}]"),
        Ok(IpAddr::V6(address)) => format!("[IPv6:{address}]"),
        Err(_) => remote.to_owned(),
    }
}

fn action(action: Action) -> &'static str {
    match action {
        Action::Failed => "failed",
        Action::Delayed => "delayed",
        Action::Delivered => "delivered",
        Action::Relayed => "relayed",
        Action::Expanded => "expanded",
    }
}

fn returned(out: &mut Writer, notice: &Notice<'_>, original: &[u8]) {
    out.line(&format!("--{}", notice.token));
    let kind = match (notice.original, out.international) {
        (Original::Full(_), false) => "message/rfc822",
        (Original::Headers(_) | Original::TooLarge(_), false) => "text/rfc822-headers",
        (Original::Full(_), true) => "message/global",
        (Original::Headers(_) | Original::TooLarge(_), true) => "message/global-headers",
    };
    out.line(&format!("Content-Type: {kind}"));
    if out.international || !original.is_ascii() {
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
