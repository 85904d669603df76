//! A crowd of unfinished messages: what sessions hold is counted, stays below its limit, and others go on.

use futures::future::join_all;

use crate::client::Client;
use crate::stage::{MAIL, Play, Stage};

/// Messages that are begun and not ended.
const CROWD: usize = 2_000;
/// Of them at the same time.
const AT_ONCE: usize = 50;
/// Octets of each of them so far.
const BEGUN: usize = 200 << 10;

const LINE: &str = "a line of the body, which is as long as lines are: 76 octets and a CR LF.\r\n";

/// A session in the midst of its message, or the reply that it got in place of 354.
async fn begun(stage: &Stage, octets: usize) -> Result<Client, u16> {
    let mut client = stage.smtp().await;
    client.expect(&[("EHLO client.example", 250)]).await;
    for (line, want) in [
        ("MAIL FROM:<crowd@else.example>", 250),
        ("RCPT TO:<bob@example.com>", 250),
        ("DATA", 354),
    ] {
        let reply = client.say(line).await;
        if reply.code != want {
            assert_eq!(reply.code, 452, "{line}: {reply:?}");
            return Err(reply.code);
        }
    }
    client.send(LINE.repeat(octets / LINE.len()).as_bytes()).await;
    Ok(client)
}

/// Begins this many, some at a time; gives those that got 354.
async fn crowd(stage: &Stage, many: usize, octets: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..many / AT_ONCE {
        let begun = (0..AT_ONCE).map(|_| begun(stage, octets));
        clients.extend(join_all(begun).await.into_iter().flatten());
    }
    clients
}

/// The count was never above the limit.
fn judge(stage: &Stage) {
    let metrics = &stage.daemon.handles().metrics;
    let (highest, limit) = (metrics.buffers_highest.get(), metrics.buffer_limit.get());
    assert!(highest <= limit, "{highest} of {limit}");
}

fn limits(more: &str) -> Play {
    Play {
        limits: format!("{{connections: 5000, connectionsPerClient: 5000, {more}}}").leak(),
        ..Play::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_unfinished_messages_stay_within_the_budget_and_all_are_stored() {
    let stage = limits("bufferMemory: 192Mi").start().await;
    let mut clients = crowd(&stage, CROWD, BEGUN).await;
    assert_eq!(clients.len(), CROWD, "there is room for each to begin");
    let metrics = &stage.daemon.handles().metrics;
    // Without the budget they would hold 400 MiB.
    assert!(metrics.spilled.get() > 0, "the later ones went to files");
    judge(&stage);
    let mut other = stage.smtp().await;
    other
        .expect(&[
            ("EHLO client.example", 250),
            ("MAIL FROM:<>", 250),
            ("RCPT TO:<alice@example.com>", 250),
        ])
        .await;
    assert_eq!(other.data(MAIL).await.code, 250, "others go on");
    for some in clients.chunks_mut(AT_ONCE) {
        let ended = some
            .iter_mut()
            .map(async |client| client.say("the end\r\n.").await.code);
        assert_eq!(join_all(ended).await, vec![250; AT_ONCE]);
    }
    judge(&stage);
    stage
        .until("all room is given back", |stage| {
            stage.daemon.handles().metrics.buffers.get() == 0
        })
        .await;
    let ids = stage.entries();
    assert_eq!(ids.len(), CROWD + 1);
    let spool = stage.daemon.handles().spool.clone();
    let whole = tokio::task::spawn_blocking(move || {
        let body = |id| {
            let mut body = String::new();
            std::io::Read::read_to_string(&mut spool.read(id).unwrap().body, &mut body).unwrap();
            body
        };
        let want = format!("{}the end\r\n", LINE.repeat(BEGUN / LINE.len()));
        ids.into_iter().filter(|id| body(*id) == want).count()
    });
    assert_eq!(whole.await.unwrap(), CROWD, "every octet of each");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_told_to_come_again_before_users_are() {
    let stage = Play {
        users: vec![("alice", postroad_mta::auth::Verifier::scram("pw").unwrap())],
        ..limits("bufferMemory: 8Mi")
    }
    .start()
    .await;
    let clients = crowd(&stage, 400, 0).await;
    assert!(!clients.is_empty() && clients.len() < 400, "{}", clients.len());
    assert_eq!(begun(&stage, 0).await.err(), Some(452));
    let mut user = stage.submissions().await;
    let response = format!(
        "AUTH PLAIN {}",
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "\0alice\0pw")
    );
    user.expect(&[
        ("EHLO client.example", 250),
        (&response, 235),
        ("MAIL FROM:<alice@example.com>", 250),
        ("RCPT TO:<x@else.example>", 250),
    ])
    .await;
    let reply = user.data("From: alice@example.com\r\n\r\nx\r\n").await;
    assert_eq!(reply.code, 250, "{reply:?}");
    judge(&stage);
    // The room comes back with those who leave.
    drop(clients);
    stage
        .until("all room is given back", |stage| {
            stage.daemon.handles().metrics.buffers.get() == 0
        })
        .await;
    assert!(begun(&stage, 0).await.is_ok());
    stage.stop().await;
}

/// A chunk that finds no room is read and thrown away; the session stays in step.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_without_room_is_refused_and_the_session_goes_on() {
    let stage = limits("bufferMemory: 8Mi").start().await;
    let mut late = stage.smtp().await;
    late.expect(&[
        ("EHLO client.example", 250),
        ("MAIL FROM:<>", 250),
        ("RCPT TO:<bob@example.com>", 250),
    ])
    .await;
    let clients = crowd(&stage, 400, 0).await;
    late.send(b"BDAT 12 LAST\r\nRSET\r\nQUIT\r\n").await;
    assert_eq!(late.reply().await.code, 452);
    drop(clients);
    stage
        .until("all room is given back", |stage| {
            stage.daemon.handles().metrics.buffers.get() == 0
        })
        .await;
    late.expect(&[("MAIL FROM:<>", 250), ("RCPT TO:<bob@example.com>", 250)])
        .await;
    assert_eq!(late.data(MAIL).await.code, 250);
    stage.stop().await;
}

/// `limits.bufferMemory` is followed while the server runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_limit_follows_the_file() {
    let stage = limits("bufferMemory: 64Mi").start().await;
    let limit = |stage: &Stage| stage.daemon.handles().metrics.buffer_limit.get();
    assert_eq!(limit(&stage), 64 << 20);
    let play = limits("bufferMemory: 16Mi");
    std::fs::write(stage.config(), play.text(stage.directory.path(), &play.domains)).unwrap();
    stage.until("16Mi", |stage| limit(stage) == 16 << 20).await;
    stage.stop().await;
}
