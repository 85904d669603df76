//! An answer of rspamd.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| postroad_fuzz::filters::rspamd(octets));
