//! Reports about TLS (RFC 8460) from the session that is counted to the report at its place: by mail, signed, through the queue of who
//! sends it, and by POST. Real servers on loopback; the clock of the days is the test's.

#![allow(clippy::unwrap_used, reason = "tests and their parts")]

mod deliver_support;
#[path = "policy_host/mod.rs"]
mod policy_host;
mod sink;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deliver_support::{certificate_for, envelope, message, options, settings, store};
use mail_parser::{MessageParser, MimeHeaders};
use policy_host::{Answer, PolicyHost};
use postroad_mta::accept::Intake;
use postroad_mta::access::Patience;
use postroad_mta::deliver::https::Https;
use postroad_mta::deliver::tls::ClientTls;
use postroad_mta::dns::Dns;
use postroad_mta::dns::table::Table;
use postroad_mta::metrics::Metrics;
use postroad_mta::queue::{Parts, Queue};
use postroad_mta::reports::tls::{TlsWriter, counter};
use postroad_mta::reports::{Kind, Reports, Timing, Writer};
use postroad_mta::settings::Live;
use postroad_spool::Spool;
use postroad_verify::dkim::{Algorithm, Header, Limits, PrivateKey, Verdict, Verifier, Wanted};
use postroad_verify::dns::{Answer as DnsAnswer, Kind as DnsKind, Question};
use postroad_verify::tls_rpt::{Policy, Session};
use rustls::RootCertStore;
use serde_json::{Value, json};
use sink::{Script, Sink, Taken, eventually};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const DAY: u64 = 86_400;
/// Noon of 28 November 2026.
const NOON: u64 = 20_785 * DAY + DAY / 2;

/// A server that sends mail and reports.
struct Node {
    _dir: tempfile::TempDir,
    spool: Spool,
    queue: Queue,
    metrics: Arc<Metrics>,
    reports: Reports,
    clock: Arc<AtomicU64>,
    /// Nobody seals it.
    _sealing: watch::Sender<bool>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

/// What it is like.
struct Setup {
    /// Its domain, and the key of that.
    domain: &'static str,
    key: Option<Arc<PrivateKey>>,
    dns: Table,
    tls: ClientTls,
    mx_port: u16,
    policy_port: u16,
}

impl Node {
    async fn start(setup: Setup) -> Self {
        // To the end of all tests of the process.
        std::mem::forget(postroad_mta::log::start());
        let dir = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(dir.path(), &options()).unwrap();
        let domain = setup.domain;
        let keys = setup.key.as_ref().map(|key| {
            let pem = serde_json::to_string(&*key.to_pem().unwrap()).unwrap();
            format!("domains:\n  - {{name: {domain}, dkim: {{keys: [{{selector: n, key: {pem}}}]}}}}\n")
        });
        let text = format!(
            "reports: {{from: tls@{domain}, organization: The moor, tls: {{mode: Daily}}}}\npolicies:\n  - name: test/mx\n    routes: [{{to: {{direct: {{allowedNetworks: [127.0.0.0/8]}}}}, tls: Automatic}}]\n    retry: {{first: 1h, max: 1h}}\n{}",
            keys.unwrap_or_default()
        );
        let live = Live::new(settings(dir.path(), &text));
        let (metrics, stop, tracker) = (
            Arc::new(Metrics::new()),
            CancellationToken::new(),
            TaskTracker::new(),
        );
        let dns = Dns::new(setup.dns);
        let clock = Arc::new(AtomicU64::new(NOON));
        let now = clock.clone();
        let timing = Timing {
            look: Duration::from_millis(20),
            again: Duration::from_secs(1),
            now: Arc::new(move || now.load(Ordering::Relaxed)),
            ..Timing::default()
        };
        let reports = Reports::new(
            live.clone(),
            dns.clone(),
            metrics.clone(),
            spool.uuid(),
            (Patience::default(), timing),
        );
        let mut parts = Parts::new(
            spool.clone(),
            live.clone(),
            dns.clone(),
            metrics.clone(),
            stop.clone(),
        )
        .unwrap();
        parts.mx_port = setup.mx_port;
        parts.policy_port = setup.policy_port;
        parts.tls = setup.tls.clone();
        parts.tls_sessions = Some(counter(live.clone(), reports.clone()));
        let queue = Queue::start_with(parts);
        let told = queue.clone();
        let intake = Intake::new(spool.clone(), live, metrics.clone(), move |entry| {
            told.accepted(entry);
        });
        let sealing = watch::Sender::new(false);
        let writer: Arc<dyn Writer> = Arc::new(TlsWriter::new(dns.clone(), Https::new(dns, &setup.tls)));
        reports
            .start(
                dir.path(),
                vec![writer],
                (intake, sealing.subscribe()),
                &tracker,
                &stop,
            )
            .await;
        Self {
            _dir: dir,
            spool,
            queue,
            metrics,
            reports,
            clock,
            _sealing: sealing,
            stop,
            tracker,
        }
    }

