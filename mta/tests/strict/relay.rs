//! The ways to ask a server for a relay that scanners try: sixteen pairs of MAIL and RCPT. A server relays where it takes the
//! recipient.

use crate::sink::{Kind, Sink};
use crate::stage::{Play, Stage};
use crate::wire::Wire;

/// The domain that is not ours.
const ELSEWHERE: &str = "else.example";

/// What is asked for, of a server with that name or domain and that address.
fn probes(server: &str) -> Vec<[String; 2]> {
    let address = "[127.0.0.1]";
    let from_address = format!("antispam@{address}");
    let mut probes = vec![
        [String::new(), format!("relaytest@{ELSEWHERE}")],
        [format!("antispam@{ELSEWHERE}"), format!("relaytest@{ELSEWHERE}")],
        [format!("antispam@{server}"), format!("relaytest@{ELSEWHERE}")],
        [from_address.clone(), format!("relaytest@{ELSEWHERE}")],
    ];
    for to in [
        // The %-hack.
        format!("relaytest%{ELSEWHERE}@{address}"),
        format!("relaytest%{ELSEWHERE}@{server}"),
        // In quotes.
        format!("\"relaytest@{ELSEWHERE}\""),
        format!("\"relaytest%{ELSEWHERE}\""),
        // Two domains.
        format!("relaytest@{ELSEWHERE}@{address}"),
        format!("\"relaytest@{ELSEWHERE}\"@{address}"),
        format!("relaytest@{ELSEWHERE}@{server}"),
        // Source routes (RFC 5321 appendix C).
        format!("@{address}:relaytest@{ELSEWHERE}"),
        format!("@{server}:relaytest@{ELSEWHERE}"),
        // Bang paths.
        format!("{ELSEWHERE}!relaytest"),
        format!("{ELSEWHERE}!relaytest@{address}"),
        format!("{ELSEWHERE}!relaytest@{server}"),
    ] {
        probes.push([from_address.clone(), to]);
    }
    probes
}

/// None of them is taken at this port, be the server called by its name or by a domain that it receives for.
fn none_is_taken(open: impl Fn() -> Wire) {
    for server in ["mail.example.com", "example.com"] {
        let probes = probes(server);
        assert_eq!(probes.len(), 16);
        for [from, to] in probes {
            let mut wire = open();
            let mail = wire.say(&format!("MAIL FROM:<{from}>"));
            let rcpt = wire.say(&format!("RCPT TO:<{to}>"));
            assert!(rcpt.class() == 5, "{from} to {to}: {mail:?} {rcpt:?}");
            wire.expect(&[("DATA", 503), ("QUIT", 221)]);
        }
    }
}

fn start(listed: &'static str, relay: &Sink) -> Stage {
    Play {
        listed,
        relay: Some(relay.address),
        store: Some(Sink::lmtp().address),
        ..Play::default()
    }
    .start()
}

#[test]
fn none_of_the_sixteen_ways_to_ask_a_stranger_for_a_relay_is_taken() {
    let relay = Sink::start(Kind {
        lmtp: false,
        chunking: false,
    });
    // Recipients that are listed, and every recipient of the domain.
    for listed in ["alice, bob", ""] {
        let mut stage = start(listed, &relay);
        none_is_taken(|| stage.wire());
        none_is_taken(|| Wire::ready(stage.submission));
        none_is_taken(|| Wire::ready(stage.submission).secure(&stage.chain));
        stage.is_well();
    }
    assert!(relay.taken().is_empty());
}
