//! What the probes of an orchestrator see.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stage::{Play, Stage};

pub async fn get(stage: &Stage, path: &str) -> String {
    answer(stage.daemon.admin().health.unwrap(), path).await
}

/// What is answered there, as soon as somebody answers.
pub async fn answer(address: SocketAddr, path: &str) -> String {
    let asked = async {
        loop {
            if let Ok(mut stream) = TcpStream::connect(address).await {
                let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
                let mut answer = String::new();
                if stream.write_all(request.as_bytes()).await.is_ok()
                    && stream.read_to_string(&mut answer).await.is_ok()
                {
                    return answer;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::client::PATIENCE, asked)
        .await
        .expect("somebody answers")
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
