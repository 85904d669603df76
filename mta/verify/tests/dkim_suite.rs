//! Signed messages, keys and bad key records that others published: RFC 6376 and RFC 8463 among them.
//!
//! Reads `$POSTROAD_SUITES/dkim` (see `docs/suites.md`). Without the variable its cases count as skipped, visibly.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test file")]

mod zone;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use postroad_verify::arc;
use postroad_verify::dkim::{
    BadKey, KeyError, KeyRecord, PrivateKey, Signer, SigningKey, Unsignable, Verdict,
};
use zone::{Zone, above, crlf, sign, verify, verify_chain};

/// Number of cases.
const CASES: usize = 39;

/// The key record of `brisbane._domainkey.football.example.com` (RFC 8463 appendix A.2).
const BRISBANE: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = if let Ok(root) = std::env::var("POSTROAD_SUITES") {
        cases(&Path::new(&root).join("dkim"))
    } else {
        println!("skipped: dkim {CASES} cases (POSTROAD_SUITES is not set)");
        (1..=CASES)
            .map(|number| Trial::test(format!("dkim case {number}"), || Ok(())).with_ignored_flag(true))
            .collect()
    };
    assert_eq!(trials.len(), CASES, "the suite was not read whole");
    let conclusion = libtest_mimic::run(&arguments, trials);
    println!("score: dkim {}/{CASES}", conclusion.num_passed);
    conclusion.exit_code()
}

type Check = Box<dyn Fn(&Suite) -> Result<(), Failed> + Send>;

fn cases(root: &Path) -> Vec<Trial> {
    let mut cases: Vec<(String, Check)> = Vec::new();
    for number in 1..=6 {
        let file = format!("mail-auth/dkim-{number:03}.txt");
        cases.push((
            format!("{file} passes"),
            Box::new(move |suite| suite.all_pass(&file)),
        ));
    }
    for file in ["mail-auth/arc-001.txt", "mail-auth/arc-002.txt"] {
        cases.push((
            format!("the chain of {file} passes"),
            Box::new(move |suite| suite.chain_passes(file)),
        ));
    }
    cases.extend(verification());
    cases.extend(signing());
    cases.extend(keys());
    let suite = Arc::new(Suite(root.to_owned()));
    cases
        .into_iter()
        .map(|(name, check)| {
            let suite = Arc::clone(&suite);
            Trial::test(name, move || check(&suite))
        })
        .collect()
}

/// Messages that are signed already, with the right keys and with others.
fn verification() -> Vec<(String, Check)> {
    let mut cases: Vec<(String, Check)> = vec![
        (
            "both signatures of rfc6376.signed.msg pass".to_owned(),
            Box::new(|suite| suite.football("rfc6376.signed.msg", "test.txt", &[Verdict::Pass; 2])),
        ),
        (
            "a changed signature field fails (rfc6376.signed.no_t.msg)".to_owned(),
            Box::new(|suite| suite.football("rfc6376.signed.no_t.msg", "test.txt", &[Verdict::Fail])),
        ),
        (
            "ed25519test2.msg of another signer passes".to_owned(),
            Box::new(|suite| {
                let zone = Zone::default().with("sed", "test.ex", &suite.text("eximtest.dns"));
                suite.verdicts("ed25519test2.msg", &zone, &[Verdict::Pass])
            }),
        ),
        (
            "a domain with a comment in it never passes (test.message.baddomain)".to_owned(),
            Box::new(|suite| suite.football("test.message.baddomain", "test.txt", &[Verdict::Neutral])),
        ),
        (
            "degenerate folding is read (test2.message)".to_owned(),
            Box::new(|suite| suite.verdicts("test2.message", &Zone::default(), &[Verdict::PermError])),
        ),
    ];
    for (record, want) in [
        ("test.txt", Verdict::Pass),
        ("test2.txt", Verdict::Pass),
        ("test_bad.txt", Verdict::PermError),
        ("test_tlsrpt.txt", Verdict::PermError),
        ("badk.txt", Verdict::PermError),
        ("badversion.txt", Verdict::PermError),
        ("2048_testkey_wo_markers.pub.txt", Verdict::Fail),
    ] {
        cases.push((
            format!("with the key record of {record}: {want}"),
            Box::new(move |suite| suite.football("rfc6376.signed.rsa.msg", record, &[want])),
        ));
    }
    cases
}

