//! Which entry is tried when: destinations, retry schedule, expiry.
