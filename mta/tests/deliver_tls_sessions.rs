//! What is counted of sessions over TLS for reports (RFC 8460), and of which: real servers on loopback, SMTP inside TLS and HTTPS
//! for policies.

#![allow(clippy::unwrap_used, reason = "tests and their parts")]

mod deliver_support;
#[path = "policy_host/mod.rs"]
mod policy_host;
mod sink;

use std::sync::{Arc, Mutex};

use aws_lc_rs::digest;
use deliver_support::{Bench, Setup, certificate_for, certificate_until, envelope, message};
use policy_host::{Answer, PolicyHost};
use postroad_mta::deliver::telling::{Counter, TlsSessions};
use postroad_mta::deliver::tls::ClientTls;
use postroad_mta::dns::table::Table;
use postroad_verify::dane::{self, Kind};
use postroad_verify::dns::{self, Question};
use postroad_verify::tls_rpt::{PolicyType, ResultType, Session};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use sink::{Script, Sink, Trick, eventually};

const TO: &str = "to.example";
const MX: &str = "mx.to.example";

/// Notes what is counted.
#[derive(Default)]
struct Notes {
    off: bool,
    told: Mutex<Vec<(String, Session)>>,
}

impl TlsSessions for Notes {
    fn are_counted(&self) -> bool {
        !self.off
    }

    fn count(&self, domain: &str, session: &Session) {
        self.told
            .lock()
            .unwrap()
            .push((domain.to_owned(), session.clone()));
    }
}

/// What the mail server shows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shows {
    /// A certificate for its name, of a known authority.
    Good,
    /// One that nobody knows.
    Unknown,
    /// One for another name.
    Misnamed,
    /// One of the past.
    Expired,
    /// No STARTTLS.
    Nothing,
    /// A handshake that fails.
    Broken,
}

/// A domain with its mail server and its policy host.
struct World {
    sink: Sink,
    certificate: CertificateDer<'static>,
    host: PolicyHost,
    tls: ClientTls,
    mode: &'static str,
    dns: Table,
    notes: Arc<Notes>,
    body: Vec<u8>,
}

async fn world(shows: Shows) -> World {
    let name = if shows == Shows::Misnamed { "x.example" } else { MX };
    let year = if shows == Shows::Expired { 2000 } else { 4096 };
    let (acceptor, certificate) = certificate_until(&[name], year);
    let (web, web_root) = certificate_for(&["mta-sts.to.example"]);
    let mut roots = RootCertStore::empty();
    roots.add(web_root).unwrap();
    if shows != Shows::Unknown {
        roots.add(certificate.clone()).unwrap();
    }
    let sink = Sink::start(Script {
        tls: Some(acceptor).filter(|_| shows != Shows::Nothing),
        trick: if shows == Shows::Broken {
            Trick::BrokenTls
        } else {
            Trick::None
        },
        ..Script::default()
    })
    .await;
    let host = PolicyHost::start(web, Answer::status("404 Not Found")).await;
    let dns = Table::default()
        .mx(TO, 10, MX)
        .address(MX, sink.address.ip())
        .address("mta-sts.to.example", host.address.ip());
    World {
        dns: text(
            dns,
            "_smtp._tls.to.example",
            "v=TLSRPTv1; rua=mailto:tls@to.example",
        ),
        sink,
        certificate,
        host,
        tls: ClientTls::trusting(roots).unwrap(),
        mode: "Automatic",
        notes: Arc::default(),
        body: message("x"),
    }
}

fn text(dns: Table, name: &str, text: &str) -> Table {
    let question = Question {
        name: name.to_owned(),
        kind: dns::Kind::Txt,
    };
    dns.answers(question, dns::Answer::Txt(vec![text.into()]))
}

impl World {
    /// The domain has a policy, which its host answers so.
    fn policy(mut self, answer: Answer) -> Self {
        self.host.answers(answer);
        self.dns = text(self.dns, "_mta-sts.to.example", "v=STSv1; id=1");
        self
    }

    fn sts(self, mode: &str, mx: &str) -> Self {
        let policy = format!("version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 86400\n");
        self.policy(Answer::policy(&policy))
    }

    /// The names of the domain are proven, and its server has these records; none: they are not to be had.
    fn dane(mut self, records: Option<&[Vec<u8>]>) -> Self {
        let port = self.sink.address.port();
        let found = |data: &[Vec<u8>]| dane::Answer::Found {
            proven: true,
            end: None,
            data: data.to_vec(),
        };
        self.dns = self
            .dns
            .proof(TO, Kind::Mx, found(&[MX.as_bytes().to_vec()]))
            .proof(MX, Kind::A, found(&[vec![]]))
            .proof(
                &format!("_{port}._tcp.{MX}"),
                Kind::Tlsa,
                records.map_or(dane::Answer::Failure, found),
            );
        self
    }

