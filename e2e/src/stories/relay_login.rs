//! A smart host that wants a login: another listener of ours, with a user of its own. Mail leaves through it; a wrong password holds
//! the mail and is told by a condition; the right one is used within seconds, without a restart.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kubectl::{Failure, Outcome, condition};
use crate::mail::submit::Security;
use crate::mail::{Mail, mailbox};
use crate::mailroom::{self, LISTENER, Mailroom, PASSWORD, USER};
use crate::report::seconds;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let mut room = Mailroom::new(scene, 1);
    let direct = room.policy["spec"]["routes"].clone();
    room.policy["spec"]["routes"] = json!([{
        "smartHosts": [{"host": format!("{RELAY}.{}.svc.cluster.local", scene.namespace.name), "port": 587}],
        "credentials": {"type": "Password", "secretRef": {"name": "relay-login"}},
        // Its certificate signs itself.
        "tls": {"mode": "Encrypted"},
    }]);
    // The same user may send as the same domain at both.
    room.domain["spec"]["listenerRefs"] = json!([{"name": LISTENER}, {"name": RELAY}]);
    relay(&room, scene, direct)?;
    let namespace = room.namespace();

    // Without the Secret the policy says so, and what to do.
    room.apply()?;
    room.await_ready()?;
    let policy = namespace.wait_condition(POLICY, "Ready", "False", LIMIT)?;
    expect(&policy, "Ready", "SecretNotFound", "relay-login")?;

    login(&room, PASSWORD)?;
    let policy = namespace.wait_condition(POLICY, "UpstreamAuthenticated", "True", LIMIT)?;
    for kind in ["Ready", "UpstreamReachable", "UpstreamSecured"] {
        namespace.wait_condition(POLICY, kind, "True", LIMIT)?;
    }
    if policy["status"]["upstreams"][0]["authenticated"] != true {
        return Err(Failure::wrong(format!(
            "no row of the upstream: {}",
            policy["status"]
        )));
    }
    let server = room.server(Security::StartTls)?;
    let first = Mail::plain(&room.mark("logged-in"), &room.sender(), &room.far_user());
    room.send(&server, &first)?;
    room.expect_at_far(std::slice::from_ref(&first), LIMIT)?;

    login(&room, "wrong horse")?;
    let policy = namespace.wait_condition(POLICY, "UpstreamAuthenticated", "False", LIMIT)?;
    expect(&policy, "UpstreamAuthenticated", "CredentialsRefused", USER)?;
    let second = Mail::plain(&room.mark("held"), &room.sender(), &room.far_user());
    room.send(&server, &second)?;
    room.await_queue(1, LIMIT)?;

    let changed = Instant::now();
    login(&room, PASSWORD)?;
    // It was held for the wrong one.
    let whose = room.far_user();
    let peers = &scene.world.peers;
    let came = mailbox::await_all(peers, &whose, mailbox::Reader::Imap, &[&second], USED_WITHIN)?;
    let after = seconds(changed.elapsed());
    if !came.lost.is_empty() {
        return Err(Failure::wrong(format!(
            "a Secret that is changed is used within {USED_WITHIN:?}; after {after} the mail that was held for the wrong one had not come"
        )));
    }
    eprintln!("    held mail arrived {after} after the Secret was right, of {USED_WITHIN:?}");
    room.expect_at_far(&[first, second], LIMIT)?;
    namespace.wait_condition(POLICY, "UpstreamAuthenticated", "True", LIMIT)?;
    let pod = namespace.get([format!("pod/{LISTENER}-0").as_str()])?;
    if pod["status"]["containerStatuses"][0]["restartCount"] != 0 {
        return Err(Failure::wrong("the pod was restarted for a new password"));
    }
    Ok(())
}

/// The smart host: a listener for submission alone, whose mail leaves as usual.
fn relay(room: &Mailroom<'_>, scene: &Scene<'_>, direct: Value) -> Outcome {
    let mut users = mailroom::users(&scene.world.product, &["--scram"])?;
    users["metadata"]["name"] = json!("relay-users");
    let mut listener = room.listener.clone();
    listener["metadata"]["name"] = json!(RELAY);
    listener["spec"]["hostname"] = json!(format!("relay.{}", scene.domain));
    listener["spec"]["authentication"] = json!({"users": {"secretRef": {"name": "relay-users"}}});
    let mut policy = room.policy.clone();
    policy["metadata"]["name"] = json!("onwards");
    policy["spec"]["listenerRefs"] = json!([{"name": RELAY}]);
    policy["spec"]["routes"] = direct;
    for object in [&users, &listener, &policy] {
        room.namespace().apply(&object.to_string())?;
    }
    let object = format!("smtplistener/{RELAY}");
    room.namespace()
        .wait_condition(&object, "Ready", "True", mailroom::READY)
        .map(drop)
}

/// What the policy logs in with from now on.
fn login(room: &Mailroom<'_>, password: &str) -> Outcome {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "relay-login"},
        "stringData": {"username": USER, "password": password},
    });
    room.namespace().apply(&secret.to_string()).map(drop)
}

fn expect(policy: &Value, kind: &str, reason: &str, word: &str) -> Outcome {
    let found = condition(policy, kind).cloned().unwrap_or_default();
    let message = found["message"].as_str().unwrap_or_default();
    if found["reason"] == reason && message.contains(word) && !message.contains("horse") {
        return Ok(());
    }
    Err(Failure::wrong(format!(
        "{kind} should be {reason} and name {word}: {found}"
    )))
}

const RELAY: &str = "relay";
const POLICY: &str = "relaypolicy/far";
const LIMIT: Duration = Duration::from_mins(2);
/// Within which a Secret that was changed is used.
const USED_WITHIN: Duration = Duration::from_secs(10);
