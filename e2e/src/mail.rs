//! Mails to send and what must arrive.
//!
//! A mail is the exact octets that the client submits. What arrives is compared from the first submitted field to the
//! last octet of the body; above that there may only be trace fields of the systems on the way.

pub mod dialogue;
pub mod imap;
pub mod mailbox;
pub mod pop3;
pub mod submit;

/// One mail: its mark, envelope and content.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Unique text in the Subject, by which it is found again.
    pub mark: String,
    /// Reverse-path.
    pub from: String,
    /// Forward-path.
    pub to: String,
    /// Header and body with CRLF line ends.
    pub content: Vec<u8>,
}

impl Mail {
    fn new(mark: &str, from: &str, to: &str, fields: &str, body: &str) -> Self {
        let content = format!(
            "From: <{from}>\r\nTo: <{to}>\r\nSubject: {mark}\r\nDate: Mon, 02 Nov 2026 08:00:00 +0000\r\n\
             Message-ID: <{mark}@e2e.example>\r\n{fields}\r\n{body}"
        );
        Self {
            mark: mark.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            content: content.into_bytes(),
        }
    }

    /// A short text, with the lines that need care: dots at their beginning, an empty one, a long one.
    pub fn plain(mark: &str, from: &str, to: &str) -> Self {
        let long = "x".repeat(900);
        let body =
            format!("Good morning,\r\n\r\n.a dot\r\n..two dots\r\n.\r\n{long}\r\nFrom here on: nothing.\r\n");
        Self::new(
            mark,
            from,
            to,
            "MIME-Version: 1.0\r\nX-Folded: one\r\n\ttwo\r\n  three\r\n",
            &body,
        )
    }

    /// A text and a binary attachment in Base64.
    pub fn with_attachment(mark: &str, from: &str, to: &str) -> Self {
        let fields = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_b\"\r\n";
        let body = format!(
            "--=_b\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\nThe picture is attached.\r\n\
             --=_b\r\nContent-Type: image/png; name=\"a.png\"\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment; filename=\"a.png\"\r\n\r\n{}--=_b--\r\n",
            base64_lines(60_000)
        );
        Self::new(mark, from, to, fields, &body)
    }

    /// A mail of about that many octets.
    pub fn large(mark: &str, from: &str, to: &str, octets: usize) -> Self {
        let fields = "MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n\
                      Content-Transfer-Encoding: base64\r\n";
        Self::new(mark, from, to, fields, &base64_lines(octets / 78 * 57))
    }

    /// Text, Subject and addresses that are not ASCII (RFC 6531, RFC 6532).
    pub fn international(mark: &str, from: &str, to: &str) -> Self {
        let fields = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
                      Content-Transfer-Encoding: 8bit\r\nX-Where: Αθήνα, Київ, 東京\r\n";
        Self::new(mark, from, to, fields, "Καλημέρα — Доброго ранку — おはよう\r\n")
    }

    /// What differs between this mail and what arrived, or nothing.
    pub fn difference(&self, arrived: &[u8]) -> Option<String> {
        let Some(above) = arrived.len().checked_sub(self.content.len()) else {
            return Some(format!(
                "{}: {} octets of {} arrived",
                self.mark,
                arrived.len(),
                self.content.len()
            ));
        };
        let (trace, content) = arrived.split_at(above);
        if content != self.content {
            let at = content
                .iter()
                .zip(&self.content)
                .position(|(a, b)| a != b)
                .unwrap_or(0);
            return Some(format!(
                "{}: the content differs at octet {at} of {}",
                self.mark,
                self.content.len()
            ));
        }
        not_trace(trace).map(|field| format!("{}: unexpected field above the content: {field}", self.mark))
    }
}

/// The first field of a header part that no mail system adds on top of a mail, or nothing.
fn not_trace(fields: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(fields);
    let mut names = text
        .lines()
        .filter(|line| !line.starts_with([' ', '\t']))
        .map(|line| line.split(':').next());
    let odd = names
        .find(|name| !name.is_some_and(|name| TRACE.iter().any(|known| known.eq_ignore_ascii_case(name))));
    odd.map(|name| name.unwrap_or_default().to_owned())
}

/// Octets that are the same in every run, in Base64 lines of 76 letters.
fn base64_lines(octets: usize) -> String {
    use base64::Engine as _;
    let mut state = 0x2545_F491_u32;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    let raw: Vec<u8> = (0..octets).map(|_| noise()).collect();
    let engine = base64::engine::general_purpose::STANDARD;
    raw.chunks(57)
        .fold(String::with_capacity(octets * 78 / 57 + 80), |mut text, line| {
            engine.encode_string(line, &mut text);
            text.push_str("\r\n");
            text
        })
}

/// What mail systems put on top: RFC 5321 section 4.4, RFC 8601, and Dovecot's note of the mailbox.
const TRACE: &[&str] = &[
    "Return-Path",
    "Received",
    "Delivered-To",
    "X-Original-To",
    "Authentication-Results",
    "Received-SPF",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(mail: &Mail, above: &str) -> Vec<u8> {
        [above.as_bytes(), &mail.content].concat()
    }

    #[test]
    fn trace_fields_above_the_content_are_no_difference() {
        let mail = Mail::plain("m1", "a@a.example", "b@b.example");
        let trace =
            "Return-Path: <a@a.example>\r\nDelivered-To: b@b.example\r\nReceived: from x\r\n\tby y; now\r\n";
        assert_eq!(mail.difference(&arrived(&mail, trace)), None);
    }

    #[test]
    fn a_changed_octet_is_found() {
        let mail = Mail::with_attachment("m2", "a@a.example", "b@b.example");
        let mut octets = arrived(&mail, "Received: x\r\n");
        let last = octets.len() - 3;
        octets[last] ^= 1;
        assert!(mail.difference(&octets).unwrap().contains("differs"));
    }

    #[test]
    fn any_other_field_above_the_content_is_a_difference() {
        let mail = Mail::plain("m3", "a@a.example", "b@b.example");
        assert!(
            mail.difference(&arrived(&mail, "X-Spam: yes\r\n"))
                .unwrap()
                .contains("X-Spam")
        );
    }

    #[test]
    fn a_large_mail_is_about_as_large_as_asked() {
        let size = Mail::large("m4", "a@a.example", "b@b.example", 20_000_000)
            .content
            .len();
        assert!((19_900_000..20_100_000).contains(&size), "{size}");
    }

    #[test]
    fn lines_keep_the_limit_of_the_protocol() {
        for mail in [
            Mail::plain("m", "a@b", "c@d"),
            Mail::large("m", "a@b", "c@d", 10_000),
        ] {
            assert!(
                mail.content
                    .split(|octet| *octet == b'\n')
                    .all(|line| line.len() <= 999)
            ); // RFC 5321 4.5.3.1.6
        }
    }
}
