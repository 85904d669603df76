//! From the MX records of a domain to the hosts that are tried, in order (RFC 5321 section 5.1, RFC 7505).
//!
//! Pure: the caller asks the DNS and draws the random numbers.
//!
//! ```text
//!   MX answer ─┬─ records ─► by preference, those at or behind ourselves dropped ─► the site; a draw per attempt
//!              ├─ null MX ─► the domain takes no mail
//!              ├─ name without MX ─► implicit MX: the domain itself
//!              ├─ no such name ─► no such domain
//!              └─ no answer ─► later
//! ```

use std::collections::HashSet;

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

/// The hosts that take a domain's mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchangers {
    /// Hosts of equal preference together, best first; in each by name. Never empty.
    ranks: Vec<Vec<String>>,
}

impl Exchangers {
    /// Decides which hosts may be tried. `own` is our host name.
    pub fn of(domain: &str, answer: Result<Vec<Exchange>, DnsError>, own: &str) -> Result<Self, NoExchange> {
        let mut exchanges = match answer {
            Ok(exchanges) => exchanges,
            Err(DnsError::NoData) => return Self::implicit(domain, own),
            Err(DnsError::NxDomain) => return Err(NoExchange::NoDomain),
            Err(DnsError::Temporary(reason)) => return Err(NoExchange::Unknown(reason)),
        };
        // A null MX beside others is an error of the domain; the others are used (RFC 7505 section 3).
        exchanges.retain(|exchange| !exchange.host.is_empty());
        if exchanges.is_empty() {
            return Err(NoExchange::NullMx);
        }
        let ours = exchanges.iter().filter(|exchange| exchange.host == own);
        if let Some(ours) = ours.map(|exchange| exchange.preference).min() {
            exchanges.retain(|exchange| exchange.preference < ours);
        }
        if exchanges.is_empty() {
            return Err(NoExchange::Ourselves);
        }
        Ok(Self::ranked(exchanges))
    }

    fn ranked(mut exchanges: Vec<Exchange>) -> Self {
        exchanges.sort_unstable();
        let mut seen = HashSet::new();
        exchanges.retain(|exchange| seen.insert(exchange.host.clone()));
        exchanges.truncate(MOST_KNOWN);
        let equal = |one: &Exchange, other: &Exchange| one.preference == other.preference;
        let hosts = |rank: &[Exchange]| rank.iter().map(|exchange| exchange.host.clone()).collect();
        Self {
            ranks: exchanges.chunk_by(equal).map(hosts).collect(),
        }
    }

    /// RFC 5321 section 5.1: without MX records the domain itself is the host.
    fn implicit(domain: &str, own: &str) -> Result<Self, NoExchange> {
        if domain == own {
            return Err(NoExchange::Ourselves);
        }
        Ok(Self {
            ranks: vec![vec![domain.to_owned()]],
        })
    }

    /// Name of the site: equal for all domains whose mail goes to the same hosts in the same order.
    pub fn site(&self) -> String {
        let ranks: Vec<_> = self.ranks.iter().map(|rank| rank.join(",")).collect();
        format!("{}{}", super::sites::SHARED, ranks.join(";"))
    }

