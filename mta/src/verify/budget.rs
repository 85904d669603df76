//! How much of the DNS one message may use: questions and time. What is beyond has no answer.

use std::sync::atomic::{AtomicU32, Ordering};

use postroad_verify::dns::{Answer, Question};
use tokio::time::{Instant, timeout_at};

use super::{QUESTIONS, TIME};
use crate::dns::Dns;

/// Asks for one message.
pub(super) struct Budget<'a> {
    dns: &'a Dns,
    /// Left.
    questions: AtomicU32,
    deadline: Instant,
}

impl<'a> Budget<'a> {
    pub(super) fn new(dns: &'a Dns) -> Self {
        Self {
            dns,
            questions: AtomicU32::new(QUESTIONS),
            deadline: Instant::now() + TIME,
        }
    }

    pub(super) async fn ask(&self, question: &Question) -> Answer {
        let one_less = |left: u32| left.checked_sub(1);
        let taken = self
            .questions
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        if taken.is_err() {
            return Answer::Failure;
        }
        let answer = timeout_at(self.deadline, self.dns.answer(question)).await;
        answer.unwrap_or(Answer::Failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::table::Table;
    use postroad_verify::dns::Kind;

    fn question() -> Question {
        Question {
            name: "a.example".to_owned(),
            kind: Kind::Txt,
        }
    }

    fn dns() -> Dns {
        Dns::new(Table::default().answers(question(), Answer::Txt(vec![b"x".to_vec()])))
    }

    #[tokio::test]
    async fn beyond_the_questions_there_is_no_answer() {
        let dns = dns();
        let budget = Budget::new(&dns);
        for _ in 0..QUESTIONS {
            assert_eq!(budget.ask(&question()).await, Answer::Txt(vec![b"x".to_vec()]));
        }
        assert_eq!(budget.ask(&question()).await, Answer::Failure);
    }

    #[tokio::test]
    async fn beyond_the_time_there_is_no_answer() {
        struct Silent;
        impl crate::dns::Lookup for Silent {
            fn mx<'a>(
                &'a self,
                _: &'a str,
            ) -> futures::future::BoxFuture<'a, Result<Vec<crate::dns::Exchange>, crate::dns::DnsError>>
            {
                Box::pin(std::future::pending())
            }
            fn addresses<'a>(
                &'a self,
                _: &'a str,
                _: crate::dns::Scope,
            ) -> futures::future::BoxFuture<'a, Result<Vec<std::net::IpAddr>, crate::dns::DnsError>>
            {
                Box::pin(std::future::pending())
            }
            fn answer<'a>(&'a self, _: &'a Question) -> futures::future::BoxFuture<'a, Answer> {
                Box::pin(std::future::pending())
            }
        }
        let dns = Dns::new(Silent);
        let mut budget = Budget::new(&dns);
        budget.deadline = Instant::now();
        assert_eq!(budget.ask(&question()).await, Answer::Failure);
    }
}
