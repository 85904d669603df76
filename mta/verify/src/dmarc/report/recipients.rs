//! Who gets a report: the addresses that the policy domain names now, those in other domains only with their consent (RFC 9990
//! section 3).
//!
//! ```text
//!   policy domain ─► its record ─► each URI ─┬─ of the same organisation ──────────────────────────────► it may
//!                                            └─ another: POLICY-DOMAIN._report._dmarc.HOST ─┬─ a record ─► it may, or the address
//!                                                                                          │              of that record does
//!                                                                                          └─ none ─────► it may not
//! ```

use std::fmt;

use super::super::record::Text;
use super::super::walk::{Found, Walker};
use super::super::{Domain, Problem};
use super::target::{Target, target};
use crate::dns::{Answer, Kind, Question, is_askable};
use crate::steps::{self, Evaluation, Slot};

/// Who gets a report and who does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipients {
    /// These may, each once.
    pub targets: Vec<Target>,
    /// These do not, or nobody does.
    pub not_sent: Vec<NotSent>,
}

impl Recipients {
    /// Whether another time there may be more: the DNS gave no answer about somebody.
    pub fn is_uncertain(&self) -> bool {
        self.not_sent
            .iter()
            .any(|why| matches!(why, NotSent::NoAnswer(_)))
    }
}

/// Why somebody does not get a report. Each text is one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// There is no record any more, or it names nobody.
    NotWanted(Domain),
    /// Its URI is no mailbox that mail could go to.
    NoMailbox(String),
    /// The domain of the target has no record that consents.
    NoConsent(Target),
    /// Its consent names an address somewhere else.
    Elsewhere(Target),
    /// The DNS gives no answer.
    NoAnswer(Question),
    /// More are named than get one.
    TooMany(usize),
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWanted(domain) => write!(f, "the DMARC record of {domain} asks for no reports now"),
            Self::NoMailbox(uri) => write!(f, "{uri} is no address that mail can go to"),
            Self::NoConsent(target) => write!(
                f,
                "{} has no record that lets reports go to {}",
                target.host, target.address
            ),
            Self::Elsewhere(target) => write!(
                f,
                "the record of {} for reports to {} names another host",
                target.host, target.address
            ),
            Self::NoAnswer(question) => write!(f, "no answer from DNS for {question}"),
            Self::TooMany(count) => write!(f, "{count} more addresses are named than get a report"),
        }
    }
}

/// What to do next.
pub type Step = steps::Step<Recipients>;

/// A running search.
#[derive(Debug)]
pub struct Search(Evaluation<Recipients>);

impl Search {
    /// Starts a search for the recipients of reports to a policy domain, and runs it to its first question.
    pub fn start(domain: Domain) -> (Self, Step) {
        let (evaluation, step) = Evaluation::start(|slot| search(domain, slot), Recipients::default());
        (Self(evaluation), step)
    }

    /// Gives the answer to the question of the last step. After the end, gives the end again.
    pub fn answer(&mut self, answer: Answer) -> Step {
        self.0.answer(answer)
    }

    /// Runs a search to its end with a function that answers at once.
    pub fn run(domain: Domain, lookup: impl FnMut(&Question) -> Answer) -> Recipients {
        let (mut search, step) = Self::start(domain);
        steps::run(step, |answer| search.answer(answer), lookup)
    }
}

async fn search(domain: Domain, slot: Slot) -> Recipients {
    let mut found = Recipients::default();
    let mut walker = Walker::new(slot.clone());
    let record = match walker.look(&domain).await {
        Ok(Found::Record(record)) if !record.reports.is_empty() => record,
        Ok(_) => {
            found.not_sent.push(NotSent::NotWanted(domain));
            return found;
        }
        Err(problem) => {
            found.not_sent.push(unanswered(problem, &domain));
            return found;
        }
    };
    let many = record.reports.len().saturating_sub(MOST_TARGETS);
    for uri in record.reports.iter().take(MOST_TARGETS) {
        let Some(target) = target(uri) else {
            found.not_sent.push(NotSent::NoMailbox(uri.clone()));
            continue;
        };
        match consented(&domain, target, &mut walker, &slot).await {
            Ok(targets) => {
                for target in targets {
                    if found.targets.iter().all(|known| known.address != target.address) {
                        found.targets.push(target);
                    }
                }
            }
            Err(why) => found.not_sent.push(why),
        }
    }
    if many > 0 {
        found.not_sent.push(NotSent::TooMany(many));
    }
    found
}

