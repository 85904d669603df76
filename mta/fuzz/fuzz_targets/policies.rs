//! An MTA-STS policy, its record, and TLSA records.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| postroad_fuzz::policies::policies(octets));
