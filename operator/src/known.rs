//! The objects of a kind that can be parsed, shared. A store has them behind guards; to take thousands out of them anew for each
//! look at one would be most of an operator's work.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::driver::Guarded;

/// Objects that can be parsed.
pub type Shared<K> = Arc<Vec<Arc<K>>>;

/// What was given out last, and from what it was made.
pub struct Known<K>(Mutex<Last<K>>);

struct Last<K> {
    /// As the store had them.
    guarded: Vec<Arc<Guarded<K>>>,
    /// The same, parsed; none where an object cannot be.
    parsed: Vec<Option<Arc<K>>>,
    given: Shared<K>,
}

impl<K> Default for Known<K> {
    fn default() -> Self {
        Self(Mutex::new(Last {
            guarded: Vec::new(),
            parsed: Vec::new(),
            given: Arc::default(),
        }))
    }
}

impl<K: Clone> Known<K> {
    /// Those of a store's state. Objects that are the same as last time are not copied.
    pub fn of(&self, state: Vec<Arc<Guarded<K>>>) -> Shared<K> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |(a, b): (&Arc<Guarded<K>>, &Arc<Guarded<K>>)| Arc::ptr_eq(a, b);
        if last.guarded.len() == state.len() && last.guarded.iter().zip(&state).all(same) {
            return last.given.clone();
        }
        let parsed: Vec<_> = {
            // Held by `last`, so no address is another object's by now.
            let old: HashMap<*const Guarded<K>, &Option<Arc<K>>> =
                last.guarded.iter().map(Arc::as_ptr).zip(&last.parsed).collect();
            let one = |guarded: &Arc<Guarded<K>>| match old.get(&Arc::as_ptr(guarded)) {
                Some(known) => (*known).clone(),
                None => guarded.0.as_ref().ok().cloned().map(Arc::new),
            };
            state.iter().map(one).collect()
        };
        last.given = Arc::new(parsed.iter().flatten().cloned().collect());
        last.parsed = parsed;
        last.guarded = state;
        last.given.clone()
    }
}

#[cfg(test)]
mod tests {
    use postroad_crds::RelayPolicy;
    use serde_json::{Value, json};

    use super::*;

    fn guarded(name: &str, routes: &Value) -> Arc<Guarded<RelayPolicy>> {
        let object = json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy", "metadata": {"name": name},
            "spec": {"listenerRefs": [{"name": "edge"}], "routes": routes},
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn what_has_not_changed_is_the_same_object_and_what_cannot_be_parsed_is_left_out() {
        let known = Known::default();
        let route = json!([{"direct": {}}]);
        let (a, b, bad) = (
            guarded("a", &route),
            guarded("b", &route),
            guarded("bad", &json!(7)),
        );
        let first = known.of(vec![a.clone(), bad.clone(), b.clone()]);
        assert_eq!(first.len(), 2);
        let again = known.of(vec![a.clone(), bad.clone(), b.clone()]);
        assert!(Arc::ptr_eq(&first, &again));
        let newer = guarded("b", &route);
        let next = known.of(vec![newer, a, bad]);
        assert_eq!(next.len(), 2);
        assert!(Arc::ptr_eq(&next[1], &first[0]), "a was copied");
        assert!(!Arc::ptr_eq(&next[0], &first[1]), "b is a new one");
        assert!(known.of(Vec::new()).is_empty());
    }
}
