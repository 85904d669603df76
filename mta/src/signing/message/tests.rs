use std::collections::BTreeMap;

use postroad_config::{Octets, assemble};
use postroad_verify::dkim::{Algorithm, Limits, PrivateKey, Verdict, Verifier};
use postroad_verify::dns::Answer;

use super::*;
use crate::metrics::Metrics;
use crate::net::{Budget, Rank};

const HEADER: &str = "From: Alice <alice@example.com>\r\nSubject: x\r\n";

struct Stage {
    settings: Arc<Settings>,
    record: String,
    metrics: Metrics,
    budget: Budget,
}

impl Stage {
    fn new() -> Self {
        let key = PrivateKey::generate(Algorithm::Ed25519Sha256).unwrap();
        let pem = serde_json::to_string(&*key.to_pem().unwrap()).unwrap();
        let text = format!(
            "format: 1\nhostname: mail.example.com\nspool: {{directory: /nowhere}}\ndomains:\n\
             \x20 - name: example.com\n    dkim: {{keys: [{{selector: a, key: {pem}}}]}}\n"
        );
        let metrics = Metrics::new();
        Self {
            settings: Arc::new(Settings::new(assemble(&text, &BTreeMap::new()).unwrap()).unwrap()),
            record: key.record().unwrap(),
            budget: Budget::new(&metrics),
            metrics,
        }
    }

    fn begin(&self) -> (Room, Signing) {
        let room = self.budget.begin(Rank::User, false).unwrap();
        (room, Signing::new(&self.settings).unwrap())
    }

    /// The fields for a message that comes in pieces of this size; the author as the policy would have read him.
    #[allow(clippy::unwrap_in_result, reason = "a test ends where a step fails")]
    fn fields(&self, message: &str, piece: usize, prefix: &str, author: &str) -> Option<String> {
        let (mut room, mut signing) = self.begin();
        for octets in message.as_bytes().chunks(piece) {
            signing.feed(octets, &mut room).unwrap();
        }
        let facts = Facts {
            from: &[author.to_owned()],
            chain: None,
        };
        let ready = signing.finish(facts, &mut room);
        ready.map(|ready| ready.sign(prefix, NOW).unwrap())
    }

    fn verdict(&self, message: &str) -> Verdict {
        let (section, body) = Header::split(message.as_bytes());
        let mut wanted = Wanted::new();
        let mut verifier = Verifier::new(&Header::parse(section), &Limits::default(), NOW, &mut wanted);
        for question in verifier.questions() {
            assert_eq!(question.name, "a._domainkey.example.com");
            verifier.answer(&question, &Answer::Txt(vec![self.record.clone().into_bytes()]));
        }
        let mut hasher = wanted.hasher();
        hasher.update(body);
        verifier.finish(&hasher.finish())[0].verdict
    }
}

const NOW: u64 = 1_800_000_000;

#[test]
fn what_is_signed_verifies_however_it_is_cut() {
    let stage = Stage::new();
    let prefix = "Received: by mail.example.com; x\r\nDate: Sat, 28 Nov 2026 11:00:00 +0000\r\n";
    for body in [
        "",
        "\r\n",
        "\r\nHello\r\n",
        "\r\n\r\n\r\nHello\r\n\r\n",
        "\r\nno line end",
    ] {
        let message = format!("{HEADER}{body}");
        for piece in 1..=message.len() {
            let fields = stage
                .fields(&message, piece, prefix, "alice@example.com")
                .unwrap();
            let whole = format!("{fields}{prefix}{message}");
            assert_eq!(
                stage.verdict(&whole),
                Verdict::Pass,
                "{body:?} in pieces of {piece}"
            );
            for (from, to) in [("11:00", "12:00"), ("Subject: x", "Subject: y")] {
                assert_eq!(stage.verdict(&whole.replace(from, to)), Verdict::Fail, "{to}");
            }
        }
    }
    assert_eq!(stage.metrics.buffers.get(), 0, "all room went back");
}

#[test]
fn mail_of_other_authors_is_not_signed() {
    let stage = Stage::new();
    for (header, author) in [
        ("From: alice@sub.example.com\r\n", "alice@sub.example.com"),
        ("From: alice@else.example\r\n", "alice@else.example"),
        ("Subject: nobody\r\n", ""),
        (
            "From: alice@example.com\r\nFrom: alice@example.com\r\n",
            "alice@example.com",
        ),
        ("From: a@example.com, b@else.example\r\n", "a@example.com"),
        // The policy has read another author than the one who stands there.
        ("From: alice@example.com\r\n", "alice@else.example"),
        ("\r\nFrom: alice@example.com\r\n", "alice@example.com"),
    ] {
        let message = format!("{header}\r\nHello\r\n");
        assert_eq!(stage.fields(&message, 7, "", author), None, "{header:?}");
    }
    assert_eq!(stage.metrics.buffers.get(), 0);
}

#[test]
fn a_header_is_held_in_counted_memory_and_a_body_not_at_all() {
    let stage = Stage::new();
    let mut room = stage.budget.begin(Rank::User, false).unwrap();
    let before = stage.metrics.buffers.get();
    let mut signing = Signing::new(&stage.settings).unwrap();
    signing
        .feed(format!("{HEADER}X-Long: ").as_bytes(), &mut room)
        .unwrap();
    for _ in 0..100 {
        signing.feed(&[b'x'; 1_000], &mut room).unwrap();
    }
    let held = stage.metrics.buffers.get() - before;
    assert!((100_000..120_000).contains(&held), "{held}");
    signing.feed(b"\r\n\r\n", &mut room).unwrap();
    let counted = stage.metrics.buffers.get();
    for _ in 0..1_000 {
        signing.feed(&[b'x'; 10_000], &mut room).unwrap();
    }
    assert_eq!(stage.metrics.buffers.get(), counted);
    drop(room);

    // Where it has no keys, the header is forgotten at its end.
    let mut room = stage.budget.begin(Rank::User, false).unwrap();
    let mut signing = Signing::new(&stage.settings).unwrap();
    signing
        .feed(b"From: alice@else.example\r\n\r\nHello", &mut room)
        .unwrap();
    assert_eq!(stage.metrics.buffers.get(), before);

    // Where there is no room, that is said.
    stage.budget.follow(Some(Octets(1 << 20)), None);
    let mut signing = Signing::new(&stage.settings).unwrap();
    let mut told = Ok(());
    for _ in 0..2_000 {
        told = told.and_then(|()| signing.feed(&[b'x'; 1_000], &mut room));
    }
    assert_eq!(told, Err(NoSignature::Memory));
    assert!(!NoSignature::Memory.is_of_message());
}

#[test]
fn a_large_header_is_signed_on_another_thread() {
    let stage = Stage::new();
    let ready = |header: &str| {
        let message = format!("{header}\r\nHello\r\n");
        Ready::whole(&stage.settings, message.as_bytes()).unwrap()
    };
    assert!(!ready(HEADER).is_slow(), "Ed25519");
    assert!(ready(&format!("{HEADER}X: {}\r\n", "x".repeat(LARGE))).is_slow());
}
