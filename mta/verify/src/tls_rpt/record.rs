//! Where a domain wants reports about TLS (RFC 8460 section 3): the TXT record `_smtp._tls.DOMAIN`.

use crate::dns::{Kind, Question, is_askable};

/// What to ask about a domain. None: no such question fits the DNS.
pub fn question(domain: &str) -> Option<Question> {
    let name = format!("_smtp._tls.{domain}");
    is_askable(&name).then_some(Question {
        name,
        kind: Kind::Txt,
    })
}

/// Where reports go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// URIs of `mailto:` and `https:`, in their order; never empty.
    pub rua: Vec<String>,
}

/// Why there is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// None begins as one.
    #[error("there is no record that begins with v=TLSRPTv1;")]
    Missing,
    /// More than one does: none holds.
    #[error("there are several records; one is right")]
    Several,
    /// It breaks the grammar.
    #[error(
        "the record cannot be read; it is v=TLSRPTv1; rua= and URIs of mailto or https with commas between them"
    )]
    Syntax,
}

impl Record {
    /// Reads the records of the name. Those of another kind do not count (RFC 8460 section 3).
    pub fn of(texts: &[Vec<u8>]) -> Result<Self, RecordError> {
        let mut ours = texts.iter().filter(|text| text.starts_with(VERSION));
        match (ours.next(), ours.next()) {
            (None, _) => Err(RecordError::Missing),
            (Some(_), Some(_)) => Err(RecordError::Several),
            (Some(text), None) => Self::parse(text).ok_or(RecordError::Syntax),
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut fields = text
            .split(';')
            .map(|field| field.trim_matches(BLANK))
            .skip(1)
            .peekable();
        let mut rua = None;
        while let Some(field) = fields.next() {
            // The last delimiter may end the record.
            if field.is_empty() && fields.peek().is_none() {
                break;
            }
            let (name, value) = field.split_once('=')?;
            match name {
                "rua" if rua.is_some() => return None,
                "rua" => rua = Some(uris(value)?),
                // An extension (RFC 8460 section 3).
                _ if name.is_empty() || value.is_empty() => return None,
                _ => {}
            }
        }
        rua.map(|rua| Self { rua })
    }
}

/// The URIs of a list. None: one of them is none.
pub fn uris(list: &str) -> Option<Vec<String>> {
    list.split(',')
        .map(|uri| uri.trim_matches(BLANK))
        .map(|uri| is_uri(uri).then(|| uri.to_owned()))
        .collect()
}

/// `mailto:` with an address, or `https:` with a host; without the characters that a record gives another meaning.
fn is_uri(uri: &str) -> bool {
    let sound = |octet: u8| octet.is_ascii_graphic() && !b",;!".contains(&octet);
    let (scheme, rest) = uri.split_once(':').unwrap_or_default();
    let whole = match scheme.to_ascii_lowercase().as_str() {
        "mailto" => rest
            .split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty()),
        "https" => rest
            .strip_prefix("//")
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')),
        _ => false,
    };
    whole && uri.bytes().all(sound)
}

const VERSION: &[u8] = b"v=TLSRPTv1;";
const BLANK: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Vec<String>, RecordError> {
        let texts: Vec<_> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        Record::of(&texts).map(|record| record.rua)
    }

    #[test]
    fn one_proper_record_names_places() {
        let (mail, web) = ("mailto:tls@example.com", "https://tls.example.com/v1");
        for (text, want) in [
            (format!("v=TLSRPTv1; rua={mail}"), vec![mail]),
            (format!("v=TLSRPTv1;rua={mail} , {web};"), vec![mail, web]),
            (format!("v=TLSRPTv1; x=y; rua={web} ; "), vec![web]),
        ] {
            let want: Vec<String> = want.into_iter().map(str::to_owned).collect();
            assert_eq!(read(&[&text, "v=spf1 -all"]), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_record_is_told_apart() {
        for text in [
            "v=TLSRPTv1;",
            "v=TLSRPTv1; rua=",
            "v=TLSRPTv1; rua=tls@example.com",
            "v=TLSRPTv1; rua=mailto:tls",
            "v=TLSRPTv1; rua=http://example.com/",
            "v=TLSRPTv1; rua=https:///x",
            "v=TLSRPTv1; rua=mailto:a@b.example,",
            "v=TLSRPTv1; rua=mailto:a@b.example!10m",
            "v=TLSRPTv1; rua=mailto:a@b.example; rua=mailto:c@b.example",
            "v=TLSRPTv1; rua=mailto:a@b.example;; x=y",
            "v=TLSRPTv1; rua=mailto:a@b.example; x",
        ] {
            assert_eq!(read(&[text]), Err(RecordError::Syntax), "{text}");
        }
        assert_eq!(
            read(&["v=TLSRPTv2; rua=mailto:a@b.example"]),
            Err(RecordError::Missing)
        );
        assert_eq!(read(&[]), Err(RecordError::Missing));
        let good = "v=TLSRPTv1; rua=mailto:a@b.example";
        assert_eq!(read(&[good, good]), Err(RecordError::Several));
        assert_eq!(question("d.example").unwrap().name, "_smtp._tls.d.example");
    }
}
