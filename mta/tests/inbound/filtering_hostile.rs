//! Filters that are away, slow, broken or hostile: no message gets 250 for it unless the owner chose so, and what is stored then is
//! the message as it came.

use std::time::Duration;

use crate::filtering::{bring, stage};
use crate::milter::{Act, Milter, Shifting, but, options, packet, section};
use crate::signing::newest;
use crate::stage::MAIL;

/// Short, as each of them has to be waited out.
const SHORT: &str = ", timeouts: {connect: 500ms, reply: 400ms, total: 800ms}";

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_away_fails_closed_unless_chosen_otherwise() {
    for (more, code) in [
        ("", 451),
        (", onFailure: TempFail", 451),
        (", onFailure: Reject", 554),
        (", onFailure: Accept", 250),
    ] {
        for service in [
            "{milter: {host: 127.0.0.1, port: 1}}",
            "{rspamd: {host: 127.0.0.1, port: 1}}",
            "{milterSocket: /nowhere/milter.sock}",
            "{milter: {host: nowhere.invalid, port: 1}}",
        ] {
            let stage = stage(section(service, &format!("{more}{SHORT}"))).await;
            let reply = bring(&stage, MAIL).await;
            assert_eq!(reply.code, code, "{service} {more}: {reply:?}");
            assert_eq!(
                stage.entries().len(),
                usize::from(code == 250),
                "{service} {more}"
            );
            let figures = stage.daemon.handles().metrics.text().unwrap();
            assert!(figures.contains("verdict=\"Failed\"} 1"), "{figures}");
            stage.stop().await;
        }
    }
}

/// All that a filter can say about a message at its end.
fn whole_answer() -> Vec<u8> {
    [
        packet(b'h', b"X-A\x001\0"),
        packet(b'm', b"\0\0\0\x01Subject\0y\0"),
        packet(b'+', b"<d@else.example>\0"),
        packet(b'b', b"another body\r\n"),
        packet(b'c', &[]),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_at_any_octet_changes_nothing() {
    for (more, code) in [("", 451), (", onFailure: Accept", 250)] {
        let (script, milter) = Shifting::milter().await;
        let stage = stage(milter.section(more)).await;
        for (at, said) in [
            (b'E', whole_answer()),
            (b'O', options()),
            (b'R', packet(b'c', &[])),
        ] {
            for cut in 0..said.len() {
                script.to(at, Act::Leave(said[..cut].to_vec()));
                let reply = bring(&stage, MAIL).await;
                assert_eq!(reply.code, code, "{} cut at {cut}: {reply:?}", char::from(at));
                if code == 250 {
                    let message = newest(&stage).await;
                    assert!(message.ends_with(MAIL), "cut at {cut}: {message}");
                } else {
                    assert!(stage.entries().is_empty());
                }
            }
        }
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_slow_and_silent_filters_end_in_their_time() {
    let pause = Duration::from_millis(150);
    for (at, act) in [
        (b'E', Act::Nothing),
        (b'M', Act::Nothing),
        (b'E', Act::Flood(packet(b'p', &[]))),
        (b'M', Act::Flood(packet(b'p', &[]))),
        (b'E', Act::Flood(packet(b'h', b"X\0y\0"))),
        (b'E', Act::Flood(packet(b'b', &vec![b'x'; 60_000]))),
        (b'E', Act::Flood(packet(b'y', b"450 a\0"))),
        (b'E', Act::Drip(whole_answer(), pause)),
        (b'O', Act::Drip(options(), pause)),
        (b'O', Act::Flood(vec![0])),
        (b'E', Act::Flood(vec![0xff])),
    ] {
        let milter = Milter::serve(but(at, act.clone())).await;
        let stage = stage(milter.section(SHORT)).await;
        let reply = bring(&stage, MAIL).await;
        let code = if matches!(&act, Act::Flood(said) if said.get(4) == Some(&b'y')) {
            450
        } else {
            451
        };
        assert_eq!(reply.code, code, "{} {act:?}: {reply:?}", char::from(at));
        assert!(stage.entries().is_empty());
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_filter_may_say_is_no_answer() {
    let (script, milter) = Shifting::milter().await;
    let stage = stage(milter.section("")).await;
    let last = |said: Vec<u8>| (b'E', [said, packet(b'c', &[])].concat());
    for (at, said) in [
        last(packet(b'h', b"X\0a\rb\0")),
        last(packet(b'h', b"X Y\0a\0")),
        last(packet(b'h', b"X\0no end")),
        last(packet(b'i', b"\0\0")),
        last(packet(b'+', b"<not an address>\0")),
        last(packet(b'e', b"<a@b\r\nRCPT TO:<x@y>>\0")),
        last(packet(b'b', b"a bare\nline end\r\n")),
        last(packet(b'b', b"a zero \0 octet\r\n")),
        last(packet(b'b', b"cut at its end\r")),
        last(packet(b'y', b"250 2.0.0 fine\0")),
        last(packet(b'z', b"")),
        last(vec![0, 0, 0, 0]),
        last(vec![0x10, 0, 0, 0, b'c']),
        last(packet(b'c', b"?")),
        (b'C', packet(b'h', b"X\0y\0")),
        (b'M', packet(b's', &[])),
        (b'O', packet(b'c', &[])),
        (b'O', packet(b'O', b"short")),
        (b'O', packet(b'O', &[7_u32, 0, 0].map(u32::to_be_bytes).concat())),
    ] {
        script.to(at, Act::Say(said.clone()));
        let reply = bring(&stage, MAIL).await;
        assert!(
            reply.code == 451 && reply.has("A filter cannot be asked now"),
            "{} {said:?}: {reply:?}",
            char::from(at)
        );
        assert!(stage.entries().is_empty());
    }
    stage.stop().await;
}

/// A field that a filter writes is one field, whatever its value looks like.
#[tokio::test(flavor = "multi_thread")]
async fn no_value_begins_another_field_or_the_body() {
    let said = [
        packet(b'h', b"X-A\x001\r\nBcc: victim@else.example\0"),
        packet(b'h', b"X-B\x001\r\n\r\nbody\0"),
        packet(b'c', &[]),
    ]
    .concat();
    let milter = Milter::serve(but(b'E', Act::Say(said))).await;
    let stage = stage(milter.section("")).await;
    assert_eq!(bring(&stage, MAIL).await.code, 250);
    let message = newest(&stage).await;
    assert!(!message.contains("\r\nBcc:"), "{message}");
    assert!(
        message.ends_with("X-A: 1\r\n\tBcc: victim@else.example\r\nX-B: 1\r\n\tbody\r\n\r\nHello\r\n"),
        "{message}"
    );
    stage.stop().await;
}
