//! DMARC (RFC 9989) for a message, and what follows from it.

use postroad_config::{DmarcMode, DmarcSection, TemporaryError};
use postroad_verify::dmarc::{
    Check, Disposition, Domain, Identifier, Method, Outcome, Proof, Request, Step, Verdict,
};
use postroad_verify::{dkim, spf};

use super::Verdicts;
use super::budget::Budget;
use super::content::Known;
use crate::policy::Refusal;

/// Which domains a message has shown to stand behind it.
pub(super) fn identifiers(verdicts: &Verdicts, helo: &str, reverse_path: &str) -> Vec<Identifier> {
    // RFC 9989 section 4.4.2, RFC 7208 section 2.4: the null reverse-path stands on the HELO name.
    let name = reverse_path.rsplit_once('@').map_or(helo, |(_, domain)| domain);
    let of_spf = verdicts.spf.as_ref().and_then(|spf| {
        Some(Identifier {
            method: Method::Spf,
            domain: Domain::parse(name)?,
            proof: match spf.deciding() {
                spf::Verdict::Pass => Proof::Pass,
                spf::Verdict::TempError => Proof::Unknown,
                _ => Proof::Fail,
            },
        })
    });
    let of_dkim = verdicts.dkim.iter().flatten().filter_map(|outcome| {
        Some(Identifier {
            method: Method::Dkim,
            domain: Domain::parse(outcome.domain.as_deref()?)?,
            proof: match outcome.verdict {
                dkim::Verdict::Pass => Proof::Pass,
                dkim::Verdict::TempError => Proof::Unknown,
                _ => Proof::Fail,
            },
        })
    });
    of_spf.into_iter().chain(of_dkim).collect()
}

/// Judges a message. `known`: answers that are there.
pub(super) async fn judge(request: Request, known: &[Known], budget: &Budget) -> Outcome {
    let (mut check, mut step) = Check::start(request);
    loop {
        step = match step {
            Step::Done(outcome) => return outcome,
            Step::Ask(question) => {
                let answer = known.iter().find(|(asked, _)| *asked == question);
                check.answer(match answer {
                    Some((_, answer)) => answer.clone(),
                    None => budget.ask(&question).await,
                })
            }
        };
    }
}

/// The refusal that the settings ask for.
pub(super) fn refusal(section: DmarcSection, outcome: &Outcome) -> Option<Refusal> {
    let enforces = section.mode == DmarcMode::Enforce;
    match outcome.disposition {
        Disposition::Reject if !enforces => None,
        Disposition::Reject if outcome.verdict == Verdict::PermError => Some(NO_AUTHOR),
        Disposition::Reject => Some(REJECTED),
        Disposition::Defer => (section.on_temporary_error() == TemporaryError::Defer).then_some(NO_ANSWER),
        Disposition::Accept | Disposition::Quarantine => None,
    }
}

/// X.7.26 of RFC 7372 section 3.3.
const REJECTED: Refusal = Refusal::new(
    550,
    "5.7.26",
    "The domain in From does not stand behind this message and wants it refused (DMARC)",
);
/// RFC 9989 section 5.3.1: what names no one author cannot be judged.
const NO_AUTHOR: Refusal = Refusal::new(
    550,
    "5.7.26",
    "The message does not have one From field with one address, so its author cannot be checked (DMARC)",
);
const NO_ANSWER: Refusal = Refusal::new(
    451,
    "4.4.3",
    "The DNS does not say whether the domain in From stands behind this message, try again later",
);

#[cfg(test)]
mod tests {
    use super::super::Spf;
    use super::*;
    use crate::dns::Dns;
    use crate::dns::table::Table;
    use postroad_verify::dmarc::FromError;
    use postroad_verify::dns::{Answer, Kind, Question};

    const ENFORCE: DmarcSection = DmarcSection {
        mode: DmarcMode::Enforce,
        temporary_error: None,
    };

    fn policy(text: &str) -> Table {
        let question = Question {
            name: "_dmarc.a.example".to_owned(),
            kind: Kind::Txt,
        };
        Table::default().answers(question, Answer::Txt(vec![text.as_bytes().to_vec()]))
    }

    async fn judged(table: Table, author: Result<Domain, FromError>, verdicts: &Verdicts) -> Outcome {
        let budget = Budget::new(&Dns::new(table), 20);
        let identifiers = identifiers(verdicts, "mx.a.example", "ann@a.example");
        let request = Request {
            author,
            identifiers,
            each_method: false,
        };
        judge(request, &[], &budget).await
    }

    fn author() -> Result<Domain, FromError> {
        Domain::parse("a.example").ok_or(FromError::Missing)
    }

    /// SPF without an answer.
    fn unknown() -> Verdicts {
        Verdicts {
            spf: Some(Spf::unknown()),
            ..Verdicts::default()
        }
    }

    #[tokio::test]
    async fn only_what_was_chosen_refuses() {
        let report = DmarcSection::default();
        let outcome = judged(policy("v=DMARC1; p=reject"), author(), &Verdicts::default()).await;
        assert_eq!(outcome.verdict, Verdict::Fail);
        assert_eq!(refusal(ENFORCE, &outcome), Some(REJECTED));
        assert_eq!(refusal(report, &outcome), None);
        let outcome = judged(policy("v=DMARC1; p=quarantine"), author(), &Verdicts::default()).await;
        assert_eq!(outcome.disposition, Disposition::Quarantine);
        assert_eq!(refusal(ENFORCE, &outcome), None);
        let outcome = judged(
            Table::default(),
            Err(FromError::SeveralFields),
            &Verdicts::default(),
        )
        .await;
        assert_eq!(
            (refusal(ENFORCE, &outcome), refusal(report, &outcome)),
            (Some(NO_AUTHOR), None)
        );
    }

    #[tokio::test]
    async fn what_is_not_known_is_no_fail_and_no_pass() {
        let silent = Table::default().silent("_dmarc.a.example");
        for (table, verdicts) in [
            (silent, Verdicts::default()),
            (policy("v=DMARC1; p=reject"), unknown()),
        ] {
            let outcome = judged(table, author(), &verdicts).await;
            assert_eq!(outcome.verdict, Verdict::TempError);
            let report = DmarcSection::default();
            for (usual, section) in [(Some(NO_ANSWER), ENFORCE), (None, report)] {
                assert_eq!(refusal(section, &outcome), usual);
                for (chosen, want) in [
                    (TemporaryError::Accept, None),
                    (TemporaryError::Defer, Some(NO_ANSWER)),
                ] {
                    let section = DmarcSection {
                        temporary_error: Some(chosen),
                        ..section
                    };
                    assert_eq!(refusal(section, &outcome), want);
                }
            }
        }
    }

    /// Whose domain asks for nothing is not kept waiting: no answer could refuse it.
    #[tokio::test]
    async fn what_a_domain_does_not_ask_for_defers_nothing() {
        for text in ["v=DMARC1; p=none", "v=DMARC1; p=quarantine; t=y"] {
            let outcome = judged(policy(text), author(), &unknown()).await;
            assert_eq!(outcome.verdict, Verdict::TempError, "{text}");
            assert_eq!(refusal(ENFORCE, &outcome), None, "{text}");
        }
    }
}
