//! `docs/reference/rfcs.md` claims no RFC that the code does not name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../../../docs/reference/rfcs.md");

/// Files of code below a folder, tests apart.
pub fn sources(at: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("tests") && !path.ends_with("target") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}

/// Numbers behind `mark`.
fn numbers(text: &str, mark: &str) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices(mark) {
        let digits: String = text[at + mark.len()..]
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        found.extend(digits.parse::<u32>());
    }
    found
}

#[test]
fn what_the_page_claims_is_named_in_the_code() {
    let table = PAGE
        .split("\n\n")
        .find(|part| part.starts_with("| RFC |"))
        .unwrap();
    let listed: BTreeSet<u32> = table
        .lines()
        .skip(2)
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split(','))
        .map(|number| number.trim().parse().unwrap())
        .collect();
    assert!(listed.len() > 40);
    let mut paths = Vec::new();
    sources(Path::new(env!("CARGO_MANIFEST_DIR")), &mut paths);
    assert!(paths.len() > 100, "the code is elsewhere");
    let code: String = paths
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let named = numbers(&code, "RFC ");
    let unfounded: Vec<_> = listed.difference(&named).collect();
    assert!(
        unfounded.is_empty(),
        "on the page, and nowhere in the code: {unfounded:?}"
    );
}
