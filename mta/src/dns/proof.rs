//! Answers with what a validating resolver says of their proof: the AD bit, asked for by the DO bit (RFC 4035 section 3.2, RFC
//! 6840 section 5.8).
//!
//! Or what comes of validating here (`validation.rs`), where the settings say so. hickory's resolver neither sets DO nor keeps
//! AD without validating, so its pool is asked directly. Answers are kept for as long as they hold, five minutes at most;
//! "nothing" and failures are not kept.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use hickory_resolver::config::{NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::DnsHandle as _;
use hickory_resolver::net::{DnsError as HickoryDnsError, NetError};
use hickory_resolver::proto::op::{DnsRequestOptions, DnsResponse, Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use postroad_config::TrustAnchor;
use postroad_verify::dane::{Answer, Kind, Question};

use super::matching::Connections;
use super::records;
use super::validation::Validator;

/// Asks. Cheap to clone.
#[derive(Clone)]
pub(super) struct Prover {
    word: Word,
    known: Arc<Mutex<Known>>,
}

/// Whose word proves an answer.
#[derive(Clone)]
enum Word {
    /// The resolvers'.
    Theirs(NameServerPool<Connections>),
    /// Ours.
    Ours(Validator),
}

/// An answer, and for how long it may be kept; `None`: not at all.
pub(super) type Told = (Answer, Option<Duration>);

/// Answers and until when they hold.
type Known = HashMap<Question, (Answer, Instant)>;

impl Prover {
    /// Asks these servers, and validates what they say with `anchors`; `None`: believes them. Errors: none without DNS over
    /// TLS.
    pub(super) fn new(
        servers: Vec<NameServerConfig>,
        options: ResolverOpts,
        anchors: Option<&[TrustAnchor]>,
    ) -> Result<Self, NetError> {
        let context = Arc::new(PoolContext::new(options, TlsConfig::new()?));
        Ok(Self {
            word: match anchors {
                // Proofs lie in what `matching.rs` leaves out, and it is looked at there whose they are.
                Some(anchors) => {
                    let provider = TokioRuntimeProvider::default();
                    Word::Ours(Validator::new(
                        NameServerPool::from_config(servers, context, provider),
                        anchors,
                    ))
                }
                None => Word::Theirs(NameServerPool::from_config(
                    servers,
                    context,
                    Connections::default(),
                )),
            },
            known: Arc::default(),
        })
    }

    pub(super) async fn ask(&self, question: &Question) -> Answer {
        if let Some(known) = self.recall(question) {
            return known;
        }
        let Some(name) = records::wire_name(&question.name) else {
            return Answer::Nothing;
        };
        let kind = match question.kind {
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
            Kind::Cname => RecordType::CNAME,
            Kind::Tlsa => RecordType::TLSA,
            Kind::Mx => RecordType::MX,
        };
        let asked = async {
            match &self.word {
                Word::Theirs(pool) => believed(pool, name, kind).await,
                Word::Ours(validator) => validator.ask(name, kind).await,
            }
        };
        let answer = tokio::time::timeout(DEADLINE, asked).await;
        let answer = answer.unwrap_or((Answer::Failure, None));
        if let (found, Some(lifetime)) = &answer {
            self.keep(question, found, *lifetime);
        }
        answer.0
    }

    fn recall(&self, question: &Question) -> Option<Answer> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (answer, until) = known.get(question)?;
        (*until > Instant::now()).then(|| answer.clone())
    }

    fn keep(&self, question: &Question, answer: &Answer, lifetime: Duration) {
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN {
            known.retain(|_, (_, until)| *until > now);
        }
        if known.len() < MOST_KNOWN {
            known.insert(question.clone(), (answer.clone(), now + lifetime));
        }
    }
}

async fn believed(pool: &NameServerPool<Connections>, name: Name, kind: RecordType) -> Told {
    let mut options = DnsRequestOptions::default();
    options.edns_set_dnssec_ok = true;
    match pool.lookup(Query::query(name, kind), options).into_future().await {
        (Some(reply), _) => read(kind, &reply.map(DnsResponse::into_message)),
        (None, _) => (Answer::Failure, None),
    }
}

/// What a reply says.
fn read(kind: RecordType, reply: &Result<Message, NetError>) -> Told {
    let reply = match reply {
        Ok(reply) => reply,
        Err(NetError::Dns(HickoryDnsError::NoRecordsFound(none))) => {
            return (of_code(none.response_code), None);
        }
        Err(NetError::Dns(HickoryDnsError::ResponseCode(code))) => return (of_code(*code), None),
        Err(_) => return (Answer::Failure, None),
    };
    let mut end = None;
    let mut data = vec![];
    let mut lifetime = LONGEST;
    for record in reply.answers.iter().take(MOST_RECORDS) {
        lifetime = lifetime.min(Duration::from_secs(record.ttl.into()));
        match &record.data {
            RData::CNAME(to) if kind != RecordType::CNAME => end = Some(records::text(&to.0)),
            other => data.extend(datum(kind, other)),
        }
    }
    if reply.metadata.response_code != ResponseCode::NoError || data.is_empty() {
        return (of_code(reply.metadata.response_code), None);
    }
    let found = Answer::Found {
        proven: reply.metadata.authentic_data,
        end: end.map(|end| end.to_ascii_lowercase()),
        data,
    };
    (found, (!lifetime.is_zero()).then_some(lifetime))
}

/// What an answer keeps of a record; none of one of another type.
pub(super) fn datum(kind: RecordType, data: &RData) -> Option<Vec<u8>> {
    match data {
        RData::TLSA(tlsa) if kind == RecordType::TLSA => {
            let numbers = [tlsa.cert_usage.into(), tlsa.selector.into(), tlsa.matching.into()];
            Some([&numbers[..], &tlsa.cert_data].concat())
        }
        RData::MX(mx) if kind == RecordType::MX => {
            Some(records::text(&mx.exchange).to_ascii_lowercase().into_bytes())
        }
        other => (other.record_type() == kind).then(Vec::new),
    }
}

/// Without records.
fn of_code(code: ResponseCode) -> Answer {
    match code {
        ResponseCode::NoError | ResponseCode::NXDomain => Answer::Nothing,
        _ => Answer::Failure,
    }
}

impl fmt::Debug for Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prover(…)")
    }
}

/// Longest wait for one question with its retries.
const DEADLINE: Duration = Duration::from_secs(30);
/// Longest that an answer is kept.
pub(super) const LONGEST: Duration = Duration::from_mins(5);
/// Answers that are kept.
const MOST_KNOWN: usize = 4_096;
/// Records of a reply that are looked at.
pub(super) const MOST_RECORDS: usize = 256;
