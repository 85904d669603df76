//! `postroad-mta check FILE`: every mistake of a configuration with its line, without starting anything.
//!
//! ```text
//!   texts ─► postroad_config::explain        syntax, fields, types, values, rules
//!         └► Settings::new, Verifier::parse  what only the daemon knows: certificates, verifiers
//! ```
//!
//! Lines have the form that editors follow: `FILE:LINE:COLUMN: FIELD: SENTENCE`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use postroad_config::{ConfigSet, Explained, assemble, explain, locate, shard_file_name};
use serde_json::json;

use crate::auth::Verifier;
use crate::commands::counted;
use crate::reload::{self, LoadError};
use crate::settings::{Settings, SettingsError};
use crate::signing::{BadDomainKey, Signers};

/// Checks a file and the shards beside it; prints what is wrong. The exit code is 1 if anything is.
pub fn run(path: &Path, as_json: bool) -> ExitCode {
    let checked = check(path);
    let told = match (&checked, as_json) {
        (Ok(summary), false) => format!("ok: {summary}\n"),
        (Ok(_), true) => format!("{}\n", json!({"ok": true, "problems": []})),
        (Err(mistakes), true) => format!("{}\n", json!({"ok": false, "problems": mistakes})),
        (Err(mistakes), false) => lines(mistakes),
    };
    print!("{told}");
    if checked.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn lines(mistakes: &[Explained]) -> String {
    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    lines.join("\n") + "\n"
}

/// What the file sets up, or its mistakes.
fn check(path: &Path) -> Result<String, Vec<Explained>> {
    let name = path.display().to_string();
    let (base, shards) = reload::texts(path).map_err(|error| vec![unreadable(&name, &error)])?;
    let mut mistakes = explain(&name, &base, &shards);
    // Shards stand beside the base file.
    for mistake in mistakes.iter_mut().filter(|mistake| mistake.file != name) {
        mistake.file = path.with_file_name(&mistake.file).display().to_string();
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let set = assemble(&base, &shards).map_err(|error| vec![at_head(&name, &error.to_string())])?;
    let mistakes = beyond_text(&name, &base, &shards, &set);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let file = &set.file;
    let count = |some: usize, what: &str| counted(some as u64, what);
    Ok(format!(
        "{}, {}, {}",
        count(file.ports.len(), "port"),
        count(file.domains.len(), "domain"),
        count(file.users.len(), "user")
    ))
}

/// Verifiers that nobody could ever match, keys that verify nothing or sign nothing, and certificates that cannot be read or
/// served.
fn beyond_text(name: &str, base: &str, shards: &BTreeMap<u8, String>, set: &ConfigSet) -> Vec<Explained> {
    let mut found = Vec::new();
    if let Err(bad) = Signers::new(set, None) {
        found.extend(bad.0.into_iter().map(|bad| of_domain(name, base, shards, bad)));
    }
    for (index, user) in set.file.users.iter().enumerate() {
        if let Err(error) = Verifier::parse(&user.verifier) {
            found.push(at(
                name,
                base,
                format!("users[{index}].verifier"),
                error.to_string(),
            ));
        }
    }
    for (index, port) in set.file.ports.iter().enumerate() {
        if port.address.port() == 0 {
            let sentence = "port 0 is another one at each start, which no client knows; write 1 to 65535";
            found.push(at(
                name,
                base,
                format!("ports[{index}].address"),
                sentence.to_owned(),
            ));
        }
    }
    match Settings::new(set.clone()) {
        // Those are told above.
        Ok(_) | Err(SettingsError::Signing(_)) => {}
        Err(SettingsError::File { field, path, error }) => {
            let sentence = format!(
                "{} cannot be read ({error}); name a readable PEM file",
                path.display()
            );
            found.push(at(name, base, field.into(), sentence));
        }
        Err(SettingsError::Tls(error)) => found.push(at(name, base, "tls".into(), error.to_string())),
        Err(SettingsError::Keys(error)) => {
            let field = "authentication.serviceAccounts.keySet".into();
            found.push(at(name, base, field, error.to_string()));
        }
    }
    found
}

/// A key of a domain, which may stand in a shard.
fn of_domain(name: &str, base: &str, shards: &BTreeMap<u8, String>, bad: BadDomainKey) -> Explained {
    let shard = shards.iter().find(|(_, text)| locate(text, &bad.field).is_some());
    match shard {
        Some((number, text)) => {
            let file = Path::new(name).with_file_name(shard_file_name(*number));
            at(&file.display().to_string(), text, bad.field, bad.sentence)
        }
        None => at(name, base, bad.field, bad.sentence),
    }
}

fn at(file: &str, base: &str, field: String, sentence: String) -> Explained {
    let (line, column) = locate(base, &field).unwrap_or((1, 1));
    Explained {
        file: file.to_owned(),
        line,
        column,
        field,
        sentence,
    }
}

fn at_head(file: &str, sentence: &str) -> Explained {
    at(file, "", String::new(), sentence.to_owned())
}

/// A file that cannot be read has no lines.
fn unreadable(file: &str, error: &LoadError) -> Explained {
    let sentence = match error {
        LoadError::Unreadable { error, .. } => reload::unreadable(error),
        other => other.to_string(),
    };
    Explained {
        line: 0,
        column: 0,
        ..at_head(file, &sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postroad.yaml");
        std::fs::write(&path, text).unwrap();
        let mistakes = check(&path).unwrap_err();
        let start = path.display().to_string();
        mistakes
            .iter()
            .map(|mistake| mistake.to_string().strip_prefix(&start).unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_verifier_and_a_certificate_that_cannot_serve_are_told_with_their_lines() {
        let told = told(
            "format: 1\nhostname: mail.example.com\nspool: {directory: /tmp/x}\nusers:\n\
             \x20 - name: alice\n    verifier: $argon2id$x\ntls:\n  certificateFile: /nowhere/tls.crt\n  keyFile: /nowhere/tls.key\n",
        );
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with(":6:5: users[0].verifier: the verifier is malformed"),
            "{told:?}"
        );
        assert!(
            told[1].starts_with(":8:3: tls.certificateFile: /nowhere/tls.crt cannot be read"),
            "{told:?}"
        );
    }

    #[test]
    fn a_key_set_without_a_key_is_told_with_its_line() {
        let told = told(
            "format: 1\nhostname: mail.example.com\nspool: {directory: /tmp/x}\nauthentication:\n\
             \x20 serviceAccounts:\n    issuer: i\n    audience: a\n    keySet: '{\"keys\": []}'\n",
        );
        assert_eq!(told.len(), 1, "{told:?}");
        let start = ":8:5: authentication.serviceAccounts.keySet: holds no key";
        assert!(told[0].starts_with(start), "{told:?}");
    }

    #[test]
    fn a_signing_key_that_cannot_be_used_is_told_with_its_line() {
        let told = told(
            "format: 1\nhostname: mail.example.com\nspool: {directory: /tmp/x}\ndomains:\n\
             \x20 - name: example.com\n    dkim:\n      keys:\n        - selector: a\n          keyFile: /nowhere/k.pem\n\
             \x20       - {selector: b, key: hush}\n",
        );
        assert_eq!(told.len(), 2, "{told:?}");
        let starts = [
            ":9:11: domains[example.com].dkim.keys[0].keyFile: /nowhere/k.pem cannot be read",
            ":10:25: domains[example.com].dkim.keys[1].key: there is no private key in PEM form",
        ];
        assert!(
            told.iter()
                .zip(starts)
                .all(|(told, start)| told.starts_with(start)),
            "{told:?}"
        );
        assert!(told.iter().all(|told| !told.contains("hush")), "{told:?}");
    }

    #[test]
    fn a_port_that_nobody_would_know_is_told() {
        let told = told(
            "format: 1\nhostname: mail.example.com\nspool: {directory: /tmp/x}\nports:\n\
             \x20 - name: smtp\n    address: 127.0.0.1:0\n    role: Transfer\n    tls: Disabled\n",
        );
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].starts_with(":6:5: ports[0].address: port 0 is another one at each start"),
            "{told:?}"
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_one_sentence() {
        let mistakes = check(Path::new("/nowhere/postroad.yaml")).unwrap_err();
        let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["/nowhere/postroad.yaml: there is no such file"]);
        let directory = tempfile::tempdir().unwrap();
        let mistakes = check(directory.path()).unwrap_err();
        assert!(mistakes[0].sentence.contains("is a directory"), "{mistakes:?}");
    }
}
