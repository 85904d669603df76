//! The mail that carries a report about TLS (RFC 8460 section 5.3). Pure.

use postroad_verify::tls_rpt::{MEDIA_TYPE, Report};

use crate::reports::Letter;

/// The letter to one of the report's places. `number`: of that place. `file`: the compressed report.
pub(super) fn letter(report: &Report<'_>, from: &str, to: &str, number: usize, file: Vec<u8>) -> Letter {
    let (domain, submitter) = (report.domain, report.submitter);
    let (good, bad) = report.totals();
    Letter {
        from: from.to_owned(),
        to: to.to_owned(),
        subject: report.subject(),
        message_id: format!("{}.{number}@{submitter}", report.id),
        fields: vec![
            ("TLS-Report-Domain", domain.to_owned()),
            ("TLS-Report-Submitter", submitter.to_owned()),
            // Sent whatever is wrong with the domain's TLS (RFC 8689 section 4.1): that is what it tells of.
            ("TLS-Required", "No".to_owned()),
        ],
        report_type: Some("tlsrpt"),
        text: vec![
            format!(
                "This is a report about TLS between {submitter} and the mail servers of {domain}, as {domain} asks for it"
            ),
            format!("by the DNS record _smtp._tls.{domain} (RFC 8460)."),
            String::new(),
            format!(
                "Sessions without trouble: {good}. Sessions with trouble: {bad}. The attached file has the particulars."
            ),
        ],
        media_type: MEDIA_TYPE,
        file_name: report.file_name(),
        report: file,
    }
}
