//! A message with a chain, and its key record.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| postroad_fuzz::signatures::arc(octets));
