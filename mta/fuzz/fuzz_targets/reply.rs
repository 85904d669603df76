//! Greeting and EHLO of a next hop.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| postroad_fuzz::client::reply(octets));
