use super::*;
use crate::header::Section;

fn message() -> Message {
    Message {
        hostname: "mail.example.com".into(),
        port_name: "smtp".into(),
        queue_id: "Q1".into(),
        client: "192.0.2.1".parse().unwrap(),
        client_port: 4_000,
        helo: "client.example\r\nUser: root".into(),
        tls: Some(("TLSv1.3".into(), "TLS13_AES_128_GCM_SHA256".into())),
        login: None,
        reverse_path: "ann@client.example".into(),
        eight_bit: false,
        smtputf8: false,
        recipients: vec!["bob@example.com".into(), "carol@example.com".into()],
        header: Section::parse(b"From: ann@client.example\r\nSubject: cheap\r\n"),
        body: 4,
    }
}

fn scan(json: &str) -> Result<Scan, Malformed> {
    parse(json.as_bytes(), &message())
}

fn acting(action: &str, more: &str) -> Scan {
    scan(&format!(
        "{{\"action\":\"{action}\",\"score\":5.2,\"required_score\":15,\"is_skipped\":false{more}}}"
    ))
    .unwrap()
}

fn header_after(scan: &Scan) -> String {
    let mut header = message().header;
    for change in &scan.answer.changes {
        header.apply(change);
    }
    String::from_utf8(header.write()).unwrap()
}

#[test]
fn the_request_says_who_sends_to_whom_and_no_value_begins_another_field() {
    let fields = fields(&message());
    let of = |name: &str| -> Vec<&str> {
        let named = fields.iter().filter(|(known, _)| *known == name);
        named.map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(of("IP"), ["192.0.2.1"]);
    assert_eq!(of("From"), ["<ann@client.example>"]);
    assert_eq!(of("Rcpt"), ["<bob@example.com>", "<carol@example.com>"]);
    assert_eq!(of("Queue-Id"), ["Q1"]);
    assert_eq!(of("TLS-Version"), ["TLSv1.3"]);
    assert_eq!(of("Helo"), ["client.exampleUser: root"]);
    assert!(of("User").is_empty(), "nobody has logged in");
}

#[test]
fn each_action_has_its_meaning() {
    let accept = Verdict::Accept;
    for (action, want) in [
        ("no action", Some(0)),
        ("add header", Some(0)),
        ("rewrite subject", Some(0)),
        ("quarantine", Some(0)),
        ("greylist", Some(451)),
        ("soft reject", Some(451)),
        ("reject", Some(554)),
        ("discard", None),
    ] {
        let scan = acting(action, "");
        assert_eq!(scan.action, action);
        let code = match &scan.answer.verdict {
            Verdict::Accept => Some(0),
            Verdict::Refuse(refusal) => Some(refusal.code),
            Verdict::Discard => None,
        };
        assert_eq!(code, want, "{action}");
        assert_eq!(scan.answer.quarantine.is_some(), action == "quarantine");
    }
    assert_eq!(acting("no action", "").answer, Answer::only(accept));
}

#[test]
fn score_and_symbols_are_told() {
    let scan = acting("no action", r#","symbols":{"B":{"score":1},"A\n":{"score":0.5}}"#);
    assert_eq!(scan.symbols, ["A?", "B"]);
    assert!((scan.score - 5.2).abs() < 1e-9 && (scan.required - 15.0).abs() < 1e-9);
}

#[test]
fn the_words_of_a_refusal_are_those_of_rspamd_made_safe() {
    let scan = acting(
        "soft reject",
        r#","messages":{"smtp_message":"Rate\r\n250 fine","x":1}"#,
    );
    let Verdict::Refuse(refusal) = scan.answer.verdict else {
        panic!("it goes on")
    };
    assert_eq!(refusal.text, "4.7.1 Rate??250 fine");
}

#[test]
fn marks_and_subjects_replace_what_the_sender_wrote() {
    let marked = acting("add header", "");
    assert_eq!(
        header_after(&marked),
        "From: ann@client.example\r\nSubject: cheap\r\nX-Spam: Yes\r\n"
    );
    let own = acting("rewrite subject", r#","subject":"[spam] cheap""#);
    assert_eq!(
        header_after(&own),
        "From: ann@client.example\r\nSubject: [spam] cheap\r\n"
    );
    let ours = acting("rewrite subject", "");
    assert_eq!(
        header_after(&ours),
        "From: ann@client.example\r\nSubject: *** SPAM *** cheap\r\n"
    );
}

#[test]
fn fields_are_added_and_removed_as_its_milter_block_says() {
    let scan = acting(
        "no action",
        r#","milter":{"add_headers":{"X-A":"1","X-B":{"value":"2","order":0},"X-C":[{"value":"3"},"4"]},
           "remove_headers":{"subject":0}},"dkim-signature":"v=1; a=x""#,
    );
    assert_eq!(
        header_after(&scan),
        "DKIM-Signature: v=1; a=x\r\nX-B: 2\r\nFrom: ann@client.example\r\nX-A: 1\r\nX-C: 3\r\nX-C: 4\r\n"
    );
}

#[test]
fn the_envelope_may_be_changed() {
    let scan = acting(
        "no action",
        r#","milter":{"change_from":"<x@example.com>","add_rcpt":["d@example.com"],"del_rcpt":["<bob@example.com>"]}"#,
    );
    assert_eq!(
        scan.answer.changes,
        [
            Change::From("x@example.com".into()),
            Change::RemoveRecipient("bob@example.com".into()),
            Change::AddRecipient("d@example.com".into()),
        ]
    );
}

#[test]
fn what_nobody_can_act_on_is_no_answer() {
    for json in [
        "",
        "{}",
        "[]",
        "null",
        r#"{"action":"no action"}"#,
        r#"{"action":"no action","score":"x","required_score":1}"#,
        r#"{"action":"wave through","score":0,"required_score":1}"#,
        r#"{"action":"NO ACTION","score":0,"required_score":1}"#,
        r#"{"action":"no action","score":1e999,"required_score":1}"#,
        r#"{"action":"no action","score":0,"required_score":1,"milter":{"add_headers":{"X Y":"z"}}}"#,
        r#"{"action":"no action","score":0,"required_score":1,"milter":{"add_headers":{"X":"a\rb"}}}"#,
        r#"{"action":"no action","score":0,"required_score":1,"milter":7}"#,
        r#"{"error":"out of memory"}"#,
    ] {
        assert!(scan(json).is_err(), "{json}");
    }
    let good = r#"{"action":"no action","score":0,"required_score":1}"#;
    for cut in 0..good.len() {
        assert!(scan(&good[..cut]).is_err(), "cut at {cut}");
    }
    let deep = format!("{}{}", r#"{"x":"#.repeat(100_000), "}".repeat(100_000));
    assert!(scan(&deep).is_err());
}
