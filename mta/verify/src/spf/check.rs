//! A check as steps, see [`crate::steps`].

use super::evaluate::evaluate;
use super::{Outcome, Request, Verdict};
use crate::dns::{Answer, Question};
use crate::steps::{self, Evaluation};

/// What to do next.
pub type Step = steps::Step<Outcome>;

/// A running check.
#[derive(Debug)]
pub struct Check(Evaluation<Outcome>);

impl Check {
    /// Starts a check and runs it to its first question.
    pub fn start(request: Request) -> (Self, Step) {
        let stalled = Outcome {
            verdict: Verdict::TempError,
            explanation: None,
            matched: None,
            problem: None,
        };
        let (evaluation, step) = Evaluation::start(|slot| evaluate(request, slot), stalled);
        (Self(evaluation), step)
    }

    /// Gives the answer to the question of the last step. After the end, gives the end again.
    pub fn answer(&mut self, answer: Answer) -> Step {
        self.0.answer(answer)
    }

    /// Runs a check to its end with a function that answers at once.
    pub fn run(request: Request, lookup: impl FnMut(&Question) -> Answer) -> Outcome {
        let (mut check, step) = Self::start(request);
        steps::run(step, |answer| check.answer(answer), lookup)
    }
}
