//! A next hop that plays a fixed part, octet by octet, whatever it is told; and one attempt at it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use postroad_config::{Endpoint, TlsMode};
use postroad_mta::deliver::patience::Patience;
use postroad_mta::deliver::plan::{Plan, Protocol, To, Way};
use postroad_mta::deliver::sites::Sites;
use postroad_mta::deliver::tls::ClientTls;
use postroad_mta::deliver::{Answers, Attempted, Deliverer, Load};
use postroad_mta::dns::Dns;
use postroad_mta::dns::table::Table;
use postroad_spool::{EntryId, Item, Spool};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::deliver_support::{envelope, options, store};

/// One thing that a hop does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads a command line.
    Hear,
    /// Reads a body up to the lone dot.
    HearBody,
    /// Writes these octets.
    Say(Vec<u8>),
    /// Writes these octets again and again until nobody takes them.
    Flood(Vec<u8>),
    /// Writes these octets one at a time, then begins anew, until nobody takes them.
    Trickle(Vec<u8>),
    /// Waits.
    Pause(Duration),
    /// Reads nothing and writes nothing until the other side is gone.
    Stare,
}

pub fn say(text: &str) -> Step {
    Step::Say(format!("{text}\r\n").into_bytes())
}

/// A whole good session, in which the reply of one stage is replaced.
pub fn session(stage: &str, instead: Vec<Step>) -> Vec<Step> {
    let mut steps = vec![];
    for (name, hear, reply) in STAGES {
        steps.extend(hear.clone());
        if *name == stage {
            steps.extend(instead);
            return steps;
        }
        steps.push(say(reply));
    }
    steps
}

/// The stages of a session without PIPELINING: what is heard, then what is said.
pub const STAGES: &[(&str, Option<Step>, &str)] = &[
    ("greeting", None, "220 hop.example"),
    ("EHLO", Some(Step::Hear), "250 hop.example"),
    ("MAIL", Some(Step::Hear), "250 2.1.0 ok"),
    ("RCPT", Some(Step::Hear), "250 2.1.5 ok"),
    ("DATA", Some(Step::Hear), "354 go on"),
    ("end", Some(Step::HearBody), "250 2.0.0 taken"),
    ("QUIT", Some(Step::Hear), "221 2.0.0 bye"),
];

/// A hop that plays one part per connection; the last part goes for all further ones.
pub struct Hop {
    pub address: SocketAddr,
    /// Octets that were written to connections.
    pub written: Arc<AtomicUsize>,
    pub connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Hop {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hop {
    pub async fn start(parts: Vec<Vec<Step>>) -> Self {
        Self::start_at("127.0.0.1:0", parts).await
    }

    pub async fn start_at(address: &str, parts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let written = Arc::new(AtomicUsize::new(0));
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, met) = (written.clone(), connections.clone());
        let task = tokio::spawn(async move {
            let mut played = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = met.fetch_add(1, Ordering::SeqCst);
                let part = parts[number.min(parts.len() - 1)].clone();
                let counted = counted.clone();
                // The other side may be gone at any time.
                played.spawn(async move { drop(play(stream, part, &counted).await) });
            }
        });
        Self {
            address,
            written,
            connections,
            task,
        }
    }
}

