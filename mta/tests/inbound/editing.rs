//! Fields are added and taken out by the role of the port, and the client's address stays here where it shall.

use crate::stage::{MAIL, Play};

const EDITS: &str = "headers:\n\
    \x20 transfer: {hideClientAddress: true, add: {X-Relayed-By: the edge}, remove: [SUBJECT]}\n\
    \x20 submission: {remove: [From]}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_header_is_edited_and_the_body_is_not() {
    let stage = Play {
        more: EDITS.replace("  submission: {remove: [From]}\n", ""),
        ..Play::default()
    }
    .start()
    .await;
    let mut client = stage.smtp().await;
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("MAIL FROM:<carol@else.example>", 250),
            ("RCPT TO:<alice@example.com>", 250),
        ])
        .await;
    let mail = format!("{MAIL}Subject: of the body\r\n");
    assert_eq!(client.data(&mail).await.code, 250);
    let (message, body) = stage.only().await;
    let prefix = String::from_utf8(message.item.prefix).unwrap();
    assert!(
        prefix.contains("X-Relayed-By: the edge\r\n") && !prefix.contains("127.0.0.1"),
        "{prefix}"
    );
    assert_eq!(body, mail.replacen("Subject: x\r\n", "", 1));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_begins_with_a_folded_line_does_not_go_on_with_our_fields() {
    let stage = Play {
        more: EDITS.replace("  submission: {remove: [From]}\n", ""),
        ..Play::default()
    }
    .start()
    .await;
    for fold in [" ", "\t"] {
        let mut client = stage.smtp().await;
        client
            .expect(&[
                ("EHLO client.example", 250),
                ("MAIL FROM:<carol@else.example>", 250),
                ("RCPT TO:<alice@example.com>", 250),
            ])
            .await;
        let forged = "Authentication-Results: mx.example.com; spf=pass\r\n";
        let mail = format!("{fold}(forged by evil.example)\r\n{forged}{MAIL}");
        assert_eq!(client.data(&mail).await.code, 250);
        let message = stage.daemon.handles().spool.read(stage.newest()).unwrap();
        let (prefix, body) = (message.item.prefix.clone(), read(message));
        assert!(prefix.ends_with(b"X-Relayed-By: the edge\r\n\r\n"), "{prefix:?}");
        assert_eq!(body, mail, "nothing is taken out of a body");
    }
    stage.stop().await;
}

fn read(mut message: postroad_spool::Message) -> String {
    let mut body = String::new();
    std::io::Read::read_to_string(&mut message.body, &mut body).unwrap();
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_identifies_a_message_cannot_be_edited() {
    let directory = tempfile::tempdir().unwrap();
    let play = Play {
        more: EDITS.to_owned(),
        ..Play::default()
    };
    let config = directory.path().join("base.yaml");
    std::fs::write(&config, play.text(directory.path(), "")).unwrap();
    let refused = postroad_mta::daemon::Daemon::start(&config).await.err().unwrap();
    assert!(
        refused.to_string().contains("headers.submission.remove"),
        "{refused}"
    );
}
