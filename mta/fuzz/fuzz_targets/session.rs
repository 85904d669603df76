//! A whole session of the server, from any state.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| postroad_fuzz::server::session(octets));
