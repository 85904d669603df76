//! Keys and policy are asked for as soon as the header names them; at the end of the message they meet the hashes of its body.

use std::time::Duration;

use futures::StreamExt;
use postroad_verify::dkim::BodyHashes;
use postroad_verify::dmarc::{Domain, FromError};
use postroad_verify::dns::{Answer, Question};
use postroad_verify::{arc, dkim};
use tokio::time::Instant;

use super::Task;
use super::budget::Budget;
use super::header::Found;
use crate::dns::Dns;

/// Checks of a message whose header is known.
#[derive(Debug)]
pub(super) struct Content {
    found: Found,
    budget: Budget,
    keys: Vec<Question>,
    asked: Task<Vec<Known>>,
}

/// An answer that is there.
pub(super) type Known = (Question, Answer);

/// What the checks came to.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) dkim: Option<Vec<dkim::Outcome>>,
    pub(super) arc: Option<arc::Outcome>,
    /// Absent where DMARC is not asked.
    pub(super) author: Option<Result<Domain, FromError>>,
    /// The domain of an address in the name that is shown beside the author's.
    pub(super) shown: Option<Domain>,
    /// Its Subject is that of a report.
    pub(super) is_report: bool,
    /// What has been asked for the policy already.
    pub(super) known: Vec<Known>,
    /// For what is still to ask.
    pub(super) budget: Budget,
}

impl Content {
    pub(super) fn begin(dns: &Dns, found: Found) -> Self {
        let budget = Budget::new(dns, QUESTIONS);
        let keys = found.keys();
        // Keys are whose the sender likes, and may be slow on purpose: the policy does not wait behind them.
        let questions: Vec<Question> = found.policy().into_iter().chain(keys.iter().cloned()).collect();
        let asked = Task(tokio::spawn(ask(questions, budget.clone())));
        Self {
            found,
            budget,
            keys,
            asked,
        }
    }

    pub(super) async fn finish(mut self, body: BodyHashes, deadline: Instant) -> Findings {
        // Each question ends in its time, which began with the header: what has no answer by then has none, and the rest counts.
        let answers = (&mut self.asked.0).await.unwrap_or_default();
        let (keys, known): (Vec<Known>, Vec<Known>) = answers
            .into_iter()
            .partition(|(question, _)| self.keys.contains(question));
        let (author, is_report) = (self.found.author.take(), self.found.is_report);
        let shown = self.found.shown.take();
        let many = self.keys.len() > FEW;
        let found = std::mem::take(&mut self.found);
        let verify = move || verify(found, keys, &body);
        let (dkim, arc) = if many {
            // Each key may cost a signature check or four.
            tokio::task::spawn_blocking(verify).await.unwrap_or_default()
        } else {
            verify()
        };
        Findings {
            dkim,
            arc,
            author,
            shown,
            is_report,
            known,
            budget: self.budget.until(deadline.max(Instant::now() + WALK)),
        }
    }
}

async fn ask(questions: Vec<Question>, budget: Budget) -> Vec<Known> {
    let answers = questions.into_iter().map(|question| {
        let budget = budget.clone();
        async move {
            let answer = budget.ask(&question).await;
            (question, answer)
        }
    });
    futures::stream::iter(answers)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

fn verify(
    found: Found,
    keys: Vec<Known>,
    body: &BodyHashes,
) -> (Option<Vec<dkim::Outcome>>, Option<arc::Outcome>) {
    let (mut dkim, mut arc) = (found.dkim, found.arc);
    for (question, answer) in keys {
        let answer = as_keys(answer);
        if let Some(dkim) = &mut dkim {
            dkim.answer(&question, &answer);
        }
        if let Some(arc) = &mut arc {
            arc.answer(&question, &answer);
        }
    }
    (
        dkim.map(|dkim| dkim.finish(body)),
        arc.map(|arc| arc.finish(body)),
    )
}

/// A text that is larger than any key is none; it must not be held once for each signature.
fn as_keys(answer: Answer) -> Answer {
    match answer {
        Answer::Txt(texts) => {
            let cut = |text: Vec<u8>| if text.len() > MOST_KEY { Vec::new() } else { text };
            Answer::Txt(texts.into_iter().take(MOST_TEXTS).map(cut).collect())
        }
        other => other,
    }
}

/// For the walk from the author, whatever time SPF and keys took: who is slow on purpose is not to become a `temperror`.
const WALK: Duration = Duration::from_secs(10);
/// Ten signatures and fifty-one of a chain, the walk from the author, and one from each of ten identifiers.
const QUESTIONS: u32 = 160;
/// Of one message, so that it does not keep the resolver from others.
const AT_ONCE: usize = 16;
/// Keys whose signatures are checked at once and not elsewhere.
const FEW: usize = 3;
/// Octets of a key record: an RSA key of 4096 bits has 800.
const MOST_KEY: usize = 4 << 10;
/// Texts at one name, more than are tried.
const MOST_TEXTS: usize = 5;
