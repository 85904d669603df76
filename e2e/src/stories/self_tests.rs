//! What a listener finds out about itself: that it is no open relay, who its clients are, that mail leaves, and that the name it greets
//! with and the address that it leaves from do not name each other in DNS, until they do. A `relayFrom` that is too wide is a fault.

use std::time::Duration;

use serde_json::{Value, json};

use crate::dns::Zone;
use crate::kubectl::{Failure, Outcome, condition};
use crate::mail::Mail;
use crate::mail::submit::Security;
use crate::mailroom::{EGRESS, LISTENER, Mailroom};
use crate::peers;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let room = Mailroom::new(scene, 1).open()?;
    let mail = Mail::plain(&room.mark("seen"), &room.sender(), &room.far_user());
    room.send(&room.server(Security::StartTls)?, &mail)?;
    room.expect_at_far(std::slice::from_ref(&mail), SOON)?;

    let address = peers::address(room.namespace(), LISTENER)?;
    says(&room, "RelayProtected", "True", "AsWanted", &address)?;
    says(&room, "ClientIPPreserved", "True", "AsWanted", "")?;
    says(&room, "Port25Reachable", "True", "AsWanted", "")?;
    says(&room, "EgressIdentified", "False", "HeloMismatch", EGRESS)?;

    // Mail leaves from the address that the host name has, and the owner of the address says so too.
    patch(&room, &json!({"egress": {"addresses": [address]}}))?;
    says(&room, "EgressIdentified", "False", "PtrMismatch", &address)?;
    let name = format!("mx.{}", scene.domain);
    scene.world.publish(&[reverse(&address, &name)])?;
    says(&room, "EgressIdentified", "True", "AsWanted", &name)?;

    let pod = room.namespace().get(["pod/edge-0"])?;
    let pod = pod["status"]["podIP"].as_str().unwrap_or_default().to_owned();
    patch(&room, &json!({"relayFrom": [format!("{pod}/32")]}))?;
    says(&room, "RelayProtected", "False", "RelayFromTooWide", &pod)?;
    says(&room, "Ready", "False", "RelayFromTooWide", "relayFrom")?;
    patch(&room, &json!({"relayFrom": null}))?;
    says(&room, "RelayProtected", "True", "AsWanted", "refused")?;
    room.await_ready().map(drop)
}

fn patch(room: &Mailroom<'_>, spec: &Value) -> Outcome {
    room.namespace()
        .patch(&format!("smtplistener/{LISTENER}"), &json!({"spec": spec}))
}

/// Waits until a condition of the listener has status and reason, and a sentence with that word.
fn says(room: &Mailroom<'_>, kind: &str, status: &str, reason: &str, word: &str) -> Outcome {
    let object = format!("smtplistener/{LISTENER}");
    let what = format!("{kind}={status}/{reason}");
    let found = room.namespace().wait_for(&object, &what, TESTED, |listener| {
        condition(listener, kind).is_some_and(|found| found["status"] == status && found["reason"] == reason)
    })?;
    let message = condition(&found, kind)
        .map(|found| found["message"].to_string())
        .unwrap_or_default();
    if message.contains(word) {
        Ok(())
    } else {
        Err(Failure::wrong(format!("{what} does not say `{word}`: {message}")))
    }
}

/// The zone of one IPv4 address, with its name.
fn reverse(address: &str, name: &str) -> Zone {
    let labels: Vec<&str> = address.rsplit('.').collect();
    Zone::new(&format!("{}.in-addr.arpa", labels.join("."))).record(format!("@ IN PTR {name}."))
}

/// How long a mail may take.
const SOON: Duration = Duration::from_mins(1);
/// Rounds of tests are a minute apart, and the second may be the first that finds what it needs.
const TESTED: Duration = Duration::from_mins(4);
