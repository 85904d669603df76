use serde_json::json;

use super::*;

fn key(algorithm: DkimAlgorithm, selector: &str) -> Held {
    let (entry, pem) = make(algorithm, selector).unwrap();
    Held::read(&entry, pem.as_bytes()).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn row(key: &Held) -> serde_json::Value {
    json!({"name": key.name("example.com"), "type": "TXT", "expected": key.expected(), "observed": "", "verdict": "True",
        "server": "", "since": "x"})
}

fn status(dkim: &DkimStatus, rows: &[&Held]) -> MailDomainStatus {
    let rows: Vec<_> = rows.iter().map(|key| row(key)).collect();
    serde_json::from_value(json!({"dkim": dkim, "records": rows, "conditions": []})).unwrap()
}

#[test]
fn what_is_made_is_read_again_and_shown_without_its_secret() {
    let rsa = key(DkimAlgorithm::Rsa2048, "rsa-1");
    assert_eq!(
        (rsa.shown.as_str(), rsa.algorithm),
        ("Rsa2048", DkimAlgorithm::Rsa2048)
    );
    let expected = rsa.expected();
    let strings: Vec<&str> = expected.trim_matches('"').split("\" \"").collect();
    assert!(
        strings.len() == 2 && strings.iter().all(|string| string.len() <= 255),
        "{expected}"
    );
    assert_eq!(strings.concat(), rsa.record);
    assert_eq!(format!("{rsa:?}"), "Held(rsa-1 Rsa2048, …)");
    let ed = key(DkimAlgorithm::Ed25519, "ed-1");
    assert_eq!(ed.shown, "Ed25519");
    assert!(ed.expected().starts_with("\"v=DKIM1; k=ed25519; p="));
}

#[test]
fn a_secret_that_cannot_be_used_says_which_entry_and_why() {
    let (_, pem) = make(DkimAlgorithm::Ed25519, "a").unwrap();
    let judge = |entries: &[(&str, &str)]| {
        let entries: Vec<(String, Vec<u8>)> = entries
            .iter()
            .map(|(entry, text)| ((*entry).to_owned(), text.as_bytes().to_vec()))
            .collect();
        read(entries.iter().map(|(entry, text)| (entry, text.as_slice())))
    };
    assert_eq!(
        judge(&[("b.pem", &pem), ("a.pem", &pem)]).unwrap()[0].selector,
        "a"
    );
    for (entries, words) in [
        (&[][..], "no entry <selector>.pem"),
        (&[("tls.key", pem.as_str())], "`tls.key` is not called"),
        (&[("a b.pem", pem.as_str())], "`a b.pem` is not called"),
        (&[("a.pem", "hush")], "`a.pem`: there is no private key"),
        (
            &[("a.pem", pem.as_str()), ("A.pem", pem.as_str())],
            "`a` is there twice",
        ),
    ] {
        let sentence = judge(entries).unwrap_err();
        assert!(
            sentence.contains(words) && !sentence.contains("hush"),
            "{sentence}"
        );
    }
}

#[test]
fn a_selector_has_kind_day_and_the_objects_own_letters() {
    let uid = "4C5f-1a2b-99";
    assert_eq!(
        selector(DkimAlgorithm::Rsa2048, uid, at(1_796_000_000)),
        "rsa-20261130-4c5f1a"
    );
    assert!(is_selector(&selector(DkimAlgorithm::Ed25519, uid, at(0))));
}

#[test]
fn the_newest_key_of_each_wanted_algorithm_signs() {
    let held = [
        key(DkimAlgorithm::Ed25519, "ed-20260101-a"),
        key(DkimAlgorithm::Ed25519, "ed-20260601-a"),
    ];
    let only = crd::Dkim {
        algorithms: Some(vec![DkimAlgorithm::Ed25519]),
        ..crd::Dkim::default()
    };
    let (keys, missing) = wanted(&only, &held);
    assert_eq!((keys.len(), keys[0].selector.as_str()), (1, "ed-20260601-a"));
    assert!(missing.is_empty());
    let (keys, missing) = wanted(&crd::Dkim::default(), &held);
    assert_eq!((keys.len(), missing), (1, vec![DkimAlgorithm::Rsa2048]));
}

#[test]
fn a_key_signs_when_its_record_is_seen_and_goes_on_signing() {
    let one = key(DkimAlgorithm::Ed25519, "ed-1");
    let keys = [one.clone()];
    let stand = |seen: Option<Ruling>, before: Option<&MailDomainStatus>, second| {
        let seen = seen
            .map(|ruling| (one.name("example.com"), ruling))
            .into_iter()
            .collect();
        stands("example.com", "s", &keys, &seen, before, at(second))
    };
    let told = |status: &DkimStatus| (status.keys[0].state, status.keys[0].since.clone());
    let pending = stand(Some(Ruling::False), None, 1);
    assert_eq!(told(&pending), (DkimKeyState::Pending, at(1).to_string()));
    let unknown = stand(Some(Ruling::Unknown), Some(&status(&pending, &[&one])), 2);
    assert_eq!(told(&unknown), (DkimKeyState::Pending, at(1).to_string()));
    let active = stand(Some(Ruling::True), Some(&status(&unknown, &[&one])), 3);
    assert_eq!(told(&active), (DkimKeyState::Active, at(3).to_string()));
    let gone = stand(Some(Ruling::False), Some(&status(&active, &[&one])), 4);
    assert_eq!(told(&gone), (DkimKeyState::Active, at(3).to_string()));
    // Another key under the same selector begins anew.
    let other = key(DkimAlgorithm::Ed25519, "ed-1");
    let changed = stand(Some(Ruling::False), Some(&status(&active, &[&other])), 5);
    assert_eq!(told(&changed), (DkimKeyState::Pending, at(5).to_string()));
    // Where DNS is not to be asked, it signs at once.
    assert_eq!(told(&stand(None, None, 6)).0, DkimKeyState::Active);
}

#[test]
fn only_keys_that_sign_reach_the_pods() {
    let held = [key(DkimAlgorithm::Ed25519, "a"), key(DkimAlgorithm::Ed25519, "b")];
    let mut object: MailDomain = serde_json::from_value(json!({
        "apiVersion": "postroad.dev/v1alpha1", "kind": "MailDomain", "metadata": {"name": "m"},
        "spec": {"domain": "example.com", "listenerRefs": [{"name": "edge"}], "dkim": {}},
        "status": {"dkim": {"secret": "s", "keys": [
            {"selector": "a", "algorithm": "Ed25519", "state": "Active", "since": "x"},
            {"selector": "b", "algorithm": "Ed25519", "state": "Pending", "since": "x"},
        ]}, "conditions": []},
    }))
    .unwrap();
    let name: DomainName = "example.com".parse().unwrap();
    let rendered = section(&object, &name, &held);
    assert_eq!(rendered.keys.len(), 1);
    assert_eq!(rendered.keys[0].selector, "a");
    // Another key under the selector is not used before its record is seen.
    let other = key(DkimAlgorithm::Ed25519, "a");
    object.status = Some(status(&object.status.unwrap().dkim.unwrap(), &[&other]));
    assert_eq!(section(&object, &name, &held), Dkim::default());
    assert_eq!(section(&object, &name, &[other]).keys.len(), 1);
    // Keys that cannot be read now sign on, where they are this object's.
    assert_eq!(still(&object, &rendered), rendered);
    let foreign = Dkim {
        keys: vec![SigningKey {
            selector: "c".to_owned(),
            ..rendered.keys[0].clone()
        }],
        ..Dkim::default()
    };
    assert_eq!(still(&object, &foreign), Dkim::default());
    if let Some(dkim) = &mut object.spec.dkim {
        dkim.arc = crd::ArcSeal::Forwarded;
    }
    for sealing in [section(&object, &name, &held), still(&object, &rendered)] {
        assert_eq!(sealing.arc, postroad_config::ArcSeal::Forwarded);
    }
    object.spec.dkim = None;
    assert_eq!(section(&object, &name, &held), Dkim::default());
}
