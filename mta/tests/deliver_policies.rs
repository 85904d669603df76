//! What recipients' domains and servers publish about TLS is kept: MTA-STS (RFC 8461), DANE (RFC 7672), and the header that
//! waives both (RFC 8689). Real servers on loopback: SMTP inside TLS, and HTTPS for policies.

#![allow(clippy::unwrap_used, reason = "tests and their parts")]

mod deliver_support;
#[path = "policy_host/mod.rs"]
mod policy_host;
mod sink;

use aws_lc_rs::digest;
use deliver_support::{Bench, SOON, Setup, certificate_for, envelope, message, store};
use policy_host::{Answer, PolicyHost};
use postroad_mta::deliver::tls::ClientTls;
use postroad_mta::dns::table::Table;
use postroad_spool::{Envelope, Notify, Spool};
use postroad_verify::dane::{self, Kind};
use postroad_verify::dns::{self, Question};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use sink::{Script, Sink, eventually};
use tokio_rustls::TlsAcceptor;

const TO: &str = "to.example";
const MX: &str = "mx.to.example";

/// A world with one domain, its mail server, its policy host, and an authority that both are known to.
struct World {
    sink: Sink,
    /// The certificate of the mail server.
    certificate: CertificateDer<'static>,
    /// The certificate of the policy host.
    web: CertificateDer<'static>,
    host: PolicyHost,
    tls: ClientTls,
}

/// What the mail server shows.
#[derive(Clone, Copy, PartialEq)]
enum Shows {
    /// A certificate for its name, of a known authority.
    Good,
    /// One that nobody knows.
    Unknown,
    /// One for another name.
    Misnamed,
    /// No STARTTLS.
    Nothing,
}

async fn world(shows: Shows, policy: Answer) -> World {
    let (acceptor, certificate) = certificate_for(&[if shows == Shows::Misnamed { "x.example" } else { MX }]);
    let (web, web_root) = certificate_for(&["mta-sts.to.example"]);
    let mut roots = RootCertStore::empty();
    roots.add(web_root.clone()).unwrap();
    if shows != Shows::Unknown {
        roots.add(certificate.clone()).unwrap();
    }
    World {
        sink: sink(Some(acceptor).filter(|_| shows != Shows::Nothing)).await,
        certificate,
        web: web_root,
        host: PolicyHost::start(web, policy).await,
        tls: ClientTls::trusting(roots).unwrap(),
    }
}

async fn sink(tls: Option<TlsAcceptor>) -> Sink {
    let inside = tls.is_some().then(|| vec!["PIPELINING", "REQUIRETLS"]);
    Sink::start(Script {
        inside,
        tls,
        ..Script::default()
    })
    .await
}

impl World {
    /// The DNS of the domain, with a policy of this version.
    fn dns(&self, id: &str) -> Table {
        record(self.plain(), id)
    }

    /// The same without a policy.
    fn plain(&self) -> Table {
        Table::default()
            .mx(TO, 10, MX)
            .address(MX, self.sink.address.ip())
            .address("mta-sts.to.example", self.host.address.ip())
    }

    fn setup(&self, tls: &str, dns: Table) -> Setup {
        Setup {
            policies: format!(
                "dnssec: Trusted\npolicies:\n  - name: test/mx\n    routes: [{{to: {{direct: {{allowedNetworks: [127.0.0.0/8]}}}}, tls: {tls}}}]\n    retry: {SOON}\n"
            ),
            dns,
            mx_port: self.sink.address.port(),
            policy_port: self.host.address.port(),
            tls: Some(self.tls.clone()),
            ..Setup::default()
        }
    }

    /// The proofs of the domain: its MX record, the address of its server, and these TLSA records.
    fn proven(&self, dns: Table, records: &[Vec<u8>]) -> Table {
        let port = self.sink.address.port();
        dns.proof(TO, Kind::Mx, found(true, &[MX.as_bytes().to_vec()]))
            .proof(MX, Kind::A, found(true, &[vec![]]))
            .proof(&format!("_{port}._tcp.{MX}"), Kind::Tlsa, found(true, records))
    }

