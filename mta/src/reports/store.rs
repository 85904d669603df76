//! Rows of reports by kind, domain and day, each with how often it came. Pure, and bounded: of too much, what is new is left out.
//!
//! ```text
//!   add ─► rows ─┬─ take ─► out: a report, or another pod ─┬─ it is done: settle
//!                └◄──────────────── put_back ◄─────────────┘ it is not
//!   add, settle ─► changes ─► journal
//! ```
//!
//! What is out is still in the journal: after a crash it is here again.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// What DMARC said of mail from a domain (RFC 9990).
    Dmarc,
    /// How TLS went with the servers of a domain (RFC 8460).
    Tls,
}

impl Kind {
    /// As it is written in the log and in keys.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dmarc => "dmarc",
            Self::Tls => "tls",
        }
    }
}

/// One report: of a kind, to a domain, about a day.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// What it is about.
    pub kind: Kind,
    /// To whom, in lower case.
    pub domain: String,
    /// About which day, since 1970 in UTC.
    pub day: u32,
}

/// A row of a report, and how often it came. In the journal and between pods it stands like this; there a count may be below
/// zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Of which report.
    #[serde(flatten)]
    pub of: Subject,
    /// The row as its kind writes it. Rows with the same text are one.
    pub row: String,
    /// How often.
    pub count: i64,
}

/// All rows.
#[derive(Debug, Default)]
pub struct Store {
    days: BTreeMap<Subject, HashMap<String, u64>>,
    changes: HashMap<Subject, HashMap<String, i64>>,
    octets: usize,
    out: usize,
}

impl Store {
    /// Counts a row. False: there is no room for another one.
    pub fn add(&mut self, of: &Subject, row: &str, count: u64) -> bool {
        let added = self.insert(of, row, count);
        if added {
            self.note(of, row, signed(count));
        }
        added
    }

    /// Takes a row over from the journal.
    pub fn restore(&mut self, of: &Subject, row: &str, count: u64) {
        self.insert(of, row, count);
    }

    fn insert(&mut self, of: &Subject, row: &str, count: u64) -> bool {
        if let Some(known) = self.days.get_mut(of).and_then(|rows| rows.get_mut(row)) {
            *known = known.saturating_add(count);
            return true;
        }
        let is_new = !self.days.contains_key(of);
        let octets = row.len() + OF_ROW + if is_new { of.domain.len() + OF_DAY } else { 0 };
        let many = self.days.get(of).map_or(0, HashMap::len) >= MOST_ROWS;
        if many || row.len() > LONGEST_ROW || self.octets + octets > MOST_OCTETS {
            return false;
        }
        self.octets += octets;
        self.days
            .entry(of.clone())
            .or_default()
            .insert(row.to_owned(), count);
        true
    }

    /// Takes the rows of a report out. Whoever does has to [`settle`](Self::settle) or [`put_back`](Self::put_back) each.
    pub fn take(&mut self, of: &Subject) -> Vec<Entry> {
        let Some(rows) = self.days.remove(of) else {
            return Vec::new();
        };
        self.octets = self.octets.saturating_sub(of.domain.len() + OF_DAY);
        let mut taken: Vec<Entry> = rows
            .into_iter()
            .map(|(row, count)| Entry {
                of: of.clone(),
                row,
                count: signed(count),
            })
            .collect();
        let octets: usize = taken.iter().map(|entry| entry.row.len() + OF_ROW).sum();
        self.octets = self.octets.saturating_sub(octets);
        self.out += taken.len();
        taken.sort_by(|one, other| one.row.cmp(&other.row));
        taken
    }

    /// What was taken out is where it belongs.
    pub fn settle(&mut self, entries: &[Entry]) {
        self.out = self.out.saturating_sub(entries.len());
        for entry in entries {
            self.note(&entry.of, &entry.row, -entry.count);
        }
    }

    /// What was taken out is here again.
    pub fn put_back(&mut self, entries: Vec<Entry>) {
        self.out = self.out.saturating_sub(entries.len());
        for entry in entries {
            if !self.insert(&entry.of, &entry.row, entry.count.unsigned_abs()) {
                self.note(&entry.of, &entry.row, -entry.count);
            }
        }
    }

    /// The reports that there are rows for, by kind, domain and day.
    pub fn subjects(&self) -> Vec<Subject> {
        self.days.keys().cloned().collect()
    }

    /// Rows that are here.
    pub fn rows(&self) -> usize {
        self.days.values().map(HashMap::len).sum()
    }

    /// Rows that are here, and rows that are out and may be here again.
    pub fn held(&self) -> usize {
        self.rows() + self.out
    }

    /// What the journal does not know yet.
    pub fn changes(&mut self) -> Vec<Entry> {
        let changes = std::mem::take(&mut self.changes).into_iter();
        changes
            .flat_map(|(of, rows)| {
                rows.into_iter()
                    .filter(|(_, count)| *count != 0)
                    .map(move |(row, count)| Entry {
                        of: of.clone(),
                        row,
                        count,
                    })
            })
            .collect()
    }

