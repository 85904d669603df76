//! A message is anybody's, and so are key records: nothing may stop a verdict, and how a body is cut changes nothing.

#![allow(clippy::unwrap_used, reason = "a test file")]

mod zone;

use std::sync::Arc;

use postroad_verify::arc::{Sealer, Verdict as State};
use postroad_verify::dkim::{Canonicalization, Header, KeyRecord, PrivateKey, Signer, Verdict, Wanted};
use proptest::prelude::*;
use zone::{Zone, above, hashes, sign, verify, verify_chain};

const NOW: u64 = 1_700_000_000;

fn key() -> PrivateKey {
    PrivateKey::from_ed25519_seed(&[9; 32]).unwrap()
}

fn zone() -> Zone {
    Zone::default().with("s", "example.com", &key().record().unwrap())
}

/// Bodies made of what the canonical forms treat specially.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\n".to_vec()),
        Just(b" ".to_vec()),
        Just(b"\t".to_vec()),
        Just(b"word".to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// The canonical body by the words of RFC 6376 sections 3.4.3 and 3.4.4, the whole body at hand.
fn canonical(how: Canonicalization, body: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
    let mut rest = body;
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\r\n") {
            lines.push(Vec::new());
            rest = after;
        } else {
            lines.last_mut().unwrap().push(*first);
            rest = after;
        }
    }
    if how == Canonicalization::Relaxed {
        for line in &mut lines {
            let mut words: Vec<Vec<u8>> = line
                .split(|octet| matches!(octet, b' ' | b'\t'))
                .map(<[u8]>::to_vec)
                .collect();
            // White space at the start of a line becomes one space, that at its end goes.
            let indented = words.len() > 1 && words[0].is_empty();
            words.retain(|word| !word.is_empty());
            let mut text = words.join(&b' ');
            if indented && !text.is_empty() {
                text.insert(0, b' ');
            }
            *line = text;
        }
    }
    while lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    let mut text = lines.join(&b"\r\n"[..]);
    if !text.is_empty() || how == Canonicalization::Simple {
        text.extend_from_slice(b"\r\n");
    }
    text
}

/// Pieces that signatures and chains are made of, so that random fields reach deep.
fn header() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        "(DKIM-Signature|ARC-Seal|ARC-Message-Signature|ARC-Authentication-Results|From|To)( )?:",
        "(v|a|b|bh|c|d|h|i|l|q|s|t|x|cv|p|k)( )?=",
        "(1|2|rsa-sha256|ed25519-sha256|relaxed/simple|example.com|s|from:to|none|pass|@example.com);",
        "[A-Za-z0-9+/=]{0,60}",
        "\r\n[ \t]?",
        any::<String>(),
    ];
    let octets = prop_oneof![
        4 => piece.prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(octets, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_cut_of_a_body_gives_the_hash_of_its_canonical_form(
        body in body(),
        cuts in prop::collection::vec(1..9_usize, 1..20),
        length in prop::option::of(0..200_u64),
    ) {
        let mut wanted = Wanted::new();
        for how in [Canonicalization::Simple, Canonicalization::Relaxed] {
            wanted.add(how, length);
        }
        let mut hasher = wanted.hasher();
        let mut rest = &body[..];
        for cut in cuts.iter().cycle() {
            let (chunk, after) = rest.split_at((*cut).min(rest.len()));
            hasher.update(chunk);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        let found = hasher.finish();
        for how in [Canonicalization::Simple, Canonicalization::Relaxed] {
            let whole = canonical(how, &body);
            let hashed = length.map_or(whole.len(), |length| whole.len().min(usize::try_from(length).unwrap()));
            let want = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &whole[..hashed]);
            let hash = found.find(how, length).unwrap();
            prop_assert_eq!(&hash.sha256[..], want.as_ref(), "{}", how);
            prop_assert_eq!(hash.octets, whole.len() as u64);
        }
    }

    #[test]
    fn any_octets_get_a_verdict_and_never_pass(header in header(), body in body(), record in header()) {
        let message = [&header[..], b"\r\n\r\n", &body].concat();
        let mut zone = zone();
        zone.add("s._domainkey.example.com", &String::from_utf8_lossy(&record));
        for outcome in verify(&message, &zone, NOW, 5) {
            prop_assert_ne!(outcome.verdict, Verdict::Pass);
            prop_assert!(outcome.problem.is_some());
            for text in [outcome.domain, outcome.identity, outcome.selector, outcome.mark].into_iter().flatten() {
                prop_assert!(!text.contains(char::is_control));
            }
        }
        prop_assert_ne!(verify_chain(&message, &zone, NOW).verdict, State::Pass);
        let _ = KeyRecord::parse(&record);
    }

    #[test]
    fn what_is_signed_passes_and_one_changed_octet_does_not(
        body in body(),
        subject in "[ -~]{0,80}",
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let message = [format!("From: a@example.com\r\nSubject: {subject}\r\n\r\n").as_bytes(), &body].concat();
        let signer = Signer::new("example.com").unwrap().with_key("s", Arc::new(key())).unwrap();
        let fields = sign(&message, &signer, NOW).unwrap();
        let signed = above(&fields, &message);
        prop_assert_eq!(verify(&signed, &zone(), NOW, 3)[0].verdict, Verdict::Pass);
        prop_assert!(fields.lines().all(|line| line.len() <= 78));
        // The signature's octets but for its name, which may be in any case; a change of white space may be none.
        let from = "DKIM-Signature:".len();
        let at = from + at.index(fields.len() - from);
        let mut changed = signed.clone();
        changed[at] ^= 1 << bit;
        let space = |octet: u8| octet.is_ascii_whitespace();
        if !space(signed[at]) && !space(changed[at]) {
            let outcomes = verify(&changed, &zone(), NOW, 3);
            prop_assert!(outcomes.iter().all(|outcome| outcome.verdict != Verdict::Pass), "{outcomes:?}");
        }
    }

    #[test]
    fn chains_that_are_sealed_pass_again_and_again(body in body(), hops in 1..6_u64, changes in any::<bool>()) {
        let mut message = [b"From: a@example.com\r\nSubject: x\r\n\r\n", &body[..]].concat();
        let sealer = Sealer::new("example.com", "s", Arc::new(key())).unwrap();
        for hop in 0..hops {
            let chain = verify_chain(&message, &zone(), NOW);
            prop_assert_eq!(chain.sets.len() as u64, hop, "{:?}", chain.problem);
            let (section, body) = Header::split(&message);
            let mut wanted = Wanted::new();
            sealer.want(&mut wanted);
            let set = sealer.seal(
                &Header::parse(section),
                &hashes(&wanted, body, 7),
                &chain,
                "mx.example.com; dkim=none;\r\n\tspf=pass",
                NOW,
            );
            message = above(&set.unwrap(), &message);
        }
        if changes {
            message.extend_from_slice(b"more");
            prop_assert_eq!(verify_chain(&message, &zone(), NOW).verdict, State::Fail);
        } else {
            let chain = verify_chain(&message, &zone(), NOW);
            prop_assert_eq!(chain.verdict, State::Pass);
            prop_assert_eq!(&chain.sets[0].results, "mx.example.com; dkim=none; spf=pass");
        }
    }
}
