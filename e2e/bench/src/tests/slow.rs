//! B12: how many messages per second are taken while 500 clients send one octet every ten seconds (slow loris), beside the
//! same without them.

use std::net::SocketAddr;
use std::time::Duration;

use postroad_e2e::kubectl::{Failure, Outcome};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::bench::{Bench, SIZE};
use crate::figures::rate;
use crate::load::client::{Replies, greet};
use crate::load::source;
use crate::servers::postroad::{self, Settings};
use crate::servers::{Running, Task};

const SLOW: usize = 500;
const SESSIONS: &str = "10";
/// So few that all of them are sent before the slow ones are ended for their pace.
const MESSAGES: u64 = 15_000;

pub(super) fn run(bench: &mut Bench) -> Outcome {
    for _ in 0..bench.rounds {
        let running = postroad::start(bench.place()?, &Settings::of(Task::Keep))?;
        // The first turn is not counted: segments are made, and pages are read.
        taken(bench, &running)?;
        let alone = taken(bench, &running)?;
        let slow = bench.runtime.block_on(open(running.address))?;
        are_there(&running)?;
        let beside = taken(bench, &running)?;
        are_there(&running)?;
        drop(slow);
        bench.note_ours("B12", &["alone"], "/s", alone);
        bench.note_ours("B12", &["beside"], "/s", beside);
        bench.note_ours("B12", &["share"], "%", beside / alone.max(1e-9) * 100.0);
    }
    Ok(())
}

fn taken(bench: &Bench, running: &Running) -> Outcome<f64> {
    let what = (MESSAGES, SIZE);
    let took = source::run(bench.tools()?, running.address, SESSIONS, what, "sink.example")?;
    Ok(rate(MESSAGES, took))
}

/// Clients that were ended early would prove nothing.
fn are_there(running: &Running) -> Outcome {
    let open = postroad::metric(running, "postroad_mta_sessions")?;
    if open >= SLOW as u64 {
        Ok(())
    } else {
        Err(Failure::wrong(format!("{open} of {SLOW} slow sessions are open")))
    }
}

/// Sessions in the midst of a message. They end when this is dropped.
async fn open(to: SocketAddr) -> Outcome<JoinSet<()>> {
    let mut opened = Vec::new();
    for _ in 0..SLOW {
        opened.push(in_a_message(to).await?);
    }
    let mut slow = JoinSet::new();
    for mut stream in opened {
        slow.spawn(async move {
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
        });
    }
    Ok(slow)
}

async fn in_a_message(to: SocketAddr) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(to).await?;
    let (from, mut out) = stream.split();
    let mut replies = Replies::new(from);
    greet(&mut replies, &mut out).await?;
    for (line, code) in [
        ("MAIL FROM:<slow@source.example>\r\n", "250"),
        ("RCPT TO:<all@sink.example>\r\n", "250"),
        ("DATA\r\n", "354"),
    ] {
        out.write_all(line.as_bytes()).await?;
        replies.expect(code).await?;
    }
    Ok(stream)
}
