//! What can stand as the host of a next hop, a mail store or a peer. Pure; nothing is looked up.

use std::net::IpAddr;

use crate::check::{Findings, Problem};
use crate::domain::DomainName;
use crate::file::Endpoint;
use crate::text::shorten;

/// Checks a host and a port; `field` is where they stand.
pub(crate) fn check(endpoint: &Endpoint, field: impl FnOnce() -> String, found: &mut Findings) {
    if let Some(mistake) = endpoint_mistake(endpoint) {
        let at = field();
        found.require(false, || format!("{at}.{}", mistake.field), || mistake.sentence);
    }
}

/// What is wrong with a host and a port: which of both fields, and a sentence.
pub fn endpoint_mistake(endpoint: &Endpoint) -> Option<Problem> {
    let host = endpoint.host.as_str();
    let (field, sentence) = if host.is_empty() {
        ("host", "is empty; write a host name or an IP address".to_owned())
    } else if !is_host(host) {
        ("host", wants_host(host))
    } else if endpoint.port == 0 {
        ("port", "0 is no port; write 1 to 65535".to_owned())
    } else {
        return None;
    };
    Some(Problem {
        field: field.to_owned(),
        sentence,
    })
}

/// An IP address, a domain name, or labels with the underscores that names in networks of containers may have.
fn is_host(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok() || host.parse::<DomainName>().is_ok() || is_name(host)
}

fn is_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let letters = |label: &str| {
        label
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
    };
    // Digits and dots alone are an address, and this is none.
    let is_number = name.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    name.len() <= 253
        && !is_number
        && name
            .split('.')
            .all(|label| (1..=63).contains(&label.len()) && letters(label))
}

fn wants_host(host: &str) -> String {
    let shown = shorten(host);
    let bare = host.trim_start_matches('[').split(']').next().unwrap_or_default();
    if let Some((name, port)) = host.rsplit_once(':')
        && is_host(name)
        && port.parse::<u16>().is_ok()
    {
        return format!(
            "`{shown}` holds a port; write `{}`, and the port under `port`",
            shorten(name)
        );
    }
    if bare != host && bare.parse::<IpAddr>().is_ok() {
        return format!("`{shown}` has brackets; write `{bare}`");
    }
    format!(
        "`{shown}` is no host name; write one such as smtp.example.com (letters, digits, hyphens and dots), or an IP address"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_hosts() {
        for host in [
            "smtp.example.com",
            "smtp.example.com.",
            "localhost",
            "mail_store",
            "store.mail.svc.cluster.local",
            "127.0.0.1",
            "::1",
            "2001:db8::1",
            "xn--bcher-kva.example",
            "b\u{fc}cher.example",
        ] {
            assert!(is_host(host), "{host}");
        }
        let long = "a".repeat(64);
        for host in [
            "",
            "smtp example",
            "smtp..example",
            "smtp.example.com:587",
            "smtp://hub.example",
            "user@hub.example",
            "[::1]",
            "300.1.1.1",
            "1.2.3",
            &long,
        ] {
            assert!(!is_host(host), "{host}");
        }
    }

    #[test]
    fn what_is_no_host_is_told_with_its_mend() {
        for (host, words) in [
            (
                "hub.example:587",
                "write `hub.example`, and the port under `port`",
            ),
            ("[::1]", "write `::1`"),
            ("[2001:db8::1]:25", "write `2001:db8::1`"),
            ("smtp://hub.example", "such as smtp.example.com"),
        ] {
            let told = wants_host(host);
            assert!(told.contains(words), "{host}: {told}");
        }
    }
}
