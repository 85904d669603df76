//! `RelayPolicy`: which mail leaves how.
//!
//! * [`rank`]: which policy decides first, and which can never decide because an older one has the same rank and match.

pub mod rank;
pub mod reconcile;
pub mod validate;

pub use reconcile::reconcile;
