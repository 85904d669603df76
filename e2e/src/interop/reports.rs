//! Our reports to other domains, read by the program that others read reports with, and held against the schema of the standard.

use std::collections::BTreeMap;

use super::{Table, Verdict};
use crate::checks;
use crate::kubectl::Outcome;
use crate::rootfs::Rootfs;

const READER: &str = include_str!("../../peers/reports.py");
/// Debian has no parsedmarc, nor the schema.
const WHEELS: &str = include_str!("../../peers/reports.txt");
const PACKAGES: &[&str] = &[
    "python3-pip",
    "python3-lxml",
    "python3-xmltodict",
    "python3-maxminddb",
    "python3-dateutil",
    "python3-tqdm",
    "python3-expiringdict",
];

/// Each sample of `mta/examples/reports.rs`, and what a reader has to find behind the head that all have.
const SAMPLES: &[(&str, &str)] = &[
    (
        "dmarc",
        "192.0.2.7 1 pass pass fail from=a.example path=bounce.a.example dkim=a.example/s1/pass (None) \
         spf=bounce.a.example/mfrom/softfail",
    ),
    (
        "dmarc-failures",
        "192.0.2.7 1 reject fail fail from=a.example path=else.example spf=bounce.a.example/mfrom/softfail | \
         192.0.2.7 2 none fail fail trusted_forwarder (arc=pass, sealed by lists.example) from=a.example path=else.example \
         dkim=a.example/s1/fail (the body's hash is another: <body> & \"text\") spf=bounce.a.example/mfrom/softfail",
    ),
    (
        "dmarc-null",
        "2001:db8::7 1 pass pass fail from=a.example path=None dkim=a.example/s1/pass (None)",
    ),
];
const HEAD: &str = "aggregate urn:ietf:params:xml:ns:dmarc-2.0 Ears & Eyes <Inc.> reports@example.com 0123456789abcdef \
    2026-11-28 00:00:00 2026-11-28 23:59:59 | a.example reject quarantine none s r n treewalk | ";
/// The same about TLS.
const TLS: &[(&str, &str)] = &[
    ("tls", "no-policy-found a.example [] 1/0"),
    (
        "tls-policies",
        "tlsa mx.a.example [3 1 1 ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB] 1/0 | \
         sts a.example [version: STSv1 mode: testing max_age: 86400 mx: *.a.example] 2/0 | \
         no-policy-found a.example [] 0/3; starttls-not-supported 3",
    ),
];
const TLS_HEAD: &str = "smtp_tls Ears & Eyes <Inc.> reports@example.com 0123456789abcdef@example.com \
    2026-11-28T00:00:00Z 2026-11-28T23:59:59Z | ";
/// All that can be wrong with TLS (RFC 8460 section 4.3), in the order in which the sample counts them.
const FAILURES: &[&str] = &[
    "starttls-not-supported",
    "certificate-host-mismatch",
    "certificate-expired",
    "certificate-not-trusted",
    "validation-failure",
    "tlsa-invalid",
    "dnssec-invalid",
    "dane-required",
    "sts-policy-fetch-error",
    "sts-policy-invalid",
    "sts-webpki-invalid",
];

/// What a reader has to find in each sample.
fn wanted() -> Vec<(&'static str, String)> {
    let dmarc = SAMPLES
        .iter()
        .map(|(sample, want)| (*sample, format!("{HEAD}{want}")));
    let tls = TLS
        .iter()
        .map(|(sample, want)| (*sample, format!("{TLS_HEAD}{want}")));
    let failures: Vec<_> = FAILURES
        .iter()
        .zip(1..)
        .map(|(what, count)| {
            format!("; {what} {count} 192.0.2.7 2001:db8::19 mx.a.example mail.a.example why: \"<this>\"")
        })
        .collect();
    let failures = failures.concat();
    let policy = "sts a.example [version: STSv1 mode: testing max_age: 86400 mx: *.a.example] 0/66";
    let failed = ("tls-failures", format!("{TLS_HEAD}{policy}{failures}"));
    dmarc.chain(tls).chain([failed]).collect()
}

pub(super) fn play() -> Outcome<Vec<Table>> {
    let root = Rootfs::with_wheels("reports", PACKAGES, WHEELS)?;
    let (scratch, samples) = (tempfile::tempdir()?, tempfile::tempdir()?);
    checks::mail_samples("reports", samples.path())?;
    let jail = root.enter(scratch.path(), &[(samples.path(), "/samples")])?;
    jail.write("/reports.py", READER)?;
    let said = jail.run("sh", ["-c", "TZ=UTC python3 /reports.py /samples/*.eml"])?;
    Ok(vec![judge(&said), judge_schema(&said)])
}

/// `said`: lines of sample, reader, and what it found, between tabs.
fn judge(said: &str) -> Table {
    let mut table = Table::new("report", &["parsedmarc"]);
    let lines = said.lines().filter_map(|line| line.split_once("\tparsedmarc\t"));
    let found: BTreeMap<&str, &str> = lines.collect();
    for (sample, want) in wanted() {
        let verdict = match found.get(sample) {
            Some(said) if *said == want => Verdict::Yes,
            said => Verdict::Fail(format!("wanted `{want}`, it said {said:?}")),
        };
        table.rows.push((sample.to_owned(), vec![verdict]));
    }
    table
}

/// `said`: lines of sample, `schema`, and what is wrong, between tabs.
fn judge_schema(said: &str) -> Table {
    let mut table = Table::new("aggregate report", &["schema of RFC 9990"]);
    let lines = said.lines().filter_map(|line| line.split_once("\tschema\t"));
    let found: BTreeMap<&str, &str> = lines.collect();
    for (sample, _) in SAMPLES {
        let verdict = match found.get(sample).copied() {
            Some("valid") => Verdict::Yes,
            said => Verdict::Fail(format!("it said {said:?}")),
        };
        table.rows.push(((*sample).to_owned(), vec![verdict]));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_finds_otherwise_is_a_failure() {
        let wanted = wanted();
        let lines = wanted
            .iter()
            .map(|(sample, want)| format!("{sample}\tparsedmarc\t{want}\n"));
        let all: String = lines.collect();
        assert!(
            judge(&all)
                .rows
                .iter()
                .all(|(_, cells)| cells[..] == [Verdict::Yes])
        );
        let warned = all.replacen('\n', " | a warning\n", 1);
        let failed = |said: &str| {
            judge(said)
                .rows
                .iter()
                .filter(|(_, cells)| cells[0] != Verdict::Yes)
                .count()
        };
        assert_eq!((failed(&warned), failed("")), (1, wanted.len()));
    }

    #[test]
    fn a_document_that_is_not_valid_is_a_failure() {
        let lines = SAMPLES
            .iter()
            .map(|(sample, _)| format!("{sample}\tschema\tvalid\n"));
        let all: String = lines.collect();
        let failed = |said: &str| {
            let rows = judge_schema(said).rows;
            rows.iter().filter(|(_, cells)| cells[0] != Verdict::Yes).count()
        };
        assert_eq!(failed(&all), 0);
        assert_eq!(failed(&all.replacen("valid", "line 3: wrong", 1)), 1);
        assert_eq!(failed(""), SAMPLES.len());
    }
}
