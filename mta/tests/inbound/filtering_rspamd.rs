//! rspamd is asked over HTTP: a stand-in of our own that keeps what it got and says what the test wants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::filtering::{bring, stage};
use crate::milter::section;
use crate::signing::newest;
use crate::stage::MAIL;

/// Heads and bodies of requests.
type Requests = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

struct StandIn {
    address: SocketAddr,
    requests: Requests,
}

/// One request: its head, and its body by Content-Length.
async fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut octets = Vec::new();
    loop {
        let mut piece = vec![0; 16_384];
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        octets.extend_from_slice(&piece[..read]);
        let Some(end) = octets.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8(octets[..end].to_vec()).unwrap();
        let length = head.lines().find_map(|line| {
            line.to_lowercase()
                .strip_prefix("content-length: ")
                .map(str::to_owned)
        });
        let whole = end + 4 + length?.parse::<usize>().unwrap();
        if octets.len() >= whole {
            return Some((head, octets[end + 4..whole].to_vec()));
        }
    }
}

impl StandIn {
    /// Says this whenever it has a whole request.
    async fn serve(response: Vec<u8>) -> Self {
        Self::saying(Arc::new(Mutex::new(response))).await
    }

    /// The same with what stands there then.
    async fn saying(response: Arc<Mutex<Vec<u8>>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Requests::default();
        let all = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(request) = request(&mut stream).await else {
                    continue;
                };
                all.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                let response = response.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let _ = stream.write_all(&response).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { address, requests }
    }

    fn section(&self, more: &str) -> String {
        section(
            &format!("{{rspamd: {{host: 127.0.0.1, port: {}}}}}", self.address.port()),
            more,
        )
    }

    fn last(&self) -> (String, Vec<u8>) {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.last().unwrap().clone()
    }
}

fn says(json: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    )
    .into_bytes()
}

fn acting(action: &str, more: &str) -> Vec<u8> {
    says(&format!(
        "{{\"action\":\"{action}\",\"score\":7.5,\"required_score\":15,\"symbols\":{{\"BAD\":{{\"score\":7.5}}}}{more}}}"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_action_has_its_reply_and_its_trace() {
    for (action, more, code, text) in [
        ("no action", "", 250, "queued as"),
        ("add header", "", 250, "queued as"),
        ("rewrite subject", ",\"subject\":\"[spam] x\"", 250, "queued as"),
        ("quarantine", "", 250, "queued as"),
        ("discard", "", 250, "accepted"),
        ("greylist", "", 451, "4.7.1 Try again later"),
        (
            "soft reject",
            ",\"messages\":{\"smtp_message\":\"Slowly\"}",
            451,
            "4.7.1 Slowly",
        ),
        ("reject", "", 554, "5.7.1 Refused by the spam filter"),
        ("perhaps", "", 451, "A filter cannot be asked now"),
    ] {
        let rspamd = StandIn::serve(acting(action, more)).await;
        let stage = stage(rspamd.section("")).await;
        let reply = bring(&stage, MAIL).await;
        assert!(reply.code == code && reply.has(text), "{action}: {reply:?}");
        let stored = text == "queued as";
        assert_eq!(stage.entries().len(), usize::from(stored), "{action}");
        if stored {
            let message = newest(&stage).await;
            assert_eq!(
                message.contains("\r\nX-Spam: Yes\r\n"),
                action == "add header",
                "{message}"
            );
            assert_eq!(
                message.contains("\r\nSubject: [spam] x\r\n"),
                action == "rewrite subject",
                "{message}"
            );
        }
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_gets_the_envelope_and_every_octet_however_large_the_message_is() {
    let rspamd = StandIn::serve(acting("no action", "")).await;
    let stage = stage(rspamd.section("")).await;
    for lines in [1, 10_000, 150_000] {
        let mail = format!("{MAIL}{}", "0123456789\r\n".repeat(lines));
        assert_eq!(bring(&stage, &mail).await.code, 250);
        let (head, body) = rspamd.last();
        assert!(body == mail.as_bytes(), "{} octets of {}", body.len(), mail.len());
        assert!(head.starts_with("POST /checkv2 HTTP/1.1\r\n"), "{head}");
        for field in [
            "ip: 127.0.0.1",
            "helo: client.example",
            "from: <carol@else.example>",
            "rcpt: <alice@example.com>",
            "rcpt: <sales@example.com>",
            "mta-name: mail.example.com",
        ] {
            assert!(
                head.lines().any(|line| line.eq_ignore_ascii_case(field)),
                "{field}: {head}"
            );
        }
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_changed_as_it_says() {
    let more = ",\"milter\":{\"add_headers\":{\"X-Spamd-Bar\":\"+++\",\"Authentication-Results\":\"mail.example.com; spf=pass\"},\
                \"remove_headers\":{\"X-Forged\":0}},\"dkim-signature\":\"v=1; a=x\"";
    let rspamd = StandIn::serve(acting("no action", more)).await;
    let stage = stage(rspamd.section("")).await;
    assert_eq!(bring(&stage, &format!("X-Forged: yes\r\n{MAIL}")).await.code, 250);
    let message = newest(&stage).await;
    assert!(
        message.ends_with(
            "DKIM-Signature: v=1; a=x\r\nFrom: Carol <carol@else.example>\r\nSubject: x\r\nX-Spamd-Bar: +++\r\n\r\nHello\r\n"
        ),
        "{message}"
    );
    assert!(
        !message.contains("X-Forged") && !message.contains("spf=pass"),
        "{message}"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_broken_cut_or_too_long_fail_closed() {
    let good = acting("no action", "");
    let mut bad: Vec<Vec<u8>> = (0..good.len()).map(|cut| good[..cut].to_vec()).collect();
    let long = format!("{{\"x\":\"{}\"}}", "y".repeat(2 << 20));
    bad.extend([
        b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
        b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n".to_vec(),
        b"HTTP/1.1 204 None\r\n\r\n".to_vec(),
        b"220 rspamd\r\n".to_vec(),
        says("{}"),
        says("not json"),
        says(&long),
        says(&"[".repeat(100_000)),
    ]);
    let response = Arc::new(Mutex::new(Vec::new()));
    let rspamd = StandIn::saying(Arc::clone(&response)).await;
    let stage = stage(rspamd.section(", timeouts: {total: 5s}")).await;
    for said in bad {
        response.lock().unwrap().clone_from(&said);
        let reply = bring(&stage, MAIL).await;
        let shown = String::from_utf8_lossy(&said[..said.len().min(80)]).into_owned();
        assert_eq!(reply.code, 451, "{shown}: {reply:?}");
        assert!(stage.entries().is_empty(), "{shown}");
    }
    stage.stop().await;
}
