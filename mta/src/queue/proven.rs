//! The sites that took part in a transaction of late: they are not on trial, see `index/turns.rs`.
//!
//! Pure. Bounded: of two sets the older one is thrown away when the younger one is full.

use std::collections::HashSet;
use std::sync::Arc;

/// Names of sites.
#[derive(Debug, Default)]
pub struct Proven {
    young: HashSet<Arc<str>>,
    old: HashSet<Arc<str>>,
}

impl Proven {
    /// The site took part in a transaction. True: that is news.
    pub fn add(&mut self, site: &Arc<str>) -> bool {
        if self.young.contains(site) {
            return false;
        }
        let is_new = !self.old.remove(site);
        if self.young.len() >= MOST {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(site.clone());
        is_new
    }

    /// It has gone.
    pub fn remove(&mut self, site: &str) {
        self.young.remove(site);
        self.old.remove(site);
    }

    /// Whether it did.
    pub fn contains(&self, site: &str) -> bool {
        self.young.contains(site) || self.old.contains(site)
    }
}

/// So many names in each set.
const MOST: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_used_is_remembered_and_the_memory_is_bounded() {
        let mut proven = Proven::default();
        let often: Arc<str> = "often".into();
        assert!(proven.add(&often) && !proven.add(&often));
        for number in 0..5 * MOST {
            proven.add(&number.to_string().into());
            assert!(!proven.add(&often), "{number}");
        }
        assert!(proven.young.len() + proven.old.len() <= 2 * MOST);
        assert!(!proven.contains("0"));
        proven.remove("often");
        assert!(!proven.contains("often") && proven.add(&often));
    }
}
