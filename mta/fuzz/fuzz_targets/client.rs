//! A whole connection to a next hop that says anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| postroad_fuzz::client::connection(octets));
