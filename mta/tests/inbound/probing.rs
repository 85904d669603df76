//! What the probes of an orchestrator see.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stage::{Play, Stage};

pub async fn get(stage: &Stage, path: &str) -> String {
    let mut stream = TcpStream::connect(stage.daemon.admin().health.unwrap())
        .await
        .unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_is_ready_until_it_is_sealed_and_alive_all_along() {
    let stage = Play::default().start().await;
    assert!(get(&stage, "/readyz").await.starts_with("HTTP/1.1 200"));
    stage.daemon.handles().spool.seal().await.unwrap();
    assert!(get(&stage, "/readyz").await.starts_with("HTTP/1.1 503"));
    assert!(get(&stage, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(get(&stage, "/metrics").await.contains("postroad_mta_"));
    stage.stop().await;
}
