//! An evaluation as steps: it runs until it needs a DNS answer, and goes on when it has it.
//!
//! An evaluation is written as an async function because the compiler then makes the state machine. Nothing here
//! runs on a runtime: the future waits for one thing only, the answer in the slot that it shares with its caller,
//! and is polled exactly when that answer has come.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::dns::{Answer, Question};

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// Ask this, and give the answer to the check that asked.
    Ask(Question),
    /// The end.
    Done(T),
}

/// A running evaluation.
pub(crate) struct Evaluation<T> {
    future: Pin<Box<dyn Future<Output = T> + Send>>,
    slot: Slot,
    last: Step<T>,
}

impl<T: fmt::Debug> fmt::Debug for Evaluation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evaluation")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl<T: Clone> Evaluation<T> {
    /// Makes the evaluation and runs it to its first question. `stalled`: the end of one that waits for nothing, which
    /// none does.
    pub(crate) fn start<F>(evaluate: impl FnOnce(Slot) -> F, stalled: T) -> (Self, Step<T>)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let slot = Slot::default();
        let mut evaluation = Self {
            future: Box::pin(evaluate(slot.clone())),
            slot,
            last: Step::Done(stalled),
        };
        let step = evaluation.advance();
        (evaluation, step)
    }

    /// Gives the answer to the question of the last step. After the end, gives the end again.
    pub(crate) fn answer(&mut self, answer: Answer) -> Step<T> {
        if matches!(self.last, Step::Done(_)) {
            return self.last.clone();
        }
        self.slot.lock().answer = Some(answer);
        self.advance()
    }

    fn advance(&mut self) -> Step<T> {
        let mut context = Context::from_waker(Waker::noop());
        match self.future.as_mut().poll(&mut context) {
            Poll::Ready(outcome) => self.last = Step::Done(outcome),
            Poll::Pending => {
                if let Some(question) = self.slot.lock().question.take() {
                    self.last = Step::Ask(question);
                }
            }
        }
        self.last.clone()
    }
}

/// Runs a check to its end with a function that answers at once.
pub(crate) fn run<T>(
    first: Step<T>,
    mut answer: impl FnMut(Answer) -> Step<T>,
    mut lookup: impl FnMut(&Question) -> Answer,
) -> T {
    let mut step = first;
    loop {
        match step {
            Step::Done(outcome) => return outcome,
            Step::Ask(question) => step = answer(lookup(&question)),
        }
    }
}

/// The place where the evaluation leaves its question and finds the answer.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<Exchange>>);

#[derive(Default)]
struct Exchange {
    question: Option<Question>,
    answer: Option<Answer>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Exchange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, question: Question) -> Answer {
        self.lock().question = Some(question);
        poll_fn(|_| match self.lock().answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => Poll::Pending,
        })
        .await
    }
}
