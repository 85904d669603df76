//! Secrets that routes log in with: each has what any type of credentials wants, made up for the proof.

use serde_json::{Value, json};

use crate::server::{Said, text};

/// Names of the Secrets that a policy logs in with.
pub fn named(policy: &Value) -> Vec<String> {
    let routes = policy["spec"]["routes"].as_array().into_iter().flatten();
    let names = routes.filter_map(|route| route["credentials"]["secretRef"]["name"].as_str());
    names.map(str::to_owned).collect()
}

/// Secrets of these names.
pub fn secrets(names: &[String]) -> Said<Vec<Value>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let data = entries()?;
    let one = |name: &String| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
    Ok(names.iter().map(one).collect())
}

fn entries() -> Said<Value> {
    let key =
        rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).map_err(text)?;
    let named = rcgen::CertificateParams::new(vec!["client.example".to_owned()]).map_err(text)?;
    let certificate = named.self_signed(&key).map_err(text)?.pem();
    let key = key.serialize_pem();
    let google = json!({
        "type": "service_account", "client_email": "proof@project.example", "private_key_id": "one", "private_key": key,
    });
    Ok(json!({
        "username": "postroad", "password": "canary-of-a-password", "clientSecret": "canary-of-a-client",
        "accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "key.json": google.to_string(), "tls.crt": certificate, "tls.key": key,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_with_a_secret_names_one() {
        let policy = json!({"spec": {"routes": [
            {"credentials": {"type": "Password", "secretRef": {"name": "corp"}}}, {"direct": {}},
            {"credentials": {"type": "None"}},
        ]}});
        assert_eq!(named(&policy), ["corp"]);
        assert!(secrets(&[]).is_ok_and(|made| made.is_empty()));
    }
}
