//! Connections between pods that break after any number of octets, in either direction: nothing is lost, nothing
//! doubled, whatever part of a request or of its answer went missing.

#![allow(clippy::unwrap_used, reason = "a test may end so, its helpers too")]

mod fleet;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fleet::{Fleet, Start, until};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MAIL: u64 = 200;
const CUTS: u64 = 30;

/// Which direction is cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Requests,
    Answers,
}

/// Forwards to `target`. The n-th of the first connections breaks after `n * step` octets of one direction.
async fn proxy(target: SocketAddr, cut: Cut, step: u64) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
            let limit = if number <= CUTS { number * step } else { u64::MAX };
            tokio::spawn(async move {
                let Ok(far) = TcpStream::connect(target).await else {
                    return;
                };
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                let (there, back) = match cut {
                    Cut::Requests => (limit, u64::MAX),
                    Cut::Answers => (u64::MAX, limit),
                };
                tokio::select! {
                    () = copy(near_in, far_out, there) => {}
                    () = copy(far_in, near_out, back) => {}
                }
            });
        }
    });
    (address, count)
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut left: u64) {
    let mut buffer = [0; 1_000];
    while left > 0 {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let count = count.min(usize::try_from(left).unwrap_or(usize::MAX));
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        left -= count as u64;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_anywhere_lose_and_double_nothing() {
    // Requests are long and answers short: the steps reach from the handshake to behind the first batches.
    for (cut, step) in [(Cut::Requests, 1_733), (Cut::Answers, 211)] {
        let fleet = Fleet::new();
        let leaving = fleet.start("leaving", Start::default()).await;
        let staying = fleet.start("staying", Start::default()).await;
        let (address, count) = proxy(staying.address(), cut, step).await;
        for tag in 0..MAIL {
            leaving
                .accept(tag, if tag % 90 == 0 { 300 << 10 } else { 400 })
                .await;
        }
        leaving.seal(&[address]).await;
        until("the leaving pod is empty", || leaving.is_drained()).await;
        let all = usize::try_from(MAIL).unwrap();
        until("the staying pod owns all", || staying.book.queued() == all).await;
        let tags: Vec<u64> = staying.mail().into_iter().map(|(tag, _)| tag).collect();
        assert_eq!(tags, (0..MAIL).collect::<Vec<_>>());
        until("every transfer is confirmed", || staying.spool.holds().is_empty()).await;
        assert!(count.load(Ordering::SeqCst) > 3, "connections were cut: {cut:?}");
    }
}
