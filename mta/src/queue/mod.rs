//! Which entry is tried when: destinations, retry schedule, expiry.

pub mod retry;
pub mod window;
