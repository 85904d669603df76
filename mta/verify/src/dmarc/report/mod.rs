//! Aggregate reports, RFC 9990: what a domain's owner is told of mail in its name.
//!
//! ```text
//!   verdicts of a message ─► Row::of ─► rows, counted by the caller ─► write ─► XML, file_name, subject
//!   policy domain ─► Recipients (steps, as Check) ─► addresses that may get it, each with its limit
//! ```
//!
//! * `row`: one message as it is counted; rows that are equal are one.
//! * `xml`: rows as the document of appendix A.
//! * `target`: URIs of `rua`.
//! * `recipients`: who gets a report now, with the consent of those in other domains (section 3).
//!
//! May assume: the caller counts rows per policy domain ([`Published::domain`]) and day.

mod recipients;
mod row;
mod target;
mod xml;

pub use recipients::{NotSent, Recipients, Search, Step};
pub use row::{Applied, DkimResult, Published, Reason, ReasonKind, Row, Seen, SpfResult};
pub use target::{Target, target};
pub use xml::{Metadata, write};

/// Name of the file in a report's mail, compressed (section 2.5.2). `begin` and `end`: seconds since 1970.
pub fn file_name(submitter: &str, domain: &str, (begin, end): (u64, u64), id: &str) -> String {
    format!("{submitter}!{domain}!{begin}!{end}!{id}.xml.gz")
}

/// Subject of its mail, in parts between which it may be folded.
pub fn subject(submitter: &str, domain: &str, id: &str) -> [String; 3] {
    [
        format!("Report Domain: {domain}"),
        format!("Submitter: {submitter}"),
        format!("Report-ID: <{id}>"),
    ]
}

/// Whether a Subject is that of a report: of this kind, or of RFC 8460, which has the same form.
pub fn is_report(subject: &[u8]) -> bool {
    let text = String::from_utf8_lossy(subject).to_ascii_lowercase();
    let words: Vec<&str> = text.split_ascii_whitespace().take(5).collect();
    // The name may stand apart from the colon or not.
    matches!(words[..], ["report", "domain:", _, "submitter:", _])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_standard() {
        assert_eq!(
            file_name(
                "mail.receiver.example",
                "example.com",
                (1_013_662_812, 1_013_749_130),
                "a1"
            ),
            "mail.receiver.example!example.com!1013662812!1013749130!a1.xml.gz"
        );
        let subject = subject("mail.receiver.example", "example.com", "a1").join("\r\n\t");
        assert_eq!(
            subject,
            "Report Domain: example.com\r\n\tSubmitter: mail.receiver.example\r\n\tReport-ID: <a1>"
        );
        assert!(is_report(subject.as_bytes()));
        assert!(is_report(b" report  domain: a.example\tSUBMITTER: b.example"));
        for other in [
            &b"Re: Report Domain: a Submitter: b"[..],
            b"Report domain: a",
            b"",
            b"Report \xff",
        ] {
            assert!(!is_report(other));
        }
    }
}
