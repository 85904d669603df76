//! Reports about DMARC (RFC 9990): letters out of a day's rows.
//!
//! ```text
//!   rows ─► who wants it now, with whose consent (DNS) ─► a document for each policy that was seen ─► a letter for each address
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use postroad_config::ReportMode;
use postroad_verify::dmarc::Domain;
use postroad_verify::dmarc::report::{
    Metadata, Published, Recipients, Row, Search, Step, Target, file_name, subject, write,
};
use postroad_verify::dns::Answer;
use tokio::time::timeout;

use super::reporter::Reporter;
use super::{Day, Kind, Letter, NotNow, Writer, Writing, Written, clock, gzip};
use crate::dns::Dns;
use crate::settings::Settings;

/// Writes them.
#[derive(Clone, Debug)]
pub struct DmarcWriter {
    dns: Dns,
}

impl DmarcWriter {
    /// Asks that source who wants reports.
    pub fn new(dns: Dns) -> Self {
        Self { dns }
    }

    async fn recipients(&self, domain: Domain) -> Recipients {
        let (mut search, mut step) = Search::start(domain);
        loop {
            step = match step {
                Step::Done(recipients) => return recipients,
                Step::Ask(question) => {
                    let answer = timeout(TIME, self.dns.answer(&question)).await;
                    search.answer(answer.unwrap_or(Answer::Failure))
                }
            };
        }
    }

    async fn made(&self, day: &Day, settings: &Settings) -> Result<Written, NotNow> {
        let rows = read(&day.rows);
        if rows.iter().all(|(row, _)| row.is_report) {
            return Ok(left_out("all that came in its name were such reports"));
        }
        let Some(domain) = Domain::parse(&day.of.domain) else {
            return Ok(left_out("it is no name of a domain"));
        };
        let recipients = self.recipients(domain).await;
        if recipients.targets.is_empty() && recipients.is_uncertain() {
            let reasons: Vec<String> = recipients.not_sent.iter().map(ToString::to_string).collect();
            return Err(NotNow(reasons.join("; ")));
        }
        letters(day, rows, &recipients, &Reporter::of(settings))
    }
}

impl Writer for DmarcWriter {
    fn kind(&self) -> Kind {
        Kind::Dmarc
    }

    fn is_wanted(&self, settings: &Settings) -> bool {
        settings.set.file.reports.dmarc.mode == ReportMode::Daily
    }

    fn write<'a>(&'a self, day: &'a Day, settings: &'a Settings) -> Writing<'a> {
        Box::pin(self.made(day, settings))
    }
}

fn left_out(reason: &str) -> Written {
    Written {
        left_out: vec![reason.to_owned()],
        ..Written::default()
    }
}

/// The rows; one that another version wrote and this one cannot read is none.
fn read(rows: &[(String, u64)]) -> Vec<(Row, u64)> {
    rows.iter()
        .filter_map(|(text, count)| Some((serde_json::from_str(text).ok()?, *count)))
        .collect()
}

/// One letter for each policy and address. RFC 9990 section 2.1: a document has one policy; a day on which it changed has several.
fn letters(
    day: &Day,
    rows: Vec<(Row, u64)>,
    recipients: &Recipients,
    reporter: &Reporter,
) -> Result<Written, NotNow> {
    let mut policies: BTreeMap<Published, Vec<(Row, u64)>> = BTreeMap::new();
    for (row, count) in rows {
        policies.entry(row.policy.clone()).or_default().push((row, count));
    }
    let mut written = Written {
        left_out: recipients.not_sent.iter().map(ToString::to_string).collect(),
        ..Written::default()
    };
    for (number, (policy, rows)) in policies.iter().enumerate() {
        let report = Report {
            day,
            reporter,
            id: if number == 0 {
                day.id.clone()
            } else {
                format!("{}x{number}", day.id)
            },
        };
        let document = gzip(report.document(policy, rows).as_bytes());
        let document = document.map_err(|error| NotNow(error.to_string()))?;
        // Four characters for three octets (RFC 2045 section 6.8), and the ends of lines.
        let octets = document.len().div_ceil(3) * 4;
        let octets = u64::try_from(octets + octets.div_ceil(76) * 2).unwrap_or(u64::MAX);
        for (at, target) in recipients.targets.iter().enumerate() {
            if target.most.is_some_and(|most| octets > most) {
                let (to, most) = (&target.address, target.most.unwrap_or_default());
                let reason = format!("it has {octets} octets, and {to} takes {most}");
                written.left_out.push(reason);
            } else {
                written.letters.push(report.letter(target, at, document.clone()));
            }
        }
    }
    Ok(written)
}

