//! Octets where the server reads commands.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| postroad_fuzz::server::line(octets));