    fn record(&self, usage: u8) -> Vec<u8> {
        let digest = digest::digest(&digest::SHA256, &self.certificate);
        [&[usage, 0, 1][..], digest.as_ref()].concat()
    }

    /// One attempt on one message: what is counted, in words, and whether it was delivered.
    async fn send(self) -> (Vec<(String, Session)>, bool) {
        let dir = tempfile::tempdir().unwrap();
        let setup = Setup {
            policies: format!(
                "dnssec: Trusted\npolicies:\n  - name: test/mx\n    routes: [{{to: {{direct: {{allowedNetworks: [127.0.0.0/8]}}}}, tls: {}}}]\n    retry: {{first: 1h, max: 1h}}\n",
                self.mode
            ),
            dns: self.dns,
            mx_port: self.sink.address.port(),
            policy_port: self.host.address.port(),
            tls: Some(self.tls.clone()),
            tls_sessions: Some(Counter(self.notes.clone())),
        };
        let bench = Bench::start(dir.path(), setup);
        bench
            .submit(envelope("a@from.example", &["b@to.example"]), self.body)
            .await;
        let figure = |outcome: &str| bench.figure(&format!("deliveries_total{{outcome=\"{outcome}\"}}"));
        eventually("an attempt", || figure("Delivered") + figure("Deferred") >= 1).await;
        let delivered = figure("Delivered") >= 1;
        bench.stop().await;
        let told = self.notes.told.lock().unwrap().clone();
        (told, delivered)
    }
}

fn in_words(told: &[(String, Session)]) -> Vec<(PolicyType, &str, Option<ResultType>)> {
    let word = |(domain, session): &'_ (String, Session)| {
        assert_eq!(domain, TO);
        session.failure.as_ref().map(|failure| failure.result_type)
    };
    told.iter()
        .map(|one| {
            (
                one.1.policy.policy_type,
                one.1.policy.policy_domain.as_str(),
                word(one),
            )
        })
        .collect()
}

async fn counts(world: World, delivered: bool, want: &[(PolicyType, &str, Option<ResultType>)]) {
    let (told, was_delivered) = world.send().await;
    assert_eq!(in_words(&told), want);
    assert_eq!(was_delivered, delivered, "{want:?}");
}