    /// Everything, to write the journal anew; the changes up to now are in it. None while something is out.
    pub fn whole(&mut self) -> Option<Vec<Entry>> {
        if self.out > 0 {
            return None;
        }
        self.changes.clear();
        let all = self.days.iter().flat_map(|(of, rows)| {
            rows.iter().map(|(row, count)| Entry {
                of: of.clone(),
                row: row.clone(),
                count: signed(*count),
            })
        });
        Some(all.collect())
    }

    fn note(&mut self, of: &Subject, row: &str, count: i64) {
        if !self.changes.contains_key(of) {
            self.changes.insert(of.clone(), HashMap::new());
        }
        let Some(rows) = self.changes.get_mut(of) else {
            return;
        };
        match rows.get_mut(row) {
            Some(known) => *known = known.saturating_add(count),
            None => drop(rows.insert(row.to_owned(), count)),
        }
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Of all rows, with what a row and a day cost besides their text.
const MOST_OCTETS: usize = 32 << 20;
const OF_ROW: usize = 96;
const OF_DAY: usize = 160;
/// Of one report: 10,000 rows are some megabytes of XML or JSON.
const MOST_ROWS: usize = 10_000;
/// Octets of one row.
pub const LONGEST_ROW: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(domain: &str, day: u32) -> Subject {
        Subject {
            kind: Kind::Dmarc,
            domain: domain.to_owned(),
            day,
        }
    }

    /// What the journal would have after these changes.
    fn journal(into: &mut HashMap<(Subject, String), i64>, store: &mut Store) {
        for entry in store.changes() {
            *into.entry((entry.of, entry.row)).or_default() += entry.count;
        }
        into.retain(|_, count| *count != 0);
    }

    #[test]
    fn the_same_row_counts_up_and_a_day_is_taken_whole() {
        let mut store = Store::default();
        for (row, domain, day) in [
            ("b", "a.example", 1),
            ("a", "a.example", 1),
            ("b", "a.example", 1),
            ("b", "a.example", 2),
            ("b", "b.example", 1),
        ] {
            assert!(store.add(&of(domain, day), row, 1));
        }
        assert_eq!(
            store.subjects(),
            [of("a.example", 1), of("a.example", 2), of("b.example", 1)]
        );
        assert_eq!(store.rows(), 4);
        let taken = store.take(&of("a.example", 1));
        let shown: Vec<(&str, i64)> = taken.iter().map(|entry| (&*entry.row, entry.count)).collect();
        assert_eq!(shown, [("a", 1), ("b", 2)], "in an order of their own");
        assert_eq!((store.rows(), store.take(&of("a.example", 1)).len()), (2, 0));
    }

    #[test]
    fn the_journal_has_what_is_out_until_it_is_settled() {
        let (mut store, mut kept) = (Store::default(), HashMap::new());
        let one = of("a.example", 1);
        store.add(&one, "a", 2);
        store.add(&one, "b", 1);
        journal(&mut kept, &mut store);
        let taken = store.take(&one);
        store.add(&one, "a", 5);
        journal(&mut kept, &mut store);
        assert_eq!(kept[&(one.clone(), "a".to_owned())], 7);
        assert!(store.whole().is_none(), "nothing is lost by writing anew");
        assert_eq!((store.rows(), store.held()), (1, 3));
        store.put_back(taken);
        let taken = store.take(&one);
        assert_eq!(taken.iter().map(|entry| entry.count).sum::<i64>(), 8);
        store.settle(&taken);
        journal(&mut kept, &mut store);
        assert!(kept.is_empty(), "{kept:?}");
        assert_eq!((store.whole(), store.held()), (Some(vec![]), 0));
    }

    #[test]
    fn what_is_whole_is_not_told_again_as_a_change() {
        let mut store = Store::default();
        store.add(&of("a.example", 1), "a", 2);
        let whole = store.whole().unwrap();
        assert_eq!((whole.len(), whole[0].count), (1, 2));
        assert!(store.changes().is_empty());
    }

    #[test]
    fn of_too_much_what_is_new_is_left_out_and_what_is_known_counts_on() {
        let mut store = Store::default();
        let one = of("a.example", 1);
        for number in 0..MOST_ROWS {
            assert!(store.add(&one, &number.to_string(), 1));
        }
        assert!(!store.add(&one, "another", 1));
        assert!(store.add(&one, "7", 1));
        assert!(!store.add(&of("b.example", 1), &"x".repeat(LONGEST_ROW + 1), 1));
        let mut store = Store::default();
        let row = "x".repeat(1_000);
        let mut taken = 0_u32;
        while store.add(&of(&format!("d{taken}.example"), 1), &row, 1) {
            taken += 1;
        }
        assert!((20_000..34_000).contains(&taken), "{taken}");
        let out = store.take(&of("d0.example", 1));
        assert!(store.add(&of("new.example", 1), &row, 1), "there is room again");
        store.put_back(out);
        assert!(store.changes().len() >= usize::try_from(taken).unwrap());
    }
}
