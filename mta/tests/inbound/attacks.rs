//! `docs/attacks.md` names tests that are there, for each class of attack.

use std::path::Path;

const PAGE: &str = include_str!("../../../docs/attacks.md");

/// Classes that a mail server has to have an answer to, each by a word of its row.
const CLASSES: [&str; 18] = [
    "smuggling",
    "STARTTLS",
    "Dead.Letter",
    "Pipelining",
    "Injection of lines",
    "Backscatter",
    "Open relay",
    "Guessing",
    "Exhaustion",
    "Bombs",
    "DKIM",
    "DMARC",
    "ARC",
    "Downgrade",
    "Loops",
    "DNS",
    "Forged results",
    "Secrets",
];

/// Files and tests of a cell.
fn named(cell: &str) -> Vec<(&str, &str)> {
    let mut file = "";
    let mut tests = Vec::new();
    for word in cell.split('`').skip(1).step_by(2) {
        if word.contains('.') {
            file = word;
        } else {
            tests.push((file, word));
        }
    }
    tests
}

/// Whether a file has a test of that name: a function, or a case of a table.
fn has(source: &str, test: &str) -> bool {
    source.contains(&format!("fn {test}(")) || source.contains(&format!("(\"{test}\","))
}

#[test]
fn each_class_of_attack_has_tests_and_each_of_them_is_there() {
    let rows: Vec<Vec<&str>> = PAGE
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| Attack"))
        .map(|line| line.split(" | ").collect())
        .collect();
    for class in CLASSES {
        let is_there = rows.iter().any(|row| row[0].contains(class));
        assert!(is_there, "no row about {class}");
    }
    for row in &rows {
        assert_eq!(row.len(), 3, "{row:?}");
        let tests = named(row[2]);
        assert!(!tests.is_empty(), "nothing shows the answer to {}", row[0]);
        for (file, test) in tests {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            let source = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(has(&source, test), "{file} has no test {test}");
        }
    }
}
