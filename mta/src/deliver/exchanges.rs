//! From the MX records of a domain to the hosts that are tried, in order (RFC 5321 section 5.1, RFC 7505).
//!
//! Pure: the caller asks the DNS and draws the random numbers.
//!
//! ```text
//!   MX answer ─┬─ records ─► by preference, equal ones shuffled, those at or behind ourselves dropped
//!              ├─ null MX ─► the domain takes no mail
//!              ├─ name without MX ─► implicit MX: the domain itself
//!              ├─ no such name ─► no such domain
//!              └─ no answer ─► later
//! ```

use crate::dns::{DnsError, Exchange};

/// Why a domain's mail has no next hop. Each has its reply in `deliver::setback`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoExchange {
    /// The domain does not exist.
    NoDomain,
    /// The domain says that it takes no mail (RFC 7505 section 3).
    NullMx,
    /// The best exchanger is this server: delivering would loop.
    Ourselves,
    /// No answer; try again later. The text is for logs.
    Unknown(String),
}

/// Decides which hosts are tried, and in which order. `own` is our host name; `draw` gives random numbers.
pub fn order(
    domain: &str,
    answer: Result<Vec<Exchange>, DnsError>,
    own: &str,
    mut draw: impl FnMut() -> u64,
) -> Result<Vec<String>, NoExchange> {
    let mut exchanges = match answer {
        Ok(exchanges) => exchanges,
        Err(DnsError::NoData) => return implicit(domain, own),
        Err(DnsError::NxDomain) => return Err(NoExchange::NoDomain),
        Err(DnsError::Temporary(reason)) => return Err(NoExchange::Unknown(reason)),
    };
    // A null MX beside others is an error of the domain; the others are used (RFC 7505 section 3).
    exchanges.retain(|exchange| !exchange.host.is_empty());
    if exchanges.is_empty() {
        return Err(NoExchange::NullMx);
    }
    if let Some(ours) = exchanges
        .iter()
        .filter(|exchange| exchange.host == own)
        .map(|exchange| exchange.preference)
        .min()
    {
        exchanges.retain(|exchange| exchange.preference < ours);
    }
    if exchanges.is_empty() {
        return Err(NoExchange::Ourselves);
    }
    let mut drawn: Vec<_> = exchanges
        .into_iter()
        .map(|exchange| (exchange.preference, draw(), exchange.host))
        .collect();
    drawn.sort_unstable();
    let mut hosts: Vec<String> = Vec::with_capacity(drawn.len().min(MOST_HOSTS));
    for (_, _, host) in drawn {
        if hosts.len() < MOST_HOSTS && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    Ok(hosts)
}

fn implicit(domain: &str, own: &str) -> Result<Vec<String>, NoExchange> {
    if domain == own {
        Err(NoExchange::Ourselves)
    } else {
        Ok(vec![domain.to_owned()])
    }
}

/// The address of a literal such as `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 section 4.1.3).
pub fn literal(domain: &str) -> Option<std::net::IpAddr> {
    let inner = domain.strip_prefix('[')?.strip_suffix(']')?;
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("ipv6:") => inner[5..].parse().ok().map(std::net::IpAddr::V6),
        _ => inner.parse().ok().map(std::net::IpAddr::V4),
    }
}

/// Hosts tried in one attempt; a domain with more publishes them for another reason than mail.
const MOST_HOSTS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn order_of(records: &[(u16, &str)]) -> Result<Vec<String>, NoExchange> {
        let record = |&(preference, host): &(u16, &str)| Exchange {
            preference,
            host: host.to_owned(),
        };
        let mut draws = [3, 2, 1, 0].into_iter().cycle();
        let answer = Ok(records.iter().map(record).collect());
        order("d.example", answer, "us.example", || {
            draws.next().unwrap_or_default()
        })
    }

    #[test]
    fn preference_decides_and_chance_among_equals() {
        let hosts = order_of(&[(20, "c"), (10, "a"), (10, "b")]).unwrap();
        assert_eq!(hosts, ["b", "a", "c"]);
    }

    #[test]
    fn exchangers_at_or_behind_ourselves_are_dropped() {
        assert_eq!(
            order_of(&[(10, "a"), (20, "us.example"), (20, "b"), (30, "c")]).unwrap(),
            ["a"]
        );
        assert_eq!(
            order_of(&[(10, "us.example"), (20, "b")]),
            Err(NoExchange::Ourselves)
        );
    }

    #[test]
    fn a_null_mx_takes_no_mail_unless_others_stand_beside_it() {
        assert_eq!(order_of(&[(0, "")]), Err(NoExchange::NullMx));
        assert_eq!(order_of(&[(0, ""), (10, "a")]).unwrap(), ["a"]);
    }

    #[test]
    fn each_kind_of_nothing_has_its_meaning() {
        let with = |error| order("d.example", Err(error), "us.example", || 0);
        assert_eq!(with(DnsError::NoData).unwrap(), ["d.example"]);
        assert_eq!(with(DnsError::NxDomain), Err(NoExchange::NoDomain));
        assert_eq!(
            with(DnsError::Temporary("t".to_owned())),
            Err(NoExchange::Unknown("t".to_owned()))
        );
        assert_eq!(
            order("us.example", Err(DnsError::NoData), "us.example", || 0),
            Err(NoExchange::Ourselves)
        );
    }

    #[test]
    fn a_crowd_of_exchangers_is_bounded_and_named_once() {
        let names: Vec<String> = (0..100).map(|n| format!("h{}", n % 50)).collect();
        let records: Vec<(u16, &str)> = names.iter().map(|name| (10, name.as_str())).collect();
        let mut hosts = order_of(&records).unwrap();
        hosts.sort();
        hosts.dedup();
        assert_eq!(hosts.len(), 10);
    }

    #[test]
    fn address_literals_are_read() {
        assert_eq!(literal("[192.0.2.1]"), "192.0.2.1".parse().ok());
        assert_eq!(literal("[IPv6:2001:db8::1]"), "2001:db8::1".parse().ok());
        for text in [
            "192.0.2.1",
            "[2001:db8::1]",
            "[IPv6:192.0.2.1]",
            "[",
            "[]",
            "[\u{e9}\u{e9}\u{e9}]",
        ] {
            assert_eq!(literal(text), None, "{text}");
        }
    }
}
