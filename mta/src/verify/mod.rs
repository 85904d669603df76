//! Who stands behind a message from outside: the checks of postroad-verify, run while the message comes in.
//!
//! ```text
//!   MAIL ──────► Verifier::begin ─► a task: SPF for reverse-path and HELO name ────────────► RCPT: refused, where chosen
//!   DATA, BDAT ► Reading::feed ─┬─► header over: a task asks for keys (DKIM, ARC) and policy     │
//!                               └─► the body is hashed as it comes                               ▼
//!   end ───────► Pending::conclude ─► signatures, chain, DMARC ─► Verdicts ─┬─► Authentication-Results
//!                                                                           └─► the message refused, where chosen
//! ```
//!
//! A session never waits for the DNS longer than [`TIME`] at MAIL and as long again at the end, and one that ends takes its
//! tasks along.

mod budget;
mod content;
mod dmarc;
mod field;
mod header;
mod reading;
mod spf;
mod vouching;

pub use reading::{Reading, Trouble};
pub use spf::{Rejection, Spf, may_refuse, refusal};

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postroad_config::{CheckMode, DmarcMode, SpfMode, Verification};
use postroad_verify::dmarc::Domain;
use postroad_verify::dmarc::report::{Row, Seen};
use postroad_verify::results::Field;
use postroad_verify::{arc, dkim};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::dns::Dns;
use crate::metrics::Metrics;
use crate::policy::Refusal;

/// Makes checks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Verifier {
    dns: Dns,
    metrics: Arc<Metrics>,
    /// Turns for headers that are so large that reading them takes its time and memory.
    turns: Arc<Semaphore>,
}

/// Whom to check.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Address of the client.
    pub client: IpAddr,
    /// What it called itself.
    pub helo: String,
    /// Reverse-path without brackets; empty is the null one.
    pub reverse_path: String,
    /// Name of this server, for macros.
    pub receiver: String,
}

/// Checks of one transaction that run, or have ended.
#[derive(Debug)]
pub struct Pending {
    verifier: Verifier,
    asks: header::Asks,
    /// Both methods are judged, for reports.
    each_method: bool,
    task: Option<Task<Spf>>,
    /// Apart: an open transaction needs the room only once they are there.
    spf: Option<Box<Spf>>,
}

/// All that is known of a message. What was not asked is absent.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    /// Of the client.
    pub spf: Option<Spf>,
    /// Of each signature that was looked at.
    pub dkim: Option<Vec<dkim::Outcome>>,
    /// Of the chain.
    pub arc: Option<arc::Outcome>,
    /// Of the author's domain.
    pub dmarc: Option<postroad_verify::dmarc::Outcome>,
    /// The trusted forwarder that vouches for it where DMARC fails.
    pub vouched: Option<String>,
    /// The domain of an address in the name that people are shown, where it is not the author's.
    pub shown: Option<Domain>,
    /// Its Subject is that of a report.
    pub is_report: bool,
}

/// Work that ends with its owner.
#[derive(Debug)]
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Verifier {
    /// Asks that source.
    pub fn new(dns: Dns, metrics: Arc<Metrics>) -> Self {
        Self {
            dns,
            metrics,
            turns: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
        }
    }

    /// Begins the checks of a transaction; `None` where nothing is to be checked.
    pub fn begin(&self, verification: &Verification, sender: Sender) -> Option<Pending> {
        if !is_a_stranger(sender.client) || !asks_anything(verification) {
            return None;
        }
        let task = asks_spf(verification).then(|| {
            let (dns, metrics) = (self.dns.clone(), Arc::clone(&self.metrics));
            Task(tokio::spawn(async move {
                let spf = spf::judge(&dns, &sender).await;
                metrics.verdicts.count_spf(spf.deciding());
                spf
            }))
        });
        Some(Pending {
            verifier: self.clone(),
            asks: header::Asks::of(verification),
            each_method: false,
            task,
            spf: None,
        })
    }
}

impl Pending {
    /// Judges each method of DMARC, also where one decides, so that [`Verdicts::row`] has both.
    #[must_use]
    pub fn for_reports(mut self) -> Self {
        self.each_method = true;
        self
    }

    /// Looks at the chain, whatever the settings say: it is to be sealed.
    pub fn for_seal(&mut self) {
        self.asks.add_chain();
    }

    /// The verdicts of the client, once they are there; `None` where SPF is not asked.
    pub async fn spf(&mut self) -> Option<&Spf> {
        if let Some(task) = &mut self.task {
            // A task that was cut has no verdict, which is not the same as "none".
            let spf = (&mut task.0).await.unwrap_or_else(|_| Spf::unknown());
            self.spf = Some(Box::new(spf));
            self.task = None;
        }
        self.spf.as_deref()
    }

