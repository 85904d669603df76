//! Segments of a spool.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| postroad_fuzz::spool::recovery(octets));
