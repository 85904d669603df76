//! `docs/operator-checks.md` against the tests: 44 rows, every check that is named exists, and every one that exists is named.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page() -> String {
    std::fs::read_to_string(tree().join("docs/operator-checks.md")).unwrap()
}

/// Words `check_NN_…` in a text.
fn checks(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let is_check = |word: &&str| {
        let number = word.strip_prefix("check_").and_then(|rest| rest.get(..2));
        number.is_some_and(|number| number.parse::<u8>().is_ok()) && word.len() > 9
    };
    words.filter(is_check).map(str::to_owned).collect()
}

fn sources(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(checks(&std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn the_page_names_the_checks_that_exist_and_no_others() {
    let mut tests = BTreeSet::new();
    for folder in ["e2e/proof/src/checks", "operator/src", "operator/tests"] {
        sources(&tree().join(folder), &mut tests);
    }
    assert!(tests.len() > 20, "the search finds too little: {tests:?}");
    assert_eq!(checks(&page()), tests);
}

#[test]
fn the_page_has_44_rows_and_each_has_a_test_or_says_not_yet() {
    let page = page();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| Nr"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let numbers: Vec<String> = rows.iter().map(|row| row[0].to_owned()).collect();
    assert_eq!(
        numbers,
        (1..=44).map(|number: u8| number.to_string()).collect::<Vec<_>>()
    );
    for row in &rows {
        let (place, state) = (row[2], row.get(3).copied().unwrap_or_default());
        assert!(!place.is_empty() || state.starts_with("not yet"), "{row:?}");
    }
}

#[test]
fn files_on_the_page_exist() {
    let page = page();
    let files: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| Path::new(word).extension().is_some_and(|e| e == "rs"))
        .collect();
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        assert!(tree().join(file).exists(), "{file}");
    }
}
