//! Verifiers that others made, asked the same cases as ours, for `docs/verifiers.md`.
//!
//! ```text
//!   suites ─► cases.py ─► cases.json ─┬─► ours        (mta/verify/examples/verdicts.rs)
//!                                     ├─► mail-auth   (e2e/peers/beside/mail-auth, a workspace of its own)
//!                                     └─► pyspf, Mail::SPF, dkimpy, of Debian's packages in a jail
//!   each: lines of suite, case and verdict ─► how many are right, how many pass that must not
//! ```
//!
//! A verifier that cannot be built or run is named with the reason, and not left out. Assumes what jails need (`rootfs.rs`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::kubectl::{Failure, Outcome};
use crate::place;
use crate::rootfs::{Jail, Rootfs};
use crate::shell::Shell;

const FILES: [(&str, &str); 4] = [
    ("cases.py", include_str!("../peers/beside/cases.py")),
    ("pyspf.py", include_str!("../peers/beside/pyspf.py")),
    ("mail_spf.pl", include_str!("../peers/beside/mail_spf.pl")),
    ("dkimpy.py", include_str!("../peers/beside/dkimpy.py")),
];

const PACKAGES: [&str; 6] = [
    "python3-yaml",
    "python3-spf",
    "python3-dnspython",
    "libmail-spf-perl",
    "libnet-dns-resolver-programmable-perl",
    "python3-dkim",
];

/// What the page says before the tables.
const HEAD: &str = include_str!("../peers/beside/head.md");

/// Suites of the table, with their numbers of cases.
const SUITES: [(&str, &str, usize); 2] = [("spf", "SPF, RFC 7208", 203), ("arc", "ARC, validation", 171)];

/// Verdicts by suite and case; or why there are none.
type Said = Result<BTreeMap<(String, String), String>, String>;

/// Asks everybody, writes the page, and gives its text. Error: the suites are not there, or no jail can be made.
pub fn write() -> Outcome<String> {
    let suites = std::env::var("POSTROAD_SUITES").unwrap_or_default();
    if suites.is_empty() {
        return Err(Failure::wrong("POSTROAD_SUITES is not set, see docs/suites.md"));
    }
    let (scratch, folder) = (tempfile::tempdir()?, tempfile::tempdir()?);
    for (name, text) in FILES {
        std::fs::write(folder.path().join(name), text)?;
    }
    let root = Rootfs::cached("beside", &PACKAGES)?;
    let binds = [(folder.path(), "/beside"), (Path::new(&suites), "/suites")];
    let jail = root.enter(scratch.path(), &binds)?;
    jail.run("python3", ["/beside/cases.py", "/suites", "/beside/cases.json"])?;
    let file = folder.path().join("cases.json");
    let cases: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)
        .map_err(|error| Failure::wrong(error.to_string()))?;
    let version = |package| root.version(package).unwrap_or_default();
    let verifiers = [
        ("Postroad".to_owned(), ours(&file)),
        ("mail-auth 0.15.1".to_owned(), mail_auth(&file)),
        (
            named("pyspf", &version("python3-spf")),
            jailed(&jail, "spf", "python3", "pyspf.py"),
        ),
        (
            named("Mail::SPF", &version("libmail-spf-perl")),
            jailed(&jail, "spf", "perl", "mail_spf.pl"),
        ),
        (
            named("dkimpy", &version("python3-dkim")),
            jailed(&jail, "arc", "python3", "dkimpy.py"),
        ),
    ];
    let page = format!("{HEAD}\n{}", tables(&cases, &verifiers)?);
    std::fs::write(place::tree().join("docs/verifiers.md"), &page)?;
    Ok(page)
}

/// Without the part of the version that is Debian's.
fn named(name: &str, version: &str) -> String {
    let (upstream, _) = version.rsplit_once('-').unwrap_or((version, ""));
    format!("{name} {upstream}")
}

fn ours(cases: &Path) -> Said {
    let args = ["run", "--locked", "--quiet", "--package", "postroad-verify"];
    let run = Shell::new(place::cargo()).dir(&place::tree()).args(args);
    read(run.args(["--example", "verdicts", "--"]).args([cases]).read())
}

fn mail_auth(cases: &Path) -> Said {
    let folder = place::tree().join("e2e/peers/beside/mail-auth");
    let run = Shell::new(place::cargo())
        .dir(&folder)
        .args(["run", "--locked", "--quiet"]);
    // A parser that it uses asks for a newer compiler than it needs.
    let run = run.args(["--ignore-rust-version", "--target-dir"]);
    let run = run.args([place::target().join("beside")]).args(["--"]);
    read(run.args([cases]).limit(std::time::Duration::from_mins(30)).read())
}

fn jailed(jail: &Jail, suite: &str, program: &str, script: &str) -> Said {
    let path = format!("/beside/{script}");
    let said = jail
        .shell(program)
        .args([path.as_str(), "/beside/cases.json"])
        .read();
    read(said.map(|text| {
        let with_suite = text.lines().map(|line| format!("{suite}\t{line}\n"));
        with_suite.collect()
    }))
}

