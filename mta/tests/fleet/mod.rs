//! A fleet of pods in one process: spool, hand-over and admin endpoints of each, an authority for their certificates,
//! an issuer of their tokens. Deliveries are not made: what a pod owns at the end is what it would deliver.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test may end so, its harness too")]

pub mod http;
pub mod processes;

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use postroad_config::{AdminApi, ConfigSet, Drained, TokenAuthority, TokenRole, TokenRule};
use postroad_mta::accept::Intake;
use postroad_mta::access::{self, Guard};
use postroad_mta::admin::{self, Admin};
use postroad_mta::dns::Dns;
use postroad_mta::dns::table::Table;
use postroad_mta::handover::{Fault, Handover, Parts, Schedule, Timing};
use postroad_mta::lifecycle::{Lifecycle, Phase};
use postroad_mta::metrics::Metrics;
use postroad_mta::reports::{self, Reports};
use postroad_mta::settings::{Live, Settings};
use postroad_spool::io::memory::Memory;
use postroad_spool::{
    ByMode, DeliverBy, EntryId, Envelope, NEWEST_FORMAT, Options, Ownership, Recipient, RecipientState,
    RecipientUpdate, Spool, Status,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub const NAME: &str = "edge.fleet.example";
pub const OPERATOR: &str = "admin.postroad.dev/mail/edge";
pub const PEER: &str = "peer.postroad.dev/mail/edge";

/// Certificates, tokens and directories of a fleet.
pub struct Fleet {
    pub directory: tempfile::TempDir,
    pub authority: String,
    issuer: Issuer<'static, KeyPair>,
    signer: KeyPair,
}

/// One pod that runs.
pub struct Pod {
    pub spool: Spool,
    pub handover: Handover,
    pub admin: Admin,
    pub book: Arc<Book>,
    pub live: Live,
    pub lifecycle: Lifecycle,
    pub metrics: Arc<Metrics>,
    pub guard: Guard,
    pub reports: Reports,
    tracker: TaskTracker,
    stop: CancellationToken,
}

/// How a pod is started.
#[derive(Default)]
pub struct Start {
    pub fault: Option<Fault>,
    pub address: Option<SocketAddr>,
    pub drained: Vec<Drained>,
    pub ask_after: Option<Duration>,
    pub high_water_percent: Option<u8>,
    /// A volume of its own, in memory, in place of the directory.
    pub volume: Option<Memory>,
    pub write_format: Option<u32>,
    /// Who writes reports, and by which clock.
    pub writers: Vec<Arc<dyn reports::Writer>>,
    pub clock: Option<Arc<AtomicU64>>,
    /// Longest that its leaving waits for other pods to take its rows.
    pub leave: Option<Duration>,
}

/// Stands for the queue: which entries would be delivered.
pub struct Book {
    spool: Spool,
    queued: Mutex<HashSet<EntryId>>,
}

impl Schedule for Book {
    fn withdraw(&self, entries: Vec<EntryId>) -> Pin<Box<dyn Future<Output = Vec<EntryId>> + Send + '_>> {
        Box::pin(async move {
            let mut queued = self.queued.lock().unwrap();
            entries.into_iter().filter(|entry| queued.remove(entry)).collect()
        })
    }

    fn give_back(&self, entries: Vec<EntryId>) {
        self.accepted(entries);
    }

    fn accepted(&self, entries: Vec<EntryId>) {
        let mut queued = self.queued.lock().unwrap();
        for entry in entries {
            let summary = self
                .spool
                .summary(entry)
                .expect("an entry that is delivered is there");
            assert_eq!(
                summary.ownership,
                Ownership::Owned,
                "an entry that is delivered is owned"
            );
            assert!(queued.insert(entry), "an entry is queued once");
        }
    }
}

impl Book {
    pub fn queued(&self) -> usize {
        self.queued.lock().unwrap().len()
    }
}

