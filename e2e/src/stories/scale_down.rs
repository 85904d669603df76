//! Three pods hold mail that cannot go out yet. The listener is scaled to one: the leaving pods hand their mail over and
//! go. Back to three, the far side answers again: every mail arrives once. Then a route takes one connection in all: it belongs to
//! one of the pods, and the others give it their mail while they serve.

use std::time::Duration;

use serde_json::json;

use crate::kubectl::{Failure, Outcome, is};
use crate::mail::Mail;
use crate::mailroom::Mailroom;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let room = Mailroom::new(scene, 3).open()?;
    scene.world.peers.set_far_running(false)?;
    let result = with_far_down(&room);
    scene.world.peers.set_far_running(true)?;
    let mails = result?;
    room.expect_at_far(&mails, LIMIT)?;
    with_one_connection(scene, &room, mails)
}

fn with_far_down(room: &Mailroom<'_>) -> Outcome<Vec<Mail>> {
    let mut mails = room.send_through(&PODS, 4)?;
    room.await_held(&PODS, 12, Duration::from_mins(1))?;
    room.scale(1)?;
    room.await_pods(1, Duration::from_mins(3))?;
    room.await_held(&PODS[..1], 12, Duration::from_mins(1))?;
    room.scale(3)?;
    room.await_pods(3, LIMIT)?;
    room.await_ready()?;
    mails.extend(room.send_through(&["edge-2"], 1)?);
    Ok(mails)
}

/// `mails`: those that arrived before.
fn with_one_connection(scene: &Scene<'_>, room: &Mailroom<'_>, mut mails: Vec<Mail>) -> Outcome {
    let routes = json!([{
        "smartHosts": [{"host": scene.world.peers.postfix, "port": 25}],
        "limits": {"connections": 1}, "tls": {"mode": "Opportunistic"},
    }]);
    let policy = "relaypolicy/far";
    room.namespace()
        .patch(policy, &json!({"spec": {"routes": routes}}))?;
    let what = "this version in all pods";
    room.namespace().wait_for(policy, what, LIMIT, |policy| {
        policy["status"]["observedGeneration"] == policy["metadata"]["generation"]
            && is(policy, "Ready", "True")
    })?;
    let before = given(scene, room)?;
    mails.extend(room.send_through(&PODS, 2)?);
    room.expect_at_far(&mails, LIMIT)?;
    match given(scene, room)? - before {
        // Of two pods, two each.
        2..=4 => Ok(()),
        gave => Err(Failure::wrong(format!(
            "{gave} mails went to the pod that the route belongs to"
        ))),
    }
}

/// How many messages the pods have given to each other since they started.
fn given(scene: &Scene<'_>, room: &Mailroom<'_>) -> Outcome<u64> {
    let mut all = 0;
    for pod in PODS {
        let host = room.server_at(pod)?.host;
        let url = format!("http://{host}:8080/metrics");
        let client = &scene.world.peers.namespace;
        let text = client.exec("client", &["python3", "-c", METRICS, &url], b"")?;
        let mut lines = text.lines();
        let figure = lines.find_map(|line| line.strip_prefix(GIVEN)?.parse::<u64>().ok());
        all += figure.unwrap_or(0);
    }
    Ok(all)
}

const PODS: [&str; 3] = ["edge-0", "edge-1", "edge-2"];
const LIMIT: Duration = Duration::from_mins(2);
const GIVEN: &str = "postroad_mta_handed_over_total{side=\"Source\"} ";
const METRICS: &str =
    "import sys,urllib.request;print(urllib.request.urlopen(sys.argv[1],timeout=30).read().decode())";
