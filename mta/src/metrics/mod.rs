//! Counters and gauges of the whole daemon, in one registry.