    /// The hosts of one attempt in the order in which they are tried, each with its rank: by preference, and by chance
    /// among equals (RFC 5321 section 5.1). `draw` gives random numbers.
    pub fn drawn(&self, mut draw: impl FnMut() -> u64) -> Vec<(usize, &str)> {
        let mut hosts = vec![];
        for (rank, equals) in self.ranks.iter().enumerate() {
            let mut equals: Vec<_> = equals.iter().map(|host| (draw(), host.as_str())).collect();
            equals.sort_unstable();
            hosts.extend(equals.into_iter().map(|(_, host)| (rank, host)));
        }
        hosts.truncate(MOST_HOSTS);
        hosts
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
/// Hosts of a domain that are looked at, and that make up the name of its site.
const MOST_KNOWN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn exchangers(records: &[(u16, &str)]) -> Result<Exchangers, NoExchange> {
        let record = |&(preference, host): &(u16, &str)| Exchange {
            preference,
            host: host.to_owned(),
        };
        Exchangers::of(
            "d.example",
            Ok(records.iter().map(record).collect()),
            "us.example",
        )
    }

    fn hosts(records: &[(u16, &str)]) -> Vec<String> {
        let mut numbers = [3, 2, 1, 0].into_iter().cycle();
        let found = exchangers(records).unwrap();
        let drawn = found.drawn(|| numbers.next().unwrap_or_default());
        drawn.into_iter().map(|(_, host)| host.to_owned()).collect()
    }

    #[test]
    fn preference_decides_and_chance_among_equals() {
        assert_eq!(hosts(&[(20, "c"), (10, "a"), (10, "b")]), ["b", "a", "c"]);
    }

    #[test]
    fn exchangers_at_or_behind_ourselves_are_dropped() {
        let records = [(10, "a"), (20, "us.example"), (20, "b"), (30, "c")];
        assert_eq!(hosts(&records), ["a"]);
        assert_eq!(exchangers(&records[1..]), Err(NoExchange::Ourselves));
    }

    #[test]
    fn a_null_mx_takes_no_mail_unless_others_stand_beside_it() {
        assert_eq!(exchangers(&[(0, "")]), Err(NoExchange::NullMx));
        assert_eq!(hosts(&[(0, ""), (10, "a")]), ["a"]);
    }

    #[test]
    fn each_kind_of_nothing_has_its_meaning() {
        let with = |domain, error| Exchangers::of(domain, Err(error), "us.example");
        let implicit = with("d.example", DnsError::NoData).unwrap();
        assert_eq!(implicit.drawn(|| 0), [(0, "d.example")]);
        assert_eq!(with("d.example", DnsError::NxDomain), Err(NoExchange::NoDomain));
        assert_eq!(
            with("d.example", DnsError::Temporary("t".to_owned())),
            Err(NoExchange::Unknown("t".to_owned()))
        );
        assert_eq!(with("us.example", DnsError::NoData), Err(NoExchange::Ourselves));
    }

    #[test]
    fn a_site_is_the_hosts_in_their_order_whatever_the_numbers_and_the_domain() {
        let site = |records: &[(u16, &str)]| exchangers(records).unwrap().site();
        assert_eq!(site(&[(10, "b"), (10, "a"), (20, "c")]), "mx:a,b;c");
        assert_eq!(site(&[(7, "c"), (1, "a"), (1, "b")]), "mx:a,b;c");
        assert_ne!(site(&[(10, "a"), (20, "b")]), site(&[(20, "a"), (10, "b")]));
        let implicit = Exchangers::of("a", Err(DnsError::NoData), "us.example").unwrap();
        assert_eq!(implicit.site(), site(&[(10, "a")]));
    }

    #[test]
    fn a_crowd_of_exchangers_is_bounded_and_named_once() {
        let names: Vec<String> = (0..100).map(|n| format!("h{}", n % 50)).collect();
        let records: Vec<_> = names.iter().map(|name| (1, name.as_str())).collect();
        let mut found = hosts(&records);
        assert_eq!(found.len(), MOST_HOSTS);
        found.sort();
        found.dedup();
        assert_eq!(found.len(), MOST_HOSTS);
    }

    #[test]
    fn literals_are_read() {
        for (text, address) in [
            ("[192.0.2.1]", Some("192.0.2.1")),
            ("[IPv6:2001:db8::1]", Some("2001:db8::1")),
            ("[ipv6:::1]", Some("::1")),
            ("[2001:db8::1]", None),
            ("[x]", None),
            ("192.0.2.1", None),
        ] {
            assert_eq!(
                literal(text),
                address.map(|address| address.parse().unwrap()),
                "{text}"
            );
        }
    }
}
