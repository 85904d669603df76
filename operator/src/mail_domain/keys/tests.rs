use super::*;

fn domain(dkim: &Value, status: &Value) -> MailDomain {
    serde_json::from_value(json!({
        "apiVersion": "postroad.dev/v1alpha1", "kind": "MailDomain",
        "metadata": {"name": "shop", "namespace": "mail", "uid": "one"},
        "spec": {"domain": "shop.example", "listenerRefs": [{"name": "edge"}], "dkim": dkim},
        "status": status,
    }))
    .unwrap()
}

fn secret(owner: &str, entries: &[(String, String)]) -> Secret {
    let encode = |text: &String| base64::engine::general_purpose::STANDARD.encode(text);
    let data: BTreeMap<_, _> = entries
        .iter()
        .map(|(entry, text)| (entry, encode(text)))
        .collect();
    serde_json::from_value(json!({
        "metadata": {
            "name": "shop-dkim", "namespace": "mail", "labels": {"app.kubernetes.io/managed-by": "postroad"},
            "ownerReferences": [{"apiVersion": "postroad.dev/v1alpha1", "kind": "MailDomain", "name": "shop", "uid": owner}],
        },
        "data": data,
    }))
    .unwrap()
}

fn judge(object: &MailDomain, found: Option<&Secret>) -> Result<Standing, Trouble> {
    let dkim = object.spec.dkim.as_ref().unwrap();
    judged(object, dkim, found, &signing::secret_name("shop", dkim))
}

#[test]
fn first_keys_are_made_and_lost_ones_are_not_made_anew() {
    let fresh = domain(&json!({}), &Value::Null);
    let both = vec![DkimAlgorithm::Rsa2048, DkimAlgorithm::Ed25519];
    assert_eq!(judge(&fresh, None), Ok((Vec::new(), both)));
    let key = json!({"selector": "ed-1", "algorithm": "Ed25519", "state": "Active", "since": "x"});
    let known = domain(
        &json!({}),
        &json!({"dkim": {"secret": "shop-dkim", "keys": [key]}}),
    );
    let (reason, message) = judge(&known, None).unwrap_err();
    assert_eq!(reason, reason::KEYS_LOST);
    assert!(
        message.contains("shop-dkim") && message.contains("take spec.dkim out"),
        "{message}"
    );
    // Keys that were given are another matter.
    let other = domain(
        &json!({"secretRef": {"name": "mine"}}),
        &json!({"dkim": {"secret": "shop-dkim", "keys": [key]}}),
    );
    assert_eq!(judge(&other, None).unwrap_err().0, reason::SECRET_NOT_FOUND);
}

#[test]
fn a_key_that_was_taken_out_of_its_secret_is_not_made_anew() {
    let made = signing::make(DkimAlgorithm::Ed25519, "ed-1").unwrap();
    let left = secret("one", std::slice::from_ref(&made));
    let status = |shown: &str, selector: &str, secret: &str| {
        let key = json!({"selector": selector, "algorithm": shown, "state": "Pending", "since": "x"});
        json!({"dkim": {"secret": secret, "keys": [key]}})
    };
    let lost = domain(&json!({}), &status("Rsa2048", "rsa-1", "shop-dkim"));
    let (reason, message) = judge(&lost, Some(&left)).unwrap_err();
    assert_eq!(reason, reason::KEYS_LOST);
    assert!(message.contains("rsa-1.pem"), "{message}");
    for known in [
        status("Rsa2048", "rsa-1", "another"),
        status("Ed25519", "ed-1", "shop-dkim"),
    ] {
        let (_, missing) = judge(&domain(&json!({}), &known), Some(&left)).unwrap();
        assert_eq!(missing, [DkimAlgorithm::Rsa2048], "{known}");
    }
}

#[test]
fn a_secret_of_somebody_else_is_read_only_where_it_is_named() {
    let made = signing::make(DkimAlgorithm::Ed25519, "ed-1").unwrap();
    let foreign = secret("another", std::slice::from_ref(&made));
    let fresh = domain(&json!({"algorithms": ["Ed25519"]}), &Value::Null);
    assert_eq!(
        judge(&fresh, Some(&foreign)).unwrap_err().0,
        reason::FOREIGN_OBJECT
    );
    let own = secret("one", std::slice::from_ref(&made));
    assert_eq!(judge(&fresh, Some(&own)).unwrap().0[0].selector, "ed-1");
    let mut unlabelled = own.clone();
    unlabelled.metadata.labels = None;
    assert!(judge(&fresh, Some(&unlabelled)).is_err());
    let named = domain(&json!({"secretRef": {"name": "mine"}}), &Value::Null);
    assert_eq!(judge(&named, Some(&foreign)).unwrap().0.len(), 1);
}

#[test]
fn an_algorithm_that_is_added_later_gets_its_key_and_a_bad_entry_a_sentence() {
    let made = signing::make(DkimAlgorithm::Ed25519, "ed-1").unwrap();
    let both = domain(&json!({}), &Value::Null);
    let (keys, missing) = judge(&both, Some(&secret("one", std::slice::from_ref(&made)))).unwrap();
    assert_eq!((keys.len(), missing), (1, vec![DkimAlgorithm::Rsa2048]));
    let bad = secret("one", &[made, ("x.pem".into(), "hush".into())]);
    let (reason, message) = judge(&both, Some(&bad)).unwrap_err();
    assert_eq!(reason, reason::SECRET_INVALID);
    assert!(
        message.contains("`x.pem`") && !message.contains("hush"),
        "{message}"
    );
}

#[test]
fn keys_are_of_the_spec_that_they_were_read_for() {
    let mut object = domain(&json!({}), &Value::Null);
    object.metadata.generation = Some(3);
    let read = |generation| Read {
        generation,
        version: "7".into(),
        at: Instant::now(),
    };
    assert!(read(Some(3)).is_of(&object));
    assert!(!read(Some(2)).is_of(&object), "algorithms may be others now");
    assert!(!read(None).is_of(&object));
}
