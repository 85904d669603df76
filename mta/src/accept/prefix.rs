//! Header fields that we put in front of a message: Received, and on submission Date and Message-ID where they lack.
//!
//! Pure: clock and ids are given. Every line ends with CRLF; text of the peer is checked before it is written.

use std::fmt::Write;
use std::net::IpAddr;

use jiff::Timestamp;
use postroad_config::DomainName;

/// Facts of the Received field (RFC 5321 section 4.4).
#[derive(Clone, Debug)]
pub struct Trace<'a> {
    /// What the client called itself; written only where it is a name or a literal.
    pub helo: &'a str,
    /// Its address; absent for mail that we write ourselves.
    pub client: Option<IpAddr>,
    /// Name of this server.
    pub hostname: &'a str,
    /// See [`with`].
    pub with: &'static str,
    /// Queue id.
    pub id: &'a str,
    /// The recipient, where there is just one.
    pub recipient: Option<&'a str>,
    /// Now.
    pub at: Timestamp,
}

/// The `with` keyword (RFC 3848; RFC 6531 section 4.3 for SMTPUTF8).
#[expect(
    clippy::fn_params_excessive_bools,
    reason = "the registry's table has these four columns"
)]
pub fn with(esmtp: bool, utf8: bool, tls: bool, authenticated: bool) -> &'static str {
    match (esmtp, utf8, tls, authenticated) {
        (false, ..) => "SMTP",
        (true, false, false, false) => "ESMTP",
        (true, false, true, false) => "ESMTPS",
        (true, false, false, true) => "ESMTPA",
        (true, false, true, true) => "ESMTPSA",
        (true, true, false, false) => "UTF8SMTP",
        (true, true, true, false) => "UTF8SMTPS",
        (true, true, false, true) => "UTF8SMTPA",
        (true, true, true, true) => "UTF8SMTPSA",
    }
}

/// The Received field.
pub fn received(trace: &Trace<'_>) -> String {
    let mut field = String::from("Received: ");
    if let Some(client) = trace.client {
        let literal = literal(client);
        let helo = checked_helo(trace.helo).unwrap_or_else(|| literal.clone());
        let _ = write!(field, "from {helo} ({literal})\r\n\t");
    }
    let _ = write!(
        field,
        "by {} (Postroad) with {} id {}",
        trace.hostname, trace.with, trace.id
    );
    // One recipient only: with more, a Bcc would be shown (RFC 5321 section 7.2).
    if let Some(recipient) = trace.recipient.filter(|path| can_be_written(path)) {
        let _ = write!(field, "\r\n\tfor <{recipient}>");
    }
    let _ = write!(field, ";\r\n\t{}\r\n", date_time(trace.at));
    field
}

/// A Date field (RFC 6409 section 8.2).
pub fn date(at: Timestamp) -> String {
    format!("Date: {}\r\n", date_time(at))
}

/// A Message-ID field (RFC 6409 section 8.3).
pub fn message_id(id: &str, hostname: &str) -> String {
    format!("Message-ID: <{id}@{hostname}>\r\n")
}

/// A Sender field (RFC 5322 section 3.6.2 asks for it where From names several; RFC 6409 section 8.1 lets us write it).
pub fn sender(path: &str) -> String {
    format!("Sender: <{path}>\r\n")
}

/// Whether an address can stand in a field as it is.
pub fn can_be_written(path: &str) -> bool {
    path.len() <= 254 && is_printable(path)
}

/// A field of the configuration, which has checked name and value.
pub fn field(name: &str, value: &str) -> String {
    format!("{name}: {value}\r\n")
}

/// RFC 5322 section 3.3, in UTC.
pub fn date_time(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// RFC 5321 section 4.1.3.
fn literal(client: IpAddr) -> String {
    match client.to_canonical() {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}

fn checked_helo(helo: &str) -> Option<String> {
    if let Some(inner) = helo.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address = inner.strip_prefix("IPv6:").unwrap_or(inner);
        return address.parse().ok().map(literal);
    }
    helo.parse::<DomainName>()
        .ok()
        .map(|name| name.as_str().to_owned())
}

fn is_printable(path: &str) -> bool {
    path.chars()
        .all(|c| !c.is_control() && !matches!(c, '<' | '>' | ' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(helo: &str) -> Trace<'_> {
        Trace {
            helo,
            client: Some("192.0.2.1".parse().unwrap()),
            hostname: "mail.example.com",
            with: "ESMTPS",
            id: "01abc",
            recipient: Some("bob@example.com"),
            at: Timestamp::from_second(1_700_000_000).unwrap(),
        }
    }

    #[test]
    fn the_field_tells_who_what_and_when() {
        assert_eq!(
            received(&trace("client.example")),
            "Received: from client.example ([192.0.2.1])\r\n\
             \tby mail.example.com (Postroad) with ESMTPS id 01abc\r\n\
             \tfor <bob@example.com>;\r\n\
             \tTue, 14 Nov 2023 22:13:20 +0000\r\n"
        );
    }

    #[test]
    fn peer_text_cannot_break_out_of_the_field() {
        for helo in ["a b", "x\r\nBcc: y", "(", "[999]", "[::1", "under_score", ""] {
            assert!(
                received(&trace(helo)).starts_with("Received: from [192.0.2.1] ([192.0.2.1])\r\n"),
                "{helo}"
            );
        }
        let mut hostile = trace("[IPv6:2001:db8::1]");
        hostile.recipient = Some("a\r\nX: y@example.com");
        let field = received(&hostile);
        assert!(
            field.starts_with("Received: from [IPv6:2001:db8::1] (") && !field.contains(" for "),
            "{field}"
        );
    }

    #[test]
    fn the_with_keyword_is_of_the_registry() {
        assert_eq!(with(false, false, false, false), "SMTP");
        assert_eq!(with(true, false, true, true), "ESMTPSA");
        assert_eq!(with(true, true, true, false), "UTF8SMTPS");
    }
}
