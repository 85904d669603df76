//! SPF (RFC 7208) for both identities of a transaction, and what follows from it.

use std::time::{SystemTime, UNIX_EPOCH};

use postroad_config::{SpfMode, SpfSection, TemporaryError};
use postroad_verify::spf::{Check, Outcome, Request, Step, Verdict};

use super::Sender;
use super::budget::Budget;
use crate::dns::Dns;
use crate::policy::Refusal;

/// What was found for a transaction.
#[derive(Clone, Debug)]
pub struct Spf {
    /// Of the HELO name (RFC 7208 section 2.3).
    pub helo: Outcome,
    /// Of the reverse-path (section 2.4). Absent where that is null: then the HELO name is all there is.
    pub mail_from: Option<Outcome>,
}

impl Spf {
    /// What has no answer at all.
    pub(crate) fn unknown() -> Self {
        let unknown = Outcome {
            verdict: Verdict::TempError,
            explanation: None,
            matched: None,
            problem: None,
        };
        Self {
            helo: unknown.clone(),
            mail_from: None,
        }
    }

    /// The verdict of the reverse-path, or of the HELO name where that is null.
    pub fn deciding(&self) -> Verdict {
        self.mail_from.as_ref().unwrap_or(&self.helo).verdict
    }
}

/// The refusal that the settings ask for.
pub fn refusal(section: SpfSection, spf: &Spf) -> Option<Refusal> {
    let fails = |outcome: &Outcome| outcome.verdict == Verdict::Fail;
    match section.mode {
        SpfMode::Disabled => return None,
        SpfMode::Reject if spf.deciding() == Verdict::Fail => return Some(FAIL),
        SpfMode::Reject if fails(&spf.helo) => return Some(HELO_FAIL),
        SpfMode::Reject | SpfMode::Report => {}
    }
    let unknown = spf.deciding() == Verdict::TempError;
    (unknown && section.temporary_error == TemporaryError::Defer).then_some(NO_ANSWER)
}

/// Whether the verdicts may refuse anything, so that they are waited for before a recipient is accepted.
pub fn may_refuse(section: SpfSection) -> bool {
    section.mode == SpfMode::Reject || section.temporary_error == TemporaryError::Defer
}

pub(super) async fn judge(dns: &Dns, sender: &Sender) -> Spf {
    let budget = Budget::new(dns, QUESTIONS);
    let mail_from = async {
        if sender.reverse_path.is_empty() {
            return None;
        }
        let request = Request::mail_from(sender.client, &sender.helo, &sender.reverse_path);
        Some(run(request, sender, &budget).await)
    };
    // At once: where the DNS is slow, the client waits for one of them and not for both.
    let helo = run(Request::helo(sender.client, &sender.helo), sender, &budget);
    let (mail_from, helo) = tokio::join!(mail_from, helo);
    Spf { helo, mail_from }
}

async fn run(request: Request, sender: &Sender, budget: &Budget) -> Outcome {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let request = request.seen_by(&sender.receiver, now.map_or(0, |since| since.as_secs()));
    let (mut check, mut step) = Check::start(request);
    loop {
        step = match step {
            Step::Done(outcome) => return outcome,
            Step::Ask(question) => check.answer(budget.ask(&question).await),
        };
    }
}

/// RFC 7208 section 4.6.4 allows 10 terms; an `mx` may stand for 10 names, each a question.
const QUESTIONS: u32 = 150;

/// RFC 7208 section 8.4, with X.7.23 of RFC 7372 section 3.2.
const FAIL: Refusal = Refusal::new(
    550,
    "5.7.23",
    "The sender's domain does not let this client send its mail (SPF)",
);
const HELO_FAIL: Refusal = Refusal::new(
    550,
    "5.7.23",
    "The domain of the EHLO name does not let this client use it (SPF)",
);
/// RFC 7208 section 8.6.
const NO_ANSWER: Refusal = Refusal::new(
    451,
    "4.4.3",
    "The DNS does not say whether this client may send for this domain, try again later",
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::table::Table;
    use postroad_verify::dns::{Answer, Kind, Question};

    fn record(table: Table, name: &str, record: &str) -> Table {
        let question = Question {
            name: name.to_owned(),
            kind: Kind::Txt,
        };
        table.answers(question, Answer::Txt(vec![record.as_bytes().to_vec()]))
    }

    async fn judged(table: Table, reverse_path: &str) -> Spf {
        let sender = Sender {
            client: "192.0.2.1".parse().unwrap(),
            helo: "mx.helo.example".to_owned(),
            reverse_path: reverse_path.to_owned(),
            receiver: "mail.example.com".to_owned(),
        };
        judge(&Dns::new(table), &sender).await
    }

    const REJECT: SpfSection = SpfSection {
        mode: SpfMode::Reject,
        temporary_error: TemporaryError::Accept,
    };
    const DEFER: SpfSection = SpfSection {
        mode: SpfMode::Report,
        temporary_error: TemporaryError::Defer,
    };

    #[tokio::test]
    async fn both_identities_are_judged_and_the_null_path_has_one() {
        let table = || {
            let table = record(Table::default(), "mx.helo.example", "v=spf1 -all");
            record(table, "a.example", "v=spf1 ip4:192.0.2.1 -all")
        };
        let spf = judged(table(), "ann@a.example").await;
        assert_eq!((spf.deciding(), spf.helo.verdict), (Verdict::Pass, Verdict::Fail));
        assert_eq!(refusal(REJECT, &spf), Some(HELO_FAIL));
        let null = judged(table(), "").await;
        assert!(null.mail_from.is_none());
        assert_eq!(refusal(REJECT, &null), Some(FAIL));
    }

    #[tokio::test]
    async fn only_what_was_chosen_refuses() {
        let fail = judged(
            record(Table::default(), "a.example", "v=spf1 -all"),
            "ann@a.example",
        )
        .await;
        assert_eq!(refusal(REJECT, &fail), Some(FAIL));
        assert_eq!(refusal(DEFER, &fail), None);
        let unknown = judged(Table::default().silent("a.example"), "ann@a.example").await;
        assert_eq!(unknown.deciding(), Verdict::TempError);
        assert_eq!(refusal(REJECT, &unknown), None);
        assert_eq!(refusal(DEFER, &unknown), Some(NO_ANSWER));
        let none = judged(Table::default(), "ann@a.example").await;
        assert_eq!(none.deciding(), Verdict::None);
        assert_eq!((refusal(REJECT, &none), refusal(DEFER, &none)), (None, None));
        assert!(may_refuse(REJECT) && may_refuse(DEFER) && !may_refuse(SpfSection::default()));
    }
}
