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

fn notice(recipients: Vec<About>, original: Original<'_>, smtputf8: bool) -> Notice<'_> {
    Notice {
        hostname: "mail.example.com",
        to: "alice@example.com",
        envelope_id: Some("abc+1"),
        queue_id: "q1",
        arrived: 1_700_000_000_000,
        deliver_by: Some(1_700_000_060_000),
        now: 1_700_000_100_000,
        token: "0123456789abcdef0123456789abcdef",
        action: Action::Failed,
        recipients,
        original,
        smtputf8,
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
        "Deliver-By-Date: Tue, 14 Nov 2023 22:14:20 +0000",
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
    let mut calm = about("bob@example.net");
    calm.status = "5.0.0".to_owned();
    let calm = text(&notice(vec![calm], Original::Headers(b""), false))
        .lines()
        .count();
    let mut loud = about("bob@example.net");
    loud.remote = Some("mx\r\n\r\n--0123456789abcdef0123456789abcdef--".to_owned());
    loud.status = "5.0.0\r\nAction: delivered".to_owned();
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

/// A reader that shares no code with the writer.
#[test]
fn every_kind_is_a_report_of_three_parts_to_a_parser() {
    for (action, word) in [
        (Action::Failed, "failed"),
        (Action::Delayed, "delayed"),
        (Action::Delivered, "delivered"),
        (Action::Relayed, "relayed"),
        (Action::Expanded, "expanded"),
    ] {
        for (address, smtputf8) in [("bob@example.net", false), ("b\u{fc}b@example.net", true)] {
            let original = b"Subject: x\r\n\r\nbody\r\n";
            let mut notice = notice(
                vec![about(address), about("carol@example.net")],
                Original::Full(original),
                smtputf8,
            );
            notice.action = action;
            let bytes = compose(&notice);
            let parsed = mail_parser::MessageParser::default().parse(&bytes).unwrap();
            let kind = mail_parser::MimeHeaders::content_type(&parsed).unwrap();
            assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
            assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
            assert_eq!(parsed.parts.len(), 4, "the whole and its three parts");
            let status = String::from_utf8_lossy(parsed.parts[2].contents()).into_owned();
            assert_eq!(status.matches(&format!("Action: {word}")).count(), 2, "{status}");
            assert!(status.contains(&format!("; {address}")), "{status}");
            assert!(parsed.parts[3].is_message());
        }
    }
}

#[test]
fn utf8_is_used_only_where_ascii_cannot_say_it_and_the_sender_can_take_it() {
    let plain = notice(
        vec![about("bob@example.net")],
        Original::Full(b"A: b\r\n\r\n\xc3\xa9"),
        true,
    );
    assert!(!is_international(&plain));
    for (address, headers, smtputf8, want) in [
        ("b\u{fc}b@example.net", &b"A: b\r\n"[..], true, true),
        ("bob@example.net", b"A: \xc3\xa9\r\n", true, true),
        ("b\u{fc}b@example.net", b"A: b\r\n", false, false),
    ] {
        let notice = notice(vec![about(address)], Original::Headers(headers), smtputf8);
        assert_eq!(is_international(&notice), want, "{address} {smtputf8}");
    }
}

#[test]
fn a_sender_without_smtputf8_reads_an_international_address_escaped() {
    let text = text(&notice(
        vec![about("b\u{fc}b@example.net")],
        Original::Headers(b""),
        false,
    ));
    assert!(text.is_ascii());
    assert!(
        text.contains("\r\nFinal-Recipient: utf-8; b\\x{FC}b@example.net\r\n"),
        "{text}"
    );
}

#[test]
fn what_is_left_out_is_said_and_servers_without_name_are_literals() {
    let mut nameless = about("bob@example.net");
    nameless.remote = Some("2001:db8::1".to_owned());
    let text = text(&notice(vec![nameless], Original::TooLarge(b"A: b\r\n"), false));
    assert!(text.contains("too large to be returned"), "{text}");
    assert!(text.contains("Remote-MTA: dns; [IPv6:2001:db8::1]"), "{text}");
}
