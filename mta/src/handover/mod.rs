//! Entries that move between spools.
