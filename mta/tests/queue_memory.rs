//! What a message costs the queue while it waits for a dead site, by the memory of this process: a test alone in its
//! program, with the allocator of the daemon.

#![allow(clippy::unwrap_used, reason = "a test ends where a step fails")]

use std::time::Duration;

use postroad_mta::queue::fair::Share;
use postroad_mta::queue::index::Index;
use postroad_mta::queue::job::{Ended, Group, Sorted};
use postroad_mta::queue::window::Feedback;
use postroad_spool::EntryId;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MESSAGES: u64 = 300_000;
const SITES: u64 = 30_000;
const NOW: u64 = 1_764_000_000_000;

/// Octets that this process has in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

fn sort_what_is_due(index: &mut Index) {
    loop {
        let due = index.due(NOW, 64);
        if due.is_empty() {
            return;
        }
        for entry in due {
            let group = Group {
                site: "mx:mx.dead.example".to_owned(),
                recipients: vec![0],
                patience: NOW + 14_400_000,
                urgent: false,
                pace: None,
            };
            let found = Sorted {
                groups: vec![group],
                share: Share {
                    tenant: u32::try_from(entry.as_u64() % 10).unwrap(),
                    ..Share::default()
                },
                ..Sorted::default()
            };
            index.sorted(entry, Some(found));
        }
    }
}

/// A site each, all of them dead.
fn many_dead_sites(index: &mut Index) -> u64 {
    let before = resident();
    for number in 0..SITES {
        let entry = EntryId::from_u64(10_000_000 + number);
        index.add(entry, NOW);
        assert_eq!(index.due(NOW, 64), [entry]);
        let group = Group {
            site: format!("mx:mx.dead{number}.example"),
            recipients: vec![0],
            patience: NOW + 14_400_000,
            urgent: false,
            pace: None,
        };
        let found = Sorted {
            groups: vec![group],
            ..Sorted::default()
        };
        index.sorted(entry, Some(found));
        fail(index);
    }
    (resident() - before) / SITES
}

/// The next job finds its site dead.
fn fail(index: &mut Index) {
    let job = index.start(NOW).unwrap();
    let ended = Ended {
        feedback: Some(Feedback::Dead),
        why: None,
        retry: (Duration::from_mins(5), Duration::from_hours(4)),
        pending: vec![0],
        next: Some(NOW + 300_000),
        notice_at: None,
        patience: job.patience,
        urgent: false,
        job,
    };
    index.ended(ended, NOW, 0);
}

#[test]
fn a_message_that_waits_for_a_dead_site_costs_less_than_ninety_octets() {
    let mut index = Index::new(256, NOW);
    index.add(EntryId::from_u64(0), NOW);
    sort_what_is_due(&mut index);
    fail(&mut index);
    let before = resident();
    for thousand in 0..MESSAGES / 1_000 {
        for number in 1..=1_000 {
            index.add(EntryId::from_u64(thousand * 1_000 + number), NOW);
        }
        sort_what_is_due(&mut index);
        assert_eq!(index.start(NOW), None, "the site is dead");
    }
    let each = (resident() - before) / MESSAGES;
    let site = many_dead_sites(&mut index);
    println!("{site} octets for each of {SITES} dead sites with a message");
    println!("{each} octets for each of {MESSAGES} messages that wait");
    let waiting = 1 + MESSAGES + SITES;
    assert_eq!(index.tally(NOW).dead, usize::try_from(waiting).unwrap());
    assert_eq!(index.tally(NOW).scheduled, 0, "none has a timer");
    assert!(each <= 90, "{each} octets each");
    assert!(site <= 1_500, "{site} octets each");
}