    async fn send(&self, to: &str) {
        let mail = store(&self.spool, envelope("a@from.example", &[to]), message("x")).await;
        self.queue.accepted(mail);
    }

    /// Noon of the next day: the reports about this one are due.
    fn next_day(&self) {
        self.clock.fetch_add(DAY, Ordering::Relaxed);
    }

    fn figure(&self, name: &str) -> u64 {
        let text = self.metrics.text().unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("postroad_mta_{name} ")));
        line.and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    fn ended(&self, end: &str) -> u64 {
        self.figure(&format!("reports_total{{kind=\"Tls\",end=\"{end}\"}}"))
    }

    fn delivered(&self) -> u64 {
        self.figure("deliveries_total{outcome=\"Delivered\"}")
    }

    /// Counts a session by hand.
    fn count(&self, domain: &str) {
        let session = Session {
            policy: Policy::none(domain),
            failure: None,
        };
        self.reports.count(Kind::Tls, domain, &session);
    }

    async fn end(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        self.queue.stopped().await;
    }
}

fn text(dns: Table, name: &str, text: &str) -> Table {
    let question = Question {
        name: name.to_owned(),
        kind: DnsKind::Txt,
    };
    dns.answers(question, DnsAnswer::Txt(vec![text.into()]))
}

/// A domain with one mail server and a wish for reports.
fn world(domain: &str, sink: &Sink, rua: &str) -> Table {
    let mx = format!("mx.{domain}");
    let dns = Table::default()
        .mx(domain, 10, &mx)
        .address(&mx, sink.address.ip());
    text(
        dns,
        &format!("_smtp._tls.{domain}"),
        &format!("v=TLSRPTv1; rua={rua}"),
    )
}

async fn sink(tls: TlsAcceptor) -> Sink {
    Sink::start(Script {
        tls: Some(tls),
        ..Script::default()
    })
    .await
}

fn key() -> Arc<PrivateKey> {
    Arc::new(PrivateKey::generate(Algorithm::Ed25519Sha256).unwrap())
}

/// The report in a mail, with the octets of its file.
fn report(taken: &Taken) -> Value {
    let mail = MessageParser::default().parse(&taken.body).unwrap();
    let part = mail.attachment(0).unwrap();
    assert_eq!(part.content_type().unwrap().ctype(), "application");
    assert_eq!(part.content_type().unwrap().subtype(), Some("tlsrpt+gzip"));
    unpacked(part.contents())
}

