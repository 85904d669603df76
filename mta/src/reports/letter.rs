//! The mail that carries a report: a few lines for people and the report as an attachment (RFC 9990 section 2.5.2, RFC 8460 section 5.3). Pure.
//!
//! The same letter is the same octets each time, so that one which is sent again after a crash is known as such.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::{Compression, GzBuilder};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use postroad_spool::{BodyKind, Envelope, Notify, Recipient};

use crate::dsn::text::{Charset, one_line};

/// One mail with one report. All texts are cut to one line of printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Address in From.
    pub from: String,
    /// Whom it goes to.
    pub to: String,
    /// Subject, in parts between which it may be folded.
    pub subject: Vec<String>,
    /// Without brackets; unique, and the same for the same report. Also names the boundary.
    pub message_id: String,
    /// Other fields of the header.
    pub fields: Vec<(&'static str, String)>,
    /// `report-type` of `multipart/report` (RFC 6522); absent: it is `multipart/mixed`.
    pub report_type: Option<&'static str>,
    /// Lines for people, in our own words.
    pub text: Vec<String>,
    /// Media type of the report.
    pub media_type: &'static str,
    /// Name of its file, without quotes.
    pub file_name: String,
    /// The report, as it is to be read from that file.
    pub report: Vec<u8>,
}

impl Letter {
    /// Writes it with CRLF line ends. `now`: seconds since 1970.
    pub fn compose(&self, now: u64) -> Vec<u8> {
        let boundary = boundary(&self.message_id);
        let mut out = String::with_capacity(2_048 + self.report.len() / 2 * 3);
        let mut line = |text: &str| out.extend([text, "\r\n"]);
        line(&format!("From: <{}>", clean(&self.from)));
        line(&format!("To: <{}>", clean(&self.to)));
        let subject: Vec<String> = self.subject.iter().map(|part| clean(part)).collect();
        line(&format!("Subject: {}", subject.join("\r\n\t")));
        line(&format!("Date: {}", date(now)));
        line(&format!("Message-ID: <{}>", clean(&self.message_id)));
        // RFC 3834 section 5: no program answers it.
        line("Auto-Submitted: auto-generated");
        for (name, value) in &self.fields {
            line(&format!("{name}: {}", clean(value)));
        }
        line("MIME-Version: 1.0");
        match self.report_type {
            Some(kind) => line(&format!(
                "Content-Type: multipart/report; report-type=\"{kind}\";"
            )),
            None => line("Content-Type: multipart/mixed;"),
        }
        line(&format!("\tboundary=\"{boundary}\""));
        line("");
        line(&format!("--{boundary}"));
        line("Content-Type: text/plain; charset=us-ascii");
        line("");
        for text in &self.text {
            line(&clean(text));
        }
        line("");
        line(&format!("--{boundary}"));
        let name = clean(&self.file_name).replace(['"', '\\'], "_");
        line(&format!("Content-Type: {}", self.media_type));
        line("Content-Transfer-Encoding: base64");
        line("Content-Disposition: attachment;");
        line(&format!("\tfilename=\"{name}\""));
        line("");
        // RFC 2045 section 6.8: 76 characters a line.
        for piece in self.report.chunks(57) {
            line(&BASE64.encode(piece));
        }
        line("");
        line(&format!("--{boundary}--"));
        out.into_bytes()
    }

    /// Its envelope: from nobody, so that nothing is ever sent in answer to it. Milliseconds since 1970, and of `lifetime`.
    pub(super) fn envelope(&self, now: u64, lifetime: u64) -> Envelope {
        Envelope {
            reverse_path: String::new(),
            recipients: vec![Recipient {
                forward_path: self.to.clone(),
                notify: Notify::NEVER,
                ..Recipient::default()
            }],
            body: BodyKind::SevenBit,
            client: "report".to_owned(),
            arrived: now,
            expires: now.saturating_add(lifetime),
            ..Envelope::default()
        }
    }
}

/// Compresses a file (RFC 1952), the same octets each time.
pub fn gzip(octets: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = GzBuilder::new().write(Vec::new(), Compression::default());
    writer.write_all(octets)?;
    writer.finish()
}

/// May assume: no line for people begins with two hyphens; base64 has none.
fn boundary(message_id: &str) -> String {
    let letters = message_id.chars().filter(char::is_ascii_alphanumeric);
    format!("report-{}", letters.take(40).collect::<String>())
}

fn clean(text: &str) -> String {
    one_line(text, Charset::Ascii, LONGEST_TEXT)
}

fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|at| Timestamp::from_second(at).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH);
    jiff::fmt::rfc2822::to_string(&time.to_zoned(TimeZone::UTC)).unwrap_or_default()
}

/// With the field's name it stays below the 998 octets of a line (RFC 5322 section 2.1.1).
const LONGEST_TEXT: usize = 800;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use mail_parser::{MessageParser, MimeHeaders};

    use super::*;

    fn letter() -> Letter {
        Letter {
            from: "reports@mail.example.com".to_owned(),
            to: "dmarc@a.example".to_owned(),
            subject: vec![
                "Report Domain: a.example".to_owned(),
                "Submitter: mail.example.com".to_owned(),
            ],
            message_id: "ab12@mail.example.com".to_owned(),
            fields: vec![(
                "TLS-Report-Domain",
                "a.example\r\nBcc: eve@else.example".to_owned(),
            )],
            report_type: None,
            text: vec!["Bye\u{202e}.\r\nBcc: eve".to_owned()],
            media_type: "application/gzip",
            file_name: "a!b\"\r\n.xml.gz".to_owned(),
            report: gzip(b"<feedback/>").unwrap(),
        }
    }

    #[test]
    fn a_letter_is_a_mail_with_its_report_and_nothing_breaks_out_of_its_place() {
        let octets = letter().compose(1_795_824_000);
        assert_eq!(octets, letter().compose(1_795_824_000));
        assert!(octets.is_ascii());
        let text = std::str::from_utf8(&octets).unwrap();
        assert!(
            text.split("\r\n")
                .all(|line| line.len() <= 900 && !line.contains(['\r', '\n']))
        );
        let mail = MessageParser::default().parse(&octets).unwrap();
        assert_eq!(
            mail.subject(),
            Some("Report Domain: a.example Submitter: mail.example.com")
        );
        assert!(mail.header("Bcc").is_none());
        assert_eq!(text.lines().nth(4), Some("Date: Sat, 28 Nov 2026 00:00:00 +0000"));
        let report = mail.attachment(0).unwrap();
        assert_eq!(report.attachment_name(), Some("a!b_ .xml.gz"));
        let mut xml = String::new();
        flate2::read::GzDecoder::new(report.contents())
            .read_to_string(&mut xml)
            .unwrap();
        assert_eq!(xml, "<feedback/>");
    }

    #[test]
    fn another_kind_of_report_says_so() {
        let letter = Letter {
            report_type: Some("tlsrpt"),
            ..letter()
        };
        let octets = letter.compose(0);
        let text = std::str::from_utf8(&octets).unwrap();
        assert!(text.contains("Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n\tboundary="));
    }

    #[test]
    fn its_envelope_is_from_nobody() {
        let envelope = letter().envelope(7, 10);
        assert_eq!((envelope.reverse_path.as_str(), envelope.expires), ("", 17));
        assert_eq!(envelope.recipients[0].forward_path, "dmarc@a.example");
        assert_eq!(envelope.recipients[0].notify, Notify::NEVER);
    }
}