fn read<E: std::fmt::Display>(said: Result<String, E>) -> Said {
    let said = said.map_err(|error| error.to_string().lines().take(1).collect::<String>())?;
    let fields = |line: &str| {
        let mut fields = line.splitn(3, '\t').map(str::to_owned);
        Some(((fields.next()?, fields.next()?), fields.next()?))
    };
    Ok(said.lines().filter_map(fields).collect())
}

/// The counts, and each verdict that is wrong.
fn tables(cases: &Value, verifiers: &[(String, Said)]) -> Outcome<String> {
    let mut text = String::from("| verifier |");
    for (_, title, _) in SUITES {
        let _ = write!(text, " {title}: right | passes that must not |");
    }
    let _ = write!(text, "\n|-|{}\n", "-|-|".repeat(SUITES.len()));
    let (mut wrong, mut absent) = (String::new(), String::new());
    for (name, said) in verifiers {
        let _ = write!(text, "| {name} |");
        for (suite, _, wanted) in SUITES {
            let list = cases[suite].as_array().map_or(&[][..], Vec::as_slice);
            if list.len() != wanted {
                return Err(Failure::wrong(format!(
                    "{suite} has {} cases, not {wanted}",
                    list.len()
                )));
            }
            match said {
                Ok(said) if said.keys().any(|(of, _)| of == suite) => {
                    let misses = misses(list, suite, said);
                    let passes = misses.iter().filter(|miss| miss.said == "pass").count();
                    let _ = write!(text, " {}/{wanted} | {passes} |", wanted - misses.len());
                    for miss in misses {
                        let _ = writeln!(
                            wrong,
                            "| {name} | {suite} | {} | {} | {} |",
                            miss.case, miss.want, miss.said
                        );
                    }
                }
                Ok(_) => text.push_str(" – | – |"),
                Err(_) => text.push_str(" did not run | – |"),
            }
        }
        text.push('\n');
        if let Err(why) = said {
            let _ = writeln!(absent, "* {name} did not run: {why}");
        }
    }
    if !absent.is_empty() {
        let _ = write!(text, "\n{absent}");
    }
    if !wrong.is_empty() {
        let _ = write!(
            text,
            "\n## Every verdict that is wrong\n\n| verifier | suite | case | right | said |\n|-|-|-|-|-|\n{wrong}"
        );
    }
    Ok(text)
}

/// A verdict that is wrong.
#[derive(Debug, PartialEq, Eq)]
struct Miss {
    case: String,
    want: String,
    said: String,
}

fn misses(cases: &[Value], suite: &str, said: &BTreeMap<(String, String), String>) -> Vec<Miss> {
    let judged = |case: &Value| {
        let id = case["id"].as_str().unwrap_or_default();
        let want = case["want"].as_array().into_iter().flatten();
        let want: Vec<&str> = want.filter_map(Value::as_str).collect();
        let key = (suite.to_owned(), id.to_owned());
        let said = said.get(&key).map_or("nothing", String::as_str);
        (!want.contains(&said)).then(|| Miss {
            case: cell(id),
            want: want.join(" or "),
            // What a program says as it breaks down is its own.
            said: if said.starts_with("error") {
                "broke down".to_owned()
            } else {
                cell(said)
            },
        })
    };
    cases.iter().filter_map(judged).collect()
}

fn cell(text: &str) -> String {
    text.replace('|', "/").chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_counted_and_a_pass_by_itself() {
        let cases = [
            json!({"id": "a", "want": ["fail", "none"]}),
            json!({"id": "b", "want": ["fail"]}),
            json!({"id": "c", "want": ["pass"]}),
            json!({"id": "d", "want": ["pass"]}),
            json!({"id": "e", "want": ["none"]}),
        ];
        let said = read::<String>(Ok(
            "spf\ta\tnone\nspf\tb\tpass\nspf\tc\tpass\nspf\te\terror: x\narc\td\tpass\n".into(),
        ));
        let found = misses(&cases, "spf", &said.unwrap());
        let said: Vec<_> = found
            .iter()
            .map(|miss| (miss.case.as_str(), miss.said.as_str()))
            .collect();
        assert_eq!(said, [("b", "pass"), ("d", "nothing"), ("e", "broke down")]);
    }

    #[test]
    fn who_did_not_run_is_named() {
        let many = |number: usize| -> Vec<Value> {
            (0..number)
                .map(|at| json!({"id": at.to_string(), "want": ["pass"]}))
                .collect()
        };
        let cases = json!({"spf": many(203), "arc": many(171)});
        let broken: Said = read(Err::<String, _>("no compiler\nand more"));
        let text = tables(&cases, &[("other".to_owned(), broken)]).unwrap();
        assert!(
            text.contains("| other | did not run |") && text.contains("* other did not run: no compiler\n")
        );
        let few = json!({"spf": many(202), "arc": many(171)});
        assert!(tables(&few, &[]).is_ok() && tables(&few, &[("x".to_owned(), Ok(BTreeMap::new()))]).is_err());
    }
}
