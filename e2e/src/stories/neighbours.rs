//! Somebody in another namespace writes a policy that takes all mail and a domain that is not theirs, both at a listener of ours.
//! Nothing changes but the status of these objects. Then the owner lets the namespace in for one domain of its own, and a record in
//! DNS proves another.

use std::time::Duration;

use serde_json::{Value, json};

use crate::dns::Zone;
use crate::kubectl::{Failure, Namespace, Outcome, condition};
use crate::mail::Mail;
use crate::mail::submit::Security;
use crate::mailroom::{LISTENER, Mailroom};
use crate::story::{Scene, discard};

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let neighbour = Namespace::new(&scene.world.cluster, &format!("{}-shop", scene.namespace.name));
    discard(&neighbour)?;
    neighbour.create("restricted")?;
    let played = next_door(scene, &neighbour);
    let cleaned = discard(&neighbour);
    played.and(cleaned)
}

fn next_door(scene: &Scene<'_>, neighbour: &Namespace) -> Outcome {
    let room = Mailroom::new(scene, 1).open()?;
    let listener = json!([{"name": LISTENER, "namespace": scene.namespace.name}]);
    // The highest priority, no term, and a smart host that is not there: what went by it would not arrive.
    let grab = object(
        "RelayPolicy",
        "grab",
        &json!({
            "listenerRefs": listener, "priority": 1_000_000,
            "routes": [{"smartHosts": [{"host": "192.0.2.1", "port": 25}]}],
        }),
    );
    let gmail = domain("gmail", "gmail.com", &listener);
    let ours = domain("ours", &scene.domain, &listener);
    for one in [&grab, &gmail, &ours] {
        neighbour.apply(&one.to_string())?;
    }
    for name in ["relaypolicy/grab", "maildomain/gmail", "maildomain/ours"] {
        not_permitted(neighbour, name)?;
    }
    let first = Mail::plain(&room.mark("closed"), &room.sender(), &room.far_user());
    room.send(&room.server(Security::StartTls)?, &first)?;
    room.expect_at_far(std::slice::from_ref(&first), ARRIVES)?;

    // The owner lets that namespace in, by its label, for what is below one domain.
    let shop = format!("orders.shop-{}", scene.domain);
    let attach = json!({
        "from": "Selector", "domains": [format!("*.shop-{}", scene.domain)],
        "selector": {"matchLabels": {"kubernetes.io/metadata.name": neighbour.name}},
    });
    let edge = format!("smtplistener/{LISTENER}");
    room.namespace()
        .patch(&edge, &json!({"spec": {"attach": attach}}))?;
    neighbour.apply(&domain("shop", &shop, &listener).to_string())?;
    neighbour.wait_condition("relaypolicy/grab", "Ready", "True", SAID)?;
    neighbour.wait_condition("maildomain/shop", "Ready", "True", SAID)?;
    for name in ["maildomain/gmail", "maildomain/ours"] {
        not_permitted(neighbour, name)?;
    }
    let second = Mail::plain(&room.mark("open"), &room.sender(), &room.far_user());
    room.send(&room.server(Security::StartTls)?, &second)?;
    room.expect_at_far(&[first, second], ARRIVES)?;

    // A domain that the owner did not give is the neighbour's all the same, once its own name servers say so.
    let proven = format!("proven-{}", scene.domain);
    neighbour.apply(&domain("proven", &proven, &listener).to_string())?;
    not_permitted(neighbour, "maildomain/proven")?;
    let uid = neighbour.get(["maildomain/proven"])?;
    let uid = uid["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let zone = Zone::new(&proven).record(format!("_postroad IN TXT \"{uid}\""));
    scene.world.publish(&[zone])?;
    neighbour.wait_condition("maildomain/proven", "OwnershipProven", "True", SAID)?;
    neighbour.wait_condition("maildomain/proven", "Ready", "True", SAID)?;
    for name in ["maildomain/gmail", "maildomain/ours"] {
        not_permitted(neighbour, name)?;
    }

    // And out again: what was served is not, proven or not.
    room.namespace()
        .patch(&edge, &json!({"spec": {"attach": null}}))?;
    for name in ["relaypolicy/grab", "maildomain/shop", "maildomain/proven"] {
        not_permitted(neighbour, name)?;
    }
    Ok(())
}

/// The object is not used, and says so in a sentence that names the listener and its owner's field.
fn not_permitted(namespace: &Namespace, name: &str) -> Outcome {
    let found = namespace.wait_for(name, "Ready=False/NotPermitted", SAID, |object| {
        condition(object, "Ready")
            .is_some_and(|ready| ready["status"] == "False" && ready["reason"] == "NotPermitted")
    })?;
    let message = condition(&found, "Ready")
        .map(|ready| ready["message"].to_string())
        .unwrap_or_default();
    if message.contains(LISTENER) && message.contains("spec.attach") {
        return Ok(());
    }
    Err(Failure::wrong(format!("{name}: no sentence says why: {message}")))
}

fn domain(name: &str, domain: &str, listeners: &Value) -> Value {
    object(
        "MailDomain",
        name,
        &json!({
            "domain": domain, "listenerRefs": listeners,
            "inbound": {"recipients": {"mode": "Any"}, "deliverTo": {"lmtp": {"host": "192.0.2.1", "port": 24}}},
            "dns": {"checks": {"mx": "Ignored", "spf": "Ignored"}},
        }),
    )
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "postroad.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// How long the operator may take to say it.
const SAID: Duration = Duration::from_mins(1);
/// How long a mail may take.
const ARRIVES: Duration = Duration::from_mins(1);
