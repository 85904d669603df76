//! What `kubectl get relaypolicies` shows: the columns are what people look at first.

use super::Play;
use crate::kubectl::{Failure, Outcome};

impl Play<'_> {
    /// The cells of a column, for each of these policies.
    pub(super) fn is_shown(&self, names: &[&str], column: &str, value: &str) -> Outcome {
        let table = self.room.namespace().kubectl(["get", "relaypolicies"])?;
        let is_other = |name: &&&str| cell(&table, name, column) != Some(value);
        match names.iter().find(is_other) {
            None => Ok(()),
            Some(name) => Err(Failure::wrong(format!(
                "kubectl get relaypolicies should show {value} under {column} for {name}:\n{table}"
            ))),
        }
    }
}

/// The cell of a row, by the name at its begin, under the word at the head of a column.
fn cell<'a>(table: &'a str, name: &str, column: &str) -> Option<&'a str> {
    let mut lines = table.lines();
    let head = lines.next()?;
    let words = head.split_whitespace();
    // Words of a head stand once in it, and each column begins where its word does.
    let begins: Vec<_> = words
        .filter_map(|word| Some((word, place(head, word)?)))
        .collect();
    let at = begins.iter().position(|(word, _)| *word == column)?;
    let (_, begin) = begins.get(at)?;
    let row = lines.find(|line| line.split_whitespace().next() == Some(name))?;
    let end = begins.get(at + 1).map_or(row.len(), |(_, next)| *next);
    row.get(*begin..end.min(row.len())).map(str::trim)
}

/// Where a word stands, by itself.
fn place(head: &str, word: &str) -> Option<usize> {
    let is_alone = |at: &usize| {
        let before = head
            .get(..*at)
            .is_none_or(|before| before.is_empty() || before.ends_with(' '));
        let behind = head.get(at + word.len()..).unwrap_or_default();
        before && (behind.is_empty() || behind.starts_with(' '))
    };
    head.match_indices(word).map(|(at, _)| at).find(is_alone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_what_stands_under_its_word() {
        let table = "NAME      READY   PRIORITY   QUOTA   SINCE   REASON\n\
                     gmail     True               False   3m      AsWanted\n\
                     gmail-2   False   7                  3m\n";
        for (name, column, want) in [
            ("gmail", "READY", Some("True")),
            ("gmail", "PRIORITY", Some("")),
            ("gmail", "QUOTA", Some("False")),
            ("gmail", "REASON", Some("AsWanted")),
            ("gmail-2", "READY", Some("False")),
            ("gmail-2", "PRIORITY", Some("7")),
            ("gmail-2", "QUOTA", Some("")),
            ("gmail-2", "REASON", None),
            ("gmail-3", "READY", None),
            ("gmail", "AUTHENTICATED", None),
        ] {
            assert_eq!(cell(table, name, column), want, "{name} {column}");
        }
        assert_eq!(cell("", "gmail", "READY"), None);
    }
}
