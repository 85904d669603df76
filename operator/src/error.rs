//! What can go wrong in a reconcile, and what that means for the next try.

use std::time::Duration;

/// An error of a reconcile.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or could not be reached.
    #[error("{0}: {1}")]
    Api(&'static str, #[source] kube::Error),
    /// An object of this name exists and is not ours.
    #[error("{kind} {name} exists and is not Postroad's; rename it or this object")]
    Foreign {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// Another operator leads.
    #[error("not the leader")]
    NotLeader,
    /// It took too long.
    #[error("not done within {0:?}")]
    Timeout(Duration),
    /// The code failed.
    #[error("panicked; this is a bug: {0}")]
    Panic(String),
    /// A certificate or a configuration could not be made.
    #[error("{0}")]
    Made(String),
}

/// When an object is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// At once: somebody else wrote first.
    Conflict,
    /// Later and later.
    Transient,
}

impl Error {
    /// Bounded name for events and metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Api(_, kube::Error::Api(status)) if status.is_forbidden() => "Forbidden",
            Self::Api(..) => "ApiError",
            Self::Foreign { .. } => "ForeignObject",
            Self::NotLeader => "NotLeader",
            Self::Timeout(_) => "Timeout",
            Self::Panic(_) => "Panic",
            Self::Made(_) => "Internal",
        }
    }

    /// What it means for the next try.
    pub fn class(&self) -> Class {
        match self {
            Self::Api(_, kube::Error::Api(status)) if status.is_conflict() => Class::Conflict,
            _ => Class::Transient,
        }
    }
}

/// Shortens a `kube` result: says what was being done.
pub trait Doing<T> {
    /// Adds what was being done.
    fn doing(self, what: &'static str) -> Result<T, Error>;
}

impl<T> Doing<T> for Result<T, kube::Error> {
    fn doing(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|error| Error::Api(what, error))
    }
}
