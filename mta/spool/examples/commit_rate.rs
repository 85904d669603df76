//! Prints how many messages per second the spool makes durable.
//!
//! `cargo run --release -p postroad-spool --example commit_rate -- DIR [WRITERS] [SECONDS] [BYTES]`
//!
//! Each writer commits one message, waits until it is durable, finishes the one before, and so on.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use postroad_spool::{CommitError, Envelope, Options, Recipient, Spool};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(
        arguments
            .next()
            .ok_or("usage: commit_rate DIR [WRITERS] [SECONDS] [BYTES]")?,
    );
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (writers, seconds, bytes) = (number(32)?, number(3)?, usize::try_from(number(10 * 1024)?)?);
    let (spool, recovery) = Spool::open(&dir, &Options::default())?;
    println!("{recovery:?}");
    let done = AtomicU64::new(0);
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        let work = || {
            if let Err(error) = write(&spool, end, bytes, &done) {
                eprintln!("{error}");
            }
        };
        for _ in 0..writers {
            scope.spawn(work);
        }
    });
    let messages = done.load(Ordering::Relaxed);
    let rate = messages
        .checked_div(start.elapsed().as_secs().max(1))
        .unwrap_or(0);
    println!("{writers} writers, {bytes} bytes: {messages} messages, {rate} per second");
    println!("{:?}", spool.usage());
    Ok(())
}

fn write(spool: &Spool, end: Instant, bytes: usize, done: &AtomicU64) -> Result<(), CommitError> {
    let body = vec![b'x'; bytes];
    let envelope = Envelope {
        reverse_path: "sender@example.org".into(),
        recipients: vec![Recipient {
            forward_path: "user@example.net".into(),
            ..Recipient::default()
        }],
        ..Envelope::default()
    };
    let mut before = None;
    while Instant::now() < end {
        let mut incoming = spool.begin();
        incoming.write(&body)?;
        let id = incoming
            .commit(envelope.clone(), b"Received: by example\r\n".to_vec())
            .wait()?;
        if let Some(before) = before.replace(id)
            && let Err(error) = spool.finish(before)
        {
            eprintln!("{error}");
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
