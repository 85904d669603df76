//! The record of a signing key: one, and with the other half of the private key.

use postroad_verify::dkim::{KeyRecord, presentation};

use super::{Judgement, Opinion, Sought, Statement, no_answer, reasons};
use crate::dns::exchange::{Found, Trouble, texts};
use crate::dns::resolver::Observation;

/// Most octets of a record that are shown: an RSA key of 4096 bits fits.
const LONGEST_SHOWN: usize = 1_000;

/// What is wanted of a key's record.
#[derive(Clone, Debug)]
pub struct DkimWanted<'a> {
    /// `<selector>._domainkey.<domain>`.
    pub name: &'a str,
    /// The text of the record.
    pub record: &'a str,
}

/// Judges a key's record as the servers gave it, or the trouble of finding the servers.
pub fn dkim(wanted: &DkimWanted<'_>, seen: &Result<Vec<Observation>, Trouble>) -> Judgement {
    let expected = presentation(wanted.record);
    let sought = Sought {
        name: wanted.name,
        kind: "TXT",
        publish: format!("publish: {}. TXT {expected}", wanted.name),
        expected,
    };
    let statements = seen.as_ref().map(|list| {
        list.iter()
            .map(|observation| statement(wanted, observation))
            .collect()
    });
    sought.conclude(&statements.map_err(Clone::clone))
}

fn statement(wanted: &DkimWanted<'_>, observation: &Observation) -> Statement {
    let (observed, opinion) = match &observation.seen {
        Err(trouble) => (String::new(), no_answer(trouble)),
        Ok(Found::Records(records)) => judged(wanted, &texts(records)),
        Ok(_) => (String::new(), missing()),
    };
    Statement {
        server: observation.server.clone(),
        observed,
        opinion,
    }
}

fn missing() -> Opinion {
    let sentence = "the record of the signing key is not there";
    Opinion::Bad(reasons::DKIM_MISSING, sentence.to_owned())
}

fn judged(wanted: &DkimWanted<'_>, texts: &[Vec<u8>]) -> (String, Opinion) {
    let shown: Vec<String> = texts.iter().map(|text| shown(text)).collect();
    let opinion = match texts {
        [] => missing(),
        [text] => compared(wanted, text),
        // RFC 6376 section 3.6.2.2: what comes of several is undefined.
        several => Opinion::Bad(
            reasons::DKIM_SEVERAL,
            format!("there are {} records; one is right", several.len()),
        ),
    };
    (shown.join(", "), opinion)
}

fn compared(wanted: &DkimWanted<'_>, text: &[u8]) -> Opinion {
    let found = match KeyRecord::parse(text) {
        Ok(found) => found,
        Err(error) => return Opinion::Bad(reasons::DKIM_INVALID, format!("the key record {error}")),
    };
    let own = KeyRecord::parse(wanted.record.as_bytes());
    if own.is_ok_and(|own| own.key == found.key) {
        let sentence = "the record has the signing key";
        return Opinion::Good(reasons::DKIM_FOUND, sentence.to_owned());
    }
    let sentence = "the record has another key than the one that signs";
    Opinion::Bad(reasons::DKIM_OTHER_KEY, sentence.to_owned())
}

/// Foreign octets in the form of [`presentation`], of bounded length.
fn shown(text: &[u8]) -> String {
    let text = super::spf::shown_up_to(text, LONGEST_SHOWN);
    presentation(&text)
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::RData;
    use hickory_resolver::proto::rr::rdata::TXT;
    use postroad_verify::dkim::{Algorithm, PrivateKey};

    use super::*;
    use crate::dns::judge::Ruling::{self, False, True, Unknown};

    fn said(seen: Result<Found, Trouble>) -> Observation {
        Observation {
            server: "ns1".to_owned(),
            seen,
        }
    }

    fn records(texts: &[&str]) -> Observation {
        let record = |text: &&str| {
            let strings = postroad_verify::dkim::strings(text);
            RData::TXT(TXT::new(strings.into_iter().map(str::to_owned).collect()))
        };
        said(Ok(Found::Records(texts.iter().map(record).collect())))
    }

    #[test]
    fn a_record_is_right_where_it_has_this_very_key() {
        let made = |algorithm| PrivateKey::generate(algorithm).unwrap().record().unwrap();
        let (own, other) = (made(Algorithm::RsaSha256), made(Algorithm::RsaSha256));
        let ed = made(Algorithm::Ed25519Sha256);
        let spaced = own.replace("; ", " ;\t") + ";";
        let noted = own.replace("p=", "n=a note; t=y:s; p=");
        let revoked = "v=DKIM1; k=rsa; p=";
        for (seen, ruling, reason) in [
            (records(&[&own]), True, reasons::DKIM_FOUND),
            (records(&[&spaced]), True, reasons::DKIM_FOUND),
            (records(&[&noted]), True, reasons::DKIM_FOUND),
            (records(&[&other]), False, reasons::DKIM_OTHER_KEY),
            (records(&[&ed]), False, reasons::DKIM_OTHER_KEY),
            (records(&[&own, &other]), False, reasons::DKIM_SEVERAL),
            (records(&[revoked]), False, reasons::DKIM_INVALID),
            (records(&["v=spf1 -all"]), False, reasons::DKIM_INVALID),
            (records(&[]), False, reasons::DKIM_MISSING),
            (said(Ok(Found::NoData)), False, reasons::DKIM_MISSING),
            (said(Ok(Found::NxDomain)), False, reasons::DKIM_MISSING),
            (said(Err(Trouble::TimedOut)), Unknown, reasons::NO_ANSWER),
        ] {
            let wanted = DkimWanted {
                name: "a._domainkey.example.com",
                record: &own,
            };
            let judged = dkim(&wanted, &Ok(vec![seen.clone()]));
            assert_eq!((judged.ruling, judged.reason), (ruling, reason), "{seen:?}");
            assert_eq!(judged.name, "a._domainkey.example.com");
            assert_eq!(judged.expected, presentation(&own));
            if ruling == False {
                let publish = format!("publish: a._domainkey.example.com. TXT {}", presentation(&own));
                assert!(judged.message.ends_with(&publish), "{}", judged.message);
            }
        }
    }

    #[test]
    fn what_is_seen_is_shown_as_it_would_be_published_and_with_a_bound() {
        let wanted = DkimWanted {
            name: "a._domainkey.example.com",
            record: "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        };
        let judged = dkim(&wanted, &Ok(vec![records(&[wanted.record])]));
        assert_eq!(
            (judged.ruling, &judged.observed),
            (Ruling::True, &judged.expected)
        );
        let long = format!("v=DKIM1; p=\u{7}{}", "A".repeat(5_000));
        let judged = dkim(&wanted, &Ok(vec![records(&[&long])]));
        assert!(judged.observed.len() < 1_100 && judged.observed.starts_with("\"v=DKIM1; p=?AAA"));
    }
}
