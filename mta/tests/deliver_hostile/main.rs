//! Next hops that mean harm, or are broken: each costs a bounded time and bounded memory, the outcome is the right one,
//! and nothing that they say gets anywhere but into the text of a reply.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests and their parts"
)]

mod crowd;
mod cut;
#[path = "../deliver_support/mod.rs"]
mod deliver_support;
mod hop;
#[path = "../sink/mod.rs"]
mod sink;

use std::sync::atomic::Ordering;

use deliver_support::message;
use hop::{Hop, SHORT, STAGES, Stage, Step, say, session};
use postroad_mta::deliver::Attempted;
use postroad_mta::deliver::plan::Protocol;
use postroad_mta::outcome::{Outcome, Verdict};
use postroad_mta::queue::window::Feedback;

async fn stage() -> Stage {
    Stage::new(message("hostile"), SHORT).await
}

async fn meet(stage: &Stage, part: Vec<Step>) -> (Attempted, Hop) {
    let hop = Hop::start(vec![part]).await;
    let attempted = stage.attempt(hop.address, Protocol::Smtp).await;
    (attempted, hop)
}

fn outcome(attempted: &Attempted) -> &Outcome {
    &attempted.outcomes[0].1
}

/// The message waits, and so does the site, for what is no fault of the message.
fn assert_waits(attempted: &Attempted, what: &str) {
    let outcome = outcome(attempted);
    assert_eq!(outcome.verdict, Verdict::Deferred, "{what}: {outcome:?}");
    assert_eq!(outcome.status.class, 4, "{what}: {outcome:?}");
    assert!(
        !outcome.source.text().chars().any(char::is_control),
        "{what}: {outcome:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_replies_is_cut_off_after_a_few_kilobytes() {
    let stage = stage().await;
    let line = |text: &str| Step::Flood(text.repeat(1_000).into_bytes());
    for (name, _, reply) in &STAGES[..6] {
        let code = &reply[..3];
        for (kind, flood) in [
            ("lines for ever", line(&format!("{code}-and on\r\n"))),
            ("a line without an end", line("aaaaaaaaaa")),
            (
                "a reply line without an end",
                Step::Flood(format!("{code} {}", "a".repeat(9_000)).into_bytes()),
            ),
            ("replies that nobody asked for", line(&format!("{code} ok\r\n"))),
        ] {
            let (attempted, hop) = meet(&stage, session(name, vec![flood])).await;
            let what = format!("{name}: {kind}");
            if (*name, kind) == ("end", "replies that nobody asked for") {
                assert_eq!(outcome(&attempted).verdict, Verdict::Delivered, "{what}");
            } else {
                assert_waits(&attempted, &what);
            }
            // What the buffers of the kernel take on both sides, and not more.
            let written = hop.written.load(Ordering::SeqCst);
            assert!(written < 32 << 20, "{what}: {written} octets were taken");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_reply_defers_at_every_stage() {
    let stage = stage().await;
    for (name, _, reply) in &STAGES[..6] {
        let code = &reply[..3];
        for bad in [
            "999 what".to_owned(),
            "000 what".to_owned(),
            "5.7.2".to_owned(),
            String::new(),
            "hello".to_owned(),
            format!("{code}ok"),
            format!("{code}-first\r\n999 last"),
            format!("{code}-first\r\n251 last"),
            format!("{code} bare\rreturn"),
            format!("{code} bare\nfeed"),
            "199 early".to_owned(),
            "600 late".to_owned(),
        ] {
            let (attempted, _hop) = meet(&stage, session(name, vec![say(&bad)])).await;
            assert_waits(&attempted, &format!("{name}: {bad:?}"));
        }
        let part = session(
            name,
            vec![Step::Say(format!("{code} LF only\n").into_bytes()), Step::Hear],
        );
        let (attempted, _hop) = meet(&stage, part).await;
        assert_waits(&attempted, &format!("{name}: LF only"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_out_of_place_defer_and_no_body_leaves() {
    let stage = stage().await;
    for (name, reply) in [
        ("MAIL", "354 go on"),
        ("RCPT", "354 go on"),
        ("DATA", "250 fine"),
        ("end", "354 once more"),
        ("greeting", "250 hello"),
    ] {
        let (attempted, _hop) = meet(&stage, session(name, vec![say(reply)])).await;
        assert_waits(&attempted, name);
    }
    // All replies before the first command.
    let all: Vec<Step> = STAGES.iter().map(|(_, _, reply)| say(reply)).collect();
    let together = all.iter().filter_map(|step| match step {
        Step::Say(octets) => Some(octets.clone()),
        _ => None,
    });
    let together = Step::Say(together.collect::<Vec<_>>().concat());
    let (attempted, _hop) = meet(&stage, vec![together, Step::Hear]).await;
    assert_waits(&attempted, "replies before the commands");
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_without_text_are_enough() {
    let stage = stage().await;
    let mut part = vec![];
    for (_, hear, reply) in STAGES {
        part.extend(hear.clone());
        part.push(say(&reply[..3]));
    }
    let (attempted, _hop) = meet(&stage, part).await;
    assert_eq!(outcome(&attempted).verdict, Verdict::Delivered);
    let (attempted, _hop) = meet(&stage, session("RCPT", vec![say("550")])).await;
    assert_eq!(outcome(&attempted).verdict, Verdict::Failed);
    let (attempted, _hop) = meet(&stage, session("RCPT", vec![say("550 5.7.2")])).await;
    assert_eq!(outcome(&attempted).status.to_string(), "5.7.2");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_refusal_says_is_cleaned_before_it_is_kept() {
    let stage = stage().await;
    for text in [
        &b"550 5.1.1 caf\xe9 \xff\xfe\r\n"[..],
        b"550 5.1.1 nul \0 bell \x07 escape \x1b[31m\r\n",
        b"550-5.1.1 two\r\n550 5.1.1 lines\r\n",
        b"550 5.1.1 \xe2\x80\xae turned\r\n",
    ] {
        let (attempted, _hop) = meet(&stage, session("RCPT", vec![Step::Say(text.to_vec())])).await;
        let outcome = outcome(&attempted);
        assert_eq!(outcome.verdict, Verdict::Failed, "{outcome:?}");
        assert_eq!(outcome.status.to_string(), "5.1.1");
        assert!(!outcome.kept().chars().any(char::is_control), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_at_the_door_is_final_only_where_the_rfc_says_so() {
    let stage = stage().await;
    for (name, reply, verdict, feedback) in [
        (
            "greeting",
            "554 5.7.1 go away",
            Verdict::Deferred,
            Some(Feedback::Dead),
        ),
        (
            "greeting",
            "421 4.3.2 later",
            Verdict::Deferred,
            Some(Feedback::Dead),
        ),
        ("greeting", "521 5.3.2 no mail here", Verdict::Failed, None),
        ("greeting", "556 5.1.10 no mail here", Verdict::Failed, None),
        (
            "EHLO",
            "421 4.7.0 too many connections",
            Verdict::Deferred,
            Some(Feedback::Dead),
        ),
        (
            "EHLO",
            "554 5.7.1 bad name",
            Verdict::Deferred,
            Some(Feedback::Dead),
        ),
        (
            "MAIL",
            "421 4.7.0 too many messages",
            Verdict::Deferred,
            Some(Feedback::Busy),
        ),
        ("MAIL", "550 5.7.1 not you", Verdict::Failed, Some(Feedback::Good)),
        ("end", "554 5.6.0 not that", Verdict::Failed, Some(Feedback::Good)),
        ("end", "451 4.3.0 later", Verdict::Deferred, Some(Feedback::Good)),
    ] {
        let (attempted, _hop) = meet(&stage, session(name, vec![say(reply), Step::Hear])).await;
        assert_eq!(outcome(&attempted).verdict, verdict, "{name} {reply}");
        assert_eq!(attempted.feedback, feedback, "{name} {reply}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_trickle_end_in_time_at_every_stage() {
    let stage = stage().await;
    for (name, ..) in &STAGES[..6] {
        for step in [Step::Stare, Step::Trickle(b"250-and on\r\n".to_vec())] {
            let (attempted, _hop) = meet(&stage, session(name, vec![step.clone()])).await;
            assert_waits(&attempted, &format!("{name}: {step:?}"));
            let text = outcome(&attempted).source.text();
            if *name == "end" {
                assert!(
                    text.contains("it may have the message") || text.contains("end of data"),
                    "{text}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hop_that_takes_no_data_is_left() {
    let large = [&b"Subject: large\r\n\r\n"[..], &b"0123456789\r\n".repeat(1 << 20)].concat();
    let stage = Stage::new(large, SHORT).await;
    let part = session("end", vec![]);
    // Without the body being heard.
    let part = part.into_iter().filter(|step| !matches!(step, Step::HearBody));
    let part = part.chain([Step::Stare]).collect();
    let (attempted, _hop) = meet(&stage, part).await;
    assert_waits(&attempted, "never reading");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_after_the_end_spoils_neither_this_message_nor_the_next() {
    let stage = stage().await;
    let mut chatty = session(
        "end",
        vec![Step::Say(b"250 2.0.0 taken\r\n250 2.0.0 and more\r\n".to_vec())],
    );
    chatty.push(Step::Hear);
    let good = session("", vec![]);
    let hop = Hop::start(vec![chatty, good]).await;
    for connections in [1, 2] {
        let attempted = stage.attempt(hop.address, Protocol::Smtp).await;
        assert_eq!(outcome(&attempted).verdict, Verdict::Delivered);
        assert_eq!(hop.connections.load(Ordering::SeqCst), connections);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_server_that_knows_no_ehlo_is_spoken_to_all_the_same() {
    let stage = stage().await;
    let mut part = vec![say("220 old.example"), Step::Hear, say("500 what?")];
    for (_, hear, reply) in &STAGES[1..] {
        part.extend(hear.clone());
        part.push(say(reply));
    }
    let (attempted, _hop) = meet(&stage, part).await;
    assert_eq!(outcome(&attempted).verdict, Verdict::Delivered);
}
