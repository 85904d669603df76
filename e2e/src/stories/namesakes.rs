//! Two objects want the same host name, two the same domain in other letters: the older has it, the other says who, and takes over
//! when the first goes.

use std::time::Duration;

use serde_json::json;

use crate::kubectl::{Failure, Outcome, condition};
use crate::mailroom::Mailroom;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    listeners(scene)?;
    domains(scene)
}

fn listeners(scene: &Scene<'_>) -> Outcome {
    let namespace = &scene.namespace;
    let room = Mailroom::new(scene, 0);
    // Without pods and volumes: it is about the name alone.
    let twin = |name: &str| {
        let mut twin = room.listener.clone();
        twin["metadata"]["name"] = name.into();
        twin["spec"]["hostname"] = format!("twins.{}", scene.domain).into();
        twin["spec"]["ports"] = json!([{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Disabled"}]);
        if let Some(spec) = twin["spec"].as_object_mut() {
            spec.remove("tls");
            spec.remove("authentication");
        }
        twin
    };
    namespace.apply(&twin("first").to_string())?;
    namespace.wait_condition("smtplistener/first", "Ready", "True", SAID)?;
    namespace.apply(&twin("second").to_string())?;
    told(
        scene,
        "smtplistener/second",
        "Conflict",
        &format!("{}/first", namespace.name),
    )?;
    namespace.wait_condition("smtplistener/second", "Conflicted", "True", SAID)?;
    namespace.wait_condition("smtplistener/first", "Ready", "True", SAID)?;
    namespace.kubectl(["delete", "smtplistener/first", "--timeout=60s"])?;
    namespace.wait_condition("smtplistener/second", "Ready", "True", SAID)?;
    namespace.wait_condition("smtplistener/second", "Conflicted", "False", SAID)?;
    namespace.kubectl(["delete", "smtplistener/second", "--timeout=60s"])?;
    Ok(())
}

fn domains(scene: &Scene<'_>) -> Outcome {
    let namespace = &scene.namespace;
    let room = Mailroom::new(scene, 1).open()?;
    let mut second = room.domain.clone();
    second["metadata"]["name"] = "second".into();
    second["spec"]["domain"] = scene.domain.to_uppercase().into();
    namespace.apply(&second.to_string())?;
    told(
        scene,
        "maildomain/second",
        "DomainConflict",
        "MailDomain domain has",
    )?;
    namespace.kubectl(["delete", "maildomain/domain", "--timeout=60s"])?;
    namespace.wait_condition("maildomain/second", "Ready", "True", SAID)?;
    Ok(())
}

/// The object is not ready for that reason, in a sentence that names the winner.
fn told(scene: &Scene<'_>, object: &str, reason: &str, winner: &str) -> Outcome {
    let found = scene.namespace.wait_for(object, reason, SAID, |object| {
        condition(object, "Ready")
            .is_some_and(|ready| ready["status"] == "False" && ready["reason"] == reason)
    })?;
    let message = condition(&found, "Ready")
        .map(|ready| ready["message"].to_string())
        .unwrap_or_default();
    if message.contains(winner) {
        Ok(())
    } else {
        Err(Failure::wrong(format!(
            "{object} does not name `{winner}`: {message}"
        )))
    }
}

/// How long the operator may take to say it.
const SAID: Duration = Duration::from_mins(2);