use PolicyType::{NoPolicyFound, Sts, Tlsa};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_tls_counts_whatever_the_certificate() {
    for (shows, result) in [
        (Shows::Good, None),
        (Shows::Unknown, None),
        (Shows::Expired, None),
        (Shows::Nothing, Some(ResultType::StarttlsNotSupported)),
        (Shows::Broken, Some(ResultType::ValidationFailure)),
    ] {
        counts(world(shows).await, true, &[(NoPolicyFound, TO, result)]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_told_with_what_the_server_shows() {
    for (shows, result) in [
        (Shows::Good, None),
        (Shows::Unknown, Some(ResultType::CertificateNotTrusted)),
        (Shows::Misnamed, Some(ResultType::CertificateHostMismatch)),
        (Shows::Expired, Some(ResultType::CertificateExpired)),
        (Shows::Nothing, Some(ResultType::StarttlsNotSupported)),
    ] {
        let enforced = world(shows).await.sts("enforce", MX);
        counts(enforced, result.is_none(), &[(Sts, TO, result)]).await;
        // One that is tried out finds the same and lets the mail go.
        let testing = world(shows).await.sts("testing", MX);
        counts(testing, true, &[(Sts, TO, result)]).await;
    }
    let want = [(Sts, TO, Some(ResultType::ValidationFailure))];
    let other = world(Shows::Good).await.sts("enforce", "mail.other.example");
    counts(other, false, &want).await;
    let other = world(Shows::Good).await.sts("testing", "mail.other.example");
    counts(other, true, &want).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_cannot_be_had_is_told_beside_the_session() {
    let broken = || Answer::policy("version: STSv1\nmode: enforce\nmax_age: 60\n");
    for (answer, result) in [
        (Answer::status("404 Not Found"), ResultType::StsPolicyFetchError),
        (broken(), ResultType::StsPolicyInvalid),
    ] {
        let world = world(Shows::Good).await.policy(answer);
        counts(world, true, &[(NoPolicyFound, TO, None), (Sts, TO, Some(result))]).await;
    }
    let mut world = world(Shows::Good).await.policy(broken());
    let (stranger, _) = certificate_for(&["mta-sts.to.example"]);
    let host = PolicyHost::start(stranger, broken()).await;
    world.host = host;
    let want = [
        (NoPolicyFound, TO, None),
        (Sts, TO, Some(ResultType::StsWebpkiInvalid)),
    ];
    counts(world, true, &want).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dane_is_told_by_the_name_of_its_records() {
    let new = || world(Shows::Unknown);
    let good = new().await;
    let records = [good.record(3)];
    counts(good.dane(Some(&records)), true, &[(Tlsa, MX, None)]).await;
    let invalid = [(Tlsa, MX, Some(ResultType::TlsaInvalid))];
    let wrong = new().await.dane(Some(&[[&[3, 1, 1][..], &[7; 32]].concat()]));
    counts(wrong, false, &invalid).await;
    let unusable = new().await;
    let records = [unusable.record(1)];
    counts(unusable.dane(Some(&records)), true, &invalid).await;
    let unknown = new().await.dane(None);
    counts(unknown, false, &[(Tlsa, MX, Some(ResultType::DnssecInvalid))]).await;
    let mut needed = new().await;
    needed.mode = "DaneOnly";
    counts(needed, false, &[(Tlsa, MX, Some(ResultType::DaneRequired))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_has_its_particulars() {
    let (told, _) = world(Shows::Unknown).await.sts("enforce", MX).send().await;
    let Session { policy, failure } = &told[0].1;
    let lines = [
        "version: STSv1",
        "mode: enforce",
        "max_age: 86400",
        "mx: mx.to.example",
    ];
    assert_eq!(policy.policy_string, lines);
    assert_eq!(policy.mx_host, [MX]);
    let failure = failure.clone().unwrap();
    assert_eq!(failure.receiving_mx_hostname.as_deref(), Some(MX));
    assert_eq!(failure.receiving_mx_helo.as_deref(), Some("sink.example"));
    assert_eq!(failure.receiving_ip, Some("127.0.0.1".parse().unwrap()));
    assert_eq!(
        failure.sending_mta_ip, None,
        "a private address says nothing to others"
    );
    let reason = failure.failure_reason_code.unwrap();
    assert!(reason.starts_with("invalid peer certificate: "), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_to_be_counted_is_not() {
    let good = || world(Shows::Good);
    let no_record = good().await;
    let dns = Table::default()
        .mx(TO, 10, MX)
        .address(MX, no_record.sink.address.ip());
    let mut worlds = vec![
        ("nobody wants to know", World { dns, ..no_record }),
        ("two records", {
            let world = good().await;
            let one = b"v=TLSRPTv1; rua=mailto:tls@to.example".to_vec();
            let question = Question {
                name: "_smtp._tls.to.example".into(),
                kind: dns::Kind::Txt,
            };
            let dns = world
                .dns
                .answers(question, dns::Answer::Txt(vec![one.clone(), one]));
            World { dns, ..world }
        }),
        (
            "it is off",
            World {
                notes: Arc::new(Notes {
                    off: true,
                    ..Notes::default()
                }),
                ..good().await
            },
        ),
        (
            "the route asks for no policy",
            World {
                mode: "Opportunistic",
                ..good().await
            },
        ),
    ];
    for field in ["TLS-Report-Domain: to.example", "tls-report-domain : x"] {
        // A small message is in memory, a large one is not.
        for size in [1, 20_000] {
            let body = "x".repeat(70).repeat(size);
            let body = format!("From: <a@from.example>\r\n{field}\r\n\r\n{body}\r\n");
            worlds.push((
                "it is a report itself",
                World {
                    body: body.into_bytes(),
                    ..good().await
                },
            ));
        }
    }
    worlds.push((
        "the message waives the policies",
        World {
            body: b"TLS-Required: No\r\n\r\nx\r\n".to_vec(),
            ..good().await.sts("enforce", MX)
        },
    ));
    for (why, world) in worlds {
        let (told, delivered) = world.send().await;
        assert!(told.is_empty() && delivered, "{why}: {told:?}");
    }
    // The body may say what it likes.
    let body = b"Subject: x\r\n\r\nTLS-Report-Domain: to.example\r\n".to_vec();
    let world = World { body, ..good().await };
    counts(world, true, &[(NoPolicyFound, TO, None)]).await;
}
