//! A process to be killed: commits messages and prints the id of each one that is durable.
//!
//! `kill_target DIR` writes until it is killed: a line `committed ID` behind each commit, `finishing ID` before
//! each end. `tests/kill.rs` starts it, kills it, and looks into the directory.

use std::io::Write;
use std::path::PathBuf;

use postroad_spool::{Envelope, Options, Recipient, Spool};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = PathBuf::from(std::env::args().nth(1).ok_or("usage: kill_target DIR")?);
    let options = Options {
        segment_size: Some(128 * 1024),
        inline_limit: 8 * 1024,
        ..Options::default()
    };
    let (spool, _) = Spool::open(&dir, &options)?;
    let mut out = std::io::stdout().lock();
    let mut waiting = Vec::new();
    for n in 0_usize.. {
        let mut incoming = spool.begin();
        let id = incoming.id();
        // The body is a function of the id, so that the test can check it.
        let len = 1 + n % 7 * 2500;
        incoming.write(
            id.to_string()
                .repeat(len)
                .as_bytes()
                .get(..len)
                .unwrap_or_default(),
        )?;
        let envelope = Envelope {
            reverse_path: format!("{id}@example.org"),
            recipients: vec![Recipient {
                forward_path: "user@example.net".into(),
                ..Recipient::default()
            }],
            ..Envelope::default()
        };
        let id = incoming.commit(envelope, id.to_string().into_bytes()).wait()?;
        writeln!(out, "committed {id} {len}")?;
        out.flush()?;
        waiting.push(id);
        if waiting.len() > 10 {
            let id = waiting.remove(n % 5);
            writeln!(out, "finishing {id}")?;
            out.flush()?;
            spool.finish(id)?;
        }
    }
    Ok(())
}