/// Messages that are signed here and verified with published records.
fn signing() -> Vec<(String, Check)> {
    let mut cases: Vec<(String, Check)> = Vec::new();
    for file in [
        "rfc6376.msg",
        "rfc6376.w1258.msg",
        "test.message",
        "test_extra.message",
        "ed25519test.msg",
        "message.mbox",
    ] {
        cases.push((
            format!("{file}, signed with both algorithms, passes"),
            Box::new(move |suite| suite.signed_passes(file)),
        ));
    }
    cases.push((
        "a message without From is not signed (test_nofrom.message)".to_owned(),
        Box::new(|suite| {
            let signer = suite.signer("2048_testkey.key");
            let refused = sign(&suite.message("test_nofrom.message"), &signer, 0);
            equal(&refused, &Err(Unsignable::From(0)))
        }),
    ));
    cases
}

fn keys() -> Vec<(String, Check)> {
    let mut cases: Vec<(String, Check)> = Vec::new();
    for (private, public) in [
        ("2048_testkey.key", "2048_testkey_wo_markers.pub.txt"),
        ("2048_testkey.key", "2048_testkey_wo_markers.pub.rsa.txt"),
        ("2048_testkey_PKCS8.key", "2048_testkey_PKCS8.key.pub.txt"),
    ] {
        cases.push((
            format!("{private} fits {public}"),
            Box::new(move |suite| suite.fits(&suite.signer(private), public)),
        ));
    }
    for (seed, public) in [
        ("ed25519test.key", "ed25519test.dns"),
        ("rfc8032_7_1.key", "BRISBANE"),
    ] {
        cases.push((
            format!("{seed} fits its record"),
            Box::new(move |suite| suite.fits(&suite.seed_signer(seed), public)),
        ));
    }
    for file in ["1024_testkey.key", "test.private", "test2.private"] {
        cases.push((
            format!("{file} is too short to sign with"),
            Box::new(move |suite| {
                let text = suite.text(file);
                equal(&PrivateKey::from_pem(&text).err(), &Some(BadKey::Kind))
            }),
        ));
    }
    for file in [
        "1024_testkey_wo_markers.pub.txt",
        "1024_testkey_wo_markers.pub.rsa.txt",
    ] {
        cases.push((
            format!("{file} is long enough to verify with"),
            Box::new(move |suite| {
                let record = KeyRecord::parse(suite.text(file).as_bytes());
                equal(&record.map(|record| record.key.bits()), &Ok(1024))
            }),
        ));
    }
    cases.push((
        "badk.txt names an unknown type".to_owned(),
        Box::new(|suite| {
            let problem = KeyRecord::parse(suite.text("badk.txt").as_bytes()).err();
            equal(&problem, &Some(KeyError::Type("ed25519-sha256".to_owned())))
        }),
    ));
    cases.push((
        "badversion.txt cannot be read".to_owned(),
        Box::new(|suite| {
            let problem = KeyRecord::parse(suite.text("badversion.txt").as_bytes()).err();
            equal(&problem, &Some(KeyError::Version))
        }),
    ));
    cases
}

/// The folder.
struct Suite(PathBuf);

