//! What the committer and the keeper say to each other: something is to do, there is no room, it was tried.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{Shared, lock};

#[derive(Debug, Default)]
pub(super) struct Orders {
    poked: bool,
    requests: u64,
    answered: u64,
    closing: bool,
}

impl Shared {
    /// Tells the keeper that something may be to do.
    pub fn poke(&self) {
        lock(&self.orders).poked = true;
        self.orders_wake.notify_one();
    }

    /// Asks the keeper for space; [`Shared::answered`] says when it has tried.
    pub fn request_space(&self) -> u64 {
        let mut orders = lock(&self.orders);
        orders.requests += 1;
        orders.poked = true;
        self.orders_wake.notify_one();
        orders.requests
    }

    /// The keeper has tried for this request.
    pub fn answered(&self, request: u64) -> bool {
        let orders = lock(&self.orders);
        orders.answered >= request || orders.closing
    }

    /// Keeper: waits for something to do, until `latest` at most. `None`: closing.
    pub fn await_orders(&self, latest: Instant) -> Option<u64> {
        let mut orders = lock(&self.orders);
        while !orders.poked && !orders.closing {
            let left = latest.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            orders = self
                .orders_wake
                .wait_timeout(orders, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        orders.poked = false;
        (!orders.closing).then_some(orders.requests)
    }

    /// Keeper: leaves the device to others for a while; not while somebody waits for space.
    pub fn pause_keeper(&self, pause: Duration) {
        let orders = lock(&self.orders);
        let idle = |orders: &mut Orders| orders.requests == orders.answered && !orders.closing;
        drop(self.orders_wake.wait_timeout_while(orders, pause, idle));
    }

    /// Keeper: something is wanted that cannot wait until the present work is done.
    pub fn pressing(&self) -> Option<u64> {
        let orders = lock(&self.orders);
        (orders.requests > orders.answered && !orders.closing).then_some(orders.requests)
    }

    /// Keeper: all requests up to this one were tried.
    pub fn answer(&self, request: u64) {
        {
            let mut orders = lock(&self.orders);
            orders.answered = orders.answered.max(request);
        }
        lock(&self.queue).news = true;
        self.queue_wake.notify_one();
    }

    pub fn close_keeper(&self) {
        lock(&self.orders).closing = true;
        self.orders_wake.notify_all();
    }
}