    /// DANE-EE(3) Cert(0) SHA2-256(1) of the server's certificate.
    fn tlsa(&self) -> Vec<u8> {
        tlsa(3, &self.certificate)
    }
}

fn tlsa(usage: u8, part: &[u8]) -> Vec<u8> {
    [&[usage, 0, 1][..], digest::digest(&digest::SHA256, part).as_ref()].concat()
}

fn found(proven: bool, data: &[Vec<u8>]) -> dane::Answer {
    dane::Answer::Found {
        proven,
        end: None,
        data: data.to_vec(),
    }
}

fn record(dns: Table, id: &str) -> Table {
    let question = Question {
        name: format!("_mta-sts.{TO}"),
        kind: dns::Kind::Txt,
    };
    let text = format!("v=STSv1; id={id}").into_bytes();
    dns.answers(question, dns::Answer::Txt(vec![text]))
}

fn policy(mode: &str, mx: &str) -> Answer {
    Answer::policy(&format!(
        "version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 86400\n"
    ))
}

fn mail() -> Envelope {
    let mut envelope = envelope("a@from.example", &["b@to.example"]);
    envelope.recipients[0].notify = Notify::NEVER;
    envelope
}

/// Makes a DNS.
type Made<'a> = Box<dyn Fn() -> Table + 'a>;

/// What became of a message: whether it went inside TLS, or that it waits, with the counter that says so.
#[derive(Debug, PartialEq)]
enum Went {
    InTls,
    InClear,
    Waits,
    Back,
}

async fn send(world: &World, setup: Setup, envelope: Envelope, body: Vec<u8>, counted: &str) -> Went {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), setup);
    let before = world.sink.taken().len();
    bench.submit(envelope, body).await;
    let figure = |outcome: &str| bench.figure(&format!("deliveries_total{{outcome=\"{outcome}\"}}"));
    eventually("an attempt", || {
        figure("Delivered") + figure("Deferred") + figure("Failed") >= 1
    })
    .await;
    if !counted.is_empty() {
        let (policy, outcome) = counted.split_once(' ').unwrap();
        let name = format!("tls_policies_total{{policy=\"{policy}\",outcome=\"{outcome}\"}}");
        assert!(bench.figure(&name) >= 1, "{name}");
    }
    let went = if figure("Delivered") >= 1 {
        let taken = &world.sink.taken()[before];
        if taken.tls { Went::InTls } else { Went::InClear }
    } else {
        assert_eq!(world.sink.taken().len(), before, "nothing leaves otherwise");
        if figure("Failed") >= 1 {
            Went::Back
        } else {
            Went::Waits
        }
    };
    bench.stop().await;
    went
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enforced_policy_needs_a_server_that_it_names_and_that_proves_itself() {
    for (shows, mx, want, counted) in [
        (Shows::Good, "mx.to.example", Went::InTls, "MtaSts Delivered"),
        (Shows::Good, "*.to.example", Went::InTls, "MtaSts Delivered"),
        (Shows::Good, "*.example", Went::Waits, ""),
        (Shows::Unknown, MX, Went::Waits, "MtaSts Deferred"),
        (Shows::Misnamed, MX, Went::Waits, "MtaSts Deferred"),
        (Shows::Nothing, MX, Went::Waits, "MtaSts Deferred"),
    ] {
        let world = world(shows, policy("enforce", mx)).await;
        let setup = world.setup("Automatic", world.dns("1"));
        let went = send(&world, setup, mail(), message("x"), counted).await;
        assert_eq!(went, want, "{mx} {counted}");
        assert_eq!(
            world.host.asked(),
            ["GET mta-sts.to.example /.well-known/mta-sts.txt"]
        );
    }
}

