//! B11: one daemon is sealed and hands its queue to another. Then the next hop comes up: each message must come once.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postroad_config::admin::State;
use postroad_e2e::kubectl::{Failure, Outcome};
use postroad_e2e::place::free_address;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::account::Watch;
use crate::bench::Bench;
use crate::credentials::{Authority, NAME};
use crate::figures::rate;
use crate::folder::settle;
use crate::servers::postroad::{self, Postroad, Settings};
use crate::servers::{Running, Server, Task};
use crate::sink::Sink;

const MESSAGES: u64 = 100_000;

pub(super) fn run(bench: &mut Bench) -> Outcome {
    for _ in 0..bench.rounds {
        drain(bench)?;
        settle()?;
    }
    Ok(())
}

fn drain(bench: &mut Bench) -> Outcome {
    let authority = Authority::new()?;
    let next_hop = free_address()?;
    let (leaving, leaving_api) = daemon(bench, &authority, next_hop)?;
    let (staying, staying_api) = daemon(bench, &authority, next_hop)?;
    bench.generate(super::accept::load(&leaving, MESSAGES))?;
    settle()?;

    let admin = Admin {
        connector: TlsConnector::from(authority.client()?),
        token: authority.operator_token()?,
        address: leaving_api,
    };
    let watch = Watch::start(&leaving.jail)?;
    let request = format!(r#"{{"targets":["{staying_api}"]}}"#);
    bench.runtime.block_on(admin.call("POST", "/v1/seal", &request))?;
    bench.runtime.block_on(admin.empty())?;
    let sample = watch.sample(rate(MESSAGES, watch.elapsed()))?;
    bench.note("B11", &["rate"], "postroad", "/s", sample);
    let queued = Postroad.queued(&staying)?;
    if queued != MESSAGES {
        return Err(Failure::wrong(format!(
            "the staying daemon has {queued} of {MESSAGES} messages"
        )));
    }

    let sink = Sink::start(bench.runtime.handle(), next_hop)?;
    sink.wait_for(MESSAGES, Duration::from_mins(2))?;
    await_empty(&staying)?;
    let taken = sink.taken();
    let (distinct, all) = (taken.numbers.len() as u64, taken.messages);
    drop(taken);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let count = |messages: u64| messages as f64;
    bench.note_ours(
        "B11",
        &["lost"],
        "messages",
        count(MESSAGES.saturating_sub(distinct)),
    );
    bench.note_ours(
        "B11",
        &["doubled"],
        "messages",
        count(all.saturating_sub(distinct)),
    );
    Ok(())
}

fn daemon(bench: &mut Bench, authority: &Authority, next_hop: SocketAddr) -> Outcome<(Running, SocketAddr)> {
    let (folder, address) = (bench.place()?, free_address()?);
    let settings = Settings {
        retry: 5,
        api: Some(authority.api(address, folder.path())?),
        ..Settings::of(Task::Relay(next_hop))
    };
    Ok((postroad::start(folder, &settings)?, address))
}

fn await_empty(running: &Running) -> Outcome {
    let end = Instant::now() + Duration::from_mins(1);
    while Postroad.queued(running)? > 0 {
        if Instant::now() > end {
            return Err(Failure::wrong("the staying daemon keeps mail that was taken"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The admin endpoint of one daemon.
struct Admin {
    connector: TlsConnector,
    token: String,
    address: SocketAddr,
}

/// A drain that moves nothing for so long has failed.
const PATIENCE: Duration = Duration::from_mins(1);

impl Admin {
    /// Waits until the seal has nothing left.
    async fn empty(&self) -> Outcome {
        let mut last = (u64::MAX, Instant::now());
        loop {
            let state = self.call("GET", "/v1/state", "").await?;
            let Some(seal) = state.seal else {
                return Err(Failure::wrong("the daemon is not sealed"));
            };
            if seal.empty {
                return Ok(());
            }
            if seal.remaining < last.0 {
                last = (seal.remaining, Instant::now());
            }
            if last.1.elapsed() > PATIENCE {
                let why = seal.stuck.unwrap_or_default();
                return Err(Failure::wrong(format!("{} messages stay: {why}", seal.remaining)));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> Outcome<State> {
        let name = ServerName::try_from(NAME).map_err(|error| Failure::wrong(error.to_string()))?;
        let mut stream = self
            .connector
            .connect(name, TcpStream::connect(self.address).await?)
            .await?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.token,
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer);
        let json = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(json).map_err(|_| Failure::wrong(format!("{method} {path}: {answer}")))
    }
}
