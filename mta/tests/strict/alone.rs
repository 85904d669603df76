//! The daemon on a laptop: the example of the documents is checked, started, and takes mail.

use std::io::Write;
use std::process::{Command, Stdio};

use postroad_mta::auth::Verifier;

use crate::sink::Sink;
use crate::stage::{free_port, serve};
use crate::wire::Wire;

const EXAMPLE: &str = include_str!("../../../docs/examples/laptop.yaml");

fn check(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postroad-mta"));
    let done = command.arg("check").args(arguments).output().unwrap();
    (done.status.success(), String::from_utf8(done.stdout).unwrap())
}

#[test]
fn the_example_of_fifteen_lines_serves_a_laptop() {
    assert!(EXAMPLE.lines().count() <= 15, "the example has grown");
    let store = Sink::lmtp();
    let relay = Sink::start(crate::sink::Kind {
        lmtp: false,
        chunking: true,
    });
    let port = free_port();
    // Other ports, so that the test disturbs nobody on the machine, and a disk that may be nearly full; the rest is the file as it is shown.
    let text = EXAMPLE
        .replace("{directory: spool}", "{directory: spool, highWaterPercent: 99}")
        .replace("127.0.0.1:2525", &port.to_string())
        .replace("port: 2424", &format!("port: {}", store.address.port()))
        .replace(
            "host: smtp.example.net, port: 587",
            &format!("host: 127.0.0.1, port: {}", relay.address.port()),
        );
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("postroad.yaml");
    std::fs::write(&config, text).unwrap();
    let (good, said) = check(&[config.to_str().unwrap()]);
    assert!(good && said == "ok: 1 port, 1 domain, 0 users\n", "{said}");

    let _daemon = serve(&config, &directory.path().join("log"));
    let mut wire = Wire::ready(port);
    for to in ["alice@example.com", "somebody@else.example"] {
        assert_eq!(
            wire.deliver(to, "Subject: hello\r\n\r\nhello\r\n").code,
            250,
            "{to}"
        );
    }
    assert_eq!(
        store.wait_for(1)[0].original(),
        b"Subject: hello\r\n\r\nhello\r\n"
    );
    assert_eq!(
        relay.wait_for(1)[0].rcpt[0].split(' ').nth(1),
        Some("TO:<somebody@else.example>")
    );
    wire.expect(&[
        ("MAIL FROM:<>", 250),
        ("RCPT TO:<nobody@example.com>", 550),
        ("QUIT", 221),
    ]);
    assert!(directory.path().join("spool").is_dir());
}

/// RFC 4013: what no login can send is refused where it is made, and not when nobody can log in.
#[test]
fn passwords_and_names_that_no_login_can_send_are_refused() {
    let hash = |arguments: &[&str], password: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_postroad-mta"))
            .arg("hash-password")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(password.as_bytes())
            .unwrap();
        let done = child.wait_with_output().unwrap();
        let said = if done.status.success() {
            done.stdout
        } else {
            done.stderr
        };
        (done.status.success(), String::from_utf8(said).unwrap())
    };
    for arguments in [&[][..], &["--scram"]] {
        let (good, verifier) = hash(arguments, "cafe\u{301}\n");
        let verifier = Verifier::parse(verifier.trim()).unwrap();
        assert!(good && verifier.proves("caf\u{e9}".as_bytes()));
        for bad in ["bell\u{7}", "\u{1f600}", "\u{627}1"] {
            let (good, said) = hash(arguments, bad);
            assert!(!good && said.contains("RFC 4013"), "{bad:?}: {said}");
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("postroad.yaml");
    let users = "users: [{name: \"al\u{ad}ice\", verifier: $argon2id$x}]\n";
    std::fs::write(&path, format!("{EXAMPLE}{users}")).unwrap();
    let (good, said) = check(&[path.to_str().unwrap()]);
    assert!(!good && said.contains("write it so"), "{said}");
}

#[test]
fn check_tells_every_mistake_and_fails() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("postroad.yaml");
    let bad = EXAMPLE
        .replace("hostname:", "hostnam:")
        .replace("port: 2424", "port: 99999")
        .replace("role: Transfer", "role: Tranfser");
    std::fs::write(&path, bad).unwrap();
    let path = path.to_str().unwrap();
    let (good, said) = check(&[path]);
    assert!(!good);
    let lines: Vec<_> = said
        .lines()
        .map(|line| line.strip_prefix(path).unwrap())
        .collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(
        lines[0].starts_with(":2:1: hostnam: `hostnam` is not known here; write `hostname`"),
        "{said}"
    );
    assert!(lines[1].starts_with(":6:"), "{said}");
    assert!(lines[2].starts_with(":11:"), "{said}");
    let (good, said) = check(&[path, "--json"]);
    let value: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(!good && value["ok"] == false);
    assert_eq!(value["problems"][1]["line"], 6);
    assert_eq!(value["problems"].as_array().unwrap().len(), 3);
}