    /// What reads the message as it comes; `None` where nothing of it is looked at.
    pub fn reading(&self) -> Option<Reading> {
        self.asks.any().then(|| {
            Reading::new(
                self.verifier.dns.clone(),
                Arc::clone(&self.verifier.turns),
                self.asks,
            )
        })
    }

    /// The verdicts, once the whole message has been read.
    pub async fn conclude(
        mut self,
        reading: Option<Reading>,
        verification: &Verification,
        helo: &str,
        reverse_path: &str,
    ) -> Verdicts {
        let deadline = Instant::now() + TIME;
        let spf = match timeout_at(deadline, self.spf()).await {
            Ok(spf) => spf.cloned(),
            Err(_) => Some(Spf::unknown()),
        };
        let Some(reading) = reading else {
            return Verdicts {
                spf,
                ..Verdicts::default()
            };
        };
        let found = reading.finish(deadline).await;
        let mut verdicts = Verdicts {
            spf,
            dkim: found.dkim,
            arc: found.arc,
            dmarc: None,
            vouched: None,
            shown: found.shown,
            is_report: found.is_report,
        };
        if let Some(author) = found.author {
            let identifiers = dmarc::identifiers(&verdicts, helo, reverse_path);
            let request = postroad_verify::dmarc::Request {
                author,
                identifiers,
                each_method: self.each_method,
            };
            let outcome = dmarc::judge(request, &found.known, &found.budget).await;
            verdicts.vouched = vouched(&outcome, verdicts.arc.as_ref(), verification);
            verdicts.dmarc = Some(outcome);
        }
        self.count(&verdicts);
        verdicts
    }

    fn count(&self, verdicts: &Verdicts) {
        let figures = &self.verifier.metrics.verdicts;
        if let Some(outcomes) = &verdicts.dkim {
            figures.count_dkim(dkim::overall(outcomes));
        }
        if let Some(outcome) = &verdicts.arc {
            figures.count_arc(outcome.verdict);
        }
        if let Some(outcome) = &verdicts.dmarc {
            figures.count_dmarc(outcome);
        }
    }
}

impl Verdicts {
    /// The field that tells of them (RFC 8601), with what the settings want told.
    pub fn field(
        &self,
        verification: &Verification,
        hostname: &str,
        helo: &str,
        reverse_path: &str,
    ) -> Field {
        field::field(self, verification, hostname, helo, reverse_path)
    }

    /// What the message is in the report to its author's domain; None: it is in none.
    pub fn row(&self, verification: &Verification, sender: &Sender) -> Option<Row> {
        Row::of(&Seen {
            source: sender.client,
            reverse_path: &sender.reverse_path,
            helo: &sender.helo,
            spf: self
                .spf
                .as_ref()
                .map(|spf| spf.mail_from.as_ref().unwrap_or(&spf.helo)),
            dkim: self.dkim.as_deref().unwrap_or_default(),
            dmarc: self.dmarc.as_ref()?,
            enforced: verification.dmarc.mode == DmarcMode::Enforce,
            vouched: self.vouched.as_deref(),
            is_report: self.is_report,
        })
    }

    /// The refusal of the message that the settings ask for.
    pub fn refusal(&self, verification: &Verification) -> Option<Refusal> {
        let outcome = self.dmarc.as_ref().filter(|_| self.vouched.is_none())?;
        dmarc::refusal(verification.dmarc, outcome)
    }
}

/// The trusted forwarder that vouches for a message which its author's domain does not stand behind.
fn vouched(
    outcome: &postroad_verify::dmarc::Outcome,
    chain: Option<&arc::Outcome>,
    verification: &Verification,
) -> Option<String> {
    let fails = outcome.verdict == postroad_verify::dmarc::Verdict::Fail;
    let author = outcome.author.as_ref().filter(|_| fails)?;
    vouching::sealer(chain?, author, &verification.arc.trusted_sealers)
}

/// Whether SPF is asked, for its own sake or as DMARC stands on it.
fn asks_spf(verification: &Verification) -> bool {
    verification.spf.mode != SpfMode::Disabled || asks_dmarc(verification)
}

fn asks_dmarc(verification: &Verification) -> bool {
    verification.dmarc.mode != DmarcMode::Disabled
}

fn asks_anything(verification: &Verification) -> bool {
    asks_spf(verification)
        || verification.dkim.mode != CheckMode::Disabled
        || verification.arc.mode != CheckMode::Disabled
}

/// Programs of this machine speak for nobody's domain, and a client without an address cannot be judged.
fn is_a_stranger(client: IpAddr) -> bool {
    let client = client.to_canonical();
    !client.is_loopback() && !client.is_unspecified()
}

/// Longest time of all checks (RFC 7208 section 4.6.4: at least 20 seconds).
const TIME: Duration = Duration::from_secs(20);
/// Large headers that are read at once.
const LARGE_AT_ONCE: usize = 2;
