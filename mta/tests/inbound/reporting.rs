//! Mail of strangers is counted by day, and the domain in From is told of it on the next: what DMARC said, and what was done.
//!
//! A day passes by a restart whose journal is older: the rows of today become those of the day before yesterday.

use std::io::Read;

use base64::Engine;
use mail_parser::{MessageParser, MimeHeaders};
use postroad_mta::daemon::Daemon;
use postroad_verify::dns::{Answer, Kind, Question};

use crate::client::Client;
use crate::dns;
use crate::judging::{KEY, mail, signed};
use crate::stage::{AT_ONCE, Play, Stage};

/// `strict.example` is strict, signs, and wants reports at a place that has consented, at one that has not, and at one that takes little;
/// `mail.example.com` is this server.
fn names(question: &Question) -> dns::Said {
    let record = |text: &str| Answer::Txt(vec![text.as_bytes().to_vec()]);
    let answer = match (question.name.as_str(), question.kind) {
        ("s._domainkey.strict.example" | "s._domainkey.mail.example.com", Kind::Txt) => {
            record(&KEY.record().unwrap())
        }
        ("_dmarc.strict.example", Kind::Txt) => record(
            "v=DMARC1; p=reject; rua=mailto:d@strict.example,mailto:d@takes.test,mailto:d@not.test,mailto:little@strict.example!9",
        ),
        ("strict.example._report._dmarc.takes.test", Kind::Txt) => {
            record("v=DMARC1; rua=mailto:instead@takes.test")
        }
        ("_dmarc.mail.example.com", Kind::Txt) => record("v=DMARC1; p=reject; rua=mailto:d@mail.example.com"),
        _ => Answer::NxDomain,
    };
    (Some(answer), Vec::new())
}

/// Next hops that are away, so that what is sent stays.
const DAILY: &str = "reports: {organization: Example Inc., dmarc: {mode: Daily}}\n\
    policies: [{name: out, routes: [{to: {smartHosts: [{host: 127.0.0.1, port: 1}]}, tls: Disabled}]}]\n";

async fn stage(more: &str) -> Stage {
    let more = format!("proxyProtocol: {{mode: Optional, trustedSources: [127.0.0.0/8]}}\n{DAILY}{more}");
    Play {
        more,
        resolver: dns::serve(names).to_string(),
        ..Play::default()
    }
    .start()
    .await
}

/// Brings a message of a stranger.
async fn bring(stage: &Stage, path: &str, message: &str, code: u16) {
    let mut wire = Client::connect(stage.port("smtp")).await;
    wire.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 25\r\n").await;
    assert_eq!(wire.reply().await.code, 220);
    assert_eq!(wire.say("EHLO mx.strict.example").await.code, 250);
    let from = format!("MAIL FROM:<{path}>");
    wire.expect(&[(from.as_str(), 250), ("RCPT TO:<alice@example.com>", 250)])
        .await;
    assert_eq!(wire.data(message).await.code, code);
}

/// The same server, two days later.
async fn later(stage: Stage) -> Stage {
    let journal = stage.directory.path().join("spool/reports.log");
    let (config, directory, chain) = (stage.config(), stage.directory, stage.chain);
    stage.daemon.stop(AT_ONCE).await;
    let text = std::fs::read_to_string(&journal).unwrap();
    let mut older = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let mut entry: serde_json::Value = serde_json::from_str(line).unwrap();
        entry["day"] = (entry["day"].as_u64().unwrap() - 2).into();
        older.extend([entry.to_string().as_str(), "\n"]);
    }
    std::fs::write(&journal, older).unwrap();
    Stage {
        daemon: Daemon::start(&config).await.unwrap(),
        directory,
        chain,
    }
}

/// Letters that wait: recipient and text.
fn letters(stage: &Stage) -> Vec<(String, String)> {
    let spool = &stage.daemon.handles().spool;
    let mut found = Vec::new();
    for id in stage.entries() {
        let mut message = spool.read(id).unwrap();
        if message.item.envelope.client == "report" {
            assert_eq!(message.item.envelope.reverse_path, "");
            let mut text = String::from_utf8(message.item.prefix.clone()).unwrap();
            message.body.read_to_string(&mut text).unwrap();
            found.push((message.item.envelope.recipients[0].forward_path.clone(), text));
        }
    }
    found.sort();
    found
}

fn document(letter: &str) -> String {
    let mail = MessageParser::default().parse(letter.as_bytes()).unwrap();
    let attachment = mail.attachment(0).unwrap();
    assert!(attachment.attachment_name().unwrap().ends_with(".xml.gz"));
    let mut xml = String::new();
    flate2::read::GzDecoder::new(attachment.contents())
        .read_to_string(&mut xml)
        .unwrap();
    xml
}

fn figure(stage: &Stage, name: &str) -> u64 {
    let text = stage.daemon.handles().metrics.text().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |count| count.trim().parse().unwrap())
}