/// The addresses that stand for a target: itself, or those that its own host names.
async fn consented(
    domain: &Domain,
    target: Target,
    walker: &mut Walker,
    slot: &Slot,
) -> Result<Vec<Target>, NotSent> {
    if is_same(domain, &target.host, walker).await? {
        return Ok(vec![target]);
    }
    let question = Question {
        name: format!("{domain}._report._dmarc.{}", target.host),
        kind: Kind::Txt,
    };
    // Step 4: a name that does not fit the DNS has no record.
    if !is_askable(&question.name) {
        return Err(NotSent::NoConsent(target));
    }
    let texts = match slot.ask(question.clone()).await {
        Answer::Failure => return Err(NotSent::NoAnswer(question)),
        Answer::Txt(texts) => texts,
        _ => Vec::new(),
    };
    let mut consents = false;
    let mut instead = Vec::new();
    for text in &texts {
        match Text::parse(text) {
            Text::Foreign => {}
            Text::Unusable(_) => consents = true,
            Text::Record(record) => {
                consents = true;
                instead.extend(record.reports);
            }
        }
    }
    if !consents {
        return Err(NotSent::NoConsent(target));
    }
    if instead.is_empty() {
        return Ok(vec![target]);
    }
    // Step 9: the other address is at the same host, or nobody gets anything.
    let instead: Option<Vec<Target>> = instead
        .iter()
        .take(MOST_TARGETS)
        .map(|uri| self::target(uri).filter(|other| other.host == target.host))
        .collect();
    instead.ok_or(NotSent::Elsewhere(target))
}

/// Whether both belong to one organisation (RFC 9989 section 4.10.2).
async fn is_same(domain: &Domain, host: &Domain, walker: &mut Walker) -> Result<bool, NotSent> {
    if domain == host {
        return Ok(true);
    }
    if domain.last(1) != host.last(1) {
        return Ok(false);
    }
    let ours = walker.organization(domain).await;
    let ours = ours.map_err(|problem| unanswered(problem, domain))?;
    if !host.is_within(&ours) {
        return Ok(false);
    }
    let theirs = walker.organization(host).await;
    Ok(theirs.map_err(|problem| unanswered(problem, host))? == ours)
}

fn unanswered(problem: Problem, name: &Domain) -> NotSent {
    match problem {
        Problem::NoAnswer(question) => NotSent::NoAnswer(question),
        _ => NotSent::NoAnswer(Question {
            name: format!("_dmarc.{name}"),
            kind: Kind::Txt,
        }),
    }
}

