//! RFC 3461 section 5.2, all of it: for each NOTIFY, each kind of next hop and each end of a message, what is passed on
//! and who is told; with DELIVERBY (RFC 2852) and REQUIRETLS (RFC 8689) beside it.

#![allow(clippy::unwrap_used, reason = "tests and their parts")]

mod deliver_support;
mod sink;

use deliver_support::{Bench, SOON, Setup, certificate_for, envelope, message, to_hosts};
use postroad_mta::deliver::tls::ClientTls;
use postroad_mta::queue::clock;
use postroad_spool::{ByMode, DeliverBy, Envelope, Notify, Ret};
use sink::{Script, Sink, Taken};

/// A next hop that takes mail, or refuses the recipient.
fn hop(extensions: &[&'static str], takes: bool) -> Script {
    Script {
        extensions: extensions.to_vec(),
        rcpt: Box::new(move |address, _| match address {
            "b@to.example" if !takes => "550 5.1.1 no".into(),
            _ => "250 2.1.5 ok".into(),
        }),
        ..Script::default()
    }
}

/// Sends it; all that arrived at the hop, the notice behind the message.
async fn send(script: Script, tls: Option<ClientTls>, envelope: Envelope) -> Vec<Taken> {
    let sink = Sink::start(script).await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(
        dir.path(),
        Setup {
            policies: to_hosts(&[sink.address], "Opportunistic", SOON),
            tls,
            ..Setup::default()
        },
    );
    bench.submit(envelope, message("x")).await;
    bench.empty().await;
    bench.stop().await;
    sink.taken()
}

fn asked(notify: Notify) -> Envelope {
    let mut envelope = Envelope {
        ret: Some(Ret::Full),
        envid: Some("id+2B1".into()),
        ..envelope("a@from.example", &["b@to.example"])
    };
    envelope.recipients[0].notify = notify;
    envelope.recipients[0].orcpt = Some("rfc822;c+2Bd@first.example".into());
    envelope
}

/// What the notice says happened; the notice is the one with the null reverse-path.
fn told(taken: &[Taken]) -> Option<String> {
    let notice = taken
        .iter()
        .find(|taken| taken.mail.starts_with("MAIL FROM:<>"))?;
    let text = notice.text();
    let action = text.lines().find_map(|line| line.strip_prefix("Action: "))?;
    assert!(text.contains("\nOriginal-Envelope-Id: id+1\r\n"), "{text}");
    assert!(
        text.contains("\nOriginal-Recipient: rfc822; c+d@first.example\r\n"),
        "{text}"
    );
    Some(action.to_owned())
}

fn passed(taken: &[Taken]) -> Option<(String, String)> {
    let message = taken
        .iter()
        .find(|taken| !taken.mail.starts_with("MAIL FROM:<>"))?;
    let rcpt = message.rcpt[0].trim_start_matches("RCPT TO:<b@to.example>");
    let mail = message.mail.trim_start_matches("MAIL FROM:<a@from.example>");
    Some((mail.trim().to_owned(), rcpt.trim().to_owned()))
}

const ALL: [(Notify, &str); 6] = [
    (Notify::UNSET, ""),
    (Notify::NEVER, "NOTIFY=NEVER "),
    (Notify::SUCCESS, "NOTIFY=SUCCESS "),
    (Notify::FAILURE, "NOTIFY=FAILURE "),
    (Notify::DELAY, "NOTIFY=DELAY "),
    (Notify::from_bits(7), "NOTIFY=SUCCESS,FAILURE,DELAY "),
];

fn wants_success(notify: Notify) -> bool {
    notify.contains(Notify::SUCCESS)
}

fn wants_failure(notify: Notify) -> bool {
    notify == Notify::UNSET || notify.contains(Notify::FAILURE)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hop_with_dsn_gets_the_request_as_it_came_and_reports_itself() {
    for (notify, parameter) in ALL {
        let taken = send(hop(&["DSN"], true), None, asked(notify)).await;
        let want = (
            "RET=FULL ENVID=id+2B1".to_owned(),
            format!("{parameter}ORCPT=rfc822;c+2Bd@first.example"),
        );
        assert_eq!(passed(&taken), Some(want), "{notify:?}");
        assert_eq!(told(&taken), None, "{notify:?}: section 5.2.1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hop_without_dsn_gets_none_of_it_and_success_is_reported_as_relayed() {
    for (notify, _) in ALL {
        let taken = send(hop(&["PIPELINING"], true), None, asked(notify)).await;
        assert_eq!(passed(&taken), Some((String::new(), String::new())), "{notify:?}");
        let want = wants_success(notify).then(|| "relayed".to_owned());
        assert_eq!(told(&taken), want, "{notify:?}: section 5.2.2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_reported_unless_it_was_not_asked_for() {
    for extensions in [&["DSN"][..], &["PIPELINING"]] {
        for (notify, _) in ALL {
            let taken = send(hop(extensions, false), None, asked(notify)).await;
            let want = wants_failure(notify).then(|| "failed".to_owned());
            assert_eq!(told(&taken), want, "{extensions:?} {notify:?}: section 5.2.6");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_null_reverse_path_is_told_nothing() {
    for takes in [true, false] {
        let mut envelope = asked(Notify::from_bits(7));
        envelope.reverse_path = String::new();
        let taken = send(hop(&["PIPELINING"], takes), None, envelope).await;
        assert_eq!(taken.len(), usize::from(takes), "no notice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_to_deliver_by_is_reported_by_the_same_rules() {
    for mode in [ByMode::Notify, ByMode::Return] {
        for (notify, _) in ALL {
            let envelope = Envelope {
                deliver_by: Some(DeliverBy {
                    deadline: clock::now() + 600_000,
                    mode,
                    trace: false,
                }),
                ..asked(notify)
            };
            let taken = send(hop(&["DSN"], true), None, envelope).await;
            // RFC 2852 section 4.1.4: the hop keeps no time. What is only to be told goes on, and that is told.
            let want = match mode {
                ByMode::Notify => (notify != Notify::NEVER).then(|| "relayed".to_owned()),
                ByMode::Return => wants_failure(notify).then(|| "failed".to_owned()),
            };
            assert_eq!(told(&taken), want, "{mode:?} {notify:?}");
            assert_eq!(passed(&taken).is_some(), mode == ByMode::Notify, "{mode:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requiretls_returns_the_header_alone_whatever_ret_says() {
    let (acceptor, root) = certificate_for(&["127.0.0.1"]);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).unwrap();
    let tls = ClientTls::trusting(roots).unwrap();
    for require_tls in [true, false] {
        let script = Script {
            tls: Some(acceptor.clone()),
            ..hop(&["DSN", "REQUIRETLS"], false)
        };
        let envelope = Envelope {
            require_tls,
            ..asked(Notify::UNSET)
        };
        let taken = send(script, Some(tls.clone()), envelope).await;
        assert_eq!(told(&taken).as_deref(), Some("failed"));
        assert_eq!(
            taken[0].mail.contains("REQUIRETLS"),
            require_tls,
            "{}",
            taken[0].mail
        );
        assert_eq!(taken[0].text().contains("leading dot"), !require_tls, "RET=FULL");
    }
}

/// A domain that is the server's own name, with a key: its notices are signed.
#[tokio::test]
async fn a_notice_is_signed_where_the_servers_name_has_keys() {
    use postroad_verify::dkim::{Algorithm, Header, Limits, PrivateKey, Verdict, Verifier, Wanted};
    use postroad_verify::dns::Answer;

    let key = PrivateKey::generate(Algorithm::RsaSha256).unwrap();
    let pem = serde_json::to_string(&*key.to_pem().unwrap()).unwrap();
    let sink = Sink::start(hop(&[], false)).await;
    let dir = tempfile::tempdir().unwrap();
    let policies = to_hosts(&[sink.address], "Opportunistic", SOON);
    let domains =
        format!("domains:\n  - {{name: mail.test.example, dkim: {{keys: [{{selector: n, key: {pem}}}]}}}}\n");
    let bench = Bench::start(
        dir.path(),
        Setup {
            policies: policies + &domains,
            ..Setup::default()
        },
    );
    bench.submit(asked(Notify::FAILURE), message("x")).await;
    bench.empty().await;
    bench.stop().await;
    let taken = sink.taken();
    let notice = taken
        .iter()
        .find(|taken| taken.mail.starts_with("MAIL FROM:<>"))
        .unwrap();
    let text = notice.text();
    let (section, body) = Header::split(text.as_bytes());
    let mut wanted = Wanted::new();
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
    let mut verifier = Verifier::new(&Header::parse(section), &Limits::default(), now, &mut wanted);
    for question in verifier.questions() {
        assert_eq!(question.name, "n._domainkey.mail.test.example");
        let record = key.record().unwrap().into_bytes();
        verifier.answer(&question, &Answer::Txt(vec![record]));
    }
    let mut hasher = wanted.hasher();
    hasher.update(body);
    let outcomes = verifier.finish(&hasher.finish());
    let verdicts: Vec<Verdict> = outcomes.iter().map(|outcome| outcome.verdict).collect();
    assert_eq!(verdicts, [Verdict::Pass], "{outcomes:?}\n{text}");
}
