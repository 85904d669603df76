//! `mode: Callout`: the mail store is asked whether a recipient exists, before 250.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::stage::{MAIL, Play, Stage};

/// A mail store that speaks LMTP and remembers what it was asked.
struct Store {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Store {
    async fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                tokio::spawn(talk(stream, Arc::clone(&seen)));
            }
        });
        Self { address, asked }
    }

    fn asked(&self, line: &str) -> usize {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .filter(|seen| *seen == line)
            .count()
    }
}

async fn talk(mut stream: TcpStream, asked: Arc<Mutex<Vec<String>>>) {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    let _ = write.write_all(b"220 store.example LMTP\r\n").await;
    while let Ok(Some(line)) = lines.next_line().await {
        let reply = match line.as_str() {
            line if line.starts_with("LHLO") => {
                "250-store.example\r\n250-PIPELINING\r\n250 ENHANCEDSTATUSCODES"
            }
            "RCPT TO:<nobody@asked.example>" => "550 5.1.1 who?",
            "RCPT TO:<full@asked.example>" => "552 5.2.2 no room",
            "RCPT TO:<later@asked.example>" => "451 4.3.0 come again",
            "QUIT" => "221 2.0.0 bye",
            _ => "250 2.1.0 ok",
        };
        asked.lock().unwrap().push(line);
        if write.write_all(format!("{reply}\r\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn stage(address: SocketAddr) -> Stage {
    let domains = format!(
        "domains:\n  - name: asked.example\n    inbound:\n      recipients: {{mode: Callout, addresses: [known]}}\n      \
         deliverTo: {{lmtp: {{host: 127.0.0.1, port: {}}}}}\n",
        address.port()
    );
    Play {
        domains,
        ..Play::default()
    }
    .start()
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_is_what_the_store_says_it_is() {
    let store = Store::start().await;
    let stage = stage(store.address).await;
    let mut client = stage.smtp().await;
    client
        .expect(&[("EHLO client.example", 250), ("MAIL FROM:<a@else.example>", 250)])
        .await;
    for _ in 0..2 {
        for (recipient, code, enhanced) in [
            ("ann", 250, "2.1.5"),
            ("nobody", 550, "5.1.1"),
            ("full", 452, "4.2.2"),
            ("later", 451, "4.4.3"),
            ("known", 250, "2.1.5"),
            ("postmaster", 250, "2.1.5"),
            ("x%else.example", 550, "5.7.1"),
        ] {
            let reply = client.say(&format!("RCPT TO:<{recipient}@asked.example>")).await;
            assert!(
                reply.code == code && reply.has(enhanced),
                "{recipient}: {reply:?}"
            );
        }
    }
    for (line, times) in [
        ("RCPT TO:<ann@asked.example>", 1),
        ("RCPT TO:<nobody@asked.example>", 1),
        ("RCPT TO:<later@asked.example>", 2),
        ("RCPT TO:<known@asked.example>", 0),
        ("MAIL FROM:<>", 6),
    ] {
        assert_eq!(store.asked(line), times, "{line}");
    }
    assert_eq!(store.asked("DATA"), 0);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_makes_the_client_come_again() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let stage = stage(closed).await;
    let mut client = stage.smtp().await;
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("MAIL FROM:<a@else.example>", 250),
            ("RCPT TO:<ann@asked.example>", 451),
            ("RCPT TO:<known@asked.example>", 250),
        ])
        .await;
    assert_eq!(client.data(MAIL).await.code, 250);
    stage.stop().await;
}

/// A stop does not wait for a mail store, and a client hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_waits_for_a_store_is_cut_as_any_other() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stage = stage(silent.local_addr().unwrap()).await;
    let mut client = stage.smtp().await;
    client
        .expect(&[("EHLO client.example", 250), ("MAIL FROM:<a@else.example>", 250)])
        .await;
    let many = [
        "RCPT TO:<ann@asked.example>\r\n",
        "RCPT TO:<bob@asked.example>\r\n",
    ]
    .concat()
    .repeat(25);
    client.send(many.as_bytes()).await;
    let (_asked, _) = silent.accept().await.unwrap();
    let ((), reply) = tokio::join!(stage.stop(), client.reply());
    assert_eq!(reply.code, 421, "{reply:?}");
    client.hung_up().await;
}
