//! Bearer tokens of the admin API: who asks, and which role.