async fn play(stream: TcpStream, part: Vec<Step>, written: &AtomicUsize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    for step in part {
        match step {
            Step::Hear => {
                stream.read_until(b'\n', &mut vec![]).await?;
            }
            Step::HearBody => {
                let mut line = vec![];
                while line != b".\r\n" {
                    line.clear();
                    if stream.read_until(b'\n', &mut line).await? == 0 {
                        return Ok(());
                    }
                }
            }
            Step::Say(octets) => stream.write_all(&octets).await?,
            Step::Flood(octets) => loop {
                stream.write_all(&octets).await?;
                written.fetch_add(octets.len(), Ordering::SeqCst);
            },
            Step::Trickle(octets) => {
                for octet in octets.iter().cycle() {
                    stream.write_all(&[*octet]).await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Step::Pause(time) => tokio::time::sleep(time).await,
            Step::Stare => {
                // Reads past what waits only when the other side is gone.
                tokio::time::sleep(Duration::from_mins(1)).await;
                return Ok(());
            }
        }
    }
    // Closed with octets unread, the stream would be reset and what was said might be lost.
    stream.shutdown().await?;
    let mut rest = vec![];
    stream.take(1 << 20).read_to_end(&mut rest).await?;
    Ok(())
}

/// A spool with one message, and attempts at it.
pub struct Stage {
    _directory: tempfile::TempDir,
    spool: Spool,
    entry: EntryId,
    item: Item,
    size: u64,
    pub deliverer: Deliverer,
}

/// Short enough to be waited for.
pub const SHORT: Patience = Patience {
    connect: Duration::from_secs(5),
    handshake: Duration::from_secs(5),
    greeting: Duration::from_millis(300),
    envelope: Duration::from_millis(300),
    block: Duration::from_millis(300),
    end: Duration::from_millis(300),
    longest: Duration::from_millis(900),
    attempt: Duration::from_secs(20),
    slowest: 1 << 40,
};

/// What a test waits for at most.
pub const BOUND: Duration = Duration::from_secs(30);

impl Stage {
    pub async fn new(body: Vec<u8>, patience: Patience) -> Self {
        Self::with(body, patience, Table::default(), 25).await
    }

    /// The same with names of servers, which listen at this port.
    pub async fn with(body: Vec<u8>, patience: Patience, names: Table, port: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(directory.path(), &options()).unwrap();
        let entry = store(&spool, envelope("a@from.example", &["b@to.example"]), body).await;
        let read = spool.read(entry).unwrap();
        let size = read.item.prefix.len() as u64 + read.body.len();
        let dns = Dns::new(names);
        let tls = ClientTls::public().unwrap();
        Self {
            deliverer: Deliverer::new(spool.clone(), dns, tls, Sites::default(), port)
                .with_patience(patience),
            _directory: directory,
            spool,
            entry,
            item: read.item,
            size,
        }
    }

    /// One attempt at a server, within the bound.
    pub async fn attempt(&self, at: SocketAddr, protocol: Protocol) -> Attempted {
        self.attempt_by(To::Hosts {
            hosts: vec![Endpoint {
                host: at.ip().to_string(),
                port: at.port(),
            }],
            protocol,
        })
        .await
    }

    /// One attempt at the servers that the MX of a domain names, all on the loopback.
    pub async fn attempt_mx(&self, domain: &str) -> Attempted {
        self.attempt_by(To::Exchanges {
            domain: domain.to_owned(),
            allowed: vec!["127.0.0.0/8".parse().unwrap()],
        })
        .await
    }

    async fn attempt_by(&self, to: To) -> Attempted {
        let plan = Plan {
            name: "test".to_owned(),
            ways: vec![Way {
                to,
                tls: TlsMode::Opportunistic,
                credentials: None,
                limits: postroad_config::RouteLimits::default(),
                habits: postroad_mta::deliver::plan::Habits::default(),
            }],
            retry: postroad_config::Retry::default(),
        };
        let load = Load {
            entry: self.entry,
            item: &self.item,
            size: self.size,
            octets: None,
            recipients: &[0],
            hostname: "mail.test.example",
            validated: false,
            submitted: false,
        };
        let stop = CancellationToken::new();
        let attempt = self.deliverer.attempt(&plan, Answers::default(), &load, &stop);
        let attempted = tokio::time::timeout(BOUND, attempt)
            .await
            .expect("the attempt ends in time");
        assert!(self.spool.summary(self.entry).is_some(), "the message is kept");
        assert_eq!(attempted.outcomes.len(), 1, "each recipient has its outcome");
        attempted
    }
}
