//! Check 43, for what routes log in with: it stands in Secrets and nowhere else, also where it is spoilt and somebody has to be told of that.

use std::sync::Arc;

use serde_json::{Value, json};

use super::confirmed::condition;
use crate::case::{Case, Verdict};
use crate::logins;
use crate::objects;
use crate::operation::Operation;
use crate::rig::{Rig, World};
use crate::server::{Said, text};

/// One case.
pub fn cases() -> Vec<Case> {
    vec![Case::new(
        "check_43_no_login_is_told",
        "every type of credentials, good and spoilt",
        told_nowhere,
    )]
}

/// What is put into entries that cannot be used.
const SPOILT: &str = "canary-of-spoilt";

/// Policies with a route for each type of credentials; a policy has four routes at most.
fn policies() -> [Value; 2] {
    let host = json!([{"host": "relay.example", "port": 587}]);
    let secret = json!({"name": "login"});
    let smart = |credentials: Value| json!({"smartHosts": host, "credentials": credentials});
    let oauth = json!({
        "type": "OAuthClient", "clientId": "postroad", "user": "a@moor.example",
        "tokenEndpoint": "https://login.example/token", "secretRef": secret,
    });
    let mut proven = oauth.clone();
    proven["proof"] = json!("Certificate");
    let one = |name: &str, routes: Value| {
        json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy", "metadata": {"name": name},
            "spec": {
                "listenerRefs": [{"name": "edge"}], "match": {"senderDomains": [format!("{name}.example")]}, "routes": routes,
            },
        })
    };
    let google = json!({"type": "GoogleServiceAccount", "user": "a@moor.example", "secretRef": secret});
    [
        one(
            "texts",
            json!([
                smart(json!({"type": "Password", "secretRef": secret})),
                {
                    "provider": {"name": "AmazonSES", "region": "eu-west-1"},
                    "credentials": {"type": "AwsAccessKey", "secretRef": secret},
                },
                smart(oauth),
                smart(google),
            ]),
        ),
        one(
            "keys",
            json!([
                smart(json!({"type": "ClientCertificate", "secretRef": secret})),
                smart(proven)
            ]),
        ),
    ]
}

async fn told_nowhere(world: Arc<World>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Create.prepare(&rig).await?;
    Operation::Create.act(&rig).await?;
    let path = rig.path("secrets", "login");
    for secret in logins::secrets(&["login".to_owned()])? {
        rig.apply("secrets", &secret).await?;
    }
    for policy in policies() {
        rig.apply("relaypolicies", &policy).await?;
    }
    let entries = objects::texts(&rig.api.get(&path).await?["data"]);
    let values = secrets_in(&entries);
    if values.len() < 10 {
        return Err(format!("only {} values to look for", values.len()));
    }
    rig.until("the logins are in the configuration", async |rig| {
        let config = rig.api.find(&rig.path("secrets", "edge-config")).await?;
        let texts = objects::texts(&config.unwrap_or_default()["data"]).to_string();
        Ok([
            "canary-of-a-password",
            "canary-of-a-client",
            "oauth2.googleapis.com",
        ]
        .iter()
        .all(|value| texts.contains(value)))
    })
    .await?;
    nowhere(&rig, &values).await?;

    // An address that Google never gave, in a file that is sound otherwise.
    let file = entries["key.json"].as_str().unwrap_or_default();
    let mut file: Value = serde_json::from_str(file).map_err(text)?;
    file["token_uri"] = json!(format!("http://{SPOILT}.example/"));
    spoil(&rig, &json!({"key.json": file.to_string()})).await?;
    says(&rig, "texts", "token_uri").await?;
    nowhere(&rig, &values).await?;

    let whole = json!({
        "password": "", "accessKeyId": SPOILT, "secretAccessKey": SPOILT, "clientSecret": "",
        "key.json": format!("{{\"type\": \"{SPOILT}\", \"private_key\": \"{SPOILT}\"}}"),
        "tls.crt": format!("-----BEGIN CERTIFICATE-----\n{SPOILT}\n"), "tls.key": SPOILT,
    });
    spoil(&rig, &whole).await?;
    says(&rig, "texts", "accessKeyId").await?;
    says(&rig, "keys", "tls.crt").await?;
    nowhere(&rig, &values).await?;
    rig.quiet(0).await?;
    Ok(Verdict::Held)
}

async fn spoil(rig: &Rig, entries: &Value) -> Said<()> {
    let path = rig.path("secrets", "login");
    rig.api
        .merge(&path, &json!({"stringData": entries}))
        .await
        .map(drop)
}

/// Waits until a policy says what is wrong with its Secret, and names this entry.
async fn says(rig: &Rig, policy: &str, entry: &str) -> Said<()> {
    rig.until(&format!("{policy} is told of {entry}"), async |rig| {
        let [_, reason, message] = condition(rig, "relaypolicies", policy, "Ready").await?;
        Ok(reason == "SecretInvalid" && message.contains(entry))
    })
    .await
}

/// What is to be told nowhere: short secrets as they are, and lines of keys.
fn secrets_in(entries: &Value) -> Vec<String> {
    let of = |name: &str| entries[name].as_str().unwrap_or_default().to_owned();
    let short = ["password", "clientSecret", "secretAccessKey"].map(of);
    let key = of("tls.key");
    let lines = key.lines().filter(|line| !line.starts_with('-'));
    short
        .into_iter()
        .chain(lines.map(str::to_owned))
        .chain([SPOILT.to_owned()])
        .collect()
}

async fn nowhere(rig: &Rig, values: &[String]) -> Said<()> {
    let events = format!("/apis/events.k8s.io/v1/namespaces/{}/events", rig.namespace);
    let mut places = vec![
        ("the log".to_owned(), rig.operator.log()),
        ("the figures".to_owned(), rig.operator.metrics().await?),
        ("an Event".to_owned(), rig.api.get(&events).await?.to_string()),
    ];
    let objects = rig.raw().await?.into_iter();
    let others = objects.filter(|(name, _)| !name.starts_with("secrets/"));
    places.extend(others.map(|(name, object)| (name, object.to_string())));
    let is_told = |text: &String| values.iter().any(|value| text.contains(value.as_str()));
    match places.iter().find(|(_, text)| is_told(text)) {
        Some((place, _)) => Err(format!("{place} has a value of a Secret")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_credentials_has_a_route() {
        let policies = policies();
        let routes = policies
            .iter()
            .flat_map(|policy| policy["spec"]["routes"].as_array().into_iter().flatten());
        let types: std::collections::BTreeSet<_> = routes
            .filter_map(|route| route["credentials"]["type"].as_str())
            .collect();
        let all = [
            "AwsAccessKey",
            "ClientCertificate",
            "GoogleServiceAccount",
            "OAuthClient",
            "Password",
        ];
        assert_eq!(types, all.into());
    }
}
