//! The proof that a domain belongs to an object: a TXT record with its uid.

use super::{Judgement, Observation, Opinion, Sought, Statement, no_answer, reasons};
use crate::dns::exchange::{Found, Trouble, texts};

/// What is wanted of the record.
#[derive(Clone, Copy, Debug)]
pub struct ProofWanted<'a> {
    /// Name of the record, `_postroad.<domain>`.
    pub name: &'a str,
    /// The uid of the object.
    pub uid: &'a str,
}

/// Judges the record as the servers gave it, or the trouble of finding the servers. Records beside it do no harm: the domain may
/// be proven to several objects.
pub fn proof(wanted: &ProofWanted<'_>, seen: &Result<Vec<Observation>, Trouble>) -> Judgement {
    let ProofWanted { name, uid } = wanted;
    let sought = Sought {
        name,
        kind: "TXT",
        expected: (*uid).to_owned(),
        publish: format!("publish: {name}. TXT \"{uid}\""),
    };
    let statements = seen.as_ref().map(|list| {
        list.iter()
            .map(|observation| statement(uid, observation))
            .collect()
    });
    sought.conclude(&statements.map_err(Clone::clone))
}

fn statement(uid: &str, observation: &Observation) -> Statement {
    let missing = |sentence: &str| Opinion::Bad(reasons::PROOF_MISSING, sentence.to_owned());
    let (observed, opinion) = match &observation.seen {
        Err(trouble) => (String::new(), no_answer(trouble)),
        Ok(Found::Records(records)) => {
            let list = texts(records);
            if list.iter().any(|text| text.trim_ascii() == uid.as_bytes()) {
                let sentence = "the record has the uid of this object";
                (
                    uid.to_owned(),
                    Opinion::Good(reasons::PROOF_FOUND, sentence.to_owned()),
                )
            } else {
                // Somebody else's text: a little of it is enough to know it by.
                let shown: Vec<String> = list
                    .iter()
                    .take(3)
                    .map(|text| {
                        text.escape_ascii()
                            .to_string()
                            .chars()
                            .take(64)
                            .collect::<String>()
                    })
                    .collect();
                (shown.join(", "), missing("no record has the uid of this object"))
            }
        }
        Ok(_) => (String::new(), missing("there is no such record")),
    };
    Statement {
        server: observation.server.clone(),
        observed,
        opinion,
    }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::RData;
    use hickory_resolver::proto::rr::rdata::TXT;

    use super::*;
    use crate::dns::judge::Ruling;

    fn said(seen: Result<Found, Trouble>) -> Observation {
        Observation {
            server: "ns1".to_owned(),
            seen,
        }
    }

    fn records(texts: &[&str]) -> Observation {
        let one = |text: &&str| RData::TXT(TXT::new(vec![(*text).to_owned()]));
        said(Ok(Found::Records(texts.iter().map(one).collect())))
    }

    fn judge(seen: Vec<Observation>) -> Judgement {
        let wanted = ProofWanted {
            name: "_postroad.shop.example",
            uid: "uid-1",
        };
        proof(&wanted, &Ok(seen))
    }

    #[test]
    fn the_uid_must_be_there_on_all_servers_that_answer() {
        let lost = || said(Err(Trouble::TimedOut));
        for (seen, ruling, reason) in [
            (vec![records(&["uid-1"])], Ruling::True, reasons::PROOF_FOUND),
            (
                vec![records(&["uid-0", " uid-1 "]), lost()],
                Ruling::True,
                reasons::PROOF_FOUND,
            ),
            (
                vec![records(&["uid-0", "uid-10"])],
                Ruling::False,
                reasons::PROOF_MISSING,
            ),
            (
                vec![said(Ok(Found::NxDomain))],
                Ruling::False,
                reasons::PROOF_MISSING,
            ),
            (
                vec![said(Ok(Found::NoData))],
                Ruling::False,
                reasons::PROOF_MISSING,
            ),
            (
                vec![records(&["uid-1"]), said(Ok(Found::NoData))],
                Ruling::False,
                reasons::SERVERS_DISAGREE,
            ),
            (vec![lost()], Ruling::Unknown, reasons::NO_ANSWER),
        ] {
            let judged = judge(seen);
            assert_eq!((judged.ruling, judged.reason), (ruling, reason), "{judged:?}");
        }
        let missing = judge(vec![said(Ok(Found::NoData))]);
        let mend = "publish: _postroad.shop.example. TXT \"uid-1\"";
        assert!(missing.message.contains(mend), "{}", missing.message);
    }
}
