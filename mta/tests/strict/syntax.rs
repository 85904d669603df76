//! The grammar of MAIL, RCPT and of lines, table by table.

use crate::stage::{Play, Stage};

/// Each command on a session of its own; the session must go on behind it.
fn judge(stage: &Stage, before: &[(&str, u16)], table: &[(String, u16)]) {
    let mut wrong = Vec::new();
    for (command, code) in table {
        let mut wire = stage.wire();
        wire.expect(before);
        let reply = wire.say(command);
        if reply.code != *code {
            wrong.push(format!(
                "{command:.80}: {code} expected, {} {}",
                reply.code, reply.text
            ));
        }
        wire.expect(&[("NOOP", 250)]);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn rows(rows: &[(&str, u16)]) -> Vec<(String, u16)> {
    rows.iter()
        .map(|(command, code)| ((*command).to_owned(), *code))
        .collect()
}

fn domain(octets: usize) -> String {
    let mut domain = format!("{}.", "d".repeat(63)).repeat(octets / 64 + 1);
    domain.truncate(octets);
    if domain.ends_with('.') {
        domain.replace_range(octets - 1.., "d");
    }
    domain
}

#[test]
fn promises() {
    let stage = Play {
        trusted: true, // DELIVERBY is not for strangers
        ..Play::default()
    }
    .start();
    let table = rows(&[
        // RFC 8689 section 2: in clear it is not offered.
        ("MAIL FROM:<a@b.example> REQUIRETLS", 530),
        ("MAIL FROM:<> REQUIRETLS", 530),
        ("MAIL FROM:<> REQUIRETLS=", 501),
        ("MAIL FROM:<> REQUIRETLS=yes", 501),
        ("MAIL FROM:<> REQUIRETLS REQUIRETLS", 501),
        // RFC 2852 section 4.
        ("MAIL FROM:<a@b.example> BY=120;R", 250),
        ("MAIL FROM:<a@b.example> by=+000000120;nt", 250),
        ("MAIL FROM:<a@b.example> BY=-999999999;N", 250),
        ("MAIL FROM:<a@b.example> BY=0;N", 250),
        ("MAIL FROM:<a@b.example> BY=0;R", 501),
        ("MAIL FROM:<a@b.example> BY=-1;RT", 501),
        ("MAIL FROM:<a@b.example> BY=1000000000;R", 501),
        ("MAIL FROM:<a@b.example> BY=120", 501),
        ("MAIL FROM:<a@b.example> BY=120;", 501),
        ("MAIL FROM:<a@b.example> BY=120;X", 501),
        ("MAIL FROM:<a@b.example> BY=120;TR", 501),
        ("MAIL FROM:<a@b.example> BY=120;R;T", 501),
        ("MAIL FROM:<a@b.example> BY=12e;R", 501),
        ("MAIL FROM:<a@b.example> BY", 501),
        ("MAIL FROM:<a@b.example> BY=120;R BY=120;R", 501),
    ]);
    judge(&stage, &[], &table);
}

#[test]
fn mail() {
    let stage = Play::default().start();
    let mut table = rows(&[
        ("MAIL FROM:<>", 250),
        ("mail from:<a@b.example>", 250),
        // Not of the grammar, harmless and common.
        ("MAIL FROM: <a@b.example>", 250),
        ("MAIL FROM:a@b.example", 250),
        ("MAIL", 501),
        ("MAIL FROM:", 501),
        ("MAIL FROM", 501),
        ("MAIL TO:<a@b.example>", 501),
        ("MAIL FROM a@b.example", 501),
        ("MAIL FROM:<a@b.example", 501),
        ("MAIL FROM:<<a@b.example>>", 501),
        ("MAIL FROM:<a@b.example>SIZE=1", 501),
        ("MAIL\tFROM:<a@b.example>", 500),
        ("MAIL FROM:<a>", 501),
        ("MAIL FROM:<a@>", 501),
        ("MAIL FROM:<@b.example>", 501),
        ("MAIL FROM:<a b@c.example>", 501),
        ("MAIL FROM:<a@b_c.example>", 501),
        ("MAIL FROM:<a@b.example.>", 501),
        ("MAIL FROM:<\"a b\"@c.example>", 250),
        ("MAIL FROM:<\"a\\\"b>\"@c.example>", 250),
        ("MAIL FROM:<\"\"@c.example>", 250),
        ("MAIL FROM:<\"a\"b@c.example>", 501),
        ("MAIL FROM:<\"a@c.example>", 501),
        ("MAIL FROM:<a@[192.0.2.1]>", 250),
        ("MAIL FROM:<a@[IPv6:2001:db8::1]>", 250),
        ("MAIL FROM:<a@[IPv6:zz::1]>", 501),
        ("MAIL FROM:<a@[2001:db8::1]>", 501),
        ("MAIL FROM:<a@[192.0.2.256]>", 501),
        ("MAIL FROM:<a@192.0.2.1", 501),
        // Source routes are read and ignored (RFC 5321 appendix C).
        ("MAIL FROM:<@a.example,@b.example:c@d.example>", 250),
        ("MAIL FROM:<@a.example:c@d.example>", 250),
        ("MAIL FROM:<@a.example,b.example:c@d.example>", 501),
        ("MAIL FROM:<@a.example c@d.example>", 501),
        ("MAIL FROM:<a@b.example> SIZE=1000", 250),
        ("MAIL FROM:<a@b.example> size=1000 body=8bitmime", 250),
        ("MAIL FROM:<a@b.example> SIZE=1 SIZE=1", 501),
        ("MAIL FROM:<a@b.example> SIZE=2a", 501),
        ("MAIL FROM:<a@b.example> SIZE=-1", 501),
        ("MAIL FROM:<a@b.example> SIZE=", 501),
        ("MAIL FROM:<a@b.example> SIZE", 501),
        ("MAIL FROM:<a@b.example> SIZE=99999999999", 552),
        ("MAIL FROM:<a@b.example> SIZE=100000000000000000000", 501),
        ("MAIL FROM:<a@b.example> BODY=7BIT", 250),
        ("MAIL FROM:<a@b.example> BODY=foo", 501),
        ("MAIL FROM:<a@b.example> BODY=BINARYMIME", 501),
        ("MAIL FROM:<a@b.example> BODY=7BIT BODY=8BITMIME", 501),
        ("MAIL FROM:<a@b.example> AUTH=<>", 250),
        ("MAIL FROM:<a@b.example> AUTH=e+3Dmc2@example.com", 250),
        ("MAIL FROM:<a@b.example> AUTH=+4", 501),
        ("MAIL FROM:<a@b.example> AUTH=+0D+0A", 501),
        ("MAIL FROM:<a@b.example> SMTPUTF8", 250),
        ("MAIL FROM:<a@b.example> SMTPUTF8=yes", 501),
        ("MAIL FROM:<ü@b.example> SMTPUTF8", 250),
        ("MAIL FROM:<ü@b.example>", 553),
        ("MAIL FROM:<a@bücher.example>", 553),
        ("MAIL FROM:<a@bücher.example> SMTPUTF8", 250),
        ("MAIL FROM:<a@b.example> RET=FULL", 250),
        ("MAIL FROM:<a@b.example> RET=HDRS RET=FULL", 501),
        ("MAIL FROM:<a@b.example> RET=ALL", 501),
        ("MAIL FROM:<a@b.example> ENVID=QQ314159", 250),
        ("MAIL FROM:<a@b.example> ENVID=a ENVID=b", 501),
        ("MAIL FROM:<a@b.example> ENVID=+0D+0AEvil", 501),
        ("MAIL FROM:<a@b.example> ENVID=+zz", 501),
        ("MAIL FROM:<a@b.example> NOTIFY=NEVER", 555),
        ("MAIL FROM:<a@b.example> FOO=bar", 555),
        ("MAIL FROM:<a@b.example> FOO", 555),
        ("VRFY ü@example.com", 252),
        ("VRFY", 501),
        ("EXPN list", 502),
        ("EHLO", 501),
        ("EHLO a b", 501),
        ("FOO", 500),
        ("", 500),
    ]);
    table.push((format!("MAIL FROM:<{}@b.example>", "a".repeat(64)), 250));
    table.push((format!("MAIL FROM:<{}@b.example>", "a".repeat(65)), 501));
    // RFC 5321 section 4.5.3.1.3: a path has 256 octets, brackets and all.
    table.push((format!("MAIL FROM:<a@{}>", domain(252)), 250));
    table.push((format!("MAIL FROM:<a@{}>", domain(255)), 501));
    table.push((format!("MAIL FROM:<a@{}>", domain(256)), 501));
    table.push((format!("MAIL FROM:<a@b.example> ENVID={}", "e".repeat(101)), 501));
    table.retain(|(command, _)| !command.is_empty());
    judge(&stage, &[], &table);
    // Parameters are of the extended protocol.
    judge(
        &stage,
        &[("HELO x", 250)],
        &rows(&[
            ("MAIL FROM:<a@b.example> SIZE=1", 555),
            ("MAIL FROM:<a@b.example>", 250),
        ]),
    );
}

#[test]
fn rcpt() {
    let stage = Play::default().start();
    let table = rows(&[
        ("RCPT TO:<alice@example.com>", 250),
        ("rcpt to:<ALICE@EXAMPLE.COM>", 250),
        ("RCPT TO: <alice@example.com>", 250),
        ("RCPT TO:<\"alice\"@example.com>", 250),
        ("RCPT TO:<@relay.example:alice@example.com>", 250),
        // RFC 5321 section 4.5.1.
        ("RCPT TO:<postmaster>", 250),
        ("RCPT TO:<Postmaster>", 250),
        ("RCPT TO:<postmaster@example.com>", 250),
        ("RCPT TO:<nobody@example.com>", 550),
        ("RCPT TO:<alice@else.example>", 550),
        // Ways to ask for a relay.
        ("RCPT TO:<a%else.example@example.com>", 550),
        ("RCPT TO:<else.example!a@example.com>", 550),
        ("RCPT TO:<\"a@else.example\"@example.com>", 550),
        ("RCPT TO:<\"a@else.example\">", 501),
        ("RCPT TO:<@example.com:a@else.example>", 550),
        ("RCPT TO:<a@else.example@example.com>", 501),
        ("RCPT TO:<alice@[127.0.0.1]>", 550),
        ("RCPT TO:<>", 501),
        ("RCPT TO:<alice>", 501),
        ("RCPT TO:", 501),
        ("RCPT FROM:<alice@example.com>", 501),
        ("RCPT TO:<alice@example.com", 501),
        ("RCPT TO:<alice@example.com> SIZE=1", 555),
        ("RCPT TO:<alice@example.com> FOO", 555),
        ("RCPT TO:<ü@example.com>", 553),
        ("RCPT TO:<alice@bücher.example>", 553),
        ("RCPT TO:<alice@example.com> NOTIFY=NEVER", 250),
        ("RCPT TO:<alice@example.com> NOTIFY=success,failure,delay", 250),
        ("RCPT TO:<alice@example.com> NOTIFY=NEVER,SUCCESS", 501),
        ("RCPT TO:<alice@example.com> NOTIFY=SUCCESS,SUCCESS", 501),
        ("RCPT TO:<alice@example.com> NOTIFY=FAILURE NOTIFY=DELAY", 501),
        ("RCPT TO:<alice@example.com> NOTIFY=ALWAYS", 501),
        ("RCPT TO:<alice@example.com> NOTIFY=", 501),
        ("RCPT TO:<alice@example.com> NOTIFY", 501),
        ("RCPT TO:<alice@example.com> ORCPT=rfc822;a+2Bb@example.com", 250),
        ("RCPT TO:<alice@example.com> ORCPT=rfc822;a ORCPT=rfc822;b", 501),
        ("RCPT TO:<alice@example.com> ORCPT=alice@example.com", 501),
        ("RCPT TO:<alice@example.com> ORCPT=rfc822;+0D+0ARCPT", 501),
        ("RCPT TO:<alice@example.com> ORCPT=rfc822;", 501),
        ("RCPT TO:<alice@example.com> ORCPT=;a", 501),
    ]);
    judge(&stage, &[("MAIL FROM:<a@else.example>", 250)], &table);
    let utf8 = rows(&[
        ("RCPT TO:<ü@example.com>", 550),
        ("RCPT TO:<alice@bücher.example>", 550),
        ("RCPT TO:<alice@example.com>", 250),
    ]);
    judge(&stage, &[("MAIL FROM:<a@else.example> SMTPUTF8", 250)], &utf8);
}

/// RFC 6531 section 3.7.1 and RFC 5890: both forms of a name are one domain, however the configuration writes it.
#[test]
fn a_domain_is_received_for_by_both_forms_of_its_name() {
    for name in ["bücher.example", "xn--bcher-kva.example"] {
        let stage = Play {
            more: format!(
                "  - name: {name}\n    inbound:\n      recipients: {{mode: Listed, addresses: [alice]}}\n      \
                 deliverTo: {{lmtp: {{host: 127.0.0.1, port: 1}}}}\n"
            ),
            ..Play::default()
        }
        .start();
        let table = rows(&[
            ("RCPT TO:<alice@bücher.example>", 250),
            ("RCPT TO:<alice@BÜCHER.example>", 250),
            ("RCPT TO:<alice@xn--bcher-kva.example>", 250),
            ("RCPT TO:<alice@XN--BCHER-KVA.EXAMPLE>", 250),
            ("RCPT TO:<nobody@bücher.example>", 550),
            ("RCPT TO:<nobody@xn--bcher-kva.example>", 550),
            // No A-label: its punycode stands for nothing.
            ("RCPT TO:<alice@xn--bcher-kvb.example>", 501),
        ]);
        judge(&stage, &[("MAIL FROM:<a@else.example> SMTPUTF8", 250)], &table);
    }
}

#[test]
fn a_hundred_recipients_and_more_are_taken() {
    let stage = Play {
        listed: "",
        ..Play::default()
    }
    .start();
    let mut wire = stage.wire();
    wire.expect(&[("MAIL FROM:<a@else.example>", 250)]);
    for number in 0..1_000 {
        wire.send(format!("RCPT TO:<user{number}@example.com>\r\n").as_bytes());
    }
    for _ in 0..1_000 {
        assert_eq!(wire.reply().code, 250);
    }
    wire.expect(&[("RCPT TO:<one-more@example.com>", 452), ("DATA", 354), (".", 250)]);
}

#[test]
fn lines_of_every_length() {
    let mut stage = Play::default().start();
    let mut wire = stage.wire();
    // With CRLF; RFC 5321 section 4.5.3.1.4 asks for 512 at least.
    for (octets, code) in [
        (512, 250),
        (513, 250),
        (1_000, 250),
        (1_001, 250),
        (2_048, 250),
        (2_049, 500),
        (100_000, 500),
    ] {
        let line = format!("NOOP {}", "x".repeat(octets - 7));
        let reply = wire.say(&line);
        assert_eq!(reply.code, code, "{octets}: {reply:?}");
    }
    wire.expect(&[("NOOP", 250)]);
    stage.is_well();
}

/// What is no text in a command, or no end of a line, is refused; what follows is not run.
#[test]
fn octets_that_are_no_text() {
    let mut stage = Play::default().start();
    for bad in [
        &b"NOOP \xff\r\nNOOP\r\n"[..],
        b"MAIL FROM:<\xc3@b.example>\r\nNOOP\r\n",
        b"NO\0OP\r\nNOOP\r\n",
    ] {
        let mut wire = stage.wire();
        wire.send(bad);
        assert_eq!([wire.reply().code, wire.reply().code], [500, 250], "{bad:?}");
    }
    for bare in [
        "NOOP\nNOOP\r\n",
        "NOOP\rNOOP\r\n",
        "NOOP\r\r\nNOOP\r\n",
        "\nNOOP\r\n",
        "NOOP\n\r\nNOOP\r\n",
    ] {
        for split in 0..bare.len() {
            let mut wire = stage.wire();
            wire.send(&bare.as_bytes()[..split]);
            wire.send(&bare.as_bytes()[split..]);
            let codes: Vec<_> = wire.rest().iter().map(|reply| reply.code).collect();
            assert_eq!(codes, [550], "{bare:?} at {split}");
        }
    }
    stage.is_well();
}
