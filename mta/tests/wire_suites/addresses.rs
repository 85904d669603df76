//! isemail: RCPT each address to a daemon that takes every recipient that it can read.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use libtest_mimic::{Failed, Trial};

#[path = "../../smtp/tests/isemail/mod.rs"]
mod isemail;

use self::isemail::{element, unescape};
use crate::stage::{Play, Stage};

/// One daemon for all cases; it takes mail for everybody, as a smart host. It ends with the last case that holds it.
fn stage() -> Stage {
    let play = Play {
        trusted: true,
        ..Play::default()
    };
    play.start()
}

/// Valid by the grammar of RFC 5321, but a top-level domain of digits is none (RFC 3696 section 2): nothing could be
/// delivered, and the recipient is refused as unknown.
const NO_SUCH_DOMAIN: [&str; 2] = ["test@iana.123", "test@255.255.255.255"];

pub fn cases(folder: &Path) -> Vec<Trial> {
    let text = std::fs::read_to_string(folder.join("isemail-tests.xml")).unwrap();
    let stage = Arc::new(LazyLock::new(stage as fn() -> Stage));
    let cases = text.split("<test id=\"").skip(1).map(|case| {
        let stage = Arc::clone(&stage);
        let (id, case) = case.split_once("\">").unwrap();
        let address = unescape(element(case, "address"));
        let category = element(case, "category").to_owned();
        Trial::test(format!("isemail {id} {category} {address:?}"), move || {
            judge(&stage, &address, &category)
        })
    });
    cases.collect()
}

fn judge(stage: &Stage, address: &str, category: &str) -> Result<(), Failed> {
    let want = match category {
        _ if NO_SUCH_DOMAIN.contains(&address) => false,
        "ISEMAIL_VALID_CATEGORY" | "ISEMAIL_RFC5321" | "ISEMAIL_DNSWARN" => true,
        "ISEMAIL_ERR" | "ISEMAIL_CFWS" | "ISEMAIL_DEPREC" | "ISEMAIL_RFC5322" => false,
        other => return Err(format!("unknown category {other}").into()),
    };
    let mut wire = stage.wire();
    wire.expect(&[("MAIL FROM:<> SMTPUTF8", 250)]);
    let reply = wire.say(&format!("RCPT TO:<{address}>"));
    if (reply.code == 250) == want && (want || reply.class() == 5) {
        Ok(())
    } else {
        Err(format!("{reply:?}, wanted: {want}").into())
    }
}
