//! The connection ends behind every single octet that the next hop says.

use postroad_mta::deliver::plan::Protocol;
use postroad_mta::outcome::Verdict;

use super::hop::{Hop, SHORT, STAGES, Stage, Step, say};

/// The session cut behind so many octets of replies. `None`: it is not as long.
fn cut(session: &[Step], mut left: usize) -> Option<Vec<Step>> {
    let mut part = vec![];
    for step in session {
        let Step::Say(octets) = step else {
            part.push(step.clone());
            continue;
        };
        if left <= octets.len() {
            part.push(Step::Say(octets[..left].to_vec()));
            return Some(part);
        }
        left -= octets.len();
        part.push(step.clone());
    }
    None
}

/// Attempts with each cut; how many octets are needed until the message counts as delivered.
async fn delivered_from(session: Vec<Step>, protocol: Protocol) -> (usize, usize) {
    let stage = Stage::new(crate::deliver_support::message("cut"), SHORT).await;
    let mut delivered = vec![];
    let mut length = 0;
    while let Some(part) = cut(&session, length) {
        let hop = Hop::start(vec![part]).await;
        let attempted = stage.attempt(hop.address, protocol).await;
        let outcome = &attempted.outcomes[0].1;
        match outcome.verdict {
            Verdict::Delivered => delivered.push(length),
            Verdict::Deferred => assert!(delivered.is_empty(), "{length}: {outcome:?}"),
            Verdict::Failed => panic!("{length}: {outcome:?}"),
        }
        length += 1;
    }
    (delivered[0], length)
}

fn whole(stages: &[(&str, Option<Step>, &str)]) -> Vec<Step> {
    let mut steps = vec![];
    for (_, hear, reply) in stages {
        steps.extend(hear.clone());
        steps.push(say(reply));
    }
    steps
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_cut_anywhere_defers_until_the_last_octet_of_the_last_reply() {
    let (first, _) = delivered_from(whole(STAGES), Protocol::Smtp).await;
    let replies: usize = STAGES[..6].iter().map(|(_, _, reply)| reply.len() + 2).sum();
    assert_eq!(first, replies);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_with_lmtp() {
    let (first, _) = delivered_from(whole(STAGES), Protocol::Lmtp).await;
    let replies: usize = STAGES[..6].iter().map(|(_, _, reply)| reply.len() + 2).sum();
    assert_eq!(first, replies);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_with_all_of_it_in_one_flight() {
    // PIPELINING and CHUNKING: the whole message is there before the first reply.
    let offer = "250-hop.example\r\n250-PIPELINING\r\n250 CHUNKING";
    let session = [
        ("greeting", None, "220 hop.example"),
        ("EHLO", Some(Step::Hear), offer),
        (
            "MAIL",
            Some(Step::Hear),
            "250 2.1.0 ok\r\n250 2.1.5 ok\r\n250 2.0.0 taken",
        ),
    ];
    let (first, length) = delivered_from(whole(&session), Protocol::Smtp).await;
    assert_eq!(first + 1, length, "only the last octet makes it delivered");
}
