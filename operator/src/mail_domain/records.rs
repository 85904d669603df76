//! Rows of `status.records`. A row is the last verdict that was reached and the time since when it holds; while
//! nothing is known now, it stays, and the condition says Unknown beside it.

use jiff::Timestamp;

use crate::dns::judge::{Judgement, Ruling, reasons};

/// One wanted record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Name of the record.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// What should be there.
    pub expected: String,
    /// What was there.
    pub observed: String,
    /// The last verdict that was reached; Unknown while there was none.
    pub verdict: Ruling,
    /// Who said so.
    pub server: String,
    /// Since when the verdict, with what was observed, holds.
    pub since: Timestamp,
}

impl Row {
    /// The last verdict: None when there never was one, Unknown when the record was seen and cannot be decided.
    pub fn last(&self) -> Option<Ruling> {
        (self.verdict != Ruling::Unknown || !self.observed.is_empty()).then_some(self.verdict)
    }
}

/// Whether nothing was found out. (A record that is there and cannot be decided, for want of egress addresses or of a word about
/// DNSSEC, was.)
fn is_silent(judgement: &Judgement) -> bool {
    let seen = [
        reasons::EGRESS_UNKNOWN,
        reasons::DANE_NOT_JUDGED,
        reasons::DANE_PROOF_UNKNOWN,
    ];
    judgement.ruling == Ruling::Unknown && !seen.contains(&judgement.reason)
}

/// The row after a judgement. Changes only when the verdict or what was seen changes.
pub fn row(judgement: &Judgement, previous: Option<&Row>, now: Timestamp) -> Row {
    let silent = is_silent(judgement);
    if let Some(previous) = previous.filter(|row| silent && row.last().is_some()) {
        return previous.clone();
    }
    let observed = if silent { "" } else { &judgement.observed };
    let same = |row: &&Row| row.verdict == judgement.ruling && row.observed == observed;
    let kept = previous.filter(same);
    Row {
        name: judgement.name.clone(),
        kind: judgement.kind.to_owned(),
        expected: judgement.expected.clone(),
        observed: observed.to_owned(),
        verdict: judgement.ruling,
        // Of several servers that say the same, any may be named: the first stays, so that status is quiet.
        server: kept.map_or_else(|| judgement.server.clone(), |row| row.server.clone()),
        since: kept.map_or(now, |row| row.since),
    }
}

/// Message of the condition: what was found now and, where that is nothing, what was known last.
pub fn message(judgement: &Judgement, row: &Row) -> String {
    if is_silent(judgement) && row.last().is_some() {
        format!(
            "{}; last known: {} since {}",
            judgement.message, row.verdict, row.since
        )
    } else {
        judgement.message.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(ruling: Ruling, observed: &str, server: &str) -> Judgement {
        Judgement {
            name: "example.com".to_owned(),
            kind: "MX",
            expected: "10 mail.example.com.".to_owned(),
            observed: observed.to_owned(),
            server: server.to_owned(),
            ruling,
            reason: if ruling == Ruling::Unknown {
                reasons::NO_ANSWER
            } else {
                reasons::MX_FOUND
            },
            message: "words".to_owned(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_row_is_quiet_while_nothing_changes() {
        let first = row(&judged(Ruling::True, "10 a.", "ns1"), None, at(1));
        assert_eq!(
            row(&judged(Ruling::True, "10 a.", "ns2"), Some(&first), at(2)),
            first
        );
        let other = row(&judged(Ruling::True, "20 a.", "ns2"), Some(&first), at(3));
        assert_eq!((other.since, other.server.as_str()), (at(3), "ns2"));
        let wrong = row(&judged(Ruling::False, "", "ns1"), Some(&other), at(4));
        assert_eq!((wrong.verdict, wrong.since), (Ruling::False, at(4)));
    }

    #[test]
    fn unknown_keeps_the_last_verdict_and_its_time() {
        let good = row(&judged(Ruling::True, "10 a.", "ns1"), None, at(1));
        let unknown = judged(Ruling::Unknown, "", "ns1");
        let kept = row(&unknown, Some(&good), at(9));
        assert_eq!(kept, good);
        assert_eq!(
            message(&unknown, &kept),
            "words; last known: True since 1970-01-01T00:00:01Z"
        );
        let never = row(&unknown, None, at(5));
        assert_eq!(
            (never.last(), message(&unknown, &never).as_str()),
            (None, "words")
        );
    }

    #[test]
    fn a_record_that_cannot_be_decided_replaces_an_older_verdict() {
        let missing = row(&judged(Ruling::False, "", "ns1"), None, at(1));
        let mut undecided = judged(Ruling::Unknown, "v=spf1 mx -all", "ns1");
        undecided.reason = reasons::EGRESS_UNKNOWN;
        let now = row(&undecided, Some(&missing), at(2));
        assert_eq!((now.last(), now.since), (Some(Ruling::Unknown), at(2)));
        let silent = row(&judged(Ruling::Unknown, "", "ns1"), Some(&now), at(3));
        assert_eq!(silent, now);
    }
}