fn unpacked(file: &[u8]) -> Value {
    let mut text = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

/// How the signature of a mail is judged, and the names that it covers.
fn signature(taken: &Taken, key: &PrivateKey) -> (Vec<Verdict>, String) {
    let text = taken.text();
    let (section, body) = Header::split(text.as_bytes());
    let header = Header::parse(section);
    let field = header.named("DKIM-Signature").next().unwrap();
    let tags = String::from_utf8_lossy(field.value()).replace(['\r', '\n', '\t', ' '], "");
    let tags = tags.to_ascii_lowercase();
    assert!(!tags.contains(";l="), "{tags}");
    let mut wanted = Wanted::new();
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
    let mut verifier = Verifier::new(&header, &Limits::default(), now, &mut wanted);
    for question in verifier.questions() {
        let record = key.record().unwrap().into_bytes();
        verifier.answer(&question, &DnsAnswer::Txt(vec![record]));
    }
    let mut hasher = wanted.hasher();
    hasher.update(body);
    let outcomes = verifier.finish(&hasher.finish());
    (outcomes.iter().map(|outcome| outcome.verdict).collect(), tags)
}

fn summary(report: &Value) -> [&Value; 2] {
    let summary = &report["policies"][0]["summary"];
    [
        &summary["total-successful-session-count"],
        &summary["total-failure-session-count"],
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_that_report_to_each_other_do_not_report_on_the_reports() {
    let (tls, _) = certificate_for(&["mx.a.example", "mx.b.example"]);
    let (sink_a, sink_b) = (sink(tls.clone()).await, sink(tls).await);
    let (key_a, key_b) = (key(), key());
    let node = async |domain: &'static str, key: &Arc<PrivateKey>, other: &str, sink: &Sink| {
        Node::start(Setup {
            domain,
            key: Some(key.clone()),
            dns: world(other, sink, &format!("mailto:tls@{other}")),
            tls: ClientTls::public().unwrap(),
            mx_port: sink.address.port(),
            policy_port: 443,
        })
        .await
    };
    let a = node("a.example", &key_a, "b.example", &sink_b).await;
    let b = node("b.example", &key_b, "a.example", &sink_a).await;
    a.send("x@b.example").await;
    b.send("x@a.example").await;
    eventually("both are delivered", || a.delivered() == 1 && b.delivered() == 1).await;
    for node in [&a, &b] {
        node.next_day();
    }
    eventually("both have reported", || a.delivered() == 2 && b.delivered() == 2).await;
    for (taken, key, from, to) in [
        (&sink_b.taken()[1], &key_a, "a.example", "b.example"),
        (&sink_a.taken()[1], &key_b, "b.example", "a.example"),
    ] {
        assert!(taken.tls);
        assert_eq!(taken.mail.split(' ').next(), Some("MAIL"));
        assert!(taken.mail.contains("FROM:<>"), "{}", taken.mail);
        let (verdicts, tags) = signature(taken, key);
        assert_eq!(verdicts, [Verdict::Pass]);
        let domain = format!("d={from}");
        for tag in [domain.as_str(), "tls-report-domain", "tls-report-submitter"] {
            assert!(tags.contains(tag), "{tag}: {tags}");
        }
        let text = taken.text();
        for line in [
            format!("From: <tls@{from}>"),
            format!("To: <tls@{to}>"),
            format!("TLS-Report-Domain: {to}"),
            format!("TLS-Report-Submitter: {from}"),
            "TLS-Required: No".to_owned(),
            "Content-Type: multipart/report; report-type=\"tlsrpt\";".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let report = report(taken);
        let id = report["report-id"].as_str().unwrap();
        assert!(id.ends_with(&format!("@{from}")), "{id}");
        let mail = MessageParser::default().parse(&taken.body).unwrap();
        let subject = format!("Report Domain: {to} Submitter: {from} Report-ID: <{id}>");
        assert_eq!(mail.subject(), Some(subject.as_str()));
        let name = mail.attachment(0).unwrap().attachment_name().unwrap();
        let day = 20_785 * DAY;
        let begins = format!("{from}!{to}!{day}!{}!", day + DAY - 1);
        assert!(name.starts_with(&begins) && name.ends_with(".json.gz"), "{name}");
        let want = json!({
            "organization-name": "The moor",
            "date-range": {"start-datetime": "2026-11-28T00:00:00Z", "end-datetime": "2026-11-28T23:59:59Z"},
            "contact-info": format!("tls@{from}"),
            "report-id": id,
            "policies": [{
                "policy": {"policy-type": "no-policy-found", "policy-domain": to},
                "summary": {"total-successful-session-count": 1, "total-failure-session-count": 0},
            }],
        });
        assert_eq!(report, want);
    }
    // What would have been counted of the reports would be in the report of their day, beside this one.
    a.count("b.example");
    b.count("a.example");
    for node in [&a, &b] {
        node.next_day();
    }
    eventually("both have reported", || a.delivered() == 3 && b.delivered() == 3).await;
    for sink in [&sink_a, &sink_b] {
        assert_eq!(summary(&report(&sink.taken()[2])), [1, 0]);
        assert_eq!(sink.taken().len(), 3);
    }
    a.end().await;
    b.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_about_broken_tls_arrives_where_mail_waits() {
    let (unknown, _) = certificate_for(&["mx.d.example"]);
    let sink = sink(unknown).await;
    let (web, root) = certificate_for(&["mta-sts.d.example"]);
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let policy = "version: STSv1\nmode: enforce\nmx: mx.d.example\nmax_age: 86400\n";
    let host = PolicyHost::start(web, Answer::policy(policy)).await;
    let dns =
        world("d.example", &sink, "mailto:tls@d.example").address("mta-sts.d.example", host.address.ip());
    let node = Node::start(Setup {
        domain: "a.example",
        key: Some(key()),
        dns: text(dns, "_mta-sts.d.example", "v=STSv1; id=1"),
        tls: ClientTls::trusting(roots).unwrap(),
        mx_port: sink.address.port(),
        policy_port: host.address.port(),
    })
    .await;
    node.send("x@d.example").await;
    let deferred = || node.figure("deliveries_total{outcome=\"Deferred\"}");
    eventually("the mail waits", || deferred() == 1).await;
    node.next_day();
    let taken = sink.wait_for(1).await;
    assert!(taken[0].tls);
    let report = report(&taken[0]);
    assert_eq!(summary(&report), [0, 1]);
    let policy = &report["policies"][0];
    assert_eq!(policy["policy"]["policy-type"], "sts");
    assert_eq!(policy["policy"]["mx-host"], json!(["mx.d.example"]));
    let detail = &policy["failure-details"][0];
    assert_eq!(detail["result-type"], "certificate-not-trusted");
    assert_eq!(detail["receiving-mx-hostname"], "mx.d.example");
    assert_eq!(detail["receiving-mx-helo"], "sink.example");
    assert_eq!(detail["receiving-ip"], "127.0.0.1");
    assert_eq!(detail["failed-session-count"], 1);
    eventually("it is recorded", || node.delivered() == 1).await;
    assert_eq!(deferred(), 1, "the mail waits on");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_posted_again_until_the_place_takes_it() {
    let (tls, _) = certificate_for(&["mx.d.example"]);
    let sink = sink(tls).await;
    let (web, root) = certificate_for(&["r.example"]);
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let host = PolicyHost::start(web, Answer::status("503 Not Now")).await;
    let rua = format!("https://r.example:{}/v1?x=1", host.address.port());
    // A key is for mail alone.
    let node = Node::start(Setup {
        domain: "a.example",
        key: None,
        dns: world("d.example", &sink, &rua).address("r.example", host.address.ip()),
        tls: ClientTls::trusting(roots).unwrap(),
        mx_port: sink.address.port(),
        policy_port: 443,
    })
    .await;
    node.send("x@d.example").await;
    eventually("it is delivered", || node.delivered() == 1).await;
    node.next_day();
    // The next try is due by the clock of the days.
    let passes = || node.clock.fetch_add(1, Ordering::Relaxed);
    eventually("it is posted again", || passes() > 0 && host.asked().len() >= 2).await;
    assert_eq!(node.ended("Posted"), 0);
    host.answers(Answer::status("201 Created"));
    eventually("it is taken", || passes() > 0 && node.ended("Posted") == 1).await;
    let asked = host.asked();
    let want = format!("POST r.example:{} /v1?x=1", host.address.port());
    assert!(asked.iter().all(|asked| *asked == want), "{asked:?}");
    let (kind, file) = host.bodies().pop().unwrap();
    assert_eq!(kind, "application/tlsrpt+gzip");
    let report = unpacked(&file);
    assert_eq!(summary(&report), [1, 0]);
    let mut bodies = host.bodies().into_iter();
    let is_same = |(_, body): (String, Vec<u8>)| unpacked(&body)["report-id"] == report["report-id"];
    assert!(bodies.all(is_same), "one report, one id");
    assert_eq!((node.ended("Queued"), sink.taken().len()), (0, 1));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_could_believe_or_get_is_left_out() {
    let (tls, _) = certificate_for(&["mx.d.example"]);
    let sink = sink(tls).await;
    let places = "mailto:tls@d.example,https://192.0.2.1/x";
    let node = Node::start(Setup {
        domain: "a.example",
        key: None,
        dns: world("d.example", &sink, places),
        tls: ClientTls::public().unwrap(),
        mx_port: sink.address.port(),
        policy_port: 443,
    })
    .await;
    node.send("x@d.example").await;
    eventually("it is delivered", || node.delivered() == 1).await;
    // A domain that has no record by then.
    node.count("e.example");
    node.next_day();
    eventually("all places are left out", || node.ended("LeftOut") == 3).await;
    eventually("nothing is kept of it", || node.figure("report_rows") == 0).await;
    assert_eq!((node.ended("Queued"), sink.taken().len()), (0, 1));
    node.end().await;
}
