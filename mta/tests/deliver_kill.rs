//! The whole daemon, killed: what it answered with 250 arrives all the same.

#![allow(clippy::unwrap_used, reason = "tests and their parts")]

mod deliver_support;
mod sink;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use deliver_support::to_store;
use sink::{LONGEST_WAIT, Script, Sink, eventually};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A daemon that is killed when the test ends, however it ends.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGKILL: no chance to tidy up.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(config: &Path) -> Daemon {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postroad-mta"));
    command.arg("--config").arg(config).stdout(Stdio::null());
    Daemon(command.spawn().unwrap())
}

async fn connect(address: SocketAddr) -> BufReader<TcpStream> {
    let deadline = tokio::time::Instant::now() + LONGEST_WAIT;
    loop {
        match TcpStream::connect(address).await {
            Ok(stream) => return BufReader::new(stream),
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn expect(stream: &mut BufReader<TcpStream>, code: &str) {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert!(line.starts_with(code), "{line} instead of {code}");
        if line.as_bytes().get(3) == Some(&b' ') {
            return;
        }
    }
}

async fn say(stream: &mut BufReader<TcpStream>, line: &str, code: &str) {
    stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    expect(stream, code).await;
}

/// How often each subject arrived.
fn subjects(sink: &Sink) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for taken in sink.taken() {
        let text = taken.text();
        let subject = text
            .lines()
            .find_map(|line| line.strip_prefix("Subject: "))
            .unwrap();
        *seen.entry(subject.to_owned()).or_default() += 1;
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_acknowledged_is_lost_by_a_kill() {
    let store = Sink::start(Script {
        lmtp: true,
        ..Script::default()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let config = dir.path().join("postroad.yaml");
    let text = format!(
        "format: 1\nhostname: mail.test.example\nspool: {{directory: {}, highWaterPercent: 99}}\nports:\n  - {{name: smtp, address: '{port}', role: Transfer, tls: Disabled}}\n{}",
        dir.path().join("spool").display(),
        to_store("here.example", store.address)
    );
    std::fs::write(&config, text).unwrap();
    let daemon = start(&config);
    let mut stream = connect(port).await;
    expect(&mut stream, "220").await;
    say(&mut stream, "EHLO client.example", "250").await;
    for number in 0..MESSAGES {
        say(&mut stream, "MAIL FROM:<a@from.example>", "250").await;
        say(&mut stream, "RCPT TO:<b@here.example>", "250").await;
        say(&mut stream, "DATA", "354").await;
        say(
            &mut stream,
            &format!("Subject: n{number}\r\n\r\nbody\r\n."),
            "250",
        )
        .await;
    }
    drop(daemon);
    let _again = start(&config);
    eventually("all of them arrived", || subjects(&store).len() == MESSAGES).await;
    // Only outcomes of the last moment before the kill may be forgotten.
    assert!(
        subjects(&store).values().all(|times| *times <= 2),
        "{:?}",
        subjects(&store)
    );
}

const MESSAGES: usize = 40;