impl Fleet {
    pub fn new() -> Self {
        let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = authority.self_signed(&key).unwrap().pem();
        let fleet = Self {
            directory: tempfile::tempdir().unwrap(),
            authority: pem,
            issuer: Issuer::new(authority, key),
            signer: KeyPair::generate().unwrap(),
        };
        std::fs::write(
            fleet.token_file(),
            fleet.token(PEER, "edge-mta", "https://issuer.example"),
        )
        .unwrap();
        fleet
    }

    fn token_file(&self) -> PathBuf {
        self.directory.path().join("token")
    }

    /// A token of this fleet's issuer key.
    pub fn token(&self, audience: &str, subject: &str, issuer: &str) -> String {
        let key = jsonwebtoken::EncodingKey::from_ec_der(self.signer.serialized_der());
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        header.kid = Some("one".into());
        let now = i64::try_from(now() / 1_000).unwrap();
        let claims = json!({"iss": issuer, "sub": subject, "aud": [audience], "exp": now + 600, "iat": now});
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }

    pub fn operator(&self) -> String {
        self.token(OPERATOR, "operator", "https://issuer.example")
    }

    /// A chain and a key for the fleet's name.
    pub fn certificate(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        (
            leaf.signed_by(&key, &self.issuer).unwrap().pem(),
            key.serialize_pem(),
        )
    }

    fn tokens(&self) -> TokenAuthority {
        let point = self.signer.public_key_raw();
        let (x, y) = point[1..].split_at(32);
        let key = json!({"kty": "EC", "crv": "P-256", "kid": "one", "use": "sig", "alg": "ES256",
            "x": BASE64.encode(x), "y": BASE64.encode(y)});
        TokenAuthority {
            issuer: "https://issuer.example".into(),
            key_set: json!({"keys": [key]}).to_string(),
            refused_audiences: vec!["https://api.example".into()],
            rules: vec![
                TokenRule {
                    audience: OPERATOR.into(),
                    subject: "operator".into(),
                    role: TokenRole::Operator,
                },
                TokenRule {
                    audience: PEER.into(),
                    subject: "edge-mta".into(),
                    role: TokenRole::Peer,
                },
            ],
        }
    }

    /// A configuration with admin endpoints on these addresses.
    pub fn set(&self, api: SocketAddr, drained: Vec<Drained>) -> ConfigSet {
        let text = "format: 1\nhostname: mail.example.com\nspool: {directory: /unused}\n";
        let mut set = postroad_config::assemble(text, &BTreeMap::new()).unwrap();
        let (certificate, key) = self.certificate();
        set.file.peers.drained = drained;
        set.file.admin.health = Some("127.0.0.1:0".parse().unwrap());
        set.file.admin.api = Some(AdminApi {
            address: api,
            certificate,
            key,
            authorities: self.authority.clone(),
            server_name: NAME.parse().unwrap(),
            tokens: self.tokens(),
            peer_token_file: Some(self.token_file()),
        });
        set
    }

