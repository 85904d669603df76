//! Who stands behind a message from outside: the checks of postroad-verify, run while the message comes in.
//!
//! ```text
//!   MAIL ─► Verifier::begin ─► a task: SPF for reverse-path and HELO name ─► Verdicts ─┬─► RCPT: refused, where chosen
//!                               │ questions, within a budget                           └─► Authentication-Results
//!                               └─► Dns
//! ```
//!
//! A session never waits for the DNS longer than [`TIME`], and one that ends takes its task along.

mod budget;
mod spf;

pub use spf::{Spf, may_refuse, refusal};

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postroad_config::Verification;
use postroad_verify::results::{self, Field, SpfIdentity};
use tokio::task::JoinHandle;

use crate::dns::Dns;
use crate::metrics::Metrics;

/// Makes checks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Verifier {
    dns: Dns,
    metrics: Arc<Metrics>,
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

/// Checks that run, or have ended.
#[derive(Debug)]
pub struct Pending {
    task: Option<JoinHandle<Spf>>,
    /// Apart: an open transaction needs the room only once they are there.
    spf: Option<Box<Spf>>,
}

impl Verifier {
    /// Asks that source.
    pub fn new(dns: Dns, metrics: Arc<Metrics>) -> Self {
        Self { dns, metrics }
    }

    /// Begins the checks of a transaction; `None` where nothing is to be checked.
    pub fn begin(&self, verification: Verification, sender: Sender) -> Option<Pending> {
        if verification.spf.mode == postroad_config::SpfMode::Disabled || !is_a_stranger(sender.client) {
            return None;
        }
        let (dns, metrics) = (self.dns.clone(), Arc::clone(&self.metrics));
        let task = tokio::spawn(async move {
            let spf = spf::judge(&dns, &sender).await;
            metrics.judge(spf.deciding());
            spf
        });
        Some(Pending {
            task: Some(task),
            spf: None,
        })
    }
}

impl Pending {
    /// The verdicts, once they are there.
    pub async fn spf(&mut self) -> &Spf {
        if let Some(task) = &mut self.task {
            // A task that was cut has no verdict, which is not the same as "none".
            self.spf = Some(Box::new(task.await.unwrap_or_else(|_| Spf::unknown())));
            self.task = None;
        }
        self.spf.get_or_insert_with(|| Box::new(Spf::unknown()))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The field that tells of the verdicts (RFC 8601).
pub fn field(hostname: &str, helo: &str, reverse_path: &str, spf: &Spf) -> Field {
    let mail_from = spf
        .mail_from
        .as_ref()
        .map(|outcome| results::spf(SpfIdentity::MailFrom(reverse_path), outcome));
    let helo = results::spf(SpfIdentity::Helo(helo), &spf.helo);
    Field {
        authserv_id: hostname.to_owned(),
        statements: mail_from.into_iter().chain([helo]).collect(),
    }
}

/// Programs of this machine speak for nobody's domain, and a client without an address cannot be judged.
fn is_a_stranger(client: IpAddr) -> bool {
    let client = client.to_canonical();
    !client.is_loopback() && !client.is_unspecified()
}

/// Longest time of all checks of a message (RFC 7208 section 4.6.4: at least 20 seconds).
const TIME: Duration = Duration::from_secs(20);
/// Most questions of all checks of a message. RFC 7208 allows 10 terms; an `mx` may stand for 10 names, each a question.
const QUESTIONS: u32 = 150;
