//! The TXT record that says that there is a policy, and which version of it (RFC 8461 section 3.1).

use crate::dns::{Answer, Kind, Question, is_askable};

/// What the DNS says of a domain's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// There is a policy, of this version: 1 to 32 letters and digits.
    Id(String),
    /// There is none, or no record that says so properly.
    Absent,
    /// No answer.
    Unknown,
}

/// What to ask about a domain. None: no such question fits the DNS, so there is no policy.
pub fn question(domain: &str) -> Option<Question> {
    let name = format!("_mta-sts.{domain}");
    is_askable(&name).then_some(Question {
        name,
        kind: Kind::Txt,
    })
}

impl Record {
    /// Reads the answer to [`question`]. Records of another kind are left aside; of more than one of this kind none holds
    /// (RFC 8461 section 3.1).
    pub fn of(answer: &Answer) -> Self {
        let texts = match answer {
            Answer::Txt(texts) => texts,
            Answer::Failure => return Self::Unknown,
            _ => return Self::Absent,
        };
        let mut ours = texts.iter().filter(|text| text.starts_with(VERSION));
        match (ours.next(), ours.next()) {
            (Some(text), None) => parse(text).map_or(Self::Absent, Self::Id),
            _ => Self::Absent,
        }
    }
}

/// The id of a record; none where it breaks the grammar.
fn parse(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let mut fields = text.split(';').map(|field| field.trim_matches([' ', '\t']));
    fields.next()?;
    let mut id = None;
    let mut fields = fields.peekable();
    while let Some(field) = fields.next() {
        // The last delimiter may end the record.
        if field.is_empty() && fields.peek().is_none() {
            break;
        }
        let (name, value) = field.split_once('=')?;
        if name == "id" {
            let sound =
                (1..=32).contains(&value.len()) && value.bytes().all(|octet| octet.is_ascii_alphanumeric());
            if !sound || id.replace(value.to_owned()).is_some() {
                return None;
            }
        } else if !is_extension(name, value) {
            return None;
        }
    }
    id
}

/// A field of a later standard, which is passed over (RFC 8461 section 3.1).
fn is_extension(name: &str, value: &str) -> bool {
    let first = name
        .bytes()
        .next()
        .is_some_and(|octet| octet.is_ascii_alphanumeric());
    let rest = name
        .bytes()
        .all(|octet| octet.is_ascii_alphanumeric() || b"_-.".contains(&octet));
    // %x21-3A / %x3C / %x3E-7E
    let sound = value
        .bytes()
        .all(|octet| octet.is_ascii_graphic() && octet != b'=' && octet != b';');
    first && rest && name.len() <= 32 && !value.is_empty() && sound
}

const VERSION: &[u8] = b"v=STSv1;";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Record {
        Record::of(&Answer::Txt(
            texts.iter().map(|text| text.as_bytes().to_vec()).collect(),
        ))
    }

    #[test]
    fn one_proper_record_has_an_id() {
        for text in [
            "v=STSv1; id=20160831085700Z;",
            "v=STSv1;id=20160831085700Z",
            "v=STSv1; id=20160831085700Z ; x-y.z=1:2<3",
            "v=STSv1;\tfoo=bar;\tid=20160831085700Z; ",
        ] {
            assert_eq!(read(&[text]), Record::Id("20160831085700Z".into()), "{text}");
        }
    }

    #[test]
    fn what_breaks_the_grammar_is_no_record() {
        for text in [
            "v=STSv1",
            "v=STSv1;",
            "v=STSv1; id=",
            "v=STSv1; id=a-b",
            "v=STSv1; id=1; id=2",
            "v=STSv1; id=1;; x=y",
            "v=STSv1; id=1; x",
            "v=STSv1; id=1; x=",
            "v=STSv1; id=1; -x=y",
            "v=STSv1; id=1; x=a b",
            "v=STSv1; id=123456789012345678901234567890123",
            "v=stsv1; id=1",
            "v=STSv2; id=1",
            " v=STSv1; id=1",
        ] {
            assert_eq!(read(&[text]), Record::Absent, "{text}");
        }
        let octets = Answer::Txt(vec![b"v=STSv1; id=1; x=\xff".to_vec()]);
        assert_eq!(Record::of(&octets), Record::Absent);
    }

    #[test]
    fn of_several_records_none_holds_and_others_do_not_count() {
        let (good, other) = ("v=STSv1; id=1", "v=spf1 -all");
        assert_eq!(read(&[other, good]), Record::Id("1".into()));
        assert_eq!(read(&[good, good]), Record::Absent);
        assert_eq!(read(&[good, "v=STSv1; broken"]), Record::Absent);
        assert_eq!(read(&[other]), Record::Absent);
    }

    #[test]
    fn no_answer_is_no_statement() {
        assert_eq!(Record::of(&Answer::Failure), Record::Unknown);
        assert_eq!(Record::of(&Answer::NxDomain), Record::Absent);
        assert_eq!(Record::of(&Answer::NoData), Record::Absent);
        assert_eq!(question("d.example").unwrap().name, "_mta-sts.d.example");
        assert_eq!(question(&"a.".repeat(130)), None);
    }
}
