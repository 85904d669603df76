//! Sessions whose time runs out, over a socket and with short times.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use postroad_smtp::server::{Config, Session};
use postroad_smtp::{Hold, Mail};
use postroad_spool::io::memory::{Memory, Op};
use postroad_spool::{Options, Spool};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::driver::Driver;
use super::patience::Patience;
use super::{Shared, serve};
use crate::accept::Intake;
use crate::access::Guard;
use crate::auth::Authenticator;
use crate::deliver::callout::Callout;
use crate::deliver::tls::ClientTls;
use crate::dns::Dns;
use crate::dns::table::Table;
use crate::filter::Filters;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::net::{Budget, Pressure};
use crate::policy::tests::settings;
use crate::reports::Reports;
use crate::settings::Live;
use crate::verify::Verifier;

/// What sessions share, with a spool of its own.
struct Stage {
    shared: Shared,
    /// Messages that the queue was told of.
    stored: Arc<AtomicUsize>,
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
        let volume = Memory::new(64 << 20);
        Self::on(volume_of(&volume, &Options::default()), lines, patience)
    }

    fn on(spool: Spool, lines: &str, patience: Patience) -> Self {
        let stored = Arc::<AtomicUsize>::default();
        let told = Arc::clone(&stored);
        let live = Live::new(settings(&format!("{PORTS}{lines}")));
        let metrics = Arc::new(Metrics::new());
        let budget = Budget::new(&metrics);
        let guard = Guard::new(
            live.clone(),
            (Dns::new(Table::default()), Dns::new(Table::default())),
            Arc::clone(&metrics),
            spool.uuid(),
            crate::access::Patience::default(),
        );
        let reports = Reports::new(
            live.clone(),
            Dns::new(Table::default()),
            Arc::clone(&metrics),
            spool.uuid(),
            (
                crate::access::Patience::default(),
                crate::reports::Timing::default(),
            ),
        );
        let shared = Shared {
            intake: Intake::new(spool, live.clone(), Arc::clone(&metrics), move |_| {
                told.fetch_add(1, Ordering::Relaxed);
            }),
            live,
            lifecycle: Lifecycle::new(),
            auth: Authenticator::new(1).unwrap(),
            callout: Callout::new(
                Dns::new(Table::default()),
                ClientTls::public().unwrap(),
                budget.clone(),
            ),
            verifier: Verifier::new(Dns::new(Table::default()), Arc::clone(&metrics)),
            filters: Filters::new(Dns::new(Table::default()), Arc::clone(&metrics)),
            guard,
            reports,
            pressure: Pressure::of_this_process(),
            budget,
            metrics,
            patience,
        };
        Self { shared, stored }
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

fn volume_of(volume: &Memory, options: &Options) -> Spool {
    let options = Options {
        segment_size: Some(1 << 20),
        checkpoint_segments: 0,
        ..options.clone()
    };
    let (spool, _) = Spool::open_on(Arc::new(volume.clone()), Path::new("/spool"), &options).unwrap();
    spool
}

/// The segment in which this text is.
fn segment_with(volume: &Memory, text: &str) -> PathBuf {
    let log = volume.log();
    let has = |octets: &[u8]| octets.windows(text.len()).any(|part| part == text.as_bytes());
    let file = log.iter().find_map(|op| match op {
        Op::Write(file, _, octets) if has(octets) => Some(*file),
        _ => None,
    });
    // It is made under another name, and gets this one when it is whole.
    let made = |op: &&Op| matches!(op, Op::Create(_, made) if Some(*made) == file);
    let behind = log.iter().skip_while(|op| !made(op));
    let mut named = behind.filter_map(|op| match op {
        Op::Rename(_, to) => Some(to.clone()),
        _ => None,
    });
    named.next().unwrap()
}

impl Client {
    /// One message to the postmaster; the reply after its end.
    async fn mail(&mut self, subject: &str) -> String {
        for line in ["MAIL FROM:<>", "RCPT TO:<Postmaster>"] {
            let reply = self.say(line).await;
            assert!(reply.starts_with("250 "), "{line}: {reply}");
        }
        assert!(self.say("DATA").await.starts_with("354 "));
        self.say(&format!("Subject: {subject}\r\n\r\nbody\r\n.")).await
    }

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
            ..Patience::default()
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
async fn the_time_of_a_transaction_begins_with_one_that_is_taken() {
    let stage = Stage::new("", Patience::default());
    let port = stage.shared.live.current().set.file.ports[0].clone();
    let client = "127.0.0.1:1".parse().unwrap();
    let mut driver = Driver::new(stage.shared.clone(), port, client);
    let mut session = Session::new(Config::transfer("mail.example.com"));
    let refused = Mail {
        hold: Some(Hold::Until("no time".to_owned())),
        ..Mail::default()
    };
    driver.mail(refused, &mut session);
    assert_eq!(driver.deadline, None, "nothing is under way");
    driver.mail(Mail::default(), &mut session);
    assert!(driver.deadline.is_some());
    driver.forget();
    assert_eq!(driver.deadline, None);
}

#[tokio::test]
async fn recipients_of_a_message_under_way_take_of_the_memory_that_there_is() {
    let stage = Stage::new("", Patience::default());
    stage
        .shared
        .budget
        .follow(Some(postroad_config::Octets(50_000)), None);
    let mut client = stage.greeted().await;
    assert!(client.say("HELO client.example").await.starts_with("250 "));
    for _ in 0..2 {
        assert!(client.say("MAIL FROM:<>").await.starts_with("250 "));
        let mut taken = 0;
        let refused = loop {
            let reply = client.say("RCPT TO:<Postmaster>").await;
            if !reply.starts_with("250 ") {
                break reply;
            }
            taken += 1;
        };
        assert_eq!(refused, "452 4.3.1 Too little memory, try again later");
        assert!((10..900).contains(&taken), "{taken}");
        assert!(stage.shared.metrics.buffers.get() > 0);
        assert!(client.say("RSET").await.starts_with("250 "));
        assert_eq!(stage.shared.metrics.buffers.get(), 0);
    }
}

#[tokio::test]
async fn each_command_has_its_own_time() {
    let whole = Duration::from_secs(5);
    let stage = Stage::new(
        "",
        Patience {
            command: whole,
            crowded: whole,
            ..Patience::default()
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
            ..Patience::default()
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

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_hangs_pins_no_client_and_what_is_stored_later_is_delivered() {
    let volume = Memory::new(64 << 20);
    let options = Options {
        stall_ms: 200,
        ..Options::default()
    };
    let spool = volume_of(&volume, &options);
    let patience = Patience {
        commit: Duration::from_millis(500),
        ..Patience::default()
    };
    let stage = Stage::on(spool.clone(), "", patience);
    let mut client = stage.greeted().await;
    client.say("HELO client.example").await;
    let reply = client.mail("the first").await;
    assert!(reply.starts_with("250 "), "{reply}");

    volume.hold_syncs(Some(&segment_with(&volume, "Subject: the first")));
    let reply = client.mail("the second").await;
    assert!(reply.starts_with("451 4.3.0 "), "{reply}");
    assert!(spool.is_stalled());
    assert!(client.line().await.starts_with("421 "), "it leaves service");
    let mut other = stage.greeted().await;
    assert!(other.line().await.starts_with("421 "));

    volume.hold_syncs(None);
    let end = std::time::Instant::now() + LONGEST;
    while stage.stored.load(Ordering::Relaxed) < 2 || spool.is_stalled() {
        assert!(std::time::Instant::now() < end, "the queue never hears of it");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut back = stage.greeted().await;
    back.say("HELO client.example").await;
    let reply = back.mail("the third").await;
    assert!(reply.starts_with("250 "), "{reply}");
}
