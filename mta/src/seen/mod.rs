//! What this process has seen of the network, for the self-tests of the operator: addresses of clients, its own address as next
//! hops print it, and whether port 25 of others can be reached.
//!
//! ```text
//!   session: a message was accepted ──┐
//!   link: connected, timed out ───────┼─► Seen ─► GET /v1/network
//!   link: greeting, reply to EHLO ────┘
//! ```
//!
//! Nothing is asked of anybody for it. Bounded: of many, the newest stay.

mod clients;
mod hops;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use postroad_config::admin::NetworkState;

use clients::Clients;
use hops::{Egress, Port25, site};

/// The record. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<Record>>);

#[derive(Debug, Default)]
struct Record {
    clients: Clients,
    egress: Egress,
    port25: Port25,
}

impl Seen {
    /// A message was accepted from a client.
    pub fn accepted_from(&self, client: IpAddr) {
        self.record(|record, now| record.clients.accepted(client, now));
    }

    /// A connection to a host was made.
    pub fn connected(&self, to: SocketAddr) {
        if to.port() == SMTP {
            self.record(|record, now| record.port25.connected(now));
        }
    }

    /// A connection to a host timed out.
    pub fn timed_out(&self, host: &str, to: SocketAddr) {
        if to.port() == SMTP {
            self.record(|record, now| record.port25.timed_out(site(host), now));
        }
    }

    /// A host printed our address.
    pub fn addressed_as(&self, host: &str, address: IpAddr) {
        self.record(|record, now| record.egress.told(host, address, now));
    }

    /// All of it, as it is now.
    pub fn state(&self) -> NetworkState {
        let now = now();
        let record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        NetworkState {
            clients: record.clients.of_the_last_hour(now),
            egress: record.egress.of_the_last_day(now),
            port25: record.port25.state(),
        }
    }

    fn record(&self, change: impl FnOnce(&mut Record, i64)) {
        let now = now();
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), now);
    }
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

/// RFC 5321 section 4.5.4.2.
const SMTP: u16 = 25;