/// One document.
struct Report<'a> {
    day: &'a Day,
    reporter: &'a Reporter,
    id: String,
}

impl Report<'_> {
    fn document(&self, policy: &Published, rows: &[(Row, u64)]) -> String {
        let (begin, end) = self.time();
        let metadata = Metadata {
            organization: &self.reporter.organization,
            email: &self.reporter.from,
            contact: Some(self.reporter.contact.as_str()).filter(|contact| *contact != self.reporter.from),
            report_id: &self.id,
            begin,
            end,
            generator: Reporter::GENERATOR,
        };
        write(&metadata, policy, rows)
    }

    fn letter(&self, target: &Target, number: usize, report: Vec<u8>) -> Letter {
        let (domain, submitter) = (&self.day.of.domain, &self.reporter.domain);
        Letter {
            from: self.reporter.from.clone(),
            to: target.address.clone(),
            subject: subject(submitter, domain, &self.id).into(),
            message_id: format!("{}.{number}@{submitter}", self.id),
            fields: Vec::new(),
            report_type: None,
            text: vec![
                "This is a DMARC aggregate report (RFC 9990): who sent mail in the name of".to_owned(),
                format!(
                    "{domain} on {} (UTC), and what DMARC said of it.",
                    clock::date(self.day.of.day)
                ),
                "The DMARC record of that domain asks for it.".to_owned(),
                String::new(),
                format!(
                    "It is from {}. To reach a person: {}",
                    self.reporter.organization, self.reporter.contact
                ),
            ],
            media_type: "application/gzip",
            file_name: file_name(submitter, domain, self.time(), &self.id),
            report,
        }
    }

    fn time(&self) -> (u64, u64) {
        let day = self.day.of.day;
        (clock::first_second(day), clock::last_second(day))
    }
}

