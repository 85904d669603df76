//! B6: memory of a daemon that holds many idle TLS sessions.

use std::net::SocketAddr;

use postroad_e2e::kubectl::{Failure, Outcome};
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::account::memory;
use crate::bench::Bench;
use crate::credentials::{Authority, NAME};
use crate::figures::mebibytes;
use crate::load::client::{Replies, greet};
use crate::servers::Task;
use crate::servers::postroad::{self, Settings};

const SESSIONS: usize = 10_000;

/// Handshakes at once.
const AT_ONCE: usize = 100;

type Idle = TlsStream<TcpStream>;

pub(super) fn run(bench: &mut Bench) -> Outcome {
    let authority = Authority::new()?;
    let connector = TlsConnector::from(authority.client()?);
    for _ in 0..bench.rounds {
        let settings = Settings {
            tls: Some(authority.certificate()?),
            ..Settings::of(Task::Keep)
        };
        let running = postroad::start(bench.place()?, &settings)?;
        let (empty, _) = memory(&running.jail)?;
        let sessions = bench.runtime.block_on(open(&connector, running.address))?;
        let open = postroad::metric(&running, "postroad_mta_sessions")?;
        if open != SESSIONS as u64 {
            return Err(Failure::wrong(format!("{open} of {SESSIONS} sessions are open")));
        }
        let (now, _) = memory(&running.jail)?;
        bench.note_ours("B6", &["memory"], "MiB", mebibytes(now));
        bench.note_ours("B6", &["empty"], "MiB", mebibytes(empty));
        drop(sessions);
    }
    Ok(())
}

async fn open(connector: &TlsConnector, to: SocketAddr) -> Outcome<Vec<Idle>> {
    let name = ServerName::try_from(NAME).map_err(|error| Failure::wrong(error.to_string()))?;
    let mut tasks = JoinSet::new();
    for number in 0..AT_ONCE {
        let (connector, name) = (connector.clone(), name.clone());
        let share = (number..SESSIONS).step_by(AT_ONCE);
        tasks.spawn(async move {
            let mut open = Vec::new();
            for _ in share {
                open.push(idle(&connector, name.clone(), to).await?);
            }
            Ok::<_, Failure>(open)
        });
    }
    let mut all = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        all.extend(ended.map_err(|error| Failure::wrong(error.to_string()))??);
    }
    Ok(all)
}

/// A session that has said EHLO in TLS (RFC 3207) and then nothing.
async fn idle(connector: &TlsConnector, name: ServerName<'static>, to: SocketAddr) -> Outcome<Idle> {
    let mut plain = TcpStream::connect(to).await?;
    let (from, mut out) = plain.split();
    let mut replies = Replies::new(from);
    greet(&mut replies, &mut out).await?;
    out.write_all(b"STARTTLS\r\n").await?;
    replies.expect("220").await?;
    let mut secret = connector.connect(name, plain).await?;
    secret.write_all(b"EHLO source.example\r\n").await?;
    secret.flush().await?;
    Replies::new(&mut secret).expect("250").await?;
    Ok(secret)
}
