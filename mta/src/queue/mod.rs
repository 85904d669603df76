//! Which entry is tried when: destinations, retry schedule, expiry.

pub mod index;
pub mod retry;
pub mod settle;
pub mod window;
