//! What the fuzz targets do with their input, apart from the fuzzer: so that seeds and past crashes are also plain tests.
//!
//! ```text
//!   fuzz_targets/NAME.rs ─► one function here ─► the public API of a crate; asserts what must hold, not only that nothing panics
//!   tests/replay.rs      ─┘
//! ```
//!
//! Each module says its invariants at its head.

#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_in_result,
    reason = "a broken invariant is told to the fuzzer by a panic"
)]

pub mod authentication;
pub mod client;
pub mod config;
pub mod filters;
pub mod policies;
pub mod proxy;
pub mod server;
pub mod signatures;
pub mod spool;
pub mod text;

/// A target: its name, as in `fuzz_targets` and `seeds`, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("line", server::line),
    ("command", text::command),
    ("data", server::data),
    ("bdat", server::bdat),
    ("address", text::address),
    ("xtext", text::xtext),
    ("sasl", text::sasl),
    ("proxy", proxy::header),
    ("session", server::session),
    ("reply", client::reply),
    ("client", client::connection),
    ("config", config::files),
    ("spool", spool::recovery),
    ("dmarc", authentication::dmarc),
    ("results", authentication::results),
    ("policies", policies::policies),
    ("dkim", signatures::dkim),
    ("arc", signatures::arc),
    ("milter", filters::milter),
    ("rspamd", filters::rspamd),
];

/// Cuts input into pieces of lengths that the input itself decides: the same input, the same cuts.
pub fn pieces(octets: &[u8]) -> Vec<&[u8]> {
    let mut state = octets.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut rest = octets;
    let mut found = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Mostly single octets and short pieces: there the states meet the edges.
        let length = match state >> 60 {
            0..=7 => 1,
            8..=13 => 2 + (state >> 40) % 7,
            _ => 1 + (state >> 40) % 3_000,
        };
        let length = usize::try_from(length).unwrap_or(1).min(rest.len());
        let (piece, after) = rest.split_at(length);
        found.push(piece);
        rest = after;
    }
    found
}

/// Whether it is text as SMTP may carry it: no bare CR, no bare LF, no NUL.
pub fn is_text(octets: &[u8]) -> bool {
    let mut before = 0;
    for (at, octet) in octets.iter().enumerate() {
        let sound = match *octet {
            0 => false,
            b'\n' => before == b'\r',
            b'\r' => octets.get(at + 1) == Some(&b'\n'),
            _ => true,
        };
        if !sound {
            return false;
        }
        before = *octet;
    }
    true
}