/// RFC 9990 section 2.5: a receiver may have its limit.
const MOST_TARGETS: usize = 5;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Zone(BTreeMap<&'static str, &'static str>);

    impl Zone {
        /// Texts by name; `?` is a name without an answer.
        fn recipients(&self, domain: &str) -> (Vec<String>, Vec<NotSent>) {
            let lookup = |question: &Question| match self.0.get(question.name.as_str()) {
                Some(&"?") => Answer::Failure,
                Some(text) => Answer::Txt(text.split('|').map(|text| text.as_bytes().to_vec()).collect()),
                None => Answer::NxDomain,
            };
            let found = Search::run(Domain::parse(domain).unwrap(), lookup);
            let addresses = found.targets.into_iter().map(|target| target.address);
            (addresses.collect(), found.not_sent)
        }
    }

    fn zone(texts: &[(&'static str, &'static str)]) -> Zone {
        Zone(texts.iter().copied().collect())
    }

    #[test]
    fn those_of_the_same_organisation_need_no_consent() {
        let zone = zone(&[
            (
                "_dmarc.a.example",
                "v=DMARC1; p=none; rua=mailto:d@a.example,mailto:d@mail.a.example,mailto:d@a.example",
            ),
            (
                "_dmarc.x.a.example",
                "v=DMARC1; p=none; rua=mailto:d@a.example!1k,https://a.example/r",
            ),
        ]);
        assert_eq!(
            zone.recipients("a.example"),
            (
                vec!["d@a.example".to_owned(), "d@mail.a.example".to_owned()],
                vec![]
            )
        );
        assert_eq!(
            zone.recipients("x.a.example"),
            (
                vec!["d@a.example".to_owned()],
                vec![NotSent::NoMailbox("https://a.example/r".to_owned())]
            )
        );
        // Of one public suffix, and of two organisations.
        let (addresses, not_sent) = super::tests::zone(&[
            ("_dmarc.example", "v=DMARC1; p=none; psd=y"),
            ("_dmarc.a.example", "v=DMARC1; p=none; rua=mailto:d@b.example"),
        ])
        .recipients("a.example");
        assert!(addresses.is_empty() && matches!(not_sent[..], [NotSent::NoConsent(_)]));
    }

    #[test]
    fn another_domain_consents_or_gets_nothing() {
        const CONSENT: &str = "a.example._report._dmarc.b.example";
        let asks = ("_dmarc.a.example", "v=DMARC1; p=none; rua=mailto:d@b.example");
        for (record, want) in [
            ("v=DMARC1", vec!["d@b.example"]),
            ("v=DMARC1;", vec!["d@b.example"]),
            ("hello|v=DMARC1; x=y", vec!["d@b.example"]),
            ("v=DMARC1; rua=mailto:other@b.example", vec!["other@b.example"]),
            ("v=DMARC1; rua=mailto:other@c.example", vec![]),
            ("v=DMARC1; rua=mailto:x@b.example,mailto:other@c.example", vec![]),
            ("V=DMARC1", vec![]),
            ("hello", vec![]),
            ("?", vec![]),
        ] {
            let (addresses, not_sent) = zone(&[asks, (CONSENT, record)]).recipients("a.example");
            assert_eq!(addresses, want, "{record}");
            assert_eq!(not_sent.is_empty(), !want.is_empty(), "{record}");
            assert_eq!(
                not_sent.iter().any(|why| matches!(why, NotSent::NoAnswer(_))),
                record == "?",
                "{record}"
            );
        }
        let (addresses, not_sent) = zone(&[asks]).recipients("a.example");
        assert!(addresses.is_empty());
        assert_eq!(
            not_sent[0].to_string(),
            "b.example has no record that lets reports go to d@b.example"
        );
    }

    #[test]
    fn a_record_that_is_gone_or_not_known_is_told_apart() {
        let gone = zone(&[("_dmarc.a.example", "v=DMARC1; p=none")]).recipients("a.example");
        assert!(matches!(gone.1[..], [NotSent::NotWanted(_)]));
        let lookup = |_: &Question| Answer::Failure;
        let found = Search::run(Domain::parse("a.example").unwrap(), lookup);
        assert!(found.is_uncertain() && found.targets.is_empty());
        let long = format!("{}.example", ["x"; 120].join("."));
        let lookup = |question: &Question| {
            assert!(!question.name.contains("_report"), "it does not fit the DNS");
            Answer::Txt(vec![b"v=DMARC1; p=none; rua=mailto:d@b.test".to_vec()])
        };
        let found = Search::run(Domain::parse(&long).unwrap(), lookup);
        assert!(found.targets.is_empty());
    }

    #[test]
    fn of_many_the_first_get_it() {
        let zone = zone(&[(
            "_dmarc.a.example",
            "v=DMARC1; p=none; rua=mailto:1@a.example,mailto:2@a.example,mailto:3@a.example,mailto:4@a.example,\
             mailto:5@a.example,mailto:6@a.example,mailto:7@a.example",
        )]);
        let (addresses, not_sent) = zone.recipients("a.example");
        assert_eq!(addresses.len(), MOST_TARGETS);
        assert_eq!(not_sent, [NotSent::TooMany(2)]);
    }
}
