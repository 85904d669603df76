//! The plug of a node is pulled while a pod on it holds mail. The service goes on with the other pod; when the node is
//! back the pod comes back on its volume, and nothing is lost.

use std::time::Duration;

use crate::kubectl::{Failure, Outcome, until};
use crate::mail::Mail;
use crate::mail::submit::Security;
use crate::mailroom::{LISTENER, Mailroom};
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let room = Mailroom::new(scene, 2).open()?;
    let pod = pod_on(&room, NODE)?;
    scene.world.peers.set_far_running(false)?;
    let result = unplugged(scene, &room, &pod);
    // Whatever happened, the cluster is whole again for the next story.
    scene.world.cluster.start_machine(NODE)?;
    scene.world.peers.set_far_running(true)?;
    let mails = result?;
    let cluster = crate::kubectl::Namespace::new(&scene.world.cluster, "default");
    cluster.wait_for(
        &format!("node/{NODE}"),
        "Ready again",
        Duration::from_mins(2),
        |node| crate::kubectl::is(node, "Ready", "True"),
    )?;
    room.await_ready()?;
    room.expect_at_far(&mails, Duration::from_mins(3))
}

fn unplugged(scene: &Scene<'_>, room: &Mailroom<'_>, pod: &str) -> Outcome<Vec<Mail>> {
    let mut mails = room.send_through(&[pod], 3)?;
    let address = room.server_at(pod)?.host;
    scene.world.cluster.stop_machine(NODE)?;
    until(Duration::from_mins(2), || Ok(!serving(room)?.contains(&address)))
        .map_err(|_| Failure::wrong(format!("{pod} is still an endpoint though its node is away")))?;
    let mail = Mail::plain(&room.mark("meanwhile"), &room.sender(), &room.far_user());
    room.send(&room.server(Security::StartTls)?, &mail)?;
    mails.push(mail);
    Ok(mails)
}

fn pod_on(room: &Mailroom<'_>, node: &str) -> Outcome<String> {
    let selector = format!("--selector=postroad.dev/listener={LISTENER}");
    let pods = room.namespace().get(["pods", &selector])?;
    let mut pods = pods["items"].as_array().into_iter().flatten();
    let found = pods
        .find(|pod| pod["spec"]["nodeName"] == node)
        .and_then(|pod| pod["metadata"]["name"].as_str());
    found
        .map(str::to_owned)
        .ok_or_else(|| Failure::wrong(format!("the two pods are not spread: none is on {node}")))
}

/// The pod addresses behind the listener's service that take connections.
fn serving(room: &Mailroom<'_>) -> Outcome<Vec<String>> {
    let selector = format!("--selector=kubernetes.io/service-name={LISTENER}");
    let slices = room.namespace().get(["endpointslices", &selector])?;
    let endpoints = slices["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|slice| slice["endpoints"].as_array());
    let ready = endpoints
        .flatten()
        .filter(|endpoint| endpoint["conditions"]["ready"] == true);
    Ok(ready
        .filter_map(|endpoint| Some(endpoint["addresses"][0].as_str()?.to_owned()))
        .collect())
}

const NODE: &str = "node2";
