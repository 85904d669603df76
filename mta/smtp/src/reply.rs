//! Replies of our server (RFC 5321 section 4.2, RFC 2034).

use std::borrow::Cow;

/// One reply: code, enhanced status code, text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    enhanced: &'static str,
    text: Cow<'static, str>,
}

impl Reply {
    /// A reply. `enhanced` is an enhanced status code (RFC 3463) of the same class, or empty where none belongs
    /// (RFC 2034 section 4: greeting, EHLO, 3yz). Whatever is no printable ASCII in `text` is written as `?`, so that
    /// nothing a peer said can forge a line.
    pub fn new(code: u16, enhanced: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            enhanced,
            text: text.into(),
        }
    }

    /// 250.
    pub fn ok(enhanced: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(250, enhanced, text)
    }

    /// The reply code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status code, or empty.
    pub fn enhanced(&self) -> &'static str {
        self.enhanced
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// 2yz or 3yz.
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// Writes it as one line, or as several where the text holds newlines.
    pub fn render(&self, to: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let separator = if lines.peek().is_some() { b'-' } else { b' ' };
            to.extend_from_slice(self.code.to_string().as_bytes());
            to.push(separator);
            if !self.enhanced.is_empty() {
                to.extend_from_slice(self.enhanced.as_bytes());
                to.push(b' ');
            }
            // RFC 5321 section 4.5.3.1.5: 512 octets with code and CRLF.
            to.extend(
                line.chars()
                    .take(490)
                    .map(|c| if matches!(c, ' '..='~') { c as u8 } else { b'?' }),
            );
            to.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_said_cannot_forge_a_line() {
        let mut out = Vec::new();
        Reply::new(550, "5.1.1", format!("no {} here", "x\r250 ok\u{e9}\u{0}")).render(&mut out);
        assert_eq!(out, b"550 5.1.1 no x?250 ok?? here\r\n");
    }

    #[test]
    fn several_lines_carry_the_code_each() {
        let mut out = Vec::new();
        Reply::new(250, "", "a\nb").render(&mut out);
        assert_eq!(out, b"250-a\r\n250 b\r\n");
    }
}
