//! Which pods a route belongs to that fewer may use at once than there are, and which entries go to them.

use std::net::SocketAddr;

use futures::future::{BoxFuture, FutureExt, join_all};
use postroad_config::FleetPod;
use postroad_spool::EntryId;

use super::greylist::Key;
use super::{Guard, now, owners};
use crate::handover::{Moving, Pods};

impl Guard {
    /// Entries that are to be handed over, for the hand-over.
    pub fn moving(&self) -> Moving {
        self.0.moving.clone()
    }

    /// An entry of a route that so many pods may use at once is due here. True: it goes to a pod that the route belongs to.
    pub(super) fn is_to_move(&self, route: &str, most: u32, entry: EntryId) -> bool {
        let settings = self.0.live.current();
        let fleet = &settings.set.file.peers.fleet;
        // One that leaves hands all over by itself.
        let is_member = fleet.iter().any(|pod| self.is_this(pod));
        let is_own = of_route(fleet, route, most).iter().any(|pod| self.is_this(pod));
        is_member && !is_own && self.0.moving.wants(route, most, entry, now())
    }

    async fn addresses(&self, pods: Vec<&FleetPod>) -> Vec<SocketAddr> {
        let others = pods.into_iter().filter(|pod| !self.is_this(pod));
        let looked = join_all(others.map(|pod| self.0.others.address(pod))).await;
        looked.into_iter().flatten().collect()
    }
}

/// The pods that a route belongs to.
fn of_route<'a>(fleet: &'a [FleetPod], route: &str, most: u32) -> Vec<&'a FleetPod> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    owners::owners(fleet, Key::of(&["route", route]), most)
}

impl Pods for Guard {
    fn of_route<'a>(&'a self, route: &'a str, most: u32) -> BoxFuture<'a, Vec<SocketAddr>> {
        async move {
            let settings = self.0.live.current();
            let pods = of_route(&settings.set.file.peers.fleet, route, most);
            self.addresses(pods).await
        }
        .boxed()
    }

    fn others(&self) -> BoxFuture<'_, Vec<SocketAddr>> {
        async move {
            let settings = self.0.live.current();
            self.addresses(settings.set.file.peers.fleet.iter().collect())
                .await
        }
        .boxed()
    }
}
