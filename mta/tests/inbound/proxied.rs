//! Behind a load balancer, and from networks that may relay: who the client is, and what follows from it.

use postroad_verify::dns::Answer;

use crate::client::Client;
use crate::dns;
use crate::stage::{MAIL, Play, Stage};

async fn stage(more: &str) -> Stage {
    Play {
        more: more.to_owned(),
        resolver: dns::serve(|_| (Some(Answer::NxDomain), Vec::new())).to_string(),
        ..Play::default()
    }
    .start()
    .await
}

/// Connects and says the header first.
async fn through(stage: &Stage, header: &[u8]) -> Client {
    let mut client = Client::connect(stage.port("smtp")).await;
    client.send(header).await;
    client
}

/// Says where a mail is to go that only trusted clients may relay, and is refused.
async fn may_not_relay(client: &mut Client) {
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("MAIL FROM:<carol@else.example>", 250),
            ("RCPT TO:<x@else.example>", 550),
        ])
        .await;
}

const REQUIRED: &str = "proxyProtocol: {mode: Required, trustedSources: [127.0.0.0/8]}\n";
const HEADER: &[u8] = b"PROXY TCP4 198.51.100.7 192.0.2.1 40000 25\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_the_one_that_the_load_balancer_names() {
    let stage = stage(REQUIRED).await;
    let mut client = through(&stage, HEADER).await;
    assert_eq!(client.reply().await.code, 220);
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("MAIL FROM:<carol@else.example>", 250),
            ("RCPT TO:<alice@example.com>", 250),
        ])
        .await;
    assert_eq!(client.data(MAIL).await.code, 250);
    let (message, _) = stage.only().await;
    let prefix = String::from_utf8(message.item.prefix).unwrap();
    assert!(prefix.contains("[198.51.100.7]"), "{prefix}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_sound_header_there_is_no_session() {
    let stage = stage(REQUIRED).await;
    for first in [
        &b"EHLO client.example\r\n"[..],
        b"PROXY TCP4 198.51.100.7 192.0.2.1 40000\r\n",
        b"PROXY TCP4 1.2.3.4",
    ] {
        let mut client = through(&stage, first).await;
        client.hung_up().await;
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_of_anybody_else_is_not_believed() {
    let elsewhere = "trustedSources: [203.0.113.0/24]}\nrelayFrom: [198.51.100.0/24]\n";
    let closed = stage(&format!("proxyProtocol: {{mode: Required, {elsewhere}")).await;
    through(&closed, HEADER).await.hung_up().await;
    closed.stop().await;
    let open = stage(&format!("proxyProtocol: {{mode: Optional, {elsewhere}")).await;
    let mut client = through(&open, HEADER).await;
    assert_eq!(client.reply().await.code, 220);
    let header = client.reply().await;
    assert!(header.code >= 500, "the header is a bad command: {header:?}");
    may_not_relay(&mut client).await;
    open.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_network_relays_without_a_login_on_every_port() {
    let stage = stage("relayFrom: [127.0.0.0/8]\n").await;
    let mut transfer = stage.smtp().await;
    let mut submission = stage.submissions().await;
    for client in [&mut transfer, &mut submission] {
        client
            .expect(&[
                ("EHLO client.example", 250),
                ("MAIL FROM:<carol@else.example>", 250),
                ("RCPT TO:<x@else.example>", 250),
                ("RCPT TO:<nobody@example.com>", 550),
            ])
            .await;
        assert_eq!(client.data(MAIL).await.code, 250);
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trust_in_a_network_goes_by_the_named_client_and_not_by_the_load_balancer() {
    let stage = stage(&format!("{REQUIRED}relayFrom: [127.0.0.0/8]\n")).await;
    let mut client = through(&stage, HEADER).await;
    assert_eq!(client.reply().await.code, 220);
    may_not_relay(&mut client).await;
    stage.stop().await;
}
