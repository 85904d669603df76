//! Answers from a table instead of the network: the twin of the resolver for tests and closed networks.
//!
//! Assumes nothing; a name that is not in the table does not exist.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use futures::future::{BoxFuture, FutureExt, ready};
use postroad_verify::dane;
use postroad_verify::dns::{Answer, Question};

use super::{DnsError, Exchange, Lookup, Scope};

/// Names and what they answer. May be changed while it is asked.
#[derive(Debug, Default)]
pub struct Table {
    names: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    mx: BTreeMap<String, Vec<Exchange>>,
    addresses: BTreeMap<String, Vec<IpAddr>>,
    silent: BTreeSet<String>,
    answers: BTreeMap<Question, Answer>,
    proofs: BTreeMap<dane::Question, dane::Answer>,
}

impl Table {
    /// Adds a mail exchanger. Host `""` is the null MX.
    #[must_use]
    pub fn mx(self, domain: &str, preference: u16, host: &str) -> Self {
        let exchange = Exchange {
            preference,
            host: host.to_owned(),
        };
        self.with(|names| names.mx.entry(domain.to_owned()).or_default().push(exchange));
        self
    }

    /// Adds an address.
    #[must_use]
    pub fn address(self, host: &str, address: IpAddr) -> Self {
        self.with(|names| names.addresses.entry(host.to_owned()).or_default().push(address));
        self
    }

    /// Sets the answer to a question of sender authentication.
    #[must_use]
    pub fn answers(self, question: Question, answer: Answer) -> Self {
        self.with(|names| names.answers.insert(question, answer));
        self
    }

    /// Sets the answer to a question of DANE; without one there is nothing.
    #[must_use]
    pub fn proof(self, name: &str, kind: dane::Kind, answer: dane::Answer) -> Self {
        let question = dane::Question {
            name: name.to_owned(),
            kind,
        };
        self.with(|names| names.proofs.insert(question, answer));
        self
    }

    /// Makes a name give no answer at all.
    #[must_use]
    pub fn silent(self, name: &str) -> Self {
        self.with(|names| names.silent.insert(name.to_owned()));
        self
    }

    fn with<T>(&self, act: impl FnOnce(&mut Names) -> T) -> T {
        act(&mut self.names.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Names {
    /// Without DNSSEC the MX records are what they are; of the rest there is nothing.
    fn unproven(&self, question: &dane::Question) -> dane::Answer {
        let exchanges = self
            .mx
            .get(&question.name)
            .filter(|_| question.kind == dane::Kind::Mx);
        exchanges.map_or(dane::Answer::Nothing, |exchanges| dane::Answer::Found {
            proven: false,
            end: None,
            data: exchanges
                .iter()
                .map(|exchange| exchange.host.clone().into_bytes())
                .collect(),
        })
    }

    fn find<T: Clone>(&self, name: &str, found: Option<&Vec<T>>) -> Result<Vec<T>, DnsError> {
        if self.silent.contains(name) {
            return Err(DnsError::Temporary("silent in the table".to_owned()));
        }
        if let Some(found) = found {
            return Ok(found.clone());
        }
        let known = self.mx.contains_key(name) || self.addresses.contains_key(name);
        Err(if known {
            DnsError::NoData
        } else {
            DnsError::NxDomain
        })
    }
}

impl Lookup for Table {
    fn mx<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Vec<Exchange>, DnsError>> {
        ready(self.with(|names| names.find(domain, names.mx.get(domain)))).boxed()
    }

    fn addresses<'a>(&'a self, host: &'a str, _: Scope) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        ready(self.with(|names| names.find(host, names.addresses.get(host)))).boxed()
    }

    fn proof<'a>(&'a self, question: &'a dane::Question) -> BoxFuture<'a, dane::Answer> {
        let answer = self.with(|names| match names.proofs.get(question) {
            _ if names.silent.contains(&question.name) => dane::Answer::Failure,
            Some(answer) => answer.clone(),
            None => names.unproven(question),
        });
        ready(answer).boxed()
    }

    fn answer<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer> {
        let answer = self.with(|names| match names.answers.get(question) {
            _ if names.silent.contains(&question.name) => Answer::Failure,
            Some(answer) => answer.clone(),
            None if names.answers.keys().any(|known| known.name == question.name) => Answer::NoData,
            None => Answer::NxDomain,
        });
        ready(answer).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Dns;

    #[tokio::test]
    async fn no_name_no_record_and_no_answer_are_told_apart() {
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let dns = Dns::new(
            Table::default()
                .mx("a.example", 10, "mx.example")
                .address("mx.example", address)
                .silent("s.example"),
        );
        assert_eq!(dns.mx("a.example").await.unwrap()[0].host, "mx.example");
        assert_eq!(dns.mx("mx.example").await, Err(DnsError::NoData));
        assert_eq!(dns.mx("b.example").await, Err(DnsError::NxDomain));
        assert!(matches!(dns.mx("s.example").await, Err(DnsError::Temporary(_))));
        assert_eq!(dns.addresses("192.0.2.1", Scope::Public).await, Ok(vec![address]));
    }
}