impl Suite {
    fn read(&self, file: &str) -> Vec<u8> {
        let path = self.0.join(file);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A file of dkimpy's, without the white space at its end.
    fn text(&self, file: &str) -> String {
        if file == "BRISBANE" {
            return BRISBANE.to_owned();
        }
        let octets = self.read(&format!("dkimpy/{file}"));
        String::from_utf8(octets).unwrap().trim_end().to_owned()
    }

    fn message(&self, file: &str) -> Vec<u8> {
        crlf(&self.read(&format!("dkimpy/{file}")))
    }

    /// A message with the keys of football.example.com, one of them from a file.
    fn football(&self, file: &str, record: &str, want: &[Verdict]) -> Result<(), Failed> {
        let domain = "football.example.com";
        let zone =
            Zone::default()
                .with("brisbane", domain, BRISBANE)
                .with("test", domain, &self.text(record));
        self.verdicts(file, &zone, want)
    }

    fn verdicts(&self, file: &str, zone: &Zone, want: &[Verdict]) -> Result<(), Failed> {
        let outcomes = verify(&self.message(file), zone, 1_700_000_000, 17);
        let verdicts: Vec<Verdict> = outcomes.iter().map(|outcome| outcome.verdict).collect();
        if verdicts == want {
            return Ok(());
        }
        Err(format!("{verdicts:?}, not {want:?}: {outcomes:?}").into())
    }

    /// The signatures of a file of mail-auth's.
    fn all_pass(&self, file: &str) -> Result<(), Failed> {
        let (zone, message, now) = self.signed(file)?;
        for chunk in [1, 7, 4096, usize::MAX] {
            let outcomes = verify(&message, &zone, now, chunk);
            if outcomes.is_empty() || outcomes.iter().any(|outcome| outcome.verdict != Verdict::Pass) {
                return Err(format!("{outcomes:?}").into());
            }
        }
        Ok(())
    }

    /// The chain of a file of mail-auth's.
    fn chain_passes(&self, file: &str) -> Result<(), Failed> {
        let (zone, message, now) = self.signed(file)?;
        let outcome = verify_chain(&message, &zone, now);
        equal(&outcome.verdict, &arc::Verdict::Pass)
    }

    /// A file of mail-auth's: lines of name and record, an empty line, the message; and the time of its first signature.
    fn signed(&self, file: &str) -> Result<(Zone, Vec<u8>, u64), Failed> {
        let octets = self.read(file);
        let cut = octets.windows(2).position(|two| two == b"\n\n").unwrap();
        let mut zone = Zone::default();
        for line in std::str::from_utf8(&octets[..cut])?.lines() {
            let (name, record) = line.split_once(' ').unwrap();
            zone.add(name, record);
        }
        let message = crlf(&octets[cut + 2..]);
        let text = String::from_utf8_lossy(&message);
        let signed_at = text.split_once(" t=").map_or("", |(_, behind)| behind);
        let digits: String = signed_at.chars().take_while(char::is_ascii_digit).collect();
        let now = digits.parse().unwrap_or(1_700_000_000);
        Ok((zone, message, now))
    }

    fn signer(&self, private: &str) -> Signer {
        let key = PrivateKey::from_pem(&self.text(private)).unwrap();
        signer().with_key("rsa", Arc::new(key)).unwrap()
    }

    fn seed(&self, file: &str) -> Arc<dyn SigningKey> {
        let text = self.text(file);
        let octets = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
        Arc::new(PrivateKey::from_ed25519_seed(&octets.try_into().unwrap()).unwrap())
    }

    fn seed_signer(&self, file: &str) -> Signer {
        signer().with_key("rsa", self.seed(file)).unwrap()
    }

    fn fits(&self, signer: &Signer, public: &str) -> Result<(), Failed> {
        let zone = Zone::default().with("rsa", "example.org", &self.text(public));
        passes(&self.message("rfc6376.msg"), signer, &zone, 1)
    }

    fn signed_passes(&self, file: &str) -> Result<(), Failed> {
        let signer = self
            .signer("2048_testkey.key")
            .with_key("ed", self.seed("rfc8032_7_1.key"))?;
        let zone = Zone::default()
            .with(
                "rsa",
                "example.org",
                &self.text("2048_testkey_wo_markers.pub.txt"),
            )
            .with("ed", "example.org", BRISBANE);
        passes(&self.message(file), &signer, &zone, 2)
    }
}

fn signer() -> Signer {
    Signer::new("example.org").unwrap()
}

/// Signs, and verifies with a zone.
fn passes(message: &[u8], signer: &Signer, zone: &Zone, signatures: usize) -> Result<(), Failed> {
    let fields = sign(message, signer, 1_700_000_000).map_err(|error| error.to_string())?;
    let outcomes = verify(&above(&fields, message), zone, 1_700_000_001, 11);
    let passed = |outcome: &&postroad_verify::dkim::Outcome| outcome.verdict == Verdict::Pass;
    if outcomes.iter().filter(passed).count() == signatures {
        return Ok(());
    }
    Err(format!("{outcomes:?}").into())
}

fn equal<T: PartialEq + std::fmt::Debug>(found: &T, want: &T) -> Result<(), Failed> {
    if found == want {
        Ok(())
    } else {
        Err(format!("{found:?}, not {want:?}").into())
    }
}
