//! A DMARC record and a From field.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| postroad_fuzz::authentication::dmarc(octets));
