//! Connections under way, by where they come from: one address, whoever has it, leaves room for the others. Pure but for the lock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Connections of all, and of one address.
const MOST: usize = 64;
const MOST_OF_ONE: usize = 16;

/// Who is there. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection; its place is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    of: Places,
    from: IpAddr,
}

impl Places {
    /// Takes a place. `None`: there is none, for this address or for anybody.
    pub(super) fn take(&self, from: IpAddr) -> Option<Place> {
        let from = from.to_canonical();
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(&from).copied().unwrap_or(0);
        if own >= MOST_OF_ONE || taken.values().sum::<usize>() >= MOST {
            return None;
        }
        taken.insert(from, own + 1);
        Some(Place {
            of: self.clone(),
            from,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.from) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                taken.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn one_address_leaves_room_for_others_and_all_have_a_bound() {
        let places = Places::default();
        let mut taken: Vec<Place> = (0..MOST_OF_ONE)
            .map(|_| places.take(address(1)).unwrap())
            .collect();
        assert!(places.take(address(1)).is_none());
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        assert!(places.take(mapped).is_none(), "it is the same one");
        for other in 2..=5 {
            taken.extend((0..MOST_OF_ONE).filter_map(|_| places.take(address(other))));
        }
        assert_eq!(taken.len(), MOST);
        assert!(places.take(address(9)).is_none(), "all places are taken");
        drop(taken.remove(0));
        assert!(places.take(address(9)).is_some());
        drop(taken);
        assert!(places.0.lock().unwrap().is_empty(), "nothing is kept of who left");
    }
}
