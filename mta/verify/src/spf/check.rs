//! The evaluation as steps: it runs until it needs a DNS answer, and goes on when it has it.
//!
//! The evaluation is written as an async function because the compiler then makes the state machine. Nothing here
//! runs on a runtime: the future waits for one thing only, the answer in the slot that it shares with its [`Check`],
//! and is polled exactly when that answer has come.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::evaluate::evaluate;
use super::{Outcome, Problem, Request, Verdict};
use crate::dns::{Answer, Question};

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask this, and give the answer to [`Check::answer`].
    Ask(Question),
    /// The end.
    Done(Outcome),
}

/// A running check.
pub struct Check {
    evaluation: Pin<Box<dyn Future<Output = Outcome> + Send>>,
    slot: Slot,
    last: Option<Step>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl Check {
    /// Starts a check and runs it to its first question.
    pub fn start(request: Request) -> (Self, Step) {
        let slot = Slot::default();
        let mut check = Self {
            evaluation: Box::pin(evaluate(request, slot.clone())),
            slot,
            last: None,
        };
        let step = check.advance();
        (check, step)
    }

    /// Gives the answer to the question of the last step. After the end, gives the end again.
    pub fn answer(&mut self, answer: Answer) -> Step {
        if let Some(done @ Step::Done(_)) = &self.last {
            return done.clone();
        }
        self.slot.lock().answer = Some(answer);
        self.advance()
    }

    /// Runs a check to its end with a function that answers at once.
    pub fn run(request: Request, mut lookup: impl FnMut(&Question) -> Answer) -> Outcome {
        let (mut check, mut step) = Self::start(request);
        loop {
            match step {
                Step::Done(outcome) => return outcome,
                Step::Ask(question) => step = check.answer(lookup(&question)),
            }
        }
    }

    fn advance(&mut self) -> Step {
        let mut context = Context::from_waker(Waker::noop());
        let step = match self.evaluation.as_mut().poll(&mut context) {
            Poll::Ready(outcome) => Step::Done(outcome),
            Poll::Pending => match self.slot.lock().question.clone() {
                Some(question) => Step::Ask(question),
                // Not reached: the evaluation waits for answers only, and says first for which.
                None => Step::Done(Outcome {
                    verdict: Verdict::TempError,
                    explanation: None,
                    matched: None,
                    problem: None,
                }),
            },
        };
        self.last = Some(step.clone());
        step
    }
}

/// The place where the evaluation leaves its question and finds the answer.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Exchange>>);

#[derive(Default)]
struct Exchange {
    question: Option<Question>,
    answer: Option<Answer>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Exchange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and waits for the answer. Error: the look-up failed.
    pub(super) async fn ask(&self, question: Question) -> Result<Answer, Problem> {
        self.lock().question = Some(question.clone());
        let answer = poll_fn(|_| match self.lock().answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => Poll::Pending,
        })
        .await;
        match answer {
            Answer::Failure => Err(Problem::NoAnswer(question)),
            answer => Ok(answer),
        }
    }
}
