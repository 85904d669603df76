//! XCLIENT of a trusted peer: whose session it is from now on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use postroad_smtp::server::Session;
use postroad_smtp::{Reply, Said, StandIn};

use super::driver::Driver;
use crate::log::clean;

impl Driver {
    /// The right to say it belongs to the connection, so that it may be said again, for the next client.
    pub(super) fn stand_in(&mut self, of: &StandIn, session: &mut Session) {
        let address = match of.address {
            Said::Nothing => self.client.ip(),
            Said::Value(address) => address,
            // A client without an address has no rights by its address.
            Said::Unavailable => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        let port = match of.port {
            Said::Nothing => self.client.port(),
            Said::Value(port) => port,
            Said::Unavailable => 0,
        };
        let peer = std::mem::replace(&mut self.client, SocketAddr::new(address, port));
        let name = match &of.name {
            Said::Value(name) => clean(name),
            Said::Nothing | Said::Unavailable => String::new(),
        };
        tracing::info!(port = self.port.name, %peer, client = %self.client, name, "a trusted peer speaks for another client");
        session.require_login(!self.settings.may_relay(address));
        session.offer_deliver_by(self.may_give_time(address));
        session.answer(Reply::new(220, "", ""));
    }
}
