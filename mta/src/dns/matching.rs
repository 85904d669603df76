//! A reply counts for what was asked, and for nothing else: its question is the one that went out (RFC 1035 section 7.3, RFC
//! 5452 section 9.1), and records of other names are left out of it.
//!
//! ```text
//!   resolver, prover ─► Connections ─► Connection (hickory's own inside) ─► server
//!                                          │ reply
//!                                          └─► judged: pure
//! ```
//!
//! hickory compares the ids, and the questions of datagrams; the question that comes back over TCP it takes as it is, and
//! records of any name stay in the answer. What is done here holds for both ways.

use std::iter;
use std::net::IpAddr;

use futures::future::{BoxFuture, FutureExt as _, TryFutureExt as _};
use futures::stream::{BoxStream, StreamExt as _};
use hickory_resolver::config::ConnectionConfig;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsExchange, DnsHandle};
use hickory_resolver::proto::op::{DnsRequest, DnsResponse, Message, Query};
use hickory_resolver::proto::rr::{Name, RData};
use hickory_resolver::{ConnectionProvider, PoolContext};

/// Makes connections to servers whose replies are judged.
#[derive(Clone, Default)]
pub(super) struct Connections(TokioRuntimeProvider);

/// A connection to a server.
#[derive(Clone)]
pub(super) struct Connection(DnsExchange<TokioRuntimeProvider>);

impl ConnectionProvider for Connections {
    type Conn = Connection;
    type FutureConn = BoxFuture<'static, Result<Connection, NetError>>;
    type RuntimeProvider = TokioRuntimeProvider;

    fn new_connection(
        &self,
        address: IpAddr,
        config: &ConnectionConfig,
        context: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        let connecting = self.0.new_connection(address, config, context)?;
        Ok(connecting.map_ok(Connection).boxed())
    }

    fn runtime_provider(&self) -> &TokioRuntimeProvider {
        &self.0
    }
}

impl DnsHandle for Connection {
    type Response = BoxStream<'static, Result<DnsResponse, NetError>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let asked = request.queries.clone();
        let replies = self.0.send(request);
        replies
            .map(move |reply| reply.and_then(|reply| judged(&asked, reply)))
            .boxed()
    }
}

/// The reply as far as it answers the question. Errors: it answers another one.
fn judged(asked: &[Query], mut reply: DnsResponse) -> Result<DnsResponse, NetError> {
    let is_the_question = reply.queries.len() == asked.len()
        && asked
            .iter()
            .zip(&reply.queries)
            .all(|(one, other)| same(one, other));
    if !is_the_question {
        return Err(NetError::from("the reply is to another question"));
    }
    if let [question] = asked {
        keep_own(&question.name, &mut reply);
    }
    Ok(reply)
}

fn same(one: &Query, other: &Query) -> bool {
    one.name.eq_ignore_root(&other.name)
        && one.query_type == other.query_type
        && one.query_class == other.query_class
}

/// Keeps the records of this name and of the names that it leads to as an alias; of the other sections the SOA alone, which
/// says for how long there is nothing (RFC 2308 section 3).
fn keep_own(name: &Name, reply: &mut Message) {
    let answers = &reply.answers;
    let next = |name: &Name| {
        answers.iter().find_map(|record| match &record.data {
            RData::CNAME(to) if record.name.eq_ignore_root(name) => Some(to.0.clone()),
            _ => None,
        })
    };
    let names: Vec<Name> = iter::successors(Some(name.clone()), next)
        .take(LONGEST_CHAIN)
        .collect();
    reply
        .answers
        .retain(|record| names.iter().any(|name| record.name.eq_ignore_root(name)));
    reply
        .authorities
        .retain(|record| matches!(record.data, RData::SOA(_)));
    reply.additionals.clear();
}

/// Aliases of one reply that are followed; hickory follows eight from reply to reply.
const LONGEST_CHAIN: usize = 16;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_resolver::proto::op::OpCode;
    use hickory_resolver::proto::rr::rdata::{A, CNAME};
    use hickory_resolver::proto::rr::{DNSClass, Record, RecordType};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn reply(questions: &[Query], answers: Vec<Record>) -> DnsResponse {
        let mut message = Message::response(7, OpCode::Query);
        for question in questions {
            message.add_query(question.clone());
        }
        message.add_answers(answers);
        DnsResponse::from_message(message).unwrap()
    }

    #[test]
    fn only_the_question_that_was_asked_is_answered() {
        let asked = Query::query(name("mail.test."), RecordType::A);
        let mut chaos = asked.clone();
        chaos.set_query_class(DNSClass::CH);
        let upper = Query::query(name("MAIL.test."), RecordType::A);
        let (other, mx) = (
            Query::query(name("other.test."), RecordType::A),
            Query::query(name("mail.test."), RecordType::MX),
        );
        for (came, taken) in [
            (vec![asked.clone()], true),
            (vec![upper], true),
            (vec![], false),
            (vec![other.clone()], false),
            (vec![mx], false),
            (vec![chaos], false),
            (vec![asked.clone(), other], false),
            (vec![asked.clone(), asked.clone()], false),
        ] {
            let found = judged(std::slice::from_ref(&asked), reply(&came, vec![]));
            assert_eq!(found.is_ok(), taken, "{came:?}");
        }
    }

    #[test]
    fn records_of_other_names_are_left_out() {
        let asked = Query::query(name("a.test."), RecordType::A);
        let alias = |from: &str, to: &str| Record::from_rdata(name(from), 60, RData::CNAME(CNAME(name(to))));
        let address = |of: &str| Record::from_rdata(name(of), 60, RData::A(A(Ipv4Addr::LOCALHOST)));
        let kept = |answers: Vec<Record>| {
            let reply = judged(
                std::slice::from_ref(&asked),
                reply(std::slice::from_ref(&asked), answers),
            )
            .unwrap();
            let names: Vec<String> = reply
                .answers
                .iter()
                .map(|record| record.name.to_ascii())
                .collect();
            names
        };
        assert_eq!(kept(vec![address("A.test."), address("b.test.")]), ["A.test."]);
        // An alias may stand behind what it leads to.
        let chain = vec![
            address("c.test."),
            alias("b.test.", "c.test."),
            alias("a.test.", "b.test."),
        ];
        assert_eq!(kept(chain), ["c.test.", "b.test.", "a.test."]);
        assert_eq!(
            kept(vec![alias("b.test.", "a.test."), address("b.test.")]),
            [""; 0]
        );
        // A circle ends.
        let circle = vec![
            alias("a.test.", "b.test."),
            alias("b.test.", "a.test."),
            address("d.test."),
        ];
        assert_eq!(kept(circle), ["a.test.", "b.test."]);
    }
}
