//! The admin endpoints over real sockets: who may do what, what is answered, and what follows the configuration.

#![allow(clippy::unwrap_used, reason = "a test may end so, its helpers too")]

mod fleet;

use axum::http::StatusCode;
use fleet::{Fleet, OPERATOR, PEER, Start, http, until};
use postroad_config::admin::{Refusal, State};
use postroad_mta::lifecycle::Phase;
use postroad_mta::settings::Settings;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_verb_is_for_its_roles() {
    let fleet = Fleet::new();
    let pod = fleet.start("pod", Start::default()).await;
    let issuer = "https://issuer.example";
    let (operator, peer) = (fleet.operator(), fleet.token(PEER, "edge-mta", issuer));
    let stranger = fleet.token(OPERATOR, "somebody", issuer);
    let foreign = fleet.token(OPERATOR, "operator", "https://other.example");
    let other = Fleet::new().operator();
    let (ok, no, never) = (StatusCode::OK, StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN);
    let bad = StatusCode::BAD_REQUEST;
    for (method, path, body, token, wanted) in [
        ("GET", "/v1/state", "", Some(&operator), ok),
        ("GET", "/v1/state", "", Some(&peer), ok),
        ("GET", "/v1/state", "", None, no),
        ("GET", "/v1/state", "", Some(&foreign), no),
        ("GET", "/v1/state", "", Some(&other), no),
        ("GET", "/v1/state", "", Some(&stranger), never),
        ("GET", "/v1/certificates", "", Some(&operator), ok),
        ("GET", "/v1/certificates", "", Some(&peer), never),
        ("GET", "/v1/certificates", "", None, no),
        ("GET", "/v1/network", "", Some(&operator), ok),
        ("GET", "/v1/network", "", Some(&peer), never),
        ("GET", "/v1/network", "", None, no),
        ("POST", "/v1/relay-test", r#"{"targets":[]}"#, Some(&operator), ok),
        ("POST", "/v1/relay-test", r#"{"targets":[]}"#, Some(&peer), never),
        ("POST", "/v1/relay-test", r#"{"targets":[]}"#, None, no),
        (
            "POST",
            "/v1/relay-test",
            r#"{"targets":[{"address":"mx.example:25"}]}"#,
            Some(&operator),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        ("POST", "/v1/unseal", "", Some(&peer), never),
        ("POST", "/v1/unseal", "", None, no),
        ("POST", "/v1/seal", r#"{"targets":[]}"#, Some(&peer), never),
        ("POST", "/v1/seal", r#"{"targets":[]}"#, None, no),
        ("POST", "/v1/handover/exchange", "", None, no),
        ("POST", "/v1/handover/exchange", "", Some(&stranger), never),
        ("POST", "/v1/handover/exchange", "", Some(&peer), bad),
        ("POST", "/v1/handover/ask", "", None, no),
        ("POST", "/v1/unseal", "", Some(&operator), ok),
        ("GET", "/v1/other", "", Some(&operator), StatusCode::NOT_FOUND),
        ("GET", "/metrics", "", Some(&operator), StatusCode::NOT_FOUND),
    ] {
        let token = token.map(String::as_str);
        let (status, text) = http::api(&fleet, pod.address(), method, path, token, body).await;
        assert_eq!(status, wanted, "{method} {path}: {text}");
        if status == no || status == never {
            assert!(!serde_json::from_str::<Refusal>(&text).unwrap().error.is_empty());
        }
    }
    assert!(!pod.spool.seal_state().sealed, "a refused seal seals nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seal_and_unseal_answer_the_state_and_may_be_repeated() {
    let fleet = Fleet::new();
    let pod = fleet.start("pod", Start::default()).await;
    let operator = fleet.operator();
    let call = async |method: &str, path: &str, body: &str| {
        let (status, text) = http::api(&fleet, pod.address(), method, path, Some(&operator), body).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str::<State>(&text).unwrap()
    };
    let state = call("GET", "/v1/state", "").await;
    assert!(state.accepting && state.seal.is_none() && state.not_accepting.is_empty());
    assert_eq!(state.spool, pod.spool.uuid().to_string());
    assert_eq!(state.boot_id, "boot");
    pod.accept(1, 10).await;
    let sealed = call("POST", "/v1/seal", r#"{"targets":[]}"#).await;
    let again = call("POST", "/v1/seal", r#"{"targets":[]}"#).await;
    for state in [&sealed, &again] {
        let seal = state.seal.as_ref().unwrap();
        assert_eq!((seal.number, seal.empty, seal.remaining), (1, false, 1));
        assert!(!state.accepting && state.not_accepting.contains("sealed"));
    }
    let unsealed = call("POST", "/v1/unseal", "").await;
    assert!(unsealed.accepting && unsealed.seal.is_none());
    assert_eq!(unsealed.queue.messages, 1);
    assert_eq!(unsealed.queue.oldest, Some(1_700_000_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_large_or_no_json_is_refused() {
    let fleet = Fleet::new();
    let pod = fleet.start("pod", Start::default()).await;
    let operator = fleet.operator();
    let large = format!(r#"{{"targets":["{}"]}}"#, "x".repeat(100 << 10));
    let many = format!(r#"{{"targets":[{}"a"]}}"#, "\"a\",".repeat(300));
    for (body, wanted) in [
        (large.as_str(), StatusCode::PAYLOAD_TOO_LARGE),
        (many.as_str(), StatusCode::BAD_REQUEST),
        ("nonsense", StatusCode::BAD_REQUEST),
    ] {
        let (status, text) =
            http::api(&fleet, pod.address(), "POST", "/v1/seal", Some(&operator), body).await;
        assert_eq!(status, wanted, "{text}");
    }
    assert!(!pod.spool.seal_state().sealed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_follows_phase_and_seal_and_says_why() {
    let fleet = Fleet::new();
    let pod = fleet.start("pod", Start::default()).await;
    let health = pod.admin.health.unwrap();
    assert_eq!(http::plain(health, "/readyz").await.0, StatusCode::OK);
    pod.seal(&[]).await;
    let (status, why) = http::plain(health, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(why.contains("sealed"), "{why}");
    pod.handover.unseal().await.unwrap();
    assert_eq!(http::plain(health, "/readyz").await.0, StatusCode::OK);
    pod.lifecycle.enter(Phase::Leaving);
    let (status, why) = http::plain(health, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(why.contains("stop"), "{why}");
    assert_eq!(
        http::plain(health, "/livez").await.0,
        StatusCode::OK,
        "a restart would mend nothing"
    );
    assert_eq!(http::plain(health, "/v1/state").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_show_queue_and_seal() {
    let fleet = Fleet::new();
    let pod = fleet.start("pod", Start::default()).await;
    pod.accept(1, 10).await;
    pod.seal(&[]).await;
    let (status, text) = http::plain(pod.admin.health.unwrap(), "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    for line in [
        "postroad_mta_queue_messages 1",
        "postroad_mta_sealed 1",
        "postroad_mta_accepting 0",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_served_without_a_restart_and_a_bad_one_is_not() {
    let fleet = Fleet::new();
    let pod = fleet.start("pod", Start::default()).await;
    let before = http::shown(&fleet, pod.address()).await;
    let mut bad = fleet.set(pod.address(), Vec::new());
    bad.file.admin.api.as_mut().unwrap().key = "nonsense".into();
    pod.live.swap(Settings::new(bad).unwrap());
    assert_eq!(http::shown(&fleet, pod.address()).await, before);
    pod.live
        .swap(Settings::new(fleet.set(pod.address(), Vec::new())).unwrap());
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while http::shown(&fleet, pod.address()).await == before {
        assert!(std::time::Instant::now() < end, "the new certificate is served");
    }
    until("it still serves", || true).await;
}
