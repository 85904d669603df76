//! What is checked: which client says it may speak for which domain.

use std::net::IpAddr;

/// One check to make. Give the sender as it stood in the protocol; U-labels are turned into A-labels here
/// (RFC 8616 section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub(super) client: IpAddr,
    pub(super) helo: String,
    pub(super) local_part: String,
    pub(super) domain: String,
    pub(super) receiver: String,
    pub(super) now: u64,
}

impl Request {
    /// Checks the reverse-path (RFC 7208 section 2.4). An empty one stands for `postmaster@` the HELO name.
    pub fn mail_from(client: IpAddr, helo: &str, reverse_path: &str) -> Self {
        let (local_part, domain) = reverse_path.rsplit_once('@').unwrap_or(("", reverse_path));
        let domain = if domain.is_empty() { helo } else { domain };
        // Section 4.3: without a local part, "postmaster" is used.
        let local_part = if local_part.is_empty() {
            "postmaster"
        } else {
            local_part
        };
        Self {
            // Section 5: an IPv4-mapped address is an IPv4 address.
            client: client.to_canonical(),
            helo: to_a_labels(helo),
            local_part: local_part.to_owned(),
            domain: to_a_labels(domain),
            receiver: "unknown".to_owned(),
            now: 0,
        }
    }

    /// Checks the HELO name (RFC 7208 section 2.3).
    pub fn helo(client: IpAddr, helo: &str) -> Self {
        Self::mail_from(client, helo, "")
    }

    /// Name of the checking host and the time in seconds since 1970, for `%{r}` and `%{t}` of an explanation.
    #[must_use]
    pub fn seen_by(mut self, receiver: &str, now: u64) -> Self {
        receiver.clone_into(&mut self.receiver);
        self.now = now;
        self
    }

    /// The domain whose record is looked for first.
    pub fn domain(&self) -> &str {
        &self.domain
    }
}

fn to_a_labels(domain: &str) -> String {
    if domain.is_ascii() {
        return domain.to_owned();
    }
    idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_owned())
}
