//! A milter's side of a connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| postroad_fuzz::filters::milter(octets));
