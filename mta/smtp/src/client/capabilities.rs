//! What a peer offers in its reply to EHLO or LHLO (RFC 5321 section 4.1.1.1).

use super::reply::PeerReply;

/// What a peer offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each extension is offered or not, by itself"
)]
pub struct Capabilities {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870).
    pub size: bool,
    /// The largest message in octets, where SIZE names one.
    pub size_limit: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// STARTTLS (RFC 3207).
    pub start_tls: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced: bool,
    /// REQUIRETLS (RFC 8689), offered inside TLS.
    pub require_tls: bool,
    /// DELIVERBY (RFC 2852): the shortest time that is taken with [`crate::ByMode::Return`], in seconds; 0 for any.
    pub deliver_by: Option<u32>,
    /// Most recipients of one transaction, by LIMITS RCPTMAX (RFC 9422).
    pub recipients_limit: Option<u32>,
    /// Most recipient domains of one transaction, by LIMITS RCPTDOMAINMAX (RFC 9422).
    pub domains_limit: Option<u32>,
    /// Most transactions of one connection, by LIMITS MAILMAX (RFC 9422).
    pub transactions_limit: Option<u32>,
    /// Mechanisms of AUTH (RFC 4954), in upper case.
    pub mechanisms: Vec<String>,
}

impl Capabilities {
    /// Reads a positive reply to EHLO; its first line is the peer's greeting. What is not known is passed over, and
    /// REQUIRETLS counts inside TLS alone (RFC 8689 section 2).
    pub(super) fn read(reply: &PeerReply, tls: bool) -> Self {
        let mut found = Self::default();
        for line in reply.lines().iter().skip(1) {
            let mut words = line.split_ascii_whitespace().map(str::to_ascii_uppercase);
            let keyword = words.next().unwrap_or_default();
            match keyword.as_str() {
                "PIPELINING" => found.pipelining = true,
                "8BITMIME" => found.eight_bit = true,
                "SMTPUTF8" => found.smtputf8 = true,
                "CHUNKING" => found.chunking = true,
                "DSN" => found.dsn = true,
                "STARTTLS" => found.start_tls = true,
                "ENHANCEDSTATUSCODES" => found.enhanced = true,
                "REQUIRETLS" => found.require_tls = tls,
                // RFC 2852 section 3: without a number there is no shortest time. One that is malformed is the longest.
                "DELIVERBY" => {
                    found.deliver_by =
                        Some(words.next().map_or(0, |least| least.parse().unwrap_or(u32::MAX)));
                }
                "SIZE" => {
                    found.size = true;
                    // RFC 1870 section 4: 0 and no number at all mean no fixed limit.
                    found.size_limit = words
                        .next()
                        .and_then(|limit| limit.parse().ok())
                        .filter(|limit| *limit > 0);
                }
                "AUTH" => found.mechanisms.extend(words.take(MOST_MECHANISMS)),
                "LIMITS" => {
                    for word in words {
                        match word.split_once('=') {
                            Some(("RCPTMAX", limit)) => found.recipients_limit = positive(limit),
                            Some(("RCPTDOMAINMAX", limit)) => found.domains_limit = positive(limit),
                            Some(("MAILMAX", limit)) => found.transactions_limit = positive(limit),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// RFC 9422 section 4: 1 to 999999, and what is malformed is passed over.
fn positive(text: &str) -> Option<u32> {
    text.parse().ok().filter(|limit| (1..=999_999).contains(limit))
}

const MOST_MECHANISMS: usize = 32;

#[cfg(test)]
mod tests {
    use super::super::reply::ReplyReader;
    use super::*;

    fn read(lines: &[&str]) -> Capabilities {
        let mut reader = ReplyReader::default();
        reader.feed(b"250-mx.example.org SMTPUTF8\r\n");
        for line in lines {
            reader.feed(format!("250-{line}\r\n").as_bytes());
        }
        reader.feed(b"250 HELP\r\n");
        Capabilities::read(&reader.next().unwrap().unwrap(), false)
    }

    #[test]
    fn requiretls_in_clear_is_no_offer() {
        let mut reader = ReplyReader::default();
        reader.feed(b"250-mx.example.org\r\n250 requiretls\r\n");
        let reply = reader.next().unwrap().unwrap();
        assert!(!Capabilities::read(&reply, false).require_tls);
        assert!(Capabilities::read(&reply, true).require_tls);
    }

    #[test]
    fn deliverby_may_name_a_shortest_time() {
        for (line, least) in [
            ("DELIVERBY", Some(0)),
            ("deliverby 240", Some(240)),
            ("DELIVERBY soon", Some(u32::MAX)),
            ("DELIVERBYX", None),
        ] {
            assert_eq!(read(&[line]).deliver_by, least, "{line}");
        }
    }

    #[test]
    fn what_is_offered_is_found_in_any_case() {
        let found = read(&[
            "pipelining",
            "Size 1000",
            "AUTH plain LOGIN",
            "LIMITS RCPTMAX=20 MAILMAX=x FOO=1 rcptdomainmax=1",
            "XFOO bar",
        ]);
        assert!(
            found.pipelining && found.size && !found.smtputf8,
            "the first line is a greeting"
        );
        assert_eq!(
            (found.size_limit, found.recipients_limit, found.transactions_limit),
            (Some(1_000), Some(20), None)
        );
        assert_eq!(found.domains_limit, Some(1));
        assert_eq!(found.mechanisms, ["PLAIN", "LOGIN"]);
    }

    #[test]
    fn a_size_of_zero_is_no_limit() {
        for line in ["SIZE 0", "SIZE", "SIZE x"] {
            let found = read(&[line]);
            assert!(found.size && found.size_limit.is_none(), "{line}");
        }
    }
}