/// The key of the tests as PKCS #8 (RFC 8410 section 7).
fn pem() -> String {
    let mut octets = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    octets.extend([42; 32]);
    let text = base64::engine::general_purpose::STANDARD.encode(octets);
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

const LEFT_OUT: &str = "postroad_mta_reports_total{kind=\"Dmarc\",end=\"LeftOut\"}";

#[tokio::test(flavor = "multi_thread")]
async fn the_author_s_domain_is_told_of_its_mail_where_it_wants_and_may() {
    let domains = format!(
        "{}  - name: mail.example.com\n    dkim:\n      keys:\n        - selector: s\n          key: |\n{}",
        crate::stage::DOMAINS,
        pem()
            .lines()
            .map(|line| format!("            {line}\n"))
            .collect::<Vec<_>>()
            .concat()
    );
    let stage = Play {
        more: format!(
            "proxyProtocol: {{mode: Optional, trustedSources: [127.0.0.0/8]}}\n{DAILY}verification: {{dmarc: {{mode: Enforce}}}}\n"
        ),
        resolver: dns::serve(names).to_string(),
        domains,
        ..Play::default()
    }
    .start()
    .await;
    let good = signed("s", &mail("strict.example"));
    for _ in 0..2 {
        bring(&stage, "ann@strict.example", &good, 250).await;
    }
    // Who forges mail is told of also if the Subject is that of a report.
    let forged = mail("strict.example").replace("Subject: x", "Subject: Report Domain: x Submitter: y");
    bring(&stage, "eve@else.test", &forged, 550).await;
    bring(&stage, "ann@b.example", &mail("b.example"), 250).await;
    let stage = later(stage).await;
    stage
        .until("two letters wait", |stage| letters(stage).len() == 2)
        .await;
    let letters = letters(&stage);
    let to: Vec<&str> = letters.iter().map(|(to, _)| to.as_str()).collect();
    assert_eq!(to, ["d@strict.example", "instead@takes.test"]);
    let text = &letters[0].1;
    assert!(
        text.starts_with("DKIM-Signature: ") && text.contains("d=mail.example.com"),
        "{text}"
    );
    assert!(text.contains(
        "\r\nSubject: Report Domain: strict.example\r\n\tSubmitter: mail.example.com\r\n\tReport-ID: <"
    ));
    assert!(text.contains("\r\nFrom: <postmaster@mail.example.com>\r\n"));
    let xml = document(text);
    assert_eq!(xml, document(&letters[1].1));
    for part in [
        "<org_name>Example Inc.</org_name>",
        "<domain>strict.example</domain>\n<discovery_method>treewalk</discovery_method>\n<p>reject</p>",
        "<source_ip>192.0.2.7</source_ip>\n<count>2</count>\n<policy_evaluated>\n<disposition>pass</disposition>\n<dkim>pass</dkim>\n<spf>fail</spf>",
        "<source_ip>192.0.2.7</source_ip>\n<count>1</count>\n<policy_evaluated>\n<disposition>reject</disposition>\n<dkim>fail</dkim>\n<spf>fail</spf>",
        "<envelope_from>else.test</envelope_from>",
        "<domain>strict.example</domain>\n<selector>s</selector>\n<result>pass</result>",
        "<domain>else.test</domain>\n<scope>mfrom</scope>\n<result>none</result>",
    ] {
        assert!(xml.contains(part), "{part} is not in {xml}");
    }
    assert!(!xml.contains("b.example"), "it asks for no reports");
    assert_eq!(
        figure(&stage, LEFT_OUT),
        2,
        "one has not consented, one takes nine octets"
    );
    let stage = later_without_rows(stage).await;
    assert_eq!(self::letters(&stage).len(), 2, "nothing is told twice");
    stage.stop().await;
}

/// Restarts; the rows that were told are gone.
async fn later_without_rows(stage: Stage) -> Stage {
    let (config, directory, chain) = (stage.config(), stage.directory, stage.chain);
    stage.daemon.stop(AT_ONCE).await;
    let stage = Stage {
        daemon: Daemon::start(&config).await.unwrap(),
        directory,
        chain,
    };
    stage
        .until("it has looked", |stage| {
            let text = stage.daemon.handles().metrics.text().unwrap();
            text.contains("postroad_mta_report_rows 0")
        })
        .await;
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_do_not_report_about_each_other_s_reports() {
    let stage = stage("").await;
    // As another server sends its report to a mailbox of ours: signed, or from the null reverse-path.
    let report = mail("strict.example").replace(
        "Subject: x",
        "Subject: Report Domain: example.com\r\n\tSubmitter: strict.example",
    );
    bring(&stage, "reports@strict.example", &signed("s", &report), 250).await;
    bring(&stage, "", &report, 250).await;
    let stage = later(stage).await;
    stage
        .until("it is left out", |stage| figure(stage, LEFT_OUT) == 1)
        .await;
    assert!(letters(&stage).is_empty());
    // Beside other mail they are counted as any.
    bring(&stage, "", &report, 250).await;
    bring(
        &stage,
        "ann@strict.example",
        &signed("s", &mail("strict.example")),
        250,
    )
    .await;
    let stage = later(stage).await;
    stage
        .until("two letters wait", |stage| letters(stage).len() == 2)
        .await;
    let xml = document(&letters(&stage)[0].1);
    assert_eq!(xml.matches("<record>").count(), 2, "{xml}");
    assert!(xml.contains("<reason>\n<type>local_policy</type>"), "{xml}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_nothing_is_counted_or_kept() {
    let off = Play {
        more: "proxyProtocol: {mode: Optional, trustedSources: [127.0.0.0/8]}\n".to_owned(),
        resolver: dns::serve(names).to_string(),
        ..Play::default()
    };
    let stage = off.start().await;
    bring(&stage, "ann@strict.example", &mail("strict.example"), 250).await;
    let journal = stage.directory.path().join("spool/reports.log");
    let directory = stage.directory.path().to_owned();
    let keep = stage.directory;
    stage.daemon.stop(AT_ONCE).await;
    assert!(directory.exists() && !journal.exists());
    drop(keep);
}