    /// Starts a pod on its directory, new or not.
    pub async fn start(&self, name: &str, start: Start) -> Pod {
        let spool = open(&self.directory.path().join(name), &start).await;
        let book = Arc::new(Book {
            spool: spool.clone(),
            queued: Mutex::default(),
        });
        let owned = spool
            .entries()
            .into_iter()
            .filter(|entry| entry.ownership == Ownership::Owned);
        book.accepted(owned.map(|entry| entry.id).collect());
        let address = start.address.unwrap_or_else(|| processes::address(18_443));
        let live = Live::new(Settings::new(self.set(address, start.drained)).unwrap());
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let metrics = Arc::new(Metrics::new());
        let lifecycle = Lifecycle::new();
        lifecycle.enter(Phase::Serving);
        // A busy machine is no pod that is away.
        let patience = access::Patience {
            answer: LONG,
            connect: LONG,
            ..access::Patience::default()
        };
        let dns = Dns::new(Table::default());
        let directory = self.directory.path().join(name);
        let guard = Guard::new(
            live.clone(),
            (dns.clone(), dns.clone()),
            metrics.clone(),
            spool.uuid(),
            patience,
        );
        let parts = Parts {
            spool: spool.clone(),
            schedule: book.clone(),
            live: live.clone(),
            metrics: metrics.clone(),
            moving: Some((guard.moving(), Arc::new(guard.clone()))),
            timing: Timing {
                ask_after: start.ask_after.unwrap_or(Duration::from_millis(300)),
                ask_every: Duration::from_millis(100),
                pause: Duration::from_millis(50),
                ..Timing::default()
            },
            fault: start.fault,
        };
        let handover = Handover::start(parts, &tracker, &stop);
        guard.start(&directory, handover.sealed(), &tracker, &stop).await;
        let reports = Reports::new(
            live.clone(),
            dns,
            metrics.clone(),
            spool.uuid(),
            (patience, timing(start.clock, start.leave)),
        );
        let queue = book.clone();
        let intake = Intake::new(spool.clone(), live.clone(), metrics.clone(), move |entry| {
            queue.accepted(vec![entry]);
        });
        reports
            .start(
                &directory,
                start.writers,
                (intake, handover.sealed()),
                &tracker,
                &stop,
            )
            .await;
        let parts = admin::Parts {
            boot_id: "boot".into(),
            damaged: 0,
            live: live.clone(),
            lifecycle: lifecycle.clone(),
            spool: spool.clone(),
            handover: handover.clone(),
            guard: Some(guard.clone()),
            reports: Some(reports.clone()),
            queue: None,
            ports: None,
            prober: None,
            metrics: metrics.clone(),
        };
        let admin = admin::start(parts, &tracker, &stop).await.unwrap();
        Pod {
            spool,
            handover,
            admin,
            book,
            live,
            lifecycle,
            metrics,
            guard,
            reports,
            tracker,
            stop,
        }
    }
}

/// Looks and writes at once, so that a test does not wait.
fn timing(clock: Option<Arc<AtomicU64>>, leave: Option<Duration>) -> reports::Timing {
    let usual = reports::Timing::default();
    let now = clock.map(|clock| -> Arc<dyn Fn() -> u64 + Send + Sync> {
        Arc::new(move || clock.load(Ordering::Relaxed))
    });
    reports::Timing {
        look: Duration::from_millis(50),
        keep: Duration::from_millis(50),
        again: Duration::from_secs(1),
        leave: leave.unwrap_or(usual.leave),
        now: now.unwrap_or(usual.now),
    }
}

