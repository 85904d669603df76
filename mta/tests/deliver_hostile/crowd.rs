//! Domains with many servers that do no good: an attempt does not go on for hours because there is always another one.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use postroad_mta::deliver::patience::Patience;
use postroad_mta::dns::table::Table;
use postroad_mta::outcome::Verdict;

use crate::deliver_support::message;
use crate::hop::{Hop, SHORT, STAGES, Stage, Step, session};
use crate::{assert_waits, outcome};

/// Ten mail servers with four addresses each, in this order: `127.8.1.1`, `127.8.1.2` …
fn crowd() -> Table {
    let mut table = Table::default();
    for host in 1..=10_u8 {
        let name = format!("mx{host}.crowd.example");
        table = table.mx("crowd.example", u16::from(host), &name);
        for last in 1..=4 {
            table = table.address(&name, IpAddr::from([127, 8, host, last]));
        }
    }
    table
}

async fn stage(patience: Patience, port: u16) -> Stage {
    Stage::with(message("crowd"), patience, crowd(), port).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_are_spoken_to_however_many_there_are() {
    for (name, ..) in &STAGES[..5] {
        let hop = Hop::start_at("0.0.0.0:0", vec![session(name, vec![Step::Stare])]).await;
        let attempted = stage(SHORT, hop.address.port())
            .await
            .attempt_mx("crowd.example")
            .await;
        assert_waits(&attempted, name);
        assert_eq!(hop.connections.load(Ordering::SeqCst), 2, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_addresses_are_tried_however_many_there_are() {
    for (listens, reached) in [("127.8.1.4", true), ("127.8.2.1", true), ("127.8.2.2", false)] {
        let hop = Hop::start_at(&format!("{listens}:0"), vec![session("", vec![])]).await;
        let attempted = stage(SHORT, hop.address.port())
            .await
            .attempt_mx("crowd.example")
            .await;
        assert_eq!(
            outcome(&attempted).verdict == Verdict::Delivered,
            reached,
            "{listens}"
        );
        assert_eq!(
            hop.connections.load(Ordering::SeqCst),
            usize::from(reached),
            "{listens}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_ends_in_time_whatever_one_reply_may_take() {
    let patience = Patience {
        longest: Duration::from_mins(10),
        attempt: Duration::from_millis(700),
        ..SHORT
    };
    for (name, ..) in &STAGES[..5] {
        let part = session(name, vec![Step::Trickle(b"250-and on\r\n".to_vec())]);
        let hop = Hop::start_at("0.0.0.0:0", vec![part]).await;
        // `attempt_mx` waits less long than a reply may take.
        let attempted = stage(patience, hop.address.port())
            .await
            .attempt_mx("crowd.example")
            .await;
        assert_waits(&attempted, name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_asked_for_the_data_has_the_time_that_the_data_takes() {
    let patience = Patience {
        end: Duration::from_secs(20),
        attempt: Duration::from_millis(700),
        ..SHORT
    };
    let steps = vec![Step::Pause(2 * patience.attempt), crate::say("250 2.0.0 taken")];
    let hop = Hop::start_at("127.8.1.1:0", vec![session("end", steps)]).await;
    let attempted = stage(patience, hop.address.port())
        .await
        .attempt_mx("crowd.example")
        .await;
    assert_eq!(outcome(&attempted).verdict, Verdict::Delivered, "{attempted:?}");
}
