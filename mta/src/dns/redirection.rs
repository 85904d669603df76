//! A DNAME record leads everything below its name elsewhere (RFC 6672).
//!
//! ```text
//!   mx.old.example   below   old.example DNAME new.example, signed   ─►   mx.new.example
//!                            mx.old.example CNAME mx.new.example, made by the server, without a signature
//! ```
//!
//! The alias that a server makes of it cannot be signed: it is made here again from the record that is (section 5.3.1), and what
//! the server made has to be the same. May assume: what is marked as secure is signed rightly, by a zone that its owner is in.

use std::time::Duration;

use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use super::wildcard;

/// What proven DNAME records of a reply say of a name.
#[derive(Debug, PartialEq)]
pub(super) enum Redirection {
    /// Nothing: there is none above it.
    Absent,
    /// It leads there.
    To {
        /// The name in its place.
        name: Name,
        /// How long that holds.
        lifetime: Duration,
    },
    /// They cannot all be true, or lead nowhere.
    Wrong,
}

/// Where this name leads.
pub(super) fn of(name: &Name, reply: &Message) -> Redirection {
    let mut above = reply.answers.iter().filter(|record| is_above(name, record));
    let (Some(record), None) = (above.next(), above.next()) else {
        let is_any = reply.answers.iter().any(|record| is_above(name, record));
        return if is_any {
            Redirection::Wrong
        } else {
            Redirection::Absent
        };
    };
    // Of a wildcard (section 3.3) nothing says that it is what is nearest to the name.
    let is_expanded = wildcard::labels(&record.name, reply).is_some();
    let to = target(record).and_then(|target| substituted(name, &record.name, target));
    match to.filter(|to| !is_expanded && !is_contradicted(name, to, reply)) {
        Some(to) => Redirection::To {
            name: to,
            lifetime: Duration::from_secs(record.ttl.into()),
        },
        None => Redirection::Wrong,
    }
}

/// Its own name is not led away, only what is below it (section 2.3).
fn is_above(name: &Name, record: &Record) -> bool {
    record.record_type() == RecordType::DNAME
        && record.proof == Proof::Secure
        && record.name != *name
        && record.name.zone_of(name)
}

/// Labels of the name that it leads to. hickory leaves these data as octets: a name that is not compressed (section 2.5).
fn target(record: &Record) -> Option<Vec<&[u8]>> {
    let RData::Unknown { rdata, .. } = &record.data else {
        return None;
    };
    let (mut labels, mut rest) = (vec![], &rdata.anything[..]);
    loop {
        let (length, behind) = rest.split_first()?;
        if *length == 0 {
            return behind.is_empty().then_some(labels);
        }
        if *length > LONGEST_LABEL {
            return None;
        }
        let label = behind.get(..usize::from(*length))?;
        labels.push(label);
        rest = &behind[label.len()..];
    }
}

/// Section 2.2. None: the new name is too long (YXDOMAIN).
fn substituted(name: &Name, owner: &Name, target: Vec<&[u8]>) -> Option<Name> {
    let kept = name.iter().count().checked_sub(owner.iter().count())?;
    Name::from_labels(name.iter().take(kept).chain(target)).ok()
}

/// Whether the alias that the server made of it is another one.
fn is_contradicted(name: &Name, to: &Name, reply: &Message) -> bool {
    let mut own = reply.answers.iter().filter(|record| record.name == *name);
    own.any(|record| matches!(&record.data, RData::CNAME(made) if made.0 != *to))
}

/// RFC 1035 section 2.3.4; the two bits above are those of a pointer.
const LONGEST_LABEL: u8 = 63;

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::{CNAME, NULL};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn octets(name: &str) -> Vec<u8> {
        let labels = name.split('.').filter(|label| !label.is_empty());
        let label = |label: &str| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat();
        let mut all: Vec<u8> = labels.flat_map(label).collect();
        all.push(0);
        all
    }

    fn record(owner: &str, data: Vec<u8>, proof: Proof) -> Record {
        let rdata = if data.is_empty() {
            NULL::new()
        } else {
            NULL::with(data)
        };
        let code = RecordType::DNAME;
        let data = RData::Unknown { code, rdata };
        let mut record = Record::from_rdata(name(owner), 60, data);
        record.proof = proof;
        record
    }

    fn dname(owner: &str, to: &str) -> Record {
        record(owner, octets(to), Proof::Secure)
    }

    fn alias(owner: &str, to: &str) -> Record {
        let mut alias = Record::from_rdata(name(owner), 60, RData::CNAME(CNAME(name(to))));
        alias.proof = Proof::Bogus;
        alias
    }

    fn said(answers: Vec<Record>) -> Redirection {
        let mut reply = Message::query();
        reply.insert_answers(answers);
        of(&name("mx.old.example."), &reply)
    }

    fn to(text: &str) -> Redirection {
        Redirection::To {
            name: name(text),
            lifetime: Duration::from_mins(1),
        }
    }

    #[test]
    fn what_is_below_is_led_to_the_same_name_below_its_target() {
        for (owner, target, want) in [
            ("old.example.", "new.example.", "mx.new.example."),
            ("OLD.example.", "new.example.", "mx.new.example."),
            ("example.", "org.", "mx.old.org."),
            (".", "below.example.", "mx.old.example.below.example."),
            ("old.example.", ".", "mx."),
            // RFC 6672 section 2.2 has no case for what leads into itself; it is followed as often as any alias.
            ("old.example.", "old.example.", "mx.old.example."),
        ] {
            assert_eq!(said(vec![dname(owner, target)]), to(want), "{owner} {target}");
        }
        let both = vec![
            alias("mx.old.example.", "MX.new.example."),
            dname("old.example.", "new.example."),
        ];
        assert_eq!(said(both), to("mx.new.example."));
    }

    #[test]
    fn a_name_is_not_led_by_its_own_record_nor_by_one_beside_or_without_proof() {
        for other in [
            dname("mx.old.example.", "new.example."),
            dname("a.mx.old.example.", "new.example."),
            dname("ld.example.", "new.example."),
            record("old.example.", octets("new.example."), Proof::Insecure),
            record("old.example.", octets("new.example."), Proof::Bogus),
            record("old.example.", octets("new.example."), Proof::Indeterminate),
        ] {
            let text = format!("{other}");
            assert_eq!(said(vec![other]), Redirection::Absent, "{text}");
        }
        assert_eq!(said(vec![]), Redirection::Absent);
    }

    #[test]
    fn what_cannot_be_true_leads_nowhere() {
        let good = || dname("old.example.", "new.example.");
        let long = "a".repeat(63);
        let long = format!("{long}.{long}.{long}.{}.", "a".repeat(60));
        for (what, answers) in [
            (
                "two of one name",
                vec![good(), dname("old.example.", "other.example.")],
            ),
            ("one below another", vec![good(), dname("example.", "org.")]),
            (
                "another alias",
                vec![good(), alias("mx.old.example.", "mx.evil.example.")],
            ),
            ("too long a name", vec![dname("old.example.", &long)]),
            (
                "no name",
                vec![record("old.example.", vec![5, b'a'], Proof::Secure)],
            ),
            ("nothing", vec![record("old.example.", vec![], Proof::Secure)]),
            (
                "more than a name",
                vec![record("old.example.", vec![1, b'a', 0, 0], Proof::Secure)],
            ),
            (
                "a compressed name",
                vec![record("old.example.", vec![1, b'a', 0xc0, 0], Proof::Secure)],
            ),
        ] {
            assert_eq!(said(answers), Redirection::Wrong, "{what}");
        }
    }
}
