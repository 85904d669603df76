//! Sessions whose time runs out, over a socket and with short times.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postroad_spool::{Options, Spool};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::patience::Patience;
use super::{Shared, serve};
use crate::accept::Intake;
use crate::auth::Authenticator;
use crate::deliver::callout::Callout;
use crate::deliver::tls::ClientTls;
use crate::dns::Dns;
use crate::dns::table::Table;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::net::{Budget, Pressure};
use crate::policy::tests::settings;
use crate::settings::Live;

/// What sessions share, with a spool of its own.
struct Stage {
    shared: Shared,
    _directory: tempfile::TempDir,
}

/// One end of a session.
struct Client {
    lines: Lines<BufReader<OwnedReadHalf>>,
    write: OwnedWriteHalf,
}

const PORTS: &str = "ports: [{name: smtp, address: '127.0.0.1:0', role: Transfer, tls: Disabled}]\n";
/// Bound of every wait.
const LONGEST: Duration = Duration::from_secs(30);

impl Stage {
    fn new(lines: &str, patience: Patience) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(directory.path(), &Options::default()).unwrap();
        let live = Live::new(settings(&format!("{PORTS}{lines}")));
        let metrics = Arc::new(Metrics::new());
        let budget = Budget::new(&metrics);
        let shared = Shared {
            intake: Intake::new(spool, live.clone(), Arc::clone(&metrics), |_| {}),
            live,
            lifecycle: Lifecycle::new(),
            auth: Authenticator::new(1).unwrap(),
            callout: Callout::new(
                Dns::new(Table::default()),
                ClientTls::public().unwrap(),
                budget.clone(),
            ),
            pressure: Pressure::of_this_process(),
            budget,
            metrics,
            patience,
        };
        Self {
            shared,
            _directory: directory,
        }
    }

    /// A session that has said its greeting.
    async fn greeted(&self) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let (ours, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (stream, from) = accepted.unwrap();
        let port = self.shared.live.current().set.file.ports[0].clone();
        tokio::spawn(serve(self.shared.clone(), port, stream, from));
        let (read, write) = ours.unwrap().into_split();
        let mut client = Client {
            lines: BufReader::new(read).lines(),
            write,
        };
        assert!(client.line().await.starts_with("220 "));
        client
    }
}

impl Client {
    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(LONGEST, self.lines.next_line()).await;
        line.expect("the server is silent")
            .unwrap()
            .expect("the server hung up")
    }

    async fn say(&mut self, line: &str) -> String {
        self.write
            .write_all(format!("{line}\r\n").as_bytes())
            .await
            .unwrap();
        self.line().await
    }
}

#[tokio::test]
async fn an_octet_now_and_then_does_not_hold_a_session() {
    let stage = Stage::new(
        "",
        Patience {
            command: Duration::from_millis(500),
            crowded: Duration::from_millis(500),
        },
    );
    let mut client = stage.greeted().await;
    let mut write = client.write;
    let drip = tokio::spawn(async move {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let line = tokio::time::timeout(LONGEST, client.lines.next_line()).await;
    let line = line.expect("it goes on for ever").unwrap().unwrap();
    assert!(line.starts_with("421 4.4.2 "), "{line}");
    drip.await.unwrap();
}

#[tokio::test]
async fn each_command_has_its_own_time() {
    let whole = Duration::from_secs(5);
    let stage = Stage::new(
        "",
        Patience {
            command: whole,
            crowded: whole,
        },
    );
    let mut client = stage.greeted().await;
    let began = std::time::Instant::now();
    while began.elapsed() < whole + whole / 5 {
        let line = client.say("RSET").await;
        assert!(line.starts_with("250 "), "{line}");
        tokio::time::sleep(whole / 6).await;
    }
}

#[tokio::test]
async fn who_is_silent_goes_when_sessions_run_out() {
    let stage = Stage::new(
        "limits: {connections: 4}\n",
        Patience {
            command: Duration::from_hours(1),
            crowded: Duration::from_millis(200),
        },
    );
    let (mut first, mut second) = (stage.greeted().await, stage.greeted().await);
    for client in [&mut first, &mut second] {
        assert!(client.say("NOOP").await.starts_with("250 "));
    }
    let mut third = stage.greeted().await;
    let line = tokio::select! {
        line = first.line() => line,
        line = second.line() => line,
        line = third.line() => line,
    };
    assert!(line.starts_with("421 4.4.2 "), "{line}");
}