/// As a configuration has it, in one line.
fn pem(certificates: &[&CertificateDer<'static>]) -> String {
    use base64::Engine as _;
    let one = |certificate: &&CertificateDer<'static>| {
        let coded = base64::engine::general_purpose::STANDARD.encode(certificate);
        format!(r"-----BEGIN CERTIFICATE-----\n{coded}\n-----END CERTIFICATE-----\n")
    };
    format!("\"{}\"", certificates.iter().map(one).collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_of_a_direct_route_vouch_for_servers_and_policy_hosts_alike() {
    let (_, other) = certificate_for(&["x.example"]);
    // The public authorities know the policy host, and the server where it is good; of the route they are none.
    for (shows, names, want, asked) in [
        (Shows::Unknown, "both", Went::InTls, 1),
        (Shows::Good, "web", Went::Waits, 1),
        // A policy that cannot be had is none.
        (Shows::Good, "other", Went::InTls, 0),
    ] {
        let world = world(shows, policy("enforce", MX)).await;
        let named = match names {
            "both" => pem(&[&world.web, &world.certificate]),
            "web" => pem(&[&world.web]),
            _ => pem(&[&other]),
        };
        let setup = world.setup(&format!("Automatic, authorities: {named}"), world.dns("1"));
        let went = send(&world, setup, mail(), message("x"), "").await;
        assert_eq!((went, world.host.asked().len()), (want, asked), "{names}");
    }
}

/// On the volume of one pod: a route with authorities of its own gives no other route what these let in.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_authorities_of_a_route_let_in_is_none_to_other_routes() {
    let mut world = world(Shows::Unknown, policy("enforce", "mail.other.example")).await;
    // A host that the public authorities do not know.
    let (web, root) = certificate_for(&["mta-sts.to.example"]);
    world.host = PolicyHost::start(web, policy("enforce", "mail.other.example")).await;
    let own = format!("Automatic, authorities: {}", pem(&[&root]));
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(dir.path(), &deliver_support::options()).unwrap();
    store(&spool, mail(), message("x")).await;
    drop(spool);
    for _ in 0..2 {
        let bench = Bench::start(dir.path(), world.setup(&own, world.dns("1")));
        eventually("it waits", || {
            bench.figure("deliveries_total{outcome=\"Deferred\"}") >= 1
        })
        .await;
        bench.stop().await;
    }
    let known = (world.host.asked().len(), world.sink.taken().len());
    assert_eq!(
        known,
        (2, 0),
        "kept, and asked for once more as it bars every server"
    );
    let bench = Bench::start(dir.path(), world.setup("Automatic", world.dns("1")));
    assert!(world.sink.wait_for(1).await[0].tls);
    bench.empty().await;
    bench.stop().await;
    assert_eq!(world.host.asked().len(), 2, "nobody vouches for it on this route");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_policy_asks_for_nothing() {
    for (what, answer) in [
        ("testing", policy("testing", "mail.other.example")),
        (
            "none",
            Answer::policy("version: STSv1\nmode: none\nmax_age: 60\n"),
        ),
        (
            "broken",
            Answer::policy("version: STSv1\nmode: enforce\nmax_age: 60\n"),
        ),
        ("a redirect", Answer::redirect()),
        ("not found", Answer::status("404 Not Found")),
        (
            "another type",
            policy("enforce", "mail.other.example").of_type("text/html"),
        ),
        ("too long", Answer::policy(&"x: y\n".repeat(20_000))),
    ] {
        let world = world(Shows::Unknown, answer).await;
        let counted = if what == "testing" {
            "MtaStsTesting Delivered"
        } else {
            ""
        };
        let setup = world.setup("Automatic", world.dns("1"));
        let went = send(&world, setup, mail(), message("x"), counted).await;
        assert_eq!(went, Went::InTls, "{what}");
        assert_eq!(world.host.asked().len(), 1, "{what}");
    }
    // Without a record nothing is fetched; other modes fetch nothing either.
    let world = world(Shows::Unknown, policy("enforce", "mail.other.example")).await;
    for (mode, dns) in [("Automatic", world.plain()), ("Opportunistic", world.dns("1"))] {
        let went = send(&world, world.setup(mode, dns), mail(), message("x"), "").await;
        assert_eq!((went, world.host.asked().len()), (Went::InTls, 0), "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_host_that_proves_nothing_is_not_believed() {
    let (stranger, _) = certificate_for(&["mta-sts.to.example"]);
    let mut world = world(Shows::Unknown, policy("enforce", "mail.other.example")).await;
    world.host = PolicyHost::start(stranger, policy("enforce", "mail.other.example")).await;
    let setup = world.setup("Automatic", world.dns("1"));
    assert_eq!(send(&world, setup, mail(), message("x"), "").await, Went::InTls);
    assert_eq!(world.host.asked().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_kept_outlives_a_restart_its_record_and_its_host() {
    let world = world(Shows::Unknown, policy("enforce", MX)).await;
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(dir.path(), &deliver_support::options()).unwrap();
    store(&spool, mail(), message("x")).await;
    drop(spool);
    let is_deferred =
        |bench: &Bench| bench.figure("tls_policies_total{policy=\"MtaSts\",outcome=\"Deferred\"}") >= 1;
    let bench = Bench::start(dir.path(), world.setup("Automatic", world.dns("1")));
    eventually("it waits", || is_deferred(&bench)).await;
    bench.stop().await;
    let silent = || world.plain().silent("_mta-sts.to.example");
    for dns in [world.plain(), silent(), world.dns("1")] {
        let bench = Bench::start(dir.path(), world.setup("Automatic", dns));
        eventually("it waits", || is_deferred(&bench)).await;
        bench.stop().await;
    }
    assert_eq!(world.host.asked().len(), 1, "it was fetched once");
    // Another version is fetched; where that fails, the one that is kept goes on.
    world.host.answers(Answer::status("500 Trouble"));
    let bench = Bench::start(dir.path(), world.setup("Automatic", world.dns("2")));
    eventually("it waits", || is_deferred(&bench)).await;
    bench.stop().await;
    assert_eq!((world.host.asked().len(), world.sink.taken().len()), (2, 0));
    world.host.answers(policy("none", MX));
    let bench = Bench::start(dir.path(), world.setup("Automatic", world.dns("2")));
    assert!(world.sink.wait_for(1).await[0].tls);
    bench.empty().await;
    bench.stop().await;
}

/// A world whose policy names another server, and a spool with a message that waits for it.
async fn barred() -> (World, tempfile::TempDir) {
    let world = world(Shows::Good, policy("enforce", "mx.moved.example")).await;
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(dir.path(), &deliver_support::options()).unwrap();
    store(&spool, mail(), message("x")).await;
    drop(spool);
    waits(&world, &dir, world.dns("1"), 2).await;
    assert_eq!(world.host.asked().len(), 1, "however often it is tried");
    (world, dir)
}

/// Runs until the message was tried so often, and waits.
async fn waits(world: &World, dir: &tempfile::TempDir, dns: Table, times: u64) {
    let bench = Bench::start(dir.path(), world.setup("Automatic", dns));
    eventually("it is tried", || {
        bench.figure("deliveries_total{outcome=\"Deferred\"}") >= times
    })
    .await;
    bench.stop().await;
    assert_eq!(world.sink.taken().len(), 0);
}

/// Runs until the message is delivered.
async fn leaves(world: &World, dir: &tempfile::TempDir, dns: Table) {
    let bench = Bench::start(dir.path(), world.setup("Automatic", dns));
    assert!(world.sink.wait_for(1).await[0].tls);
    bench.empty().await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_id_brings_the_new_policy_though_only_its_servers_are_others() {
    let (world, dir) = barred().await;
    world.host.answers(policy("enforce", MX));
    leaves(&world, &dir, world.dns("2")).await;
    assert_eq!(world.host.asked().len(), 2);
}

/// RFC 8461 section 5.1: no mail fails for good before somebody has looked for a newer policy.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_bars_every_server_is_fetched_again_though_its_id_is_the_same() {
    for dns in [
        |world: &World| world.dns("1"),
        |world: &World| world.plain().silent("_mta-sts.to.example"),
    ] {
        let (world, dir) = barred().await;
        // One that cannot be had takes nothing away.
        world.host.answers(Answer::status("500 Trouble"));
        waits(&world, &dir, dns(&world), 1).await;
        assert_eq!(world.host.asked().len(), 2);
        world.host.answers(policy("enforce", MX));
        leaves(&world, &dir, dns(&world)).await;
        assert_eq!(world.host.asked().len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dane_needs_the_certificate_that_is_recorded() {
    for (what, shows, good, wrong, mode, want, counted) in [
        (
            "it matches",
            Shows::Unknown,
            true,
            false,
            "Automatic",
            Went::InTls,
            "Dane Delivered",
        ),
        (
            "it matches",
            Shows::Misnamed,
            true,
            false,
            "DaneOnly",
            Went::InTls,
            "Dane Delivered",
        ),
        (
            "one of two matches",
            Shows::Unknown,
            true,
            true,
            "Automatic",
            Went::InTls,
            "Dane Delivered",
        ),
        (
            "another one",
            Shows::Good,
            false,
            true,
            "Automatic",
            Went::Waits,
            "Dane Deferred",
        ),
        (
            "another one",
            Shows::Good,
            false,
            true,
            "DaneOnly",
            Went::Waits,
            "Dane Deferred",
        ),
        (
            "no STARTTLS",
            Shows::Nothing,
            true,
            false,
            "Automatic",
            Went::Waits,
            "Dane Deferred",
        ),
    ] {
        // DANE comes before MTA-STS, which would want another server.
        let world = world(shows, policy("enforce", "mail.other.example")).await;
        let mut records = vec![];
        records.extend(good.then(|| world.tlsa()));
        records.extend(wrong.then(|| tlsa(3, b"another")));
        let dns = world.proven(world.dns("1"), &records);
        let went = send(&world, world.setup(mode, dns), mail(), message("x"), counted).await;
        assert_eq!(went, want, "{what} {mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_usable_records_dane_asks_for_tls_or_for_nothing() {
    let world = world(Shows::Unknown, policy("none", MX)).await;
    let (good, unusable) = (vec![world.tlsa()], vec![tlsa(1, b"x")]);
    let port = world.sink.address.port();
    let at = format!("_{port}._tcp.{MX}");
    let proven = |records: &[Vec<u8>]| world.proven(world.plain(), records);
    let wrong = || proven(&[tlsa(3, b"another")]);
    let cases: Vec<(&str, Made<'_>)> = vec![
        ("unusable", Box::new(|| proven(&unusable))),
        (
            "none",
            Box::new(|| proven(&good).proof(&at, Kind::Tlsa, dane::Answer::Nothing)),
        ),
        (
            "not proven",
            Box::new(|| wrong().proof(&at, Kind::Tlsa, found(false, &good))),
        ),
        (
            "address not proven",
            Box::new(|| wrong().proof(MX, Kind::A, found(false, &[vec![]]))),
        ),
        (
            "MX not proven",
            Box::new(|| wrong().proof(TO, Kind::Mx, found(false, &[MX.into()]))),
        ),
    ];
    for (what, dns) in &cases {
        for (mode, want) in [("Automatic", Went::InTls), ("DaneOnly", Went::Waits)] {
            let counted = if (*what, mode) == ("unusable", "Automatic") {
                "Dane Delivered"
            } else {
                ""
            };
            let went = send(&world, world.setup(mode, dns()), mail(), message("x"), counted).await;
            assert_eq!(went, want, "{what} {mode}");
        }
    }
    // A server that says by unusable records that it has TLS gets nothing in the clear.
    let bare = self::world(Shows::Nothing, policy("none", MX)).await;
    let dns = bare.proven(bare.plain(), &unusable);
    let went = send(
        &bare,
        bare.setup("Automatic", dns),
        mail(),
        message("x"),
        "Dane Deferred",
    )
    .await;
    assert_eq!(went, Went::Waits);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_of_dane_makes_mail_wait_and_nobody_is_asked_without_validation() {
    let world = world(Shows::Good, policy("none", MX)).await;
    let port = world.sink.address.port();
    let proven = || world.proven(world.plain(), &[world.tlsa()]);
    for (name, kind) in [
        (TO.to_owned(), Kind::Mx),
        (MX.to_owned(), Kind::A),
        (format!("_{port}._tcp.{MX}"), Kind::Tlsa),
    ] {
        let dns = proven().proof(&name, kind, dane::Answer::Failure);
        let went = send(&world, world.setup("Automatic", dns), mail(), message("x"), "").await;
        assert_eq!(went, Went::Waits, "{name}");
    }
    // The answer that names the server is not the one that is proven: it was forged on its way.
    for (mx, mode) in [
        (found(true, &[b"other.example".to_vec()]), "Automatic"),
        (dane::Answer::Nothing, "Automatic"),
        (dane::Answer::Nothing, "DaneOnly"),
    ] {
        let dns = proven().proof(TO, Kind::Mx, mx);
        let went = send(&world, world.setup(mode, dns), mail(), message("x"), "").await;
        assert_eq!(went, Went::Waits, "{mode}");
    }
    for (mode, want) in [("Automatic", Went::InTls), ("DaneOnly", Went::Waits)] {
        let dns = proven().proof(TO, Kind::Mx, dane::Answer::Failure);
        let mut setup = world.setup(mode, dns);
        setup.policies = setup.policies.replace("dnssec: Trusted\n", "");
        assert_eq!(
            send(&world, setup, mail(), message("x"), "").await,
            want,
            "{mode}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requiretls_goes_to_servers_that_a_policy_proves_whatever_the_route_says() {
    let must = || Envelope {
        require_tls: true,
        ..mail()
    };
    for mode in ["Opportunistic", "Automatic"] {
        let world = world(Shows::Good, policy("enforce", MX)).await;
        let setup = world.setup(mode, world.dns("1"));
        let went = send(&world, setup, must(), message("x"), "MtaSts Delivered").await;
        assert_eq!(went, Went::InTls, "{mode}");
        let setup = world.setup(mode, world.proven(world.plain(), &[world.tlsa()]));
        let went = send(&world, setup, must(), message("x"), "Dane Delivered").await;
        assert_eq!(went, Went::InTls, "{mode}");
        // A proven MX record without TLSA records: a public authority vouches for the name.
        let dns = world.proven(world.plain(), &[]);
        let went = send(&world, world.setup(mode, dns), must(), message("x"), "").await;
        assert_eq!(went, Went::InTls, "{mode}");
        let said = |taken: &sink::Taken| taken.mail.ends_with(" REQUIRETLS");
        assert!(world.sink.taken().iter().all(said), "{mode}");
        // Nobody proves the name.
        let went = send(&world, world.setup(mode, world.plain()), must(), message("x"), "").await;
        assert_eq!(went, Went::Back, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_waives_what_the_domain_asks_for_and_nothing_of_ours() {
    let waived = |size: usize| {
        let body = "x".repeat(70).repeat(size);
        format!("Subject: your certificate\r\nTLS-Required: No\r\n\r\n{body}\r\n").into_bytes()
    };
    for (shows, want) in [(Shows::Unknown, Went::InTls), (Shows::Nothing, Went::InClear)] {
        let world = world(shows, policy("enforce", MX)).await;
        let wrong = || world.proven(world.dns("1"), &[tlsa(3, b"another")]);
        // A small message is in memory, a large one is not.
        for size in [1, 20_000] {
            for dns in [world.dns("1"), wrong()] {
                let setup = world.setup("Automatic", dns);
                let went = send(&world, setup, mail(), waived(size), "Waived Delivered").await;
                assert_eq!(went, want, "{size}");
            }
        }
        let setup = world.setup("DaneOnly", wrong());
        assert_eq!(send(&world, setup, mail(), waived(1), "").await, Went::Waits);
        let setup = world.setup("Automatic", world.dns("1"));
        assert_eq!(send(&world, setup, mail(), message("x"), "").await, Went::Waits);
    }
}
