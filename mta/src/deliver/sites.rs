//! What the queue groups by: recipients whose mail goes to the same servers share one window, one rate and one probe, so
//! that all domains of one provider count as one destination.
//!
//! ```text
//!   domain ─► known here? ─┬─ yes ─► `mx:a,b;c`  the hosts of its MX records, best first
//!                          └─ no ──► the domain; its first attempt asks the DNS, learns the name, and the queue sorts anew
//! ```
//!
//! Only names are kept here; each attempt asks the DNS anew, whose resolver keeps answers as long as they last. So a
//! domain that moves has a new site at its next attempt, and one whose DNS is silent stands alone again: its silence
//! says nothing of the servers of the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Names of the sites of domains. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sites(Arc<Mutex<HashMap<String, Known>>>);

#[derive(Clone, Debug)]
struct Known {
    site: Arc<str>,
    since: u64,
}

impl Sites {
    /// The site of a domain, as far as it is known.
    pub fn known(&self, domain: &str) -> Option<Arc<str>> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(domain).map(|known| known.site.clone())
    }

    /// Remembers the site of a domain; `None`: there is none now. A domain keeps a name for a minute whatever the DNS says,
    /// so that one whose records change with every question does not go from site to site instead of out.
    pub fn learn(&self, domain: &str, site: Option<String>, now: u64) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.get(domain) {
            let same = site.as_deref() == Some(&*known.site);
            if same || now < known.since.saturating_add(KEPT) {
                return;
            }
        }
        let Some(site) = site else {
            names.remove(domain);
            return;
        };
        if names.len() >= MOST_DOMAINS {
            // They are learnt again at the next attempt of each.
            names.clear();
        }
        let known = Known {
            site: site.into(),
            since: now,
        };
        names.insert(domain.to_owned(), known);
    }
}

/// Begins the names of sites that several domains may share.
pub const SHARED: &str = "mx:";
/// How long a domain keeps a name at least, in milliseconds.
const KEPT: u64 = 60_000;
const MOST_DOMAINS: usize = 50_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_learnt_changed_and_forgotten_but_not_at_every_question() {
        let sites = Sites::default();
        let known = || sites.known("a.example");
        assert_eq!(known(), None);
        for (now, told, want) in [
            (0, Some("mx:one"), Some("mx:one")),
            (59_999, Some("mx:two"), Some("mx:one")),
            (59_999, None, Some("mx:one")),
            (60_000, Some("mx:two"), Some("mx:two")),
            (100_000, Some("mx:two"), Some("mx:two")),
            (120_000, None, None),
            (120_000, Some("mx:one"), Some("mx:one")),
        ] {
            sites.learn("a.example", told.map(str::to_owned), now);
            assert_eq!(known().as_deref(), want, "{now} {told:?}");
        }
    }

    #[test]
    fn a_crowd_of_domains_is_bounded() {
        let sites = Sites::default();
        for number in 0..=MOST_DOMAINS {
            sites.learn(&number.to_string(), Some("mx:one".to_owned()), 0);
        }
        assert!(sites.0.lock().unwrap().len() <= MOST_DOMAINS);
        assert!(sites.known(&MOST_DOMAINS.to_string()).is_some());
    }
}
