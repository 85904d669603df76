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

/// A sender that is refused by its SPF record, or for want of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The reply.
    pub refusal: Refusal,
    /// What the domain itself says about it (RFC 7208 section 6.2): printable ASCII of bounded length; empty = nothing.
    pub explanation: String,
}

impl Rejection {
    /// The text of the reply. The domain's words have a line to themselves that says whose they are (RFC 7208 section 8.4),
    /// so that nobody takes them for ours.
    pub fn text(&self) -> String {
        if self.explanation.is_empty() {
            self.refusal.text.to_owned()
        } else {
            format!("{}\n{WHOSE}{}", self.refusal.text, self.explanation)
        }
    }
}

/// The refusal that the settings ask for.
pub fn refusal(section: SpfSection, spf: &Spf) -> Option<Rejection> {
    let deciding = spf.mail_from.as_ref().unwrap_or(&spf.helo);
    let by = |refusal, outcome: &Outcome| Rejection {
        refusal,
        explanation: shown(outcome.explanation.as_deref().unwrap_or_default()),
    };
    match section.mode {
        SpfMode::Disabled => return None,
        SpfMode::Reject if deciding.verdict == Verdict::Fail => return Some(by(FAIL, deciding)),
        SpfMode::Reject if spf.helo.verdict == Verdict::Fail => return Some(by(HELO_FAIL, &spf.helo)),
        SpfMode::Reject | SpfMode::Report => {}
    }
    let unknown = deciding.verdict == Verdict::TempError;
    (unknown && section.temporary_error == TemporaryError::Defer).then(|| by(NO_ANSWER, deciding))
}

/// As much of an explanation as a reply has room for: a stranger's words do not become a page.
fn shown(words: &str) -> String {
    let words = words.trim();
    if words.len() <= LONGEST_EXPLANATION {
        return words.to_owned();
    }
    let cut: String = words.chars().take(LONGEST_EXPLANATION - MORE.len()).collect();
    format!("{cut}{MORE}")
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
/// Characters. RFC 5321 section 4.5.3.1.5 has 512 for a whole line.
const LONGEST_EXPLANATION: usize = 400;
const MORE: &str = "...";
/// Before the explanation.
const WHOSE: &str = "The domain's own words: ";

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
        let by = |refusal: Option<Rejection>| refusal.map(|found| found.refusal);
        let spf = judged(table(), "ann@a.example").await;
        assert_eq!((spf.deciding(), spf.helo.verdict), (Verdict::Pass, Verdict::Fail));
        assert_eq!(by(refusal(REJECT, &spf)), Some(HELO_FAIL));
        let null = judged(table(), "").await;
        assert!(null.mail_from.is_none());
        assert_eq!(by(refusal(REJECT, &null)), Some(FAIL));
    }

    #[tokio::test]
    async fn only_what_was_chosen_refuses() {
        let fail = judged(
            record(Table::default(), "a.example", "v=spf1 -all"),
            "ann@a.example",
        )
        .await;
        let by = |refusal: Option<Rejection>| refusal.map(|found| found.refusal);
        assert_eq!(by(refusal(REJECT, &fail)), Some(FAIL));
        assert_eq!(refusal(DEFER, &fail), None);
        let unknown = judged(Table::default().silent("a.example"), "ann@a.example").await;
        assert_eq!(unknown.deciding(), Verdict::TempError);
        assert_eq!(refusal(REJECT, &unknown), None);
        assert_eq!(by(refusal(DEFER, &unknown)), Some(NO_ANSWER));
        let none = judged(Table::default(), "ann@a.example").await;
        assert_eq!(none.deciding(), Verdict::None);
        assert_eq!((refusal(REJECT, &none), refusal(DEFER, &none)), (None, None));
        assert!(may_refuse(REJECT) && may_refuse(DEFER) && !may_refuse(SpfSection::default()));
    }

    /// The reply to `ann@a.example`, whose record explains itself at `why.a.example`.
    async fn said(explanation: &str) -> String {
        let table = record(Table::default(), "a.example", "v=spf1 -all exp=why.a.example");
        let spf = judged(record(table, "why.a.example", explanation), "ann@a.example").await;
        refusal(REJECT, &spf).unwrap().text()
    }

    #[tokio::test]
    async fn the_domain_explains_its_refusal_on_a_line_that_says_whose_words_they_are() {
        let text = said("%{i} is none of ours, see https://a.example/?s=%{S}").await;
        let (ours, theirs) = text.split_once('\n').unwrap();
        assert_eq!(ours, FAIL.text);
        assert_eq!(
            theirs,
            "The domain's own words: 192.0.2.1 is none of ours, see https://a.example/?s=ann%40a.example"
        );
        let helo = record(
            Table::default(),
            "mx.helo.example",
            "v=spf1 -all exp=why.helo.example",
        );
        let helo = record(helo, "why.helo.example", "not this name");
        let helo = record(helo, "a.example", "v=spf1 +all exp=why.a.example");
        let text = refusal(REJECT, &judged(helo, "ann@a.example").await)
            .unwrap()
            .text();
        assert_eq!(text, format!("{}\n{WHOSE}not this name", HELO_FAIL.text));
    }

    #[tokio::test]
    async fn an_explanation_that_is_not_safe_is_left_out_or_cut() {
        for unsafe_words in ["a\r\n250 2.0.0 fine", "caf\u{e9}", "tab\there", "100%", "  ", ""] {
            assert_eq!(said(unsafe_words).await, FAIL.text, "{unsafe_words:?}");
        }
        let text = said(&"x".repeat(1_000)).await;
        let (_, theirs) = text.split_once('\n').unwrap();
        assert_eq!(theirs.len(), WHOSE.len() + LONGEST_EXPLANATION);
        assert!(theirs.ends_with("xxx..."), "{theirs}");
    }
}
