//! Who has the standard roles view, edit or admin in a namespace, has Postroad's part of them there, and no more.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kubectl::{Failure, Outcome, until};
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    for role in ["view", "edit", "admin"] {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": role}],
        });
        scene.namespace.apply(&binding.to_string())?;
    }
    // The control plane adds the roles up by itself, a moment later.
    until(Duration::from_mins(1), || {
        may(scene, "admin", "deletecollection", "smtplisteners")
    })
    .map_err(|_| Failure::wrong("admin may not delete a collection: the roles were not added up"))?;
    for (verb, resource, allowed) in [
        ("list", "smtplisteners", "view edit admin"),
        ("get", "maildomains/status", "view edit admin"),
        ("get", "smtplisteners/scale", "view edit admin"),
        ("create", "smtplisteners", "edit admin"),
        ("patch", "smtplisteners/scale", "edit admin"),
        ("delete", "relaypolicies", "edit admin"),
        ("deletecollection", "maildomains", "admin"),
        ("patch", "smtplisteners/status", ""),
        ("update", "smtplisteners/finalizers", ""),
    ] {
        for user in ["view", "edit", "admin"] {
            let expected = allowed.split(' ').any(|role| role == user);
            if may(scene, user, verb, resource)? != expected {
                return Err(Failure::wrong(format!(
                    "{user} may {verb} {resource}: {}",
                    !expected
                )));
            }
        }
    }
    Ok(())
}

/// What the API server says to a review of that access.
fn may(scene: &Scene<'_>, user: &str, verb: &str, resource: &str) -> Outcome<bool> {
    let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": {
            "namespace": scene.namespace.name, "verb": verb, "group": "postroad.dev",
            "resource": resource, "subresource": part,
        }},
    });
    let shell = scene
        .world
        .cluster
        .kubectl(["create", "--filename=-", "--output=json"]);
    let said = shell.input(review.to_string()).read()?;
    let said: Value = serde_json::from_str(&said).map_err(|error| Failure::wrong(error.to_string()))?;
    Ok(said["status"]["allowed"] == true)
}