/// For one answer of the DNS.
const TIME: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use postroad_verify::dns::{Kind as Type, Question};

    use super::super::Subject;
    use super::*;
    use crate::dns::table::Table;

    fn row(p: &str, more: &str) -> String {
        format!(
            r#"{{"policy":{{"domain":"a.example","p":"{p}","sp":"{p}","np":"{p}","adkim":"Relaxed","aspf":"Relaxed","testing":false}},"source":"192.0.2.1","disposition":"None","dkim_aligned":false,"spf_aligned":false,"header_from":"a.example","envelope_from":""{more}}}"#
        )
    }

    fn day(rows: &[String]) -> Day {
        Day {
            of: Subject {
                kind: Kind::Dmarc,
                domain: "a.example".to_owned(),
                day: 20_785,
            },
            rows: rows.iter().map(|row| (row.clone(), 2)).collect(),
            id: "0a1b".to_owned(),
        }
    }

    fn settings(mode: &str) -> Settings {
        let text = format!(
            "format: 1\nhostname: mx.example.com\nspool: {{directory: /unused}}\nreports: {{dmarc: {{mode: {mode}}}}}\n"
        );
        Settings::new(postroad_config::assemble(&text, &BTreeMap::new()).unwrap()).unwrap()
    }

    async fn written(rua: &str, rows: &[String]) -> Result<Written, NotNow> {
        let question = Question {
            name: "_dmarc.a.example".to_owned(),
            kind: Type::Txt,
        };
        let record = format!("v=DMARC1; p=none; rua={rua}");
        let table = Table::default().answers(question, Answer::Txt(vec![record.into_bytes()]));
        let writer = DmarcWriter::new(Dns::new(table.silent("a.example._report._dmarc.silent.test")));
        writer.write(&day(rows), &settings("Daily")).await
    }

    #[tokio::test]
    async fn each_policy_of_a_day_is_a_document_and_each_address_gets_each() {
        let rows = [
            row("None", ""),
            row("Reject", ""),
            "{\"of\": \"another version\"}".to_owned(),
        ];
        let written = written("mailto:d@a.example,mailto:e@a.example", &rows)
            .await
            .unwrap();
        let shown: Vec<_> = written
            .letters
            .iter()
            .map(|letter| (letter.to.as_str(), letter.message_id.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("d@a.example", "0a1b.0@mx.example.com"),
                ("e@a.example", "0a1b.1@mx.example.com"),
                ("d@a.example", "0a1bx1.0@mx.example.com"),
                ("e@a.example", "0a1bx1.1@mx.example.com"),
            ]
        );
        let letter = &written.letters[0];
        assert_eq!(letter.from, "postmaster@mx.example.com");
        assert_eq!(
            letter.file_name,
            "mx.example.com!a.example!1795824000!1795910399!0a1b.xml.gz"
        );
        let mut xml = String::new();
        let mut reader = flate2::read::GzDecoder::new(&*letter.report);
        std::io::Read::read_to_string(&mut reader, &mut xml).unwrap();
        assert!(
            xml.contains("<p>none</p>") && xml.contains("<count>2</count>"),
            "{xml}"
        );
        assert!(written.left_out.is_empty());
    }

    #[tokio::test]
    async fn an_address_gets_no_more_than_it_takes() {
        let written = written("mailto:d@a.example!1,mailto:e@a.example!1m", &[row("None", "")])
            .await
            .unwrap();
        assert_eq!(written.letters.len(), 1);
        assert_eq!(written.letters[0].to, "e@a.example");
        assert!(
            written.left_out[0].ends_with("octets, and d@a.example takes 1"),
            "{:?}",
            written.left_out
        );
    }

    #[tokio::test]
    async fn a_report_about_nothing_but_reports_is_not_sent() {
        let reports = [
            row("None", r#","is_report":true"#),
            row("Reject", r#","is_report":true"#),
        ];
        let only = written("mailto:d@a.example", &reports).await.unwrap();
        assert!(only.letters.is_empty());
        assert_eq!(only.left_out, ["all that came in its name were such reports"]);
        let more = [reports[0].clone(), row("None", "")];
        let more = written("mailto:d@a.example", &more).await.unwrap();
        assert_eq!(more.letters.len(), 1);
    }

    #[tokio::test]
    async fn who_is_not_known_now_is_asked_again_and_who_does_not_consent_is_left_out() {
        let rows = [row("None", "")];
        let later = written("mailto:d@silent.test", &rows).await.unwrap_err();
        assert!(
            later.0.starts_with("no answer from DNS for a.example._report"),
            "{later}"
        );
        let both = written(
            "mailto:d@a.example,mailto:d@silent.test,mailto:d@else.test",
            &rows,
        )
        .await;
        let both = both.unwrap();
        assert_eq!((both.letters.len(), both.left_out.len()), (1, 2));
        let nobody = written("mailto:d@else.test", &rows).await.unwrap();
        assert_eq!((nobody.letters.len(), nobody.left_out.len()), (0, 1));
    }

    #[test]
    fn it_is_wanted_where_the_settings_say_so() {
        let writer = DmarcWriter::new(Dns::new(Table::default()));
        assert!(writer.is_wanted(&settings("Daily")) && !writer.is_wanted(&settings("Disabled")));
    }
}
