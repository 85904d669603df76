//! Fields of Authentication-Results.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| postroad_fuzz::authentication::results(octets));
