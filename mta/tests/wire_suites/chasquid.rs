//! Dialogues of chasquid: the class of each reply must be the same here.

use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};

use crate::house::House;
use crate::wire::Wire;

/// Lines whose reply class differs here, and why the standard allows it.
const OTHERWISE: [(&str, &str, u16); 1] = [
    // RFC 5321 section 3.3 and 6.4: a server need not judge header fields; this one takes a line without a colon.
    ("bad_data", "554 5.6.0 Error parsing message", 2),
];

pub fn cases(folder: &Path) -> Vec<Trial> {
    let trial = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let script = std::fs::read_to_string(&path).unwrap();
        Trial::test(format!("chasquid {name}"), move || play(&name, &script))
    };
    crate::files(folder, "cmy").into_iter().map(trial).collect()
}

fn play(name: &str, script: &str) -> Result<(), Failed> {
    let house = House::open("testserver", "user@testserver", "secretpassword");
    let mut wire = None;
    for line in script.lines() {
        let Some(action) = line.strip_prefix("c ") else {
            continue;
        };
        let (verb, argument) = action.split_once(' ').unwrap_or((action, ""));
        match (verb, &mut wire) {
            ("tcp_connect", _) => wire = Some(Wire::connect(house.transfer)),
            ("tls_connect", _) => {
                let mut secured = Wire::connect(house.submissions);
                secured.handshake(&house.chain);
                wire = Some(secured);
            }
            ("close", _) => wire = None,
            ("->", Some(wire)) => drop(wire.send(format!("{argument}\r\n").as_bytes())),
            ("~>", Some(wire)) => drop(wire.send(&evaluate(argument))),
            ("<-" | "<~" | "<...", Some(wire)) => {
                let reply = wire.next().ok_or(format!("no reply for {argument}"))?;
                let other = OTHERWISE
                    .iter()
                    .find(|(file, wanted, _)| *file == name && *wanted == argument);
                let wanted = other.map_or(crate::class_of(argument), |(.., class)| *class);
                if reply.class() != wanted {
                    return Err(format!("wanted {argument}, got {reply:?}").into());
                }
            }
            (other, _) => return Err(format!("unknown action {other}").into()),
        }
    }
    Ok(())
}

/// Strings, `+`, `*` and brackets, as the scripts use them.
fn evaluate(text: &str) -> Vec<u8> {
    let mut rest = text.trim();
    let value = sum(&mut rest);
    assert!(rest.is_empty(), "{text}");
    value
}

fn sum(rest: &mut &str) -> Vec<u8> {
    let mut value = product(rest);
    while let Some(after) = rest.strip_prefix('+') {
        *rest = after.trim_start();
        value.extend(product(rest));
    }
    value
}

fn product(rest: &mut &str) -> Vec<u8> {
    let value = atom(rest);
    let Some(after) = rest.strip_prefix('*') else {
        return value;
    };
    let after = after.trim_start();
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    *rest = after[end..].trim_start();
    value.repeat(after[..end].parse().unwrap())
}

fn atom(rest: &mut &str) -> Vec<u8> {
    let value = if let Some(after) = rest.strip_prefix('(') {
        *rest = after.trim_start();
        let value = sum(rest);
        *rest = rest.strip_prefix(')').unwrap();
        value
    } else {
        let (literal, after) = rest.strip_prefix('\'').unwrap().split_once('\'').unwrap();
        *rest = after;
        literal.replace("\\r", "\r").replace("\\n", "\n").into_bytes()
    };
    *rest = rest.trim_start();
    value
}
