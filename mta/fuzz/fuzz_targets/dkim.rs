//! A signed message and its key record.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| postroad_fuzz::signatures::dkim(octets));
