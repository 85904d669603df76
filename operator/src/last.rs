//! The configuration of each listener as it was written last, as a value: thousands of domains with their keys are not parsed anew at
//! each look. In memory; what is not known is read from the Secrets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::ResourceExt;
use postroad_config::ConfigFile;
use postroad_crds::SmtpListener;

/// By the uid of the listener: the hash of the base file, and the whole set.
#[derive(Default)]
pub struct Last(Mutex<HashMap<String, (String, Arc<ConfigFile>)>>);

impl Last {
    /// The set of a listener, if its base has this hash: that names every shard.
    pub fn get(&self, listener: &SmtpListener, hash: &str) -> Option<Arc<ConfigFile>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, file) = known.get(&listener.uid()?)?;
        (of == hash).then(|| Arc::clone(file))
    }

    /// A set that was rendered, and read back.
    pub fn put(&self, listener: &SmtpListener, hash: &str, file: Arc<ConfigFile>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(listener.uid().unwrap_or_default(), (hash.to_owned(), file));
    }

    /// The listener is gone.
    pub fn forget(&self, listener: &SmtpListener) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&listener.uid().unwrap_or_default());
    }
}