/// Opens a spool, waiting for a lock that an ended pod is just giving back.
async fn open(directory: &Path, start: &Start) -> Spool {
    let options = Options {
        segment_size: Some(1 << 20),
        high_water_percent: start.high_water_percent.unwrap_or(99),
        write_format: start.write_format.unwrap_or(NEWEST_FORMAT),
        ..Options::default()
    };
    let until = Instant::now() + LONG;
    loop {
        let opened = match &start.volume {
            Some(volume) => Spool::open_on(Arc::new(volume.clone()), directory, &options),
            None => Spool::open(directory, &options),
        };
        match opened {
            Ok((spool, recovery)) => {
                assert_eq!((recovery.damaged, recovery.lost), (0, 0));
                return spool;
            }
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Pod {
    pub fn address(&self) -> SocketAddr {
        self.admin.api.unwrap()
    }

    /// Ends the pod's tasks and gives its directory free.
    pub async fn end(self) {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(LONG, self.tracker.wait())
            .await
            .expect("the pod ends");
    }

    pub async fn seal(&self, targets: &[SocketAddr]) {
        self.handover
            .seal(targets.iter().map(ToString::to_string).collect())
            .await
            .unwrap();
    }

    /// Accepts a message as a session would.
    pub async fn accept(&self, tag: u64, size: usize) {
        let mut incoming = self.spool.begin();
        for piece in body(tag, size).chunks(64 << 10) {
            incoming.write(piece).unwrap();
        }
        let id = incoming
            .commit(envelope(tag), b"Received: by test\r\n".to_vec())
            .await
            .unwrap();
        let state = state(tag);
        self.spool
            .record(id, &[RecipientUpdate { index: 1, state }])
            .unwrap();
        self.book.accepted(vec![id]);
    }

    /// What this pod owns: tag and body, with its history checked.
    pub fn mail(&self) -> Vec<(u64, usize)> {
        let owned = self
            .spool
            .entries()
            .into_iter()
            .filter(|entry| entry.ownership == Ownership::Owned);
        let mut mail: Vec<_> = owned.map(|entry| self.read(entry.id)).collect();
        assert_eq!(mail.len(), self.book.queued(), "what is owned is queued");
        mail.sort_unstable();
        mail
    }

    /// Tags of what this pod has in such a state.
    pub fn tags(&self, wanted: impl Fn(Ownership) -> bool) -> Vec<u64> {
        let entries = self.spool.entries().into_iter();
        let such = entries.filter(|entry| wanted(entry.ownership));
        such.map(|entry| self.read(entry.id).0).collect()
    }

    fn read(&self, id: EntryId) -> (u64, usize) {
        let mut message = self.spool.read(id).unwrap();
        let tag: u64 = message
            .item
            .envelope
            .reverse_path
            .split('@')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(message.item.envelope, envelope(tag), "the envelope is kept");
        assert_eq!(
            message.item.recipients,
            [RecipientState::default(), state(tag)],
            "the history is kept"
        );
        assert_eq!(message.item.prefix, b"Received: by test\r\n");
        let mut octets = Vec::new();
        std::io::Read::read_to_end(&mut message.body, &mut octets).unwrap();
        assert!(octets == body(tag, octets.len()), "the body of {tag} is kept");
        (tag, octets.len())
    }

    /// Delivers everything that is queued. Gives the tags.
    pub async fn deliver(&self) -> Vec<u64> {
        let queued: Vec<EntryId> = self.book.queued.lock().unwrap().drain().collect();
        let mut tags = Vec::new();
        for entry in queued {
            tags.push(self.read(entry).0);
            self.spool.finish(entry).unwrap();
        }
        self.spool.flush().await.unwrap();
        tags
    }

    pub fn is_drained(&self) -> bool {
        self.spool.is_empty()
    }
}

/// Messages from here on have what only the second format of the spool keeps.
pub const EXTENDED: u64 = 10_000;

pub fn envelope(tag: u64) -> Envelope {
    let deliver_by = DeliverBy {
        deadline: 1_700_000_900_000 + tag,
        mode: ByMode::Notify,
        trace: true,
    };
    Envelope {
        require_tls: tag >= EXTENDED,
        deliver_by: (tag >= EXTENDED).then_some(deliver_by),
        reverse_path: format!("{tag}@sender.example"),
        recipients: vec![
            Recipient {
                forward_path: "a@example.com".into(),
                ..Recipient::default()
            },
            Recipient {
                forward_path: "b@example.net".into(),
                ..Recipient::default()
            },
        ],
        identity: Some("app".into()),
        client: "192.0.2.1".into(),
        arrived: 1_700_000_000_000 + tag,
        expires: 1_700_400_000_000 + tag,
        ..Envelope::default()
    }
}

fn state(tag: u64) -> RecipientState {
    RecipientState {
        status: Status::Pending,
        attempts: u32::try_from(tag % 7).unwrap() + 1,
        next_attempt: 1_700_100_000_000 + tag,
        delay_notified: tag.is_multiple_of(2),
        reply: format!("450 later, {tag}"),
        ..RecipientState::default()
    }
}

/// Octets that differ for each tag and place.
pub fn body(tag: u64, size: usize) -> Vec<u8> {
    let mut random = tag.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..size)
        .map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            b'a' + u8::try_from(random % 26).unwrap()
        })
        .collect()
}

/// Waits until something holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn now() -> u64 {
    let age = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    u64::try_from(age.as_millis()).unwrap()
}

const LONG: Duration = Duration::from_mins(1);
