//! Dialogues of James: STARTTLS injection, session fixation, AUTH. The class of each reply must be the same here.

use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};

use crate::house::House;
use crate::wire::Wire;

/// Replies whose class differs here, and why it may.
const OTHERWISE: [(&str, &str, u16); 1] = [
    // RFC 3207 section 4.2: what came in clear is discarded; the client that did not mean it can go on.
    ("starttls_with_injection", "451 Unable to process request", 2),
];

/// Dialogues of users; here they have TLS from the first octet, as passwords go over nothing else (RFC 8314).
const OF_USERS: [&str; 2] = ["authplain", "starttls_session_fixation"];

pub fn cases(folder: &Path) -> Vec<Trial> {
    let trial = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let script = std::fs::read_to_string(&path).unwrap();
        Trial::test(format!("james {name}"), move || play(&name, &script))
    };
    crate::files(folder, "test").into_iter().map(trial).collect()
}

fn play(name: &str, script: &str) -> Result<(), Failed> {
    let house = House::open("mydomain.tld", "bob@mydomain.tld", "secret");
    let mut wire = if OF_USERS.contains(&name) {
        let mut wire = Wire::connect(house.submissions);
        wire.handshake(&house.chain);
        wire
    } else {
        Wire::connect(house.transfer)
    };
    // RFC 4954 section 4: AUTH is for clients that said EHLO, which this dialogue leaves out.
    let mut ehlo_due = name == "authplain";
    for line in script.lines() {
        if let Some(said) = line.strip_prefix("C:") {
            if std::mem::take(&mut ehlo_due) {
                wire.expect(&[("EHLO yopmail.com", 250)]);
            }
            let said = said
                .strip_prefix(' ')
                .unwrap_or(said)
                .replace("\\r", "\r")
                .replace("\\n", "\n");
            wire.send(format!("{said}\r\n").as_bytes());
        } else if let Some(wanted) = line.strip_prefix("S: ") {
            // `250-…` and the pattern `250.*` are the beginning of a reply of several lines.
            if wanted.as_bytes().get(3) != Some(&b' ') {
                continue;
            }
            let other = OTHERWISE
                .iter()
                .find(|(file, text, _)| *file == name && *text == wanted);
            let class = other.map_or(crate::class_of(wanted), |(.., class)| *class);
            let reply = wire.next().ok_or(format!("no reply for {wanted}"))?;
            if reply.class() != class {
                return Err(format!("wanted {wanted}, got {reply:?}").into());
            }
        }
    }
    if name == "starttls_with_injection" {
        // The injected MAIL was not heard: not in clear, and not under TLS.
        wire.handshake(&house.chain);
        wire.expect(&[
            ("RCPT TO:<bob@mydomain.tld>", 503),
            ("EHLO yopmail.com", 250),
            ("RCPT TO:<bob@mydomain.tld>", 503),
        ]);
    }
    Ok(())
}
