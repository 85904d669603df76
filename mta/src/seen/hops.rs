//! What next hops show of the way to them. Pure: the clock is passed in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use postroad_config::admin::{EgressSeen, Port25State};

/// Our own address, by the name of the host that prints it.
#[derive(Debug, Default)]
pub(super) struct Egress(HashMap<String, (IpAddr, i64)>);

impl Egress {
    pub(super) fn told(&mut self, host: &str, address: IpAddr, now: i64) {
        if !self.0.contains_key(host) && self.0.len() >= MOST {
            self.0.retain(|_, (_, told)| now - *told <= DAY);
            let oldest = self.0.iter().min_by_key(|(_, (_, told))| *told);
            if let Some(oldest) = oldest
                .map(|(host, _)| host.clone())
                .filter(|_| self.0.len() >= MOST)
            {
                self.0.remove(&oldest);
            }
        }
        self.0.insert(host.to_owned(), (address.to_canonical(), now));
    }

    pub(super) fn of_the_last_day(&self, now: i64) -> Vec<EgressSeen> {
        let fresh = self.0.iter().filter(|(_, (_, told))| now - *told <= DAY);
        let sorted: BTreeMap<&String, IpAddr> = fresh.map(|(host, (address, _))| (host, *address)).collect();
        sorted
            .into_iter()
            .map(|(host, address)| EgressSeen {
                host: host.clone(),
                address,
            })
            .collect()
    }
}

/// Whether port 25 of others can be reached.
#[derive(Debug, Default)]
pub(super) struct Port25 {
    connected: Option<i64>,
    silent_since: Option<i64>,
    silent: BTreeSet<String>,
}

impl Port25 {
    pub(super) fn connected(&mut self, now: i64) {
        *self = Self {
            connected: Some(now),
            ..Self::default()
        };
    }

    pub(super) fn timed_out(&mut self, site: &str, now: i64) {
        self.silent_since.get_or_insert(now);
        if self.silent.len() < MOST {
            self.silent.insert(site.to_ascii_lowercase());
        }
    }

    pub(super) fn state(&self) -> Port25State {
        Port25State {
            connected: self.connected,
            silent_since: self.silent_since,
            silent: self.silent.iter().cloned().collect(),
        }
    }
}

/// What hosts of one owner have in common: the name without its first label, where two are left. Two hosts of one domain that are
/// both down are one site.
pub(super) fn site(host: &str) -> &str {
    if host.parse::<IpAddr>().is_ok() {
        return host;
    }
    match host.split_once('.') {
        Some((_, rest)) if rest.contains('.') => rest,
        _ => host,
    }
}

const DAY: i64 = 86_400;
const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_ends_what_was_silent() {
        let mut port = Port25::default();
        assert_eq!(port.state(), Port25State::default());
        for (host, now) in [
            ("mx1.a.example", 10),
            ("MX2.A.example", 20),
            ("mx.b.example", 30),
            ("192.0.2.1", 40),
        ] {
            port.timed_out(site(host), now);
        }
        let state = port.state();
        assert_eq!(state.silent, ["192.0.2.1", "a.example", "b.example"]);
        assert_eq!((state.connected, state.silent_since), (None, Some(10)));
        port.connected(50);
        let state = port.state();
        assert_eq!(
            (state.connected, state.silent_since, state.silent.len()),
            (Some(50), None, 0)
        );
        for number in 0..1_000 {
            port.timed_out(&format!("s{number}.example"), 60);
        }
        assert_eq!(
            (port.state().silent.len(), port.state().connected),
            (MOST, Some(50))
        );
    }

    #[test]
    fn what_a_host_says_is_kept_for_a_day_and_of_many_the_newest() {
        let mut egress = Egress::default();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        egress.told("a.example", ip("192.0.2.1"), 0);
        egress.told("a.example", ip("::ffff:192.0.2.2"), 10);
        let seen = egress.of_the_last_day(10 + DAY);
        assert_eq!((seen.len(), seen[0].address), (1, ip("192.0.2.2")));
        assert!(egress.of_the_last_day(11 + DAY).is_empty());
        for number in 0..200_i64 {
            egress.told(&format!("h{number:03}.example"), ip("192.0.2.3"), 100 + number);
        }
        let seen = egress.of_the_last_day(300);
        assert_eq!((seen.len(), seen[0].host.as_str()), (MOST, "h136.example"));
    }

    #[test]
    fn a_site_is_what_hosts_of_one_owner_have_in_common() {
        for (host, want) in [
            ("mx1.a.example", "a.example"),
            ("a.example", "a.example"),
            ("localhost", "localhost"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("", ""),
        ] {
            assert_eq!(site(host), want);
        }
    }
}
