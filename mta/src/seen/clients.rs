//! Addresses of clients. Pure: the clock is passed in.

use std::collections::HashMap;
use std::net::IpAddr;

use postroad_config::admin::ClientSeen;

/// Clients by address.
#[derive(Debug, Default)]
pub(super) struct Clients(HashMap<IpAddr, Client>);

#[derive(Clone, Copy, Debug)]
struct Client {
    messages: u64,
    last: i64,
}

impl Clients {
    /// A message was accepted. Connections alone do not count: load balancers make them to see whether somebody listens.
    pub(super) fn accepted(&mut self, client: IpAddr, now: i64) {
        let client = client.to_canonical();
        if !self.0.contains_key(&client) && self.0.len() >= MOST {
            self.forget(now);
        }
        let entry = self.0.entry(client).or_insert(Client {
            messages: 0,
            last: now,
        });
        if now - entry.last > HOUR {
            entry.messages = 0;
        }
        entry.messages += 1;
        entry.last = now;
    }

    /// Those that are over, else the one that came longest ago.
    fn forget(&mut self, now: i64) {
        self.0.retain(|_, client| now - client.last <= HOUR);
        if self.0.len() >= MOST
            && let Some(oldest) = self
                .0
                .iter()
                .min_by_key(|(_, client)| client.last)
                .map(|(ip, _)| *ip)
        {
            self.0.remove(&oldest);
        }
    }

    pub(super) fn of_the_last_hour(&self, now: i64) -> Vec<ClientSeen> {
        let fresh = self.0.iter().filter(|(_, client)| now - client.last <= HOUR);
        let mut list: Vec<ClientSeen> = fresh
            .map(|(address, client)| ClientSeen {
                address: *address,
                messages: client.messages,
            })
            .collect();
        list.sort_by_key(|client| client.address);
        list
    }
}

const HOUR: i64 = 3_600;
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn messages_count_for_an_hour() {
        let mut clients = Clients::default();
        clients.accepted("::ffff:192.0.2.1".parse().unwrap(), 100);
        clients.accepted("192.0.2.1".parse().unwrap(), 200);
        let seen = clients.of_the_last_hour(200 + HOUR);
        assert_eq!((seen.len(), seen[0].messages), (1, 2));
        assert_eq!(seen[0].address.to_string(), "192.0.2.1");
        assert!(clients.of_the_last_hour(201 + HOUR).is_empty());
        clients.accepted("192.0.2.1".parse().unwrap(), 201 + HOUR);
        assert_eq!(clients.of_the_last_hour(201 + HOUR)[0].messages, 1);
    }

    #[test]
    fn of_many_the_newest_stay() {
        let mut clients = Clients::default();
        for number in 0..1_000_u32 {
            clients.accepted(ip(number), i64::from(number));
        }
        let seen = clients.of_the_last_hour(1_000);
        assert_eq!((seen.len(), seen[0].address), (MOST, ip(1_000 - 256)));
        clients.accepted(ip(5_000), 1_000 + 2 * HOUR);
        assert_eq!(clients.0.len(), 1, "what is over makes room");
    }
}
