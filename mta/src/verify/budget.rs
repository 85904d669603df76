//! How much of the DNS the checks of a message may use: questions and time. What is beyond has no answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use postroad_verify::dns::{Answer, Question};
use tokio::time::{Instant, timeout_at};

use super::TIME;
use crate::dns::Dns;

/// Asks for some checks of one message. Clones share the questions that are left.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    dns: Dns,
    /// Left.
    questions: Arc<AtomicU32>,
    deadline: Instant,
}

impl Budget {
    pub(super) fn new(dns: &Dns, questions: u32) -> Self {
        Self {
            dns: dns.clone(),
            questions: Arc::new(AtomicU32::new(questions)),
            deadline: Instant::now() + TIME,
        }
    }

    /// The same questions, another end.
    pub(super) fn until(&self, deadline: Instant) -> Self {
        Self {
            deadline,
            ..self.clone()
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
        let budget = Budget::new(&dns, 3);
        for _ in 0..2 {
            assert_eq!(budget.ask(&question()).await, Answer::Txt(vec![b"x".to_vec()]));
        }
        let budget = budget.until(Instant::now() + TIME);
        assert_eq!(budget.ask(&question()).await, Answer::Txt(vec![b"x".to_vec()]));
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
            fn proof<'a>(
                &'a self,
                _: &'a postroad_verify::dane::Question,
            ) -> futures::future::BoxFuture<'a, postroad_verify::dane::Answer> {
                Box::pin(std::future::pending())
            }
        }
        let dns = Dns::new(Silent);
        let budget = Budget::new(&dns, 3).until(Instant::now());
        assert_eq!(budget.ask(&question()).await, Answer::Failure);
    }
}
