//! Reports about TLS (RFC 8460): how it went with the mail servers of a domain, told to the domain.
//!
//! ```text
//!   deliver::telling ─► Sessions ─► Reports (rows of a day) ─► TlsWriter ─┬─ TXT _smtp._tls.DOMAIN: where to?
//!                                                                         ├─ mailto: ─► mail.rs ─► Letter ─► queue
//!                                                                         └─ https: ──► post.rs
//! ```
//!
//! A report is mail like other mail, with three exceptions: it says `TLS-Required: No`, so that what is wrong with the domain's TLS does
//! not hold it back (RFC 8460 section 5.3, RFC 8689); the session that carries it is not counted (`deliver::telling`), so that two
//! servers do not report to each other for ever; and it is not sent without a signature, as nobody may believe it then (section 3).

mod mail;
mod post;

use std::sync::Arc;

use ipnet::IpNet;
use postroad_config::{DomainName, ReportMode};
use postroad_verify::dns::Answer;
use postroad_verify::tls_rpt::{self, Place, Record, RecordError, Report, Session};

use super::reporter::Reporter;
use super::{Day, Kind, NotNow, Reports, Writer, Writing, Written, clock, gzip};
use crate::deliver::https::Https;
use crate::deliver::plan::{Origin, Plan, To};
use crate::deliver::telling::{Counter, TlsSessions};
use crate::dns::Dns;
use crate::settings::{Live, Settings};

/// Counts sessions while the settings say so.
struct Sessions {
    live: Live,
    reports: Reports,
}

/// Counts sessions for these reports.
pub fn counter(live: Live, reports: Reports) -> Counter {
    Counter(Arc::new(Sessions { live, reports }))
}

impl TlsSessions for Sessions {
    fn are_counted(&self) -> bool {
        is_wanted(&self.live.current())
    }

    fn count(&self, domain: &str, session: &Session) {
        self.reports.count(Kind::Tls, domain, session);
    }
}

/// Writes the reports, and posts those that go over the web.
#[derive(Debug)]
pub struct TlsWriter {
    dns: Dns,
    https: Https,
}

impl TlsWriter {
    /// Asks `dns` where reports go.
    pub fn new(dns: Dns, https: Https) -> Self {
        Self { dns, https }
    }

    async fn report(&self, day: &Day, settings: &Settings) -> Result<Written, NotNow> {
        let domain = day.of.domain.as_str();
        let record = match self.record(domain).await? {
            Ok(record) => record,
            Err(error) => return Ok(left_out(format!("{domain} asks for no report any more: {error}"))),
        };
        let reporter = Reporter::of(settings);
        let sessions = sessions(day);
        let report = Report {
            organization: &reporter.organization,
            submitter: &reporter.domain,
            contact: contact(&reporter),
            domain,
            begin: clock::first_second(day.of.day),
            end: clock::last_second(day.of.day),
            id: &day.id,
            sessions: &sessions,
        };
        let file = report.json().map_err(std::io::Error::other);
        let file = file.and_then(|text| gzip(text.as_bytes()));
        let file = file.map_err(|error| NotNow(error.to_string()))?;
        let places: Vec<Option<Place>> = record.rua.iter().map(|uri| Place::of(uri)).collect();
        let mut written = Written::default();
        let mut troubles = vec![];
        for (number, (place, uri)) in places.into_iter().zip(&record.rua).enumerate() {
            match place {
                _ if number >= MOST_PLACES => written.left_out.push(format!("{uri}: one of too many places")),
                None => written.left_out.push(format!("{uri}: no report can go there")),
                Some(Place::Mail(_)) if !is_signed(settings, &reporter.domain) => {
                    let submitter = &reporter.domain;
                    let why = format!(
                        "{uri}: {submitter} has no DKIM key here, and nobody may believe a report without a signature"
                    );
                    written.left_out.push(why);
                }
                Some(Place::Mail(address)) => {
                    let letter = mail::letter(&report, &reporter.from, &address, number, file.clone());
                    written.letters.push(letter);
                }
                Some(Place::Web(web)) => {
                    match post::post(&self.https, &web, &allowed(settings, domain), &file).await {
                        Ok(()) => written.posted.push(uri.clone()),
                        Err(reason) => troubles.push(format!("{uri}: {reason}")),
                    }
                }
            }
        }
        // One place that has it is enough (RFC 8460 section 3).
        match troubles.first() {
            Some(trouble) if written.letters.is_empty() && written.posted.is_empty() => {
                Err(NotNow(trouble.clone()))
            }
            _ => {
                written.left_out.append(&mut troubles);
                Ok(written)
            }
        }
    }

    async fn record(&self, domain: &str) -> Result<Result<Record, RecordError>, NotNow> {
        let Some(question) = tls_rpt::question(domain) else {
            return Ok(Err(RecordError::Missing));
        };
        match self.dns.answer(&question).await {
            Answer::Failure => Err(NotNow(format!("no answer to {question}"))),
            Answer::Txt(texts) => Ok(Record::of(&texts)),
            _ => Ok(Err(RecordError::Missing)),
        }
    }
}

impl Writer for TlsWriter {
    fn kind(&self) -> Kind {
        Kind::Tls
    }

    fn is_wanted(&self, settings: &Settings) -> bool {
        is_wanted(settings)
    }

    fn write<'a>(&'a self, day: &'a Day, settings: &'a Settings) -> Writing<'a> {
        Box::pin(self.report(day, settings))
    }
}

/// Whom to ask must be of the domain that reports (RFC 8460 section 5.3).
fn contact(reporter: &Reporter) -> &str {
    let is_of_domain = |contact: &str| {
        let domain = contact.rsplit_once('@').map(|(_, domain)| domain);
        domain.is_some_and(|domain| domain.eq_ignore_ascii_case(&reporter.domain))
    };
    if is_of_domain(&reporter.contact) {
        &reporter.contact
    } else {
        &reporter.from
    }
}

fn is_wanted(settings: &Settings) -> bool {
    settings.set.file.reports.tls.mode == ReportMode::Daily
}

fn is_signed(settings: &Settings, domain: &str) -> bool {
    let domain: Result<DomainName, _> = domain.parse();
    domain.is_ok_and(|domain| settings.signers().of(&domain).is_some())
}

/// Networks that may be reached for the domain although they are not public: those that its mail may go to.
fn allowed(settings: &Settings, domain: &str) -> Vec<IpNet> {
    let plan = Plan::decide(&settings.set.file, Origin::default(), domain);
    let networks = plan.ways.into_iter().map(|way| match way.to {
        To::Exchanges { allowed, .. } => allowed,
        To::Hosts { .. } => vec![],
    });
    networks.flatten().collect()
}

/// A row that cannot be read, of another version perhaps, does not count.
fn sessions(day: &Day) -> Vec<(Session, u64)> {
    let read = |(row, count): &(String, u64)| Some((serde_json::from_str(row).ok()?, *count));
    day.rows.iter().filter_map(read).collect()
}

fn left_out(why: String) -> Written {
    Written {
        left_out: vec![why],
        ..Written::default()
    }
}

/// Of one record.
const MOST_PLACES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_to_ask_is_of_the_domain_that_reports() {
        let from = "tls@moor.example";
        for (given, want) in [
            (from, from),
            ("hilde@Moor.example", "hilde@Moor.example"),
            ("hilde@else.example", from),
            ("https://moor.example/contact", from),
        ] {
            let reporter = Reporter {
                from: from.into(),
                domain: "moor.example".into(),
                organization: "The moor".into(),
                contact: given.into(),
            };
            assert_eq!(contact(&reporter), want);
        }
    }
}
