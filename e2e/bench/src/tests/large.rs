//! B5: many large messages at once: bounded memory, and a good share of what the disk can write.

use std::sync::Arc;

use postroad_e2e::kubectl::{Failure, Outcome};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::account::{Watch, memory};
use crate::bench::Bench;
use crate::disk;
use crate::figures::{mebibytes, rate};
use crate::folder::settle;
use crate::load::body::Template;
use crate::load::entrance::Entrance;
use crate::servers::{Server, Task, postroad::Postroad};

const MESSAGES: u64 = 20;
const SIZE: usize = 50_000_000;

pub(super) fn run(bench: &mut Bench) -> Outcome {
    let mut octets = Vec::new();
    Template::new(SIZE).write(0, &mut octets);
    let body = Arc::new(octets);
    for _ in 0..bench.rounds {
        let place = bench.place()?;
        let (disk, how) = disk::bandwidth(place.path())?;
        eprintln!("      the disk alone: {:.0} MB/s by {how}", disk / 1e6);
        let running = Postroad.start(place, Task::Keep)?;
        settle()?;
        let watch = Watch::start(&running.jail)?;
        bench.runtime.block_on(send(running.address, &body))?;
        let speed = rate(MESSAGES * body.len() as u64, watch.elapsed());
        let sample = watch.sample(speed / 1e6)?;
        let (_, peak) = memory(&running.jail)?;
        bench.note("B5", &["speed"], "postroad", "MB/s", sample);
        bench.note_ours("B5", &["disk"], "MB/s", disk / 1e6);
        bench.note_ours("B5", &["bandwidth"], "%", speed / disk * 100.0);
        bench.note_ours("B5", &["memory"], "MiB", mebibytes(peak));
        if Postroad.queued(&running)? != MESSAGES {
            return Err(Failure::wrong("not every message is in the queue"));
        }
    }
    settle()
}

async fn send(to: std::net::SocketAddr, body: &Arc<Vec<u8>>) -> Outcome {
    let mut tasks = JoinSet::new();
    for _ in 0..MESSAGES {
        let body = body.clone();
        tasks.spawn(async move {
            let mut session = Entrance::Plain.open(to).await?;
            let size = body.len();
            let envelope = format!(
                "MAIL FROM:<bench@source.example> SIZE={size}\r\nRCPT TO:<all@sink.example>\r\nBDAT {size} LAST\r\n"
            );
            session.out.write_all(envelope.as_bytes()).await?;
            session.out.write_all(&body).await?;
            for _ in ["MAIL", "RCPT", "BDAT"] {
                session.replies.expect("250").await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| Failure::wrong(error.to_string()))??;
    }
    Ok(())
}
