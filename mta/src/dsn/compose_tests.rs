//! What a notice looks like.

use super::*;

fn about(address: &str) -> About {
    About {
        address: address.to_owned(),
        original: Some(("rfc822".to_owned(), "alias@example.com".to_owned())),
        status: "5.1.1".to_owned(),
        remote: Some("mx.example.net".to_owned()),
        diagnostic: Some("550 5.1.1 no such user\r\n--token\r\nBcc: x@example.org".to_owned()),
        reason: None,
        last_attempt: 1_700_000_060_000,
        retry_until: None,
    }
}

fn notice(recipients: Vec<About>, original: Original<'_>, international: bool) -> Notice<'_> {
    Notice {
        hostname: "mail.example.com",
        to: "alice@example.com",
        envelope_id: Some("abc+1"),
        queue_id: "q1",
        arrived: 1_700_000_000_000,
        now: 1_700_000_100_000,
        token: "0123456789abcdef0123456789abcdef",
        action: Action::Failed,
        recipients,
        original,
        international,
    }
}

fn text(notice: &Notice<'_>) -> String {
    String::from_utf8(compose(notice)).unwrap()
}

#[test]
fn a_failure_names_recipient_action_status_and_what_was_said() {
    let text = text(&notice(
        vec![about("bob@example.net")],
        Original::Headers(b"Subject: x\r\n"),
        false,
    ));
    for line in [
        "To: <alice@example.com>",
        "Auto-Submitted: auto-replied",
        "Content-Type: multipart/report; report-type=delivery-status;",
        "Content-Type: message/delivery-status",
        "Content-Type: text/rfc822-headers",
        "Reporting-MTA: dns; mail.example.com",
        "Original-Envelope-Id: abc+1",
        "Arrival-Date: Tue, 14 Nov 2023 22:13:20 +0000",
        "Original-Recipient: rfc822; alias@example.com",
        "Final-Recipient: rfc822; bob@example.net",
        "Action: failed",
        "Status: 5.1.1",
        "Remote-MTA: dns; mx.example.net",
        "Diagnostic-Code: smtp; 550 5.1.1 no such user --token Bcc: x@example.org",
        "Subject: x",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn every_line_ends_with_crlf_and_none_is_too_long() {
    let mut hostile = about("bob@example.net");
    hostile.diagnostic = Some("5".repeat(10_000));
    let bytes = compose(&notice(
        vec![hostile],
        Original::Full(b"Subject: x\r\n\r\nbody"),
        false,
    ));
    let text = String::from_utf8(bytes).unwrap();
    for line in text.split("\r\n") {
        assert!(line.len() <= 998 && !line.contains(['\r', '\n']), "{line}");
    }
}

#[test]
fn what_a_stranger_says_adds_no_line() {
    let calm = text(&notice(
        vec![about("bob@example.net")],
        Original::Headers(b""),
        false,
    ))
    .lines()
    .count();
    let mut loud = about("bob@example.net");
    loud.remote = Some("mx\r\n\r\n--0123456789abcdef0123456789abcdef--".to_owned());
    loud.status = "5.1.1\r\nAction: delivered".to_owned();
    let loud = text(&notice(vec![loud], Original::Headers(b""), false));
    assert_eq!(loud.lines().count(), calm);
}

#[test]
fn an_international_notice_keeps_utf8_and_says_so() {
    let original = "Subject: \u{e9}\r\n".as_bytes();
    let text = text(&notice(
        vec![about("b\u{fc}b@example.net")],
        Original::Full(original),
        true,
    ));
    for line in [
        "Content-Type: message/global-delivery-status",
        "Content-Type: message/global",
        "Final-Recipient: utf-8; b\u{fc}b@example.net",
        "Content-Transfer-Encoding: 8bit",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn eight_bit_originals_are_declared_outside_and_inside() {
    let text = text_lossy(&notice(
        vec![about("bob@example.net")],
        Original::Full(b"X: \xe9\r\n"),
        false,
    ));
    assert_eq!(text.matches("Content-Transfer-Encoding: 8bit").count(), 2);
}

fn text_lossy(notice: &Notice<'_>) -> String {
    String::from_utf8_lossy(&compose(notice)).into_owned()
}
